"""Shared by all commands: loads the settings, prints tables and JSON, and reports errors."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synccash.settings.loader import LoadedSettings, Settings

_GAP = "  "


def loaded(environment: Mapping[str, str] = os.environ) -> "LoadedSettings":
    """Returns the effective settings with their sources. Exits the command if they are invalid."""
    from synccash.settings.loader import CONFIGURATION, SettingsError, load_settings

    try:
        return load_settings(environment, CONFIGURATION)
    except SettingsError as error:
        sys.exit(refuse(str(error)))


def settings() -> "Settings":
    """Returns the effective settings without their sources."""
    return loaded().settings


def refuse(text: str) -> int:
    """Prints an error on stderr and returns the exit code 1."""
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
    numeric = [all(_is_number(row[column]) for row in shown) for column in range(len(titles))]
    widths = [max(map(len, column)) for column in zip(titles, *shown, strict=True)]
    for row in ([title.upper() for title in titles], *shown):
        cells = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        ]
        print(_GAP.join(cells).rstrip())
    return 0


def print_facts(facts: Mapping[str, Any]) -> int:
    """Prints one object, a field a line, without empty fields. Returns the exit code 0."""
    shown = {name: _cell(value) for name, value in facts.items() if value not in (None, "")}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        print(f"{name.ljust(width)}{_GAP}{value}")
    return 0


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


def money(pesewas: int) -> str:
    """Formats pesewas in major units: 1,234.50."""
    sign = "-" if pesewas < 0 else ""
    return f"{sign}{abs(pesewas) // 100:,}.{abs(pesewas) % 100:02d}"


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


def _is_number(text: str) -> bool:
    return text == "-" or text.removeprefix("-").replace(",", "").replace(".", "").isdecimal()
