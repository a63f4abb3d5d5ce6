"""Compares a rail's statement with our own attempts: matches, differences, and what only one side has."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Direction(StrEnum):
    """The direction of the money, seen from the merchant's account."""

    IN = "in"
    OUT = "out"


class Verdict(StrEnum):
    """The result of the comparison. Every verdict but MATCHED needs a person to look at it."""

    MATCHED = "matched"
    MISSING = "missing"
    SURPLUS = "surplus"
    AMOUNT_DIFFERS = "amount_differs"
    DOUBLE = "double"
    NOT_SUCCEEDED = "not_succeeded"

    @property
    def needs_review(self) -> bool:
        """True where the two sides differ."""
        return self is not Verdict.MATCHED


ADVICE: Mapping[Verdict, str] = {
    Verdict.MATCHED: "",
    Verdict.MISSING: "we recorded that money moved, and the statement does not list it: if the attempt began "
    "close to the statement's end, check the next statement; otherwise ask the rail about the reference",
    Verdict.SURPLUS: "the rail moved money that matches none of our attempts: another system uses the same "
    "account, or a restored backup lost payments; ask the rail whose it is before paying it back",
    Verdict.AMOUNT_DIFFERS: "the rail moved another amount than we recorded: ask the rail, then refund or "
    "collect the difference",
    Verdict.DOUBLE: "the rail lists one reference twice: ask the rail, and have the second movement returned",
    Verdict.NOT_SUCCEEDED: "money moved, and we have not recorded a success: see `synccash payments show "
    "ORDER`; for an order under review: `synccash payments resolve ORDER --outcome succeeded --evidence "
    "'statement, line N'`",
}
"""What to do about each verdict."""


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line of a rail's statement. The amount is in minor units, never negative."""

    number: int
    direction: Direction
    amount: int
    reference: str | None
    provider_id: str | None


@dataclass(frozen=True, slots=True)
class OwnMovement:
    """One attempt of ours. The amount is in minor units; `succeeded`: our records say that money moved.

    `order_id`: the payment, refund or payout of the attempt.
    """

    attempt_id: str
    direction: Direction
    amount: int
    reference: str
    provider_id: str | None
    succeeded: bool
    order_id: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the report. A SURPLUS finding has no movement, a MISSING one has no line."""

    verdict: Verdict
    movement: OwnMovement | None
    line: StatementLine | None


class Statement:
    """A rail's statement. Each of our movements claims its lines, in any order; a line is claimed once.

    A line with a reference is matched by the reference alone, so that an id that agrees by chance cannot
    assign it to another attempt. Only a line without a reference is matched by the provider's id.
    """

    def __init__(self, lines: Iterable[StatementLine]) -> None:
        self._by_reference: defaultdict[tuple[Direction, str], list[StatementLine]] = defaultdict(list)
        self._by_provider_id: defaultdict[tuple[Direction, str], list[StatementLine]] = defaultdict(list)
        self._anonymous: list[StatementLine] = []
        for line in lines:
            if line.reference:
                self._by_reference[line.direction, line.reference].append(line)
            elif line.provider_id:
                self._by_provider_id[line.direction, line.provider_id].append(line)
            else:
                self._anonymous.append(line)

    def compare(self, movement: OwnMovement) -> Iterator[Finding]:
        """Yield the findings about this movement, and claim its lines.

        Yields nothing for a movement that did not succeed and is not in the statement either.
        """
        lines = self._claim(movement)
        if not lines:
            if movement.succeeded:
                yield Finding(Verdict.MISSING, movement, None)
            return
        # Of several lines the one with the same amount is ours, whatever its position in the file.
        first = next((line for line in lines if line.amount == movement.amount), lines[0])
        yield Finding(_verdict(movement, first), movement, first)
        for line in lines:
            if line is not first:
                yield Finding(Verdict.DOUBLE, movement, line)

    def surplus(self) -> Iterator[Finding]:
        """Yield the unclaimed lines, in the order of the file. Call it after all movements were compared."""
        groups = [*self._by_reference.values(), *self._by_provider_id.values(), self._anonymous]
        for line in sorted((line for group in groups for line in group), key=lambda line: line.number):
            yield Finding(Verdict.SURPLUS, None, line)

    def _claim(self, movement: OwnMovement) -> list[StatementLine]:
        lines = self._by_reference.pop((movement.direction, movement.reference), [])
        if movement.provider_id:
            lines += self._by_provider_id.pop((movement.direction, movement.provider_id), [])
        return lines


def _verdict(movement: OwnMovement, line: StatementLine) -> Verdict:
    if not movement.succeeded:
        return Verdict.NOT_SUCCEEDED
    return Verdict.MATCHED if line.amount == movement.amount else Verdict.AMOUNT_DIFFERS
