"""Decides whose turn it is at a rail with a rate limit: merchants in rounds. No clock and no waiting."""

import itertools
from bisect import insort
from dataclasses import dataclass, field
from typing import NamedTuple

from synccash.payments.rail import InquiryPriority


class Waiting(NamedTuple):
    """One caller that waits for a turn. The fields sort the callers of one merchant."""

    priority: InquiryPriority
    since: float
    number: int
    merchant_id: str


@dataclass(slots=True)
class _Line:
    """The callers of one merchant. `round`: that of its next turn. `number`: its place in that round."""

    round: int
    number: int
    callers: list[Waiting] = field(default_factory=list[Waiting])


class FairTurns:
    """The callers that wait for turns, in the order of these turns.

    Each merchant gets one turn in a round, so a merchant with few callers waits for at most one turn of each
    other merchant. A merchant alone gets all turns. Of one merchant's callers, the lowest priority number
    goes first, then the earliest `since`, then first come. Rechecks after the end come after all others, of
    whatever merchant.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._round = 0
        self._lines: dict[str, _Line] = {}
        self._rechecks: list[Waiting] = []

    def join(self, merchant_id: str, priority: InquiryPriority, since: float = 0.0) -> Waiting:
        """Add a caller."""
        caller = Waiting(priority, since, next(self._numbers), merchant_id)
        if priority is InquiryPriority.AFTER_END:
            insort(self._rechecks, caller)
            return caller
        line = self._lines.get(merchant_id)
        if line is None:
            line = self._lines[merchant_id] = _Line(self._round, caller.number)
        insort(line.callers, caller)
        return caller

    def leave(self, caller: Waiting) -> None:
        """Remove a caller that got no turn."""
        self._callers(caller).remove(caller)
        self._forget_idle()

    def serve(self, caller: Waiting) -> None:
        """Remove a caller that got the turn. It was the first: its `place` was 0."""
        self._callers(caller).remove(caller)
        if caller.priority is not InquiryPriority.AFTER_END:
            line = self._lines[caller.merchant_id]
            self._round = line.round
            line.round, line.number = line.round + 1, next(self._numbers)
        self._forget_idle()

    def place(self, caller: Waiting) -> int:
        """Return how many callers go before this one. Takes time linear in the merchants and callers."""
        if caller.priority is InquiryPriority.AFTER_END:
            return sum(len(line.callers) for line in self._lines.values()) + self._rechecks.index(caller)
        own = self._lines[caller.merchant_id]
        index = own.callers.index(caller)
        last_round = own.round + index
        return index + sum(
            min(len(line.callers), max(0, last_round - line.round + _goes_before(line, own)))
            for line in self._lines.values()
            if line is not own
        )

    def ahead_of_own(self, caller: Waiting) -> int:
        """Return how many callers of the same merchant go before this one."""
        return self._callers(caller).index(caller)

    def merchants_beside(self, merchant_id: str) -> int:
        """Return how many other merchants have callers that wait."""
        return sum(bool(line.callers) for name, line in self._lines.items() if name != merchant_id)

    def _callers(self, caller: Waiting) -> list[Waiting]:
        if caller.priority is InquiryPriority.AFTER_END:
            return self._rechecks
        return self._lines[caller.merchant_id].callers

    def _forget_idle(self) -> None:
        """Keep only merchants with callers, and beside them those that had their turn in this round."""
        if not any(line.callers for line in self._lines.values()):
            self._lines.clear()
            return
        for name in [n for n, line in self._lines.items() if not line.callers and line.round <= self._round]:
            del self._lines[name]


def _goes_before(line: _Line, own: _Line) -> bool:
    """Return whether `line` goes first in a round that both are in: a turn puts a line behind all lines that
    are in the next round already."""
    return line.number < own.number if line.round == own.round else line.round > own.round
