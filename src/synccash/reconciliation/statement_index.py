"""Indexes a statement's lines by reference and provider id, on disk, so that memory use stays constant."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from synccash.payments.reconciliation import Direction, StatementLine

_MAKE = """
CREATE TABLE lines (
    number INTEGER PRIMARY KEY, direction TEXT NOT NULL, amount INTEGER NOT NULL, reference TEXT,
    provider_id TEXT
);
-- Lines with equal provider ids are one transaction exported twice; without an id they cannot be told apart.
CREATE UNIQUE INDEX exported_once ON lines (provider_id, direction, coalesce(reference, ''), amount)
    WHERE provider_id IS NOT NULL;
CREATE INDEX lines_of_id ON lines (provider_id) WHERE reference IS NULL;
CREATE INDEX lines_of_reference ON lines (reference) WHERE reference IS NOT NULL;
"""
_PUT = "INSERT OR IGNORE INTO lines VALUES (?, ?, ?, ?, ?)"
_ALL = "SELECT * FROM lines WHERE number > ? ORDER BY number LIMIT ?"
_BATCH = 500


class StatementIndex:
    """A context manager over one temporary SQLite file, which `__exit__` deletes."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="synccash-statement-")
        self._database = sqlite3.connect(Path(self._folder.name) / "lines.sqlite", isolation_level=None)
        self._database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _MAKE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        self._folder.cleanup()

    def put(self, lines: Sequence[StatementLine]) -> int:
        """Adds lines and returns how many were already present, that is, exported twice."""
        rows = [
            (one.number, one.direction.value, one.amount, one.reference, one.provider_id) for one in lines
        ]
        self._database.execute("BEGIN")
        kept = self._database.executemany(_PUT, rows).rowcount
        self._database.execute("COMMIT")
        return len(rows) - kept

    def found(self, references: Iterable[str], provider_ids: Iterable[str]) -> list[StatementLine]:
        """Returns lines with these references, and lines without a reference that have these provider ids."""
        named = [
            *self._by("reference", references),
            *self._by("reference IS NULL AND provider_id", provider_ids),
        ]
        return sorted(named, key=lambda line: line.number)

    def drop(self, lines: Iterable[StatementLine]) -> None:
        """Removes lines that an attempt has claimed."""
        self._database.execute("BEGIN")
        self._database.executemany("DELETE FROM lines WHERE number = ?", [(line.number,) for line in lines])
        self._database.execute("COMMIT")

    def left(self, page: int) -> Iterator[list[StatementLine]]:
        """Yields the remaining lines in file order, `page` at a time. Lines may be dropped while it runs."""
        last = 0
        while True:
            with closing(self._database.execute(_ALL, (last, page))) as rows:
                lines = [_line(row) for row in rows]
            if not lines:
                return
            last = lines[-1].number
            yield lines

    def _by(self, column: str, names: Iterable[str]) -> Iterator[StatementLine]:
        values = list(names)
        for start in range(0, len(values), _BATCH):
            part = values[start : start + _BATCH]
            marks = ",".join("?" * len(part))
            query = f"SELECT * FROM lines WHERE {column} IN ({marks})"  # noqa: S608 - the columns are ours
            with closing(self._database.execute(query, part)) as rows:
                yield from map(_line, rows)


def _line(row: tuple[int, str, int, str | None, str | None]) -> StatementLine:
    number, direction, amount, reference, provider_id = row
    return StatementLine(number, Direction(direction), amount, reference, provider_id)
