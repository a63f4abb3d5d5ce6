"""Reads a statement row by row, in constant memory, and reports unreadable rows with their line numbers."""

import codecs
import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from synccash.payments.reconciliation import Direction, StatementLine
from synccash.rails.statements import (
    COLUMNS,
    INCOMING,
    NOT_PAYMENTS,
    OUTGOING,
    SETTLED,
    UNSETTLED,
    StatementLayout,
    normalized,
)
from synccash.reconciliation import values

_HEADER_LINES_MAX = 50
_DELIMITERS = ",;\t|"
_FIELD_MAX = 1 << 16


class StatementError(Exception):
    """The file cannot be read as a statement. The text says what the reader expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementFormat:
    """How to read one file: the rail's layout and the operator's options.

    `named`: the file's own column names, which take precedence over the layout's. `direction`: the direction
    of all rows in a file without a direction column.
    """

    layout: StatementLayout
    named: Mapping[str, str] = field(default_factory=dict[str, str])
    direction: Direction | None = None
    minor_units: bool = False
    currency: str = "GHS"
    zone: tzinfo


@dataclass(frozen=True, slots=True)
class Movement:
    """A row that moved money. `at` is None if its time cannot be read."""

    line: StatementLine
    at: datetime | None


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that is not a payment (`no_payment`) or that moved no money (`unsettled`)."""

    number: int
    why: Literal["unsettled", "no_payment"]


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that cannot be read, and the reason."""

    number: int
    why: str


Row = Movement | SkippedRow | UnreadableRow


def read_statement(path: Path, shape: StatementFormat) -> Iterator[Row]:
    """Yields the rows of a file in order. Raises StatementError if the file has no usable header."""
    try:
        with path.open(encoding=_encoding(path), errors="replace", newline="") as file:
            yield from _rows(file, shape)
    except OSError as error:
        raise StatementError(f"{path}: {error.strerror}") from error


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4096)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _rows(file: Iterable[str], shape: StatementFormat) -> Iterator[Row]:
    lines = iter(file)
    start = list(islice(lines, _HEADER_LINES_MAX))
    delimiter, header, first = _header(start, shape)
    columns = _Columns(header, shape)
    csv.field_size_limit(_FIELD_MAX)
    reader = csv.reader(chain(start[first:], lines), delimiter=delimiter)
    last = first
    while True:
        number = last + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            last = first + reader.line_num
            yield UnreadableRow(number, f"{error}, up to line {last}: is a quote open?")
            continue
        last = first + reader.line_num
        is_header = (
            bool(cells)
            and normalized(cells[0]) == header[0]
            and [normalized(cell) for cell in cells] == header
        )
        if not is_header and any(cell.strip() for cell in cells):
            yield columns.read(number, cells)


def _header(start: list[str], shape: StatementFormat) -> tuple[str, list[str], int]:
    """Returns the delimiter, the normalised column names, and the index of the first row after the header."""
    for number, line in enumerate(start):
        delimiter = max(_DELIMITERS, key=line.count)
        header = [normalized(cell) for cell in next(csv.reader([line], delimiter=delimiter), list[str]())]
        if _Columns(header, shape).fit:
            return delimiter, header, number + 1
    expected = "; ".join(
        f"{name}: {', '.join(_names(shape, name))}" for name in ("reference", "provider_id", "amount")
    )
    raise StatementError(
        f"no header within the first {_HEADER_LINES_MAX} lines. A header needs an amount, and a reference or "
        f"an id ({expected}); give the file's own names with --columns reference=…,amount=…"
    )


def _names(shape: StatementFormat, name: str) -> tuple[str, ...]:
    """Returns the accepted names of a column, the operator's own name first."""
    given: tuple[str, ...] = getattr(shape.layout, name)
    return (normalized(shape.named[name]), *given) if name in shape.named else given


class _Columns:
    """Maps the columns of the header to fields, and reads rows with them."""

    def __init__(self, header: list[str], shape: StatementFormat) -> None:
        self._shape = shape
        self._times = values.Times(shape.zone)
        self._width = len(header)
        self._at: dict[str, int] = {}
        for name in COLUMNS:
            for candidate in _names(shape, name):
                # A column fills one field only: `Debit` beside `Amount` is a direction, not an amount.
                if candidate in header and header.index(candidate) not in self._at.values():
                    self._at[name] = header.index(candidate)
                    break
        out = any(name in header for name in shape.layout.outgoing_files)
        self._default = shape.direction or (Direction.OUT if out else Direction.IN)
        self.fit = bool({"amount", "credit", "debit"} & set(self._at)) and bool(
            {"reference", "provider_id"} & set(self._at)
        )

    def read(self, number: int, cells: list[str]) -> Row:
        if len(cells) > self._width and any(cell.strip() for cell in cells[self._width :]):
            return UnreadableRow(number, f"{len(cells)} cells where the header has {self._width}")
        row = {
            name: cells[index].strip()
            for name, index in self._at.items()
            if index < len(cells) and cells[index]
        }
        try:
            return self._skipped(number, row) or self._movement(number, row)
        except ValueError as error:
            return UnreadableRow(number, str(error))

    def _skipped(self, number: int, row: Mapping[str, str]) -> SkippedRow | None:
        if "status" in self._at:
            word = normalized(row.get("status", ""))
            if word in UNSETTLED:
                return SkippedRow(number, "unsettled")
            if word not in SETTLED:
                raise ValueError(f"unknown status {row.get('status', '')[:40]!r}")
        return (
            SkippedRow(number, "no_payment") if normalized(row.get("direction", "")) in NOT_PAYMENTS else None
        )

    def _movement(self, number: int, row: Mapping[str, str]) -> Movement:
        amount, direction = self._money(row)
        currency = row.get("currency", self._shape.currency)
        if currency.upper() != self._shape.currency:
            raise ValueError(f"the currency {currency[:10]!r} is not {self._shape.currency}")
        line = StatementLine(
            number,
            direction,
            amount,
            values.reference(row.get("reference", "")),
            values.reference(row.get("provider_id", "")),
        )
        return Movement(line, self._times.read(row.get("time", "")))

    def _money(self, row: Mapping[str, str]) -> tuple[int, Direction]:
        minor = self._shape.minor_units
        for name, direction in (("credit", Direction.IN), ("debit", Direction.OUT)):
            found = values.amount(row[name], minor_units=minor) if row.get(name) else 0
            if found:
                return abs(found), direction
        if "amount" not in row:
            raise ValueError("the row has no amount")
        amount = values.amount(row["amount"], minor_units=minor)
        return abs(amount), Direction.OUT if amount < 0 else self._direction(row)

    def _direction(self, row: Mapping[str, str]) -> Direction:
        if "direction" not in self._at or self._shape.direction is not None:
            return self._default
        word = normalized(row.get("direction", ""))
        layout = self._shape.layout
        if word in layout.incoming:
            return Direction.IN
        if word in layout.outgoing or word in OUTGOING:
            return Direction.OUT
        if word in INCOMING:
            return Direction.IN
        raise ValueError(f"unknown type {row.get('direction', '')[:40]!r}; give --direction in or out")
