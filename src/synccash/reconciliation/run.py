"""Runs one reconciliation: indexes the statement, then compares our attempts with it page by page."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Protocol
from uuid import UUID

from synccash.payments.errors import InternalError
from synccash.payments.reconciliation import Finding, OwnMovement, Statement, StatementLine, Verdict
from synccash.reconciliation.reading import (
    Movement,
    Row,
    SkippedRow,
    StatementError,
    StatementFormat,
    UnreadableRow,
    read_statement,
)
from synccash.reconciliation.statement_index import StatementIndex
from synccash.stores.postgres.orders.movements import PostgresMovements

_PAGE = 1_000
_BEFORE = timedelta(days=3)
"""How long before its line an attempt may have begun: the duration of inquiries."""
_AFTER = timedelta(hours=1)


class Report(Protocol):
    """Receives findings and unreadable rows, one at a time."""

    def finding(self, finding: Finding) -> None: ...
    def broken(self, row: UnreadableRow) -> None: ...


@dataclass(slots=True)
class Summary:
    """The counts of a run. `first` and `last` bound the attempts that the statement must list. `not_kept`:
    why the result could not be stored."""

    first: datetime | None = None
    last: datetime | None = None
    verdicts: Counter[Verdict] = field(default_factory=Counter[Verdict])
    rows: int = 0
    broken: int = 0
    unsettled: int = 0
    no_payment: int = 0
    repeated: int = 0
    timeless: int = 0
    not_kept: str | None = None

    @property
    def clean(self) -> bool:
        """True if nothing needs an operator."""
        return not self.broken and not any(n for verdict, n in self.verdicts.items() if verdict.needs_review)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One run over one file."""

    movements: PostgresMovements
    report: Report
    index: StatementIndex
    summary: Summary

    def load(self, path: Path, shape: StatementFormat) -> None:
        """Reads the whole file into the index. Raises StatementError."""
        seen: tuple[datetime, ...] = ()
        broken: UnreadableRow | None = None
        for batch in _batched(read_statement(path, shape)):
            moved = [row for row in batch if isinstance(row, Movement)]
            times = tuple(row.at for row in moved if row.at is not None)
            if times:
                seen = (min(times + seen), max(times + seen))
            self.summary.timeless += len(moved) - len(times)
            self.summary.repeated += self.index.put([row.line for row in moved])
            broken = broken or next((row for row in batch if isinstance(row, UnreadableRow)), None)
            self._count(batch)
        self._set_period(seen, broken)

    def _set_period(self, seen: tuple[datetime, ...], broken: UnreadableRow | None) -> None:
        """Sets the period in which the statement must list attempts. Raises StatementError if it is empty."""
        summary = self.summary
        if seen:
            summary.first = summary.first or seen[0]
            summary.last = summary.last or seen[1]
        if summary.first is None or summary.last is None:
            if summary.rows == summary.broken and broken is not None:
                raise StatementError(
                    f"no row can be read; the first error is in line {broken.number}: {broken.why}"
                )
            raise StatementError(
                "no row has a time that can be read: give --from and --to, or --columns time=…"
            )
        if summary.first > summary.last:
            raise StatementError(
                f"the period from {summary.first:%Y-%m-%d %H:%M} to {summary.last:%Y-%m-%d %H:%M} is empty: "
                "nothing could be missing; swap --from and --to, or choose times that the file covers"
            )

    def _count(self, rows: Sequence[Row]) -> None:
        self.summary.rows += len(rows)
        for row in rows:
            match row:
                case UnreadableRow():
                    self.summary.broken += 1
                    self.report.broken(row)
                case SkippedRow(why="unsettled"):
                    self.summary.unsettled += 1
                case SkippedRow():
                    self.summary.no_payment += 1
                case Movement():
                    pass

    async def compare(self) -> None:
        """Reports every attempt that the statement must list, and every line that matches no attempt.

        Raises InternalError before `load()` has run.
        """
        first, last = self.summary.first, self.summary.last
        if first is None or last is None:
            raise InternalError("load() must run before compare(): the period of the statement is unknown")
        async for page in self.movements.between(first, last, _PAGE):
            self._compare(page)
        # The remaining lines belong to attempts outside of the period, or to no attempt.
        for lines in self.index.left(_PAGE):
            named = [line.reference for line in lines if line.reference and _is_uuid(line.reference)]
            unnamed = [line.provider_id for line in lines if line.provider_id and not line.reference]
            own = [
                *await self.movements.of_references(named),
                *await self.movements.of_ids(unnamed, first - _BEFORE, last + _AFTER),
            ]
            self._compare({one.attempt_id: one for one in own}.values(), outside=True)
        for lines in self.index.left(_PAGE):
            for finding in Statement(lines).surplus():
                self._report(finding)

    def _compare(self, own: Iterable[OwnMovement], *, outside: bool = False) -> None:
        own = list(own)
        ids = [one.provider_id for one in own if one.provider_id]
        statement = Statement(self.index.found([one.reference for one in own], ids))
        claimed: list[StatementLine] = []
        for one in own:
            for finding in statement.compare(one):
                if finding.line is not None:
                    claimed.append(finding.line)
                elif outside:
                    continue
                self._report(finding)
        self.index.drop(claimed)

    def _report(self, finding: Finding) -> None:
        self.summary.verdicts[finding.verdict] += 1
        self.report.finding(finding)


def _batched(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, _PAGE)):
        yield batch


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
