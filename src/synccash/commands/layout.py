"""Lays out tables and facts in the width of a terminal. Pure: values in, lines out.

A table that is too wide wraps its texts at blanks; one that is still too wide is shown a row after the other,
a field a line. No word is broken, so that ids can be copied.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

GAP = "  "
_TITLE = "bold"
_STYLES: Mapping[str, str] = {
    **dict.fromkeys(("succeeded", "ok", "closed", "executed", "approved", "active", "matched"), "green"),
    **dict.fromkeys(("failed", "open", "forced_open", "broken", "missing", "double"), "red"),
    **dict.fromkeys(
        ("warning", "half_open", "under_review", "risk_review", "unconfirmed", "surplus"), "yellow"
    ),
    **dict.fromkeys(("skipped", "canceled", "expired", "declined", "-"), "dim"),
}
"""The styles of whole cells, by what they say."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a line in one style of Rich; an empty style is plain text."""

    text: str
    style: str = ""


Line = Sequence[Segment]


def style_of(text: str) -> str:
    """Return the style of a cell."""
    return _STYLES.get(text, "")


def table_lines(
    titles: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None
) -> Iterator[Line]:
    """Yield the lines of a table; without a width nothing wraps. Numbers are aligned right."""
    heads = [title.upper() for title in titles]
    widths = fitted_widths([heads, *rows], width)
    if widths is None:
        yield from _record_lines(titles, rows, width)
        return
    right = [all(_is_number(row[column]) for row in rows) for column in range(len(titles))]
    yield from _row_lines(heads, widths, right, title=True)
    for row in rows:
        yield from _row_lines(row, widths, right)


def fact_lines(facts: Mapping[str, str], width: int | None = None) -> Iterator[Line]:
    """Yield a line for each fact; a long one goes on under its beginning."""
    indent = max(map(len, facts), default=0)
    room = None if width is None else max(width - indent - len(GAP), 1)
    for name, value in facts.items():
        for number, part in enumerate(_wrapped(value, room)):
            label = name if number == 0 else ""
            yield [Segment(label.ljust(indent), _TITLE), Segment(GAP), Segment(part, style_of(value))]


def wrapped_lines(text: str, width: int | None, indent: str) -> Iterator[str]:
    """Yield the lines of a text that goes on behind `indent`; the first one has none."""
    room = None if width is None else max(width - len(indent), 1)
    for number, part in enumerate(_wrapped(text, room)):
        yield part if number == 0 else indent + part


def fitted_widths(rows: Sequence[Sequence[str]], width: int | None) -> list[int] | None:
    """Return the width of each column, so that a line fits; None where even single words do not.

    The widest columns give way first, and none becomes narrower than its longest word.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    if width is None:
        return widths
    least = [max(_longest_word(cell) for cell in column) for column in columns]
    room = width - len(GAP) * (len(columns) - 1)
    if sum(least) > room:
        return None
    while sum(widths) > room:
        wide = max((w for w, low in zip(widths, least, strict=True) if w > low))
        widths[next(n for n, w in enumerate(widths) if w == wide and w > least[n])] -= 1
    return widths


def _row_lines(
    row: Sequence[str], widths: Sequence[int], right: Sequence[bool], *, title: bool = False
) -> Iterator[Line]:
    cells = [_wrapped(text, width) for text, width in zip(row, widths, strict=True)]
    for number in range(max(map(len, cells), default=0)):
        line: list[Segment] = []
        for column, parts in enumerate(cells):
            part = parts[number] if number < len(parts) else ""
            padded = part.rjust(widths[column]) if right[column] else part.ljust(widths[column])
            line += [Segment(padded, _TITLE if title else style_of(row[column])), Segment(GAP)]
        yield line[:-1]


def _record_lines(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> Iterator[Line]:
    for number, row in enumerate(rows):
        if number:
            yield [Segment("")]
        yield from fact_lines(dict(zip(titles, row, strict=True)), width)


def _wrapped(text: str, width: int | None) -> list[str]:
    if width is None or len(text) <= width:
        return [text]
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _longest_word(text: str) -> int:
    return max(map(len, text.split()), default=0)


def _is_number(text: str) -> bool:
    """Tell whether a cell is a number or an amount, such as `GHS 1,234.50`."""
    if text == "-":
        return True
    currency, blank, amount = text.rpartition(" ")
    if blank and not (len(currency) == 3 and currency.isupper()):
        return False
    return amount.removeprefix("-").replace(",", "").replace(".", "").isdecimal()
