"""Looks at the rails for attempts that the ledger has lost, under the references that they must have had."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from synccash.engine.dispatch.router import operation_of
from synccash.engine.ports import Dispatch, Rail
from synccash.engine.progress.attempts import Attempts, routed_of
from synccash.payments.attempt import Attempt
from synccash.payments.case import Case, RefundCase, order_of
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.rail import Environment, Operation, RailStatus, StatusAnswer
from synccash.payments.receipts import foreign_to

SEARCHES_AT_ONCE = 4
"""How many orders of one process are searched for at a time."""
SEARCHES_REMEMBERED = 10_000
"""How many orders' searches that are not whole yet a process remembers."""


@dataclass(frozen=True, slots=True)
class FoundAttempt:
    """An attempt that a rail has and the ledger has not, and what the rail says of it."""

    attempt: Attempt
    answer: StatusAnswer


@dataclass(frozen=True, slots=True)
class LostAttempts:
    """Asks every rail that could have been sent the order.

    `depth`: how many attempts after the last known one are looked for. An attempt that was refused or never
    left is found nowhere, so gaps mean nothing. `searching`: few orders are searched for at a time. A search
    counts only when it is whole, and among hundreds each would run out of time at a rail's inquiry rate.
    `unknown`: by order, what rails have said not to have in a search that is not whole yet. It stays true, as
    nothing is sent for the order meanwhile; so a rail that answers now and then is asked the rest alone.
    """

    rails: Mapping[str, Rail]
    attempts: Attempts
    dispatch: Dispatch
    depth: int
    unknown: dict[str, set[tuple[str, str]]] = field(default_factory=dict[str, set[tuple[str, str]]])
    searching: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SEARCHES_AT_ONCE))

    async def find(self, case: Case) -> Sequence[FoundAttempt] | None:
        """Return what the rails have of the order, in sequence; None where one of them does not say, where
        the order has to wait for other searches, or where it was sent under another installation key."""
        if self.searching.locked() or not self._has_our_key(case):
            return None
        async with self.searching:
            return await self._find(case)

    def _has_our_key(self, case: Case) -> bool:
        """False where the references of the order's attempts were derived with another installation key:
        those that would be looked for were never at any rail."""
        ours = self.attempts.references.id
        return all(attempt.reference_key in (None, ours) for attempt in case.attempts)

    async def _find(self, case: Case) -> Sequence[FoundAttempt] | None:
        found: list[FoundAttempt] = []
        first = case.next_sequence
        search = f"{order_of(case).id} {case.unsearched}"
        unknown = self.unknown.setdefault(search, set())
        for sequence in range(first, first + self.depth):
            for rail in self._eligible(case):
                attempt = self.attempts.lost(case, rail, sequence)
                if (rail, attempt.reference) in unknown:
                    continue
                traces = self.attempts.traces_of(case, attempt)
                answer = await self.dispatch.inquire(self.rails[rail], attempt, traces)
                if answer.status_at_rail is RailStatus.NO_INFORMATION:
                    self._forget_oldest()
                    return None
                if answer.status_at_rail is RailStatus.NOT_FOUND:
                    unknown.add((rail, attempt.reference))
                else:
                    found.append(FoundAttempt(attempt, answer))
        self.unknown.pop(search, None)
        return found

    def _forget_oldest(self) -> None:
        while len(self.unknown) > SEARCHES_REMEMBERED:
            del self.unknown[next(iter(self.unknown))]

    def _eligible(self, case: Case) -> Iterable[str]:
        """The rails that the order may have gone to: a refund only to its debit's. The rail that a merchant
        pins now need not be the one that was pinned when the order was lost."""
        if isinstance(case, RefundCase):
            return (case.debit.rail,)
        order = routed_of(case)
        operation: Operation = operation_of(order)
        mode = Environment.of_mode(livemode=order.livemode)
        return [
            name
            for name, rail in self.rails.items()
            if rail.environment is mode and operation in rail.capabilities.operations
        ]


def adopt(
    case: Case, found: Sequence[FoundAttempt], currency: str, *, now: datetime
) -> tuple[Sequence[Attempt], str | None]:
    """Return the attempts to write, and the contradiction where what was found is not the order's own.

    One attempt lives: the one whose money moved, else the latest that may still move some. The others were
    closed before it was sent, and are looked back at like all closed attempts.
    """
    living = _living(found)
    adopted: list[Attempt] = []
    contradiction: str | None = None
    may_pay_twice = False
    # Of two with the same reference the one that lives is kept.
    for one in sorted(found, key=lambda one: one is not living):
        if any(one.attempt.reference == known.reference for known in adopted):
            # Two rails have the same reference: one of them was sent it after the other was lost.
            contradiction = "found_twice"
            may_pay_twice |= one.answer.status_at_rail is not RailStatus.FAILED
            continue
        attempt = one.attempt if one is living else _closed(one.attempt, one.answer)
        foreign = foreign_to(one.attempt, currency, one.answer)
        if foreign is not None:
            contradiction = foreign.value
            attempt = replace(attempt, moved_at=now)
        adopted.append(attempt)
    if living is not None and may_pay_twice:
        # PostgreSQL holds a reference once, so the other rail's money has no row. The one that lives is not
        # asked about any more: its success would end the order, and nobody would look for the other.
        kept = next(a for a in adopted if a.id == living.attempt.id)
        adopted.remove(kept)
        adopted.append(replace(_closed(kept, living.answer), moved_at=now))
    if living is not None and case.live is not None:
        adopted.append(replace(_closed(case.live, living.answer), retry_decision="another_rail"))
    return sorted(adopted, key=lambda attempt: attempt.sequence), contradiction


def _living(found: Sequence[FoundAttempt]) -> FoundAttempt | None:
    for status_at_rail in (RailStatus.SUCCEEDED, RailStatus.PENDING):
        standing_so = [one for one in found if one.answer.status_at_rail is status_at_rail]
        if standing_so:
            return standing_so[-1]
    return None


def _closed(attempt: Attempt, answer: StatusAnswer) -> Attempt:
    """The attempt as one that was closed before another was opened."""
    failure = answer.failure or Failure(FailureCode.PROVIDER_ERROR, reroute=True)
    return attempt.after_inquiry(StatusAnswer(status_at_rail=RailStatus.FAILED, failure=failure))
