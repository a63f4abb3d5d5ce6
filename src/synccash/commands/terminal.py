"""Shared by all commands: loads the settings, prints tables and JSON, and reports errors.

On a terminal, output fits its width and has colours; in a pipe or a file it is plain text, and nothing wraps.
"""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from synccash.commands.layout import GAP, Line, Segment, fact_lines, style_of, table_lines, wrapped_lines

if TYPE_CHECKING:
    from synccash.settings.loader import LoadedSettings, Settings


def loaded(environment: Mapping[str, str] = os.environ) -> "LoadedSettings":
    """Returns the effective settings with their sources. Raises AdministrationError if they are invalid."""
    from synccash.administration.errors import AdministrationError
    from synccash.settings.loader import CONFIGURATION, SettingsError, load_settings

    try:
        return load_settings(environment, CONFIGURATION)
    except SettingsError as error:
        raise AdministrationError(str(error)) from error


def settings() -> "Settings":
    """Returns the effective settings without their sources."""
    return loaded().settings


def refuse(text: str, *, as_json: bool = False) -> int:
    """Prints an error on stderr, or as a JSON document on stdout, and returns the exit code 1."""
    if as_json:
        print_json({"error": {"message": text}})
        return 1
    for line in text.splitlines():
        print(f"synccash: {line}", file=sys.stderr)
    return 1


def print_json(found: Any) -> int:
    """Prints one JSON document and returns the exit code 0."""
    print(json.dumps(found, default=_text, ensure_ascii=False))
    return 0


def print_table(titles: Sequence[str], rows: Iterable[Sequence[Any]], *, nothing: str) -> int:
    """Prints rows under their titles, with numbers aligned right; prints `nothing` if there are no rows.

    Returns the exit code 0.
    """
    shown = [[_cell(value) for value in row] for row in rows]
    if not shown:
        print(nothing)
        return 0
    return _print_lines(table_lines(titles, shown, terminal_width()))


def print_facts(facts: Mapping[str, Any]) -> int:
    """Prints one object, a field a line, without empty fields. Returns the exit code 0."""
    shown = {name: _cell(value) for name, value in facts.items() if value not in (None, "")}
    return _print_lines(fact_lines(shown, terminal_width()))


def print_findings(findings: Iterable[tuple[str, str, str, str | None]]) -> int:
    """Prints findings, each with its level, its subject and, on a line of its own, what to do.

    Returns the exit code 0.
    """
    return _print_lines(_finding_lines(list(findings), terminal_width()))


def _finding_lines(rows: Sequence[tuple[str, str, str, str | None]], width: int | None) -> Generator[Line]:
    level_width, subject_width = (max(len(row[column]) for row in rows) for column in (0, 1))  # pyright: ignore[reportArgumentType]
    indent = " " * (level_width + subject_width + 2 * len(GAP))
    for level, subject, message, remedy in rows:
        head = f"{GAP}{subject.ljust(subject_width)}{GAP}"
        first, *rest = wrapped_lines(message, width, indent)
        yield [Segment(level.ljust(level_width), style_of(level)), Segment(head), Segment(first)]
        yield from ([Segment(line)] for line in rest)
        if remedy is not None:
            advice = list(wrapped_lines(f"→ {remedy}", width, f"{indent}  "))
            yield from ([Segment(line if number else indent + line)] for number, line in enumerate(advice))


def terminal_width() -> int | None:
    """Returns the width of the terminal; None where the output goes into a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _print_lines(lines: Iterable[Line]) -> int:
    if not sys.stdout.isatty():
        for line in lines:
            print("".join(segment.text for segment in line).rstrip())
        return 0
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    for line in lines:
        # The layout has wrapped it: a word that is longer than the terminal is wide stays whole.
        console.print(Text.assemble(*((segment.text, segment.style) for segment in line)), soft_wrap=True)
    return 0


@contextlib.contextmanager
def byte_progress(what: str, *, quiet: bool = False) -> Generator[Callable[[int], None]]:
    """Shows on a terminal how many bytes have passed; call what it yields with the size of each part."""
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn(what), DownloadColumn(binary_units=True), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda count: progress.advance(task, count)


def is_waiting(found: Mapping[str, Any]) -> bool:
    """Tells whether an action of the API waits for a second operator."""
    return found.get("object") == "approval"


def print_waiting(found: Mapping[str, Any]) -> int:
    """Prints that an action waits for a second operator, and returns the exit code 0."""
    print(f"Another operator has to approve this by {found['expires_at']}. They run:")
    print(f"  synccash approvals approve {found['id']} --reason TEXT")
    if "enrolment_code_half" in found:
        print(f"Give {found['target']} this half of the enrolment code; the second operator gets the other:")
        print(f"  {found['enrolment_code_half']}")
    return 0


def money(pesewas: int, currency: str = "GHS") -> str:
    """Formats an amount with its currency, in major units: GHS 1,234.50."""
    sign = "-" if pesewas < 0 else ""
    return f"{currency} {sign}{abs(pesewas) // 100:,}.{abs(pesewas) % 100:02d}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = _text(value)
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _text(value: Any) -> str:
    """Writes times as the API does, also those that were read with database credentials."""
    from synccash.payments.document import moment

    return moment(value) if isinstance(value, datetime) else str(value)
