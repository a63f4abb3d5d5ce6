"""Builds the replies to requests: waits for the work up to a deadline, and gives repeats the stored reply."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from synccash.engine.commit_builder import answer_for
from synccash.engine.leases import HeldLeases
from synccash.engine.ports import OrderStore
from synccash.payments.case import AlreadyClaimed, Case, Claim, Lease
from synccash.payments.errors import (
    KeyInProgressError,
    KeyReusedError,
    ObjectNotFoundError,
    PaymentError,
)
from synccash.payments.request import Reply


async def read_order(order_store: OrderStore, order_id: str) -> Case | None:
    """Return the order with this id; the id's prefix tells its kind. None when there is no such order."""
    match order_id.partition("_")[0]:
        case "re":
            return await order_store.refund(order_id)
        case "po":
            return await order_store.payout(order_id)
        case _:
            return await order_store.payment(order_id)


@dataclass(frozen=True, slots=True)
class Replies:
    """Waits for work up to the request deadline, and replies with the stored answer."""

    order_store: OrderStore
    leases: HeldLeases
    request_deadline_s: float

    def repeat(self, claimed: AlreadyClaimed, claim: Claim) -> Reply:
        """Reply to a request whose key was used before. Raises KeyReusedError, KeyInProgressError."""
        if not claim.matches(claimed.fingerprint):
            raise KeyReusedError(claim.key)
        if claimed.answer is None:
            raise KeyInProgressError(retry_after_s=max(1.0, claimed.held_for_s))
        return Reply(claimed.answer.status, claimed.answer.body, replayed=True)

    async def repeat_or_refuse(self, claim: Claim, refusal: PaymentError) -> Reply:
        """Reply to a repeat with the first request's answer; refuse a request that was never accepted.

        Raises `refusal`, KeyReusedError, KeyInProgressError, StoreUnavailableError.
        """
        claimed = await self.order_store.claimed(claim.scope, claim.key)
        if claimed is None:
            raise refusal
        return self.repeat(claimed, claim)

    async def first(self, case: Case, work: Coroutine[Any, Any, Case | None]) -> Reply:
        """Run the work under the lease of the opening commit, and reply when it ends or at the deadline.

        The work goes on when the caller is cancelled or the deadline passes. When the work fails, the reply
        comes from the stored order, and a worker takes the order over when the lease ends.
        """
        order = case.order
        task = self.leases.carry_out(Lease(order.id, order.fence), work)
        await asyncio.wait({task}, timeout=self.request_deadline_s)
        broken_off = not task.done() or task.cancelled() or task.exception() is not None
        latest = None if broken_off else task.result()
        if latest is not None and latest.answer is not None:
            # Under the lease of the opening nobody else completes the claim, so this is what is stored.
            return Reply(latest.answer.status, latest.answer.body)
        latest = latest or await self._reread(case)
        answer = await self.order_store.answer(order.id, answer_for(latest.order, latest.attempts))
        return Reply(answer.status, answer.body)

    async def held(self, case: Case) -> Reply:
        """Reply for an order that was opened and waits: nothing is sent for it now."""
        order = case.order
        answer = await self.order_store.answer(order.id, answer_for(order, case.attempts))
        return Reply(answer.status, answer.body)

    async def _reread(self, case: Case) -> Case:
        order = case.order
        latest = await read_order(self.order_store, order.id)
        if latest is None:
            raise ObjectNotFoundError("order", order.id)
        return latest
