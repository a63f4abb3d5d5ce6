"""The payer's one-time password, handed over once for each time that the rail asked for it."""

import asyncio
from dataclasses import dataclass, replace

from synccash.engine.commit_builder import CommitBuilder, render
from synccash.engine.leases import HeldLeases
from synccash.engine.ports import Dispatch, OrderStore
from synccash.engine.progress.attempt_timing import is_expired
from synccash.engine.progress.order_worker import OrderWorker
from synccash.engine.requests.collect import belongs
from synccash.engine.settings import EngineSettings
from synccash.payments import lifecycle
from synccash.payments.attempt import Attempt
from synccash.payments.case import Lease, PaymentCase, ReleaseLease
from synccash.payments.errors import ObjectNotFoundError, StateConflictError
from synccash.payments.payment import Payment, PaymentStatus
from synccash.payments.ports import Clock
from synccash.payments.rail import NextActionType, SendAnswer
from synccash.payments.request import Tenant
from synccash.resilience.evidence import Evidence


@dataclass(frozen=True, slots=True)
class OtpSubmitter:
    """Submits passwords. It never opens an attempt: the charge stays the one that asked."""

    order_store: OrderStore
    order_worker: OrderWorker
    dispatch: Dispatch
    leases: HeldLeases
    commit_builder: CommitBuilder
    clock: Clock
    settings: EngineSettings

    async def submit_otp(self, tenant: Tenant, payment_id: str, otp: str) -> bytes:
        """Hand the payer's password to the rail that asked for it, and return the payment as JSON.

        A password that the rail refuses leaves the payment waiting for another. One whose fate is unknown is
        asked about first, and another is taken as soon as the rail says that it waits for one: there is one
        charge under the reference, so a password that comes twice moves nothing twice. Nothing is handed over
        once money is known to have moved for the payment, or its time is over. Raises ObjectNotFoundError,
        StateConflictError where no password is waited for, StoreUnavailableError.
        """
        while True:
            case = await self.order_store.payment(payment_id)
            if case is None or not belongs(case, tenant):
                raise ObjectNotFoundError("payment", payment_id)
            live = _waiting(case)
            # Committed before the password leaves: a second one finds nobody waiting, and whoever worked on
            # the payment meanwhile is shut out by the fence.
            order = replace(
                lifecycle.password_given(case.payment, now=self.clock.now()), fence=case.payment.fence + 1
            )
            entry = self.commit_builder.entry("otp_submitted", {"attempt": live.id})
            commit = self.commit_builder.commit_to_send(
                case, order, lease_s=self.settings.lease_s, timeline=(entry,)
            )
            lease_ends = self.clock.monotonic() + self.settings.lease_s
            if await self.order_store.record(commit):
                taken = replace(case, payment=order)
                work = self._hand_over(taken, live, otp, case.payment, lease_ends)
                task = self.leases.carry_out(Lease(order.id, order.fence), work)
                await asyncio.wait({task})
                if task.cancelled():
                    # The lease went to another process, which asks the rail what became of the password.
                    return await self._present(payment_id)
                return task.result()

    async def _hand_over(
        self, case: PaymentCase, live: Attempt, otp: str, asked: Payment, lease_ends: float
    ) -> bytes:
        if self.clock.monotonic() >= lease_ends:
            return await self._present(case.payment.id)
        answer = await self.dispatch.submit_otp(self.order_worker.rails[live.rail], live, otp)
        order = self._after(case.payment, live, answer, asked)
        facts = {"attempt": live.id, "evidence": answer.evidence, "code": answer.provider_code}
        capability = self.order_worker.rails[live.rail].capabilities.operations[live.operation]
        commit = self.commit_builder.commit(
            case,
            order,
            lease=ReleaseLease(max(self.settings.schedule.first_s, capability.inquiry_from_s)),
            timeline=(self.commit_builder.entry("otp_answered", facts),),
        )
        if await self.order_store.record(commit):
            return render(order, case.attempts)
        return await self._present(order.id)

    async def _present(self, payment_id: str) -> bytes:
        latest = await self.order_store.payment(payment_id)
        if latest is None:
            raise ObjectNotFoundError("payment", payment_id)
        return render(latest.payment, latest.attempts)

    def _after(self, payment: Payment, live: Attempt, answer: SendAnswer, asked: Payment) -> Payment:
        """What the payer has to do now. Nothing that a rail says here ends a payment: inquiries do."""
        if answer.evidence is Evidence.AMBIGUOUS:
            return payment
        action = answer.next_action if answer.evidence is Evidence.ACCEPTED else asked.next_action
        moved = lifecycle.reflect(payment, live, now=self.clock.now(), action=action)
        assert isinstance(moved, Payment), "a payment stays one"
        return moved


def _waiting(case: PaymentCase) -> Attempt:
    """The attempt that waits for a password. Raises StateConflictError."""
    action, live = case.payment.next_action, case.live
    if is_expired(case):
        raise StateConflictError("the payment's time is over, so no one-time password is sent any more")
    asked = action is not None and action.type is NextActionType.SUBMIT_OTP
    if case.payment.status is not PaymentStatus.REQUIRES_ACTION or not asked or live is None:
        status_at_rail = case.payment.status_detail or case.payment.status
        raise StateConflictError(f"no one-time password is waited for; the payment is {status_at_rail.value}")
    return live
