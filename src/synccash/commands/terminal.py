"""What all commands share: the settings, how things are printed, and how a refusal is told."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synccash.settings.loader import LoadedSettings, Settings

_GAP = "  "


def loaded(environment: Mapping[str, str] = os.environ) -> "LoadedSettings":
    """The effective settings. Ends the command where they cannot be used."""
    from synccash.settings.loader import CONFIGURATION, SettingsError, load_settings

    try:
        return load_settings(environment, CONFIGURATION)
    except SettingsError as error:
        sys.exit(refuse(str(error)))


def settings() -> "Settings":
    """The effective settings without their sources."""
    return loaded().settings


def refuse(text: str) -> int:
    """Say why not; return the exit code."""
    for line in text.splitlines():
        print(f"synccash: {line}", file=sys.stderr)
    return 1


def print_json(found: Any) -> int:
    """Print as one JSON document; return the exit code."""
    print(json.dumps(found, default=str, ensure_ascii=False))
    return 0


def print_table(titles: Sequence[str], rows: Iterable[Sequence[Any]], *, nothing: str) -> int:
    """Print rows under their titles, numbers to the right; `nothing` where there are none."""
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
    """Print one object, a fact a line; what is not there is left out."""
    told = {name: _cell(value) for name, value in facts.items() if value not in (None, "")}
    width = max(map(len, told), default=0)
    for name, value in told.items():
        print(f"{name.ljust(width)}{_GAP}{value}")
    return 0


def money(pesewas: int) -> str:
    """An amount as people write it."""
    sign = "-" if pesewas < 0 else ""
    return f"{sign}{abs(pesewas) // 100:,}.{abs(pesewas) % 100:02d}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:%Y-%m-%d %H:%M:%S}" if hasattr(value, "strftime") else str(value)
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _is_number(text: str) -> bool:
    return text == "-" or text.removeprefix("-").replace(",", "").replace(".", "").isdecimal()
