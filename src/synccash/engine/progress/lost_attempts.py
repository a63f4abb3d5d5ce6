"""Finds attempts that a database recovery lost: derives the references they must have had and asks the rails
for them."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from synccash.engine.ports import Dispatch, Rail
from synccash.engine.progress.attempts import Attempts
from synccash.payments.attempt import Attempt
from synccash.payments.case import Case, returned_debit
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.rail import Environment, RailStatus, StatusAnswer
from synccash.payments.receipts import foreign_to

SEARCHES_AT_ONCE = 4
"""The most orders that one process searches for at a time."""
SEARCHES_REMEMBERED = 10_000
"""The most unfinished searches whose partial results a process remembers."""


@dataclass(frozen=True, slots=True)
class FoundAttempt:
    """An attempt that a rail has and the database lost, with the rail's answer about it."""

    attempt: Attempt
    answer: StatusAnswer


@dataclass(frozen=True, slots=True)
class LostAttempts:
    """Asks every rail to which the order could have been sent.

    `depth`: the number of attempts to look for after the last known one. An attempt that was refused or
    never left is found at no rail, so a gap in the sequence does not end the search.
    `searching`: limits how many orders are searched for at a time. A search counts only when every rail has
    answered; with hundreds at once, each would run out of time at a rail's inquiry rate.
    `unknown`: for each unfinished search, the references that a rail has said it does not have. They remain
    valid, because nothing is sent for the order in the meantime, so the next search asks only for the rest.
    """

    rails: Mapping[str, Rail]
    attempts: Attempts
    dispatch: Dispatch
    depth: int
    unknown: dict[str, set[tuple[str, str]]] = field(default_factory=dict[str, set[tuple[str, str]]])
    searching: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SEARCHES_AT_ONCE))

    async def find(self, case: Case) -> Sequence[FoundAttempt] | None:
        """Return the attempts that the rails have of the order, in sequence. Returns None when a rail gives
        no information, when the order has to wait for other searches, or when it was sent under another
        installation key."""
        if self.searching.locked() or not self._has_our_key(case):
            return None
        async with self.searching:
            return await self._find(case)

    def _has_our_key(self, case: Case) -> bool:
        """False when the references of the order's attempts were derived with another installation key: the
        references that this key gives were then never at any rail."""
        ours = self.attempts.references.id
        return all(attempt.reference_key in (None, ours) for attempt in case.attempts)

    async def _find(self, case: Case) -> Sequence[FoundAttempt] | None:
        found: list[FoundAttempt] = []
        first = case.next_sequence
        search = f"{case.order.id} {case.unsearched}"
        unknown = self.unknown.setdefault(search, set())
        for sequence in range(first, first + self.depth):
            for rail in self._eligible(case):
                attempt = self.attempts.as_if_lost_at(case, rail, sequence)
                if (rail, attempt.reference) in unknown:
                    continue
                details = self.attempts.details_of(case, attempt)
                answer = await self.dispatch.inquire(self.rails[rail], attempt, details)
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
        """Return the rails to which the order may have been sent; for a refund, only the rail of its debit.
        A pinned rail does not narrow this: another may have been pinned when the attempt was lost."""
        debit = returned_debit(case)
        if debit is not None:
            return (debit.rail,)
        mode = Environment.of_mode(livemode=case.order.livemode)
        return [
            name
            for name, rail in self.rails.items()
            if rail.environment is mode and case.order.operation in rail.capabilities.operations
        ]


def adopt(
    case: Case, found: Sequence[FoundAttempt], currency: str, *, now: datetime
) -> tuple[Sequence[Attempt], str | None]:
    """Return the attempts to store, and a contradiction when what was found does not match the order.

    One attempt stays live: the latest that succeeded, else the latest that may still move money. The others
    were closed before it was sent, and are rechecked like all closed attempts.
    """
    live = _find_live(found)
    adopted: list[Attempt] = []
    contradiction: str | None = None
    may_pay_twice = False
    # Of two attempts with the same reference, keep the live one.
    for one in sorted(found, key=lambda one: one is not live):
        if any(one.attempt.reference == known.reference for known in adopted):
            # Two rails have the same reference: it was sent to one of them after the other attempt was lost.
            contradiction = "found_twice"
            may_pay_twice |= one.answer.status_at_rail is not RailStatus.FAILED
            continue
        attempt = one.attempt if one is live else _as_closed(one.attempt, one.answer)
        foreign = foreign_to(one.attempt, currency, one.answer)
        if foreign is not None:
            contradiction = foreign.value
            attempt = replace(attempt, moved_at=now)
        adopted.append(attempt)
    if live is not None and may_pay_twice:
        # PostgreSQL stores a reference only once, so the other rail's attempt has no row. Close the live one
        # too: its success would end the order, and the other rail's money would never be looked for.
        kept = next(a for a in adopted if a.id == live.attempt.id)
        adopted.remove(kept)
        adopted.append(replace(_as_closed(kept, live.answer), moved_at=now))
    if live is not None and case.live is not None:
        adopted.append(replace(_as_closed(case.live, live.answer), retry_decision="another_rail"))
    return sorted(adopted, key=lambda attempt: attempt.sequence), contradiction


def _find_live(found: Sequence[FoundAttempt]) -> FoundAttempt | None:
    for status_at_rail in (RailStatus.SUCCEEDED, RailStatus.PENDING):
        matching = [one for one in found if one.answer.status_at_rail is status_at_rail]
        if matching:
            return matching[-1]
    return None


def _as_closed(attempt: Attempt, answer: StatusAnswer) -> Attempt:
    """Return the attempt as one that was closed before another was opened."""
    failure = answer.failure or Failure(FailureCode.PROVIDER_ERROR, reroute=True)
    return attempt.after_inquiry(StatusAnswer(status_at_rail=RailStatus.FAILED, failure=failure))
