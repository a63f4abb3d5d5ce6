"""A wall clock that follows the order store's clock. The store judges ages and expiries by its own clock, so
the times from which they are counted must come from that clock too."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from synccash.engine.acknowledged_commits import AcknowledgedCommits
from synccash.engine.ended_orders import EndedOrderCounts
from synccash.engine.ports import OrderStore
from synccash.payments.audit import AuditNote
from synccash.payments.case import (
    AlreadyClaimed,
    Case,
    Commit,
    Lease,
    Opened,
    Opening,
    OpeningResult,
    Order,
    PaymentCase,
    PayoutCase,
    RefundCase,
    StoredAnswer,
)
from synccash.payments.failure import Failure
from synccash.payments.ports import Clock
from synccash.payments.recovery import Recovery

log = structlog.get_logger("synccash.engine")

_NO_OFFSET = timedelta()
_LOG_FROM = timedelta(seconds=2)


class StoreClock:
    """Corrects the process's wall clock by the times in the store's answers. Implements Clock.

    The store's time of an answer lies between the request and the response, so each answer bounds the offset
    of the two clocks from both sides. The correction changes only as far as these bounds require.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = _NO_OFFSET
        self._logged = False
        self._observed = False

    def now(self) -> datetime:
        """The store's wall time in UTC, as far as it is known."""
        return self._clock.now() + self._offset

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._clock.sleep(seconds)

    def unadjusted(self) -> datetime:
        """The process's own wall time."""
        return self._clock.now()

    def observe(self, as_of: datetime, asked_at: datetime) -> None:
        """Adjust the clock to an answer: the store's time of it, and our own time of the request."""
        self._observed = True
        least, most = as_of - self._clock.now(), as_of - asked_at
        self._offset = min(max(self._offset, least), most)
        if abs(self._offset) >= _LOG_FROM and not self._logged:
            self._logged = True
            log.warning("clock_differs_from_database", seconds=round(self._offset.total_seconds(), 1))

    async def follow(self, order_store: OrderStore) -> None:
        """Ask the store for its time, unless one of its answers was observed before."""
        if not self._observed:
            asked_at = self._clock.now()
            self.observe(await order_store.now(), asked_at)


class ObservedOrderStore:
    """Satisfies OrderStore: passes every call on, lets the clock observe the times in the answers, counts the
    orders that end, and notes the commits that were acknowledged."""

    def __init__(
        self,
        order_store: OrderStore,
        clock: StoreClock,
        ended: EndedOrderCounts,
        acknowledged: AcknowledgedCommits | None = None,
    ) -> None:
        self.inner = order_store
        self._clock = clock
        self._ended = ended
        self._acknowledged = acknowledged or AcknowledgedCommits(clock.monotonic)

    async def now(self) -> datetime:
        return await self.inner.now()

    async def recovery(self) -> Recovery:
        return await self.inner.recovery()

    async def open(self, opening: Opening[Order], /) -> OpeningResult:
        asked_at = self._clock.unadjusted()
        result = await self.inner.open(opening)
        if isinstance(result, Opened):
            self._clock.observe(result.case.as_of, asked_at)
            self._ended.count(opening.order, opening.events)
            self._acknowledged.note(result.case.order.id, result.case.order.version)
        return result

    async def claimed(self, scope: str, key: str) -> AlreadyClaimed | None:
        return await self.inner.claimed(scope, key)

    async def answer(self, order_id: str, answer: StoredAnswer) -> StoredAnswer:
        return await self.inner.answer(order_id, answer)

    async def record(self, commit: Commit, note: AuditNote | None = None) -> bool:
        is_written = await self.inner.record(commit, note)
        if is_written:
            self._acknowledged.note(commit.order.id, commit.order.version)
            if commit.events:
                self._ended.count(commit.order, commit.events, commit.contradiction)
        return is_written

    async def take_due(self, *, limit: int, lease_s: float) -> Sequence[Case]:
        asked_at = self._clock.unadjusted()
        cases = await self.inner.take_due(limit=limit, lease_s=lease_s)
        if cases:
            self._clock.observe(cases[0].as_of, asked_at)
        return cases

    async def renew(self, leases: Sequence[Lease], *, lease_s: float) -> frozenset[Lease]:
        return await self.inner.renew(leases, lease_s=lease_s)

    async def hint(self, token: str, failure: Failure | None = None) -> bool:
        return await self.inner.hint(token, failure)

    async def otp_tries(self, payment_id: str) -> int:
        return await self.inner.otp_tries(payment_id)

    async def hint_reference(self, rail: str, reference: str, failure: Failure | None = None) -> bool:
        return await self.inner.hint_reference(rail, reference, failure)

    async def payment(self, payment_id: str) -> PaymentCase | None:
        return await self.inner.payment(payment_id)

    async def refund(self, refund_id: str) -> RefundCase | None:
        return await self.inner.refund(refund_id)

    async def payout(self, payout_id: str) -> PayoutCase | None:
        return await self.inner.payout(payout_id)
