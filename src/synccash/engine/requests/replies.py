"""What the caller is told, and that every repeat is told the same."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any

from synccash.engine.commit_builder import Case, answer_for, order_of
from synccash.engine.leases import HeldLeases
from synccash.engine.ports import OrderStore
from synccash.payments.case import AlreadyClaimed, Claim, Lease
from synccash.payments.errors import (
    KeyInProgressError,
    KeyReusedError,
    ObjectNotFoundError,
    PaymentError,
)
from synccash.payments.ports import WorkSignal
from synccash.payments.request import Reply


async def read_order(order_store: OrderStore, order_id: str) -> Case | None:
    """The order of whatever kind its id says."""
    match order_id.partition("_")[0]:
        case "re":
            return await order_store.refund(order_id)
        case "po":
            return await order_store.payout(order_id)
        case _:
            return await order_store.payment(order_id)


@dataclass(frozen=True, slots=True)
class Replies:
    """Waits for work as long as a caller may wait, and answers from what is stored."""

    order_store: OrderStore
    leases: HeldLeases
    work_signal: WorkSignal
    request_deadline_s: float

    def repeat(self, standing: AlreadyClaimed, claim: Claim) -> Reply:
        """Answer a request whose key was used before. Raises KeyReusedError, KeyInProgressError."""
        if not compare_digest(standing.fingerprint, claim.fingerprint):
            raise KeyReusedError(claim.key)
        if standing.answer is None:
            raise KeyInProgressError(retry_after_s=max(1.0, standing.held_for_s))
        return Reply(standing.answer.status, standing.answer.body, replayed=True)

    async def repeat_or_refuse(self, claim: Claim, refusal: PaymentError) -> Reply:
        """Answer a repeat as its first request was answered; refuse one that was never accepted.

        Raises `refusal`, KeyReusedError, KeyInProgressError, StoreUnavailableError.
        """
        standing = await self.order_store.claimed(claim.scope, claim.key)
        if standing is None:
            raise refusal
        return self.repeat(standing, claim)

    async def first(self, case: Case, work: Coroutine[Any, Any, Case | None]) -> Reply:
        """Carry the work out under the caller's hold, and answer when it can be let go, or at the deadline.

        The work goes on when the caller is cancelled or the deadline passes. Where it broke off, the row says
        how far it came, and its lease brings the next holder.
        """
        order = order_of(case)
        task = self.leases.carry_out(Lease(order.id, order.fence), work)
        await asyncio.wait({task}, timeout=self.request_deadline_s)
        self.work_signal.ring()
        broken_off = not task.done() or task.cancelled() or task.exception() is not None
        latest = (None if broken_off else task.result()) or await self._reread(case)
        answer = await self.order_store.answer(order.id, answer_for(order_of(latest), latest.attempts))
        return Reply(answer.status, answer.body)

    async def held(self, case: Case) -> Reply:
        """Answer for an order that is opened and waits: nothing is carried out for it now."""
        order = order_of(case)
        answer = await self.order_store.answer(order.id, answer_for(order, case.attempts))
        return Reply(answer.status, answer.body)

    async def _reread(self, case: Case) -> Case:
        order = order_of(case)
        latest = await read_order(self.order_store, order.id)
        if latest is None:
            raise ObjectNotFoundError("order", order.id)
        return latest
