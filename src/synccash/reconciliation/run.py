"""One reconciliation: the file onto a shelf, our attempts past it page by page, and what is left over."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Protocol
from uuid import UUID

from synccash.payments.reconciliation import Finding, OwnMovement, Statement, StatementLine, Verdict
from synccash.reconciliation.reading import (
    Aside,
    Broken,
    Movement,
    Row,
    Shape,
    StatementError,
    read_statement,
)
from synccash.reconciliation.statement_index import StatementIndex
from synccash.stores.postgres.movements import PostgresMovements

_PAGE = 1_000
_BEFORE = timedelta(days=3)
"""How long before a line its attempt may have begun: as long as inquiries go on."""
_AFTER = timedelta(hours=1)


class Report(Protocol):
    """Where findings go, one at a time."""

    def finding(self, finding: Finding) -> None: ...
    def broken(self, row: Broken) -> None: ...


@dataclass(slots=True)
class Summary:
    """What came of it. `first` and `last` frame the attempts that the statement had to name."""

    first: datetime | None = None
    last: datetime | None = None
    verdicts: Counter[Verdict] = field(default_factory=Counter[Verdict])
    rows: int = 0
    broken: int = 0
    unsettled: int = 0
    no_payment: int = 0
    repeated: int = 0
    timeless: int = 0

    @property
    def clean(self) -> bool:
        """True when nothing asks for a person."""
        return not self.broken and not any(n for verdict, n in self.verdicts.items() if verdict.needs_review)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One run over one file."""

    movements: PostgresMovements
    report: Report
    shelf: StatementIndex
    summary: Summary

    def take_in(self, path: Path, shape: Shape) -> None:
        """Read the whole file. Raises StatementError."""
        seen: tuple[datetime, ...] = ()
        broken: Broken | None = None
        for batch in _batched(read_statement(path, shape)):
            moved = [row for row in batch if isinstance(row, Movement)]
            times = tuple(row.at for row in moved if row.at is not None)
            if times:
                seen = (min(times + seen), max(times + seen))
            self.summary.timeless += len(moved) - len(times)
            self.summary.repeated += self.shelf.put([row.line for row in moved])
            broken = broken or next((row for row in batch if isinstance(row, Broken)), None)
            self._count(batch)
        self._frame(seen, broken)

    def _frame(self, seen: tuple[datetime, ...], broken: Broken | None) -> None:
        """Say from when to when attempts have to be stated. Raises StatementError where that is never."""
        summary = self.summary
        if seen:
            summary.first = summary.first or seen[0]
            summary.last = summary.last or seen[1]
        if summary.first is None or summary.last is None:
            if summary.rows == summary.broken and broken is not None:
                raise StatementError(f"no row can be read; the first, in line {broken.number}: {broken.why}")
            raise StatementError(
                "no row has a time that can be read: say --from and --to, or --columns time=…"
            )
        if summary.first > summary.last:
            raise StatementError(
                f"the time from {summary.first:%Y-%m-%d %H:%M} to {summary.last:%Y-%m-%d %H:%M} is none: "
                "nothing would be missing; turn --from and --to around, or move them to the file's rows"
            )

    def _count(self, rows: Sequence[Row]) -> None:
        self.summary.rows += len(rows)
        for row in rows:
            match row:
                case Broken():
                    self.summary.broken += 1
                    self.report.broken(row)
                case Aside(why="unsettled"):
                    self.summary.unsettled += 1
                case Aside():
                    self.summary.no_payment += 1
                case Movement():
                    pass

    async def compare(self) -> None:
        """Report every attempt that the statement should name, and every line that is nobody's."""
        first, last = self.summary.first, self.summary.last
        assert first is not None, "the file was taken in before"
        assert last is not None, "the file was taken in before"
        async for page in self.movements.between(first, last, _PAGE):
            self._compare(page)
        # What is left belongs to attempts from outside of the time, or to nobody.
        for lines in self.shelf.left(_PAGE):
            named = [line.reference for line in lines if line.reference and _is_uuid(line.reference)]
            unnamed = [line.provider_id for line in lines if line.provider_id and not line.reference]
            own = [
                *await self.movements.of_references(named),
                *await self.movements.of_ids(unnamed, first - _BEFORE, last + _AFTER),
            ]
            self._compare({one.attempt_id: one for one in own}.values(), outside=True)
        for lines in self.shelf.left(_PAGE):
            for finding in Statement(lines).surplus():
                self._tell(finding)

    def _compare(self, own: Iterable[OwnMovement], *, outside: bool = False) -> None:
        own = list(own)
        ids = [one.provider_id for one in own if one.provider_id]
        statement = Statement(self.shelf.found([one.reference for one in own], ids))
        claimed: list[StatementLine] = []
        for one in own:
            for finding in statement.compare(one):
                if finding.line is not None:
                    claimed.append(finding.line)
                elif outside:
                    continue
                self._tell(finding)
        self.shelf.drop(claimed)

    def _tell(self, finding: Finding) -> None:
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
