"""Submits a payer's one-time password to the rail: once for each time that the rail asks for one."""

import asyncio
from collections.abc import Awaitable, Callable
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
from synccash.payments.errors import ObjectNotFoundError, OtpTriesExceededError, StateConflictError
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payment import Payment, PaymentStatus
from synccash.payments.ports import Clock
from synccash.payments.rail import NextActionType, SendAnswer, cause_facts
from synccash.payments.request import Tenant
from synccash.resilience.evidence import Evidence


@dataclass(frozen=True, slots=True)
class OtpSubmitter:
    """Submits one-time passwords. Never opens an attempt: the charge that asked stays the only one."""

    order_store: OrderStore
    order_worker: OrderWorker
    dispatch: Dispatch
    leases: HeldLeases
    commit_builder: CommitBuilder
    clock: Clock
    settings: EngineSettings

    async def submit_otp(
        self, tenant: Tenant, payment_id: str, otp: str, admit: Callable[[Payment], Awaitable[None]] | None
    ) -> bytes:
        """Submit the payer's password to the rail that asked for it, and return the payment as JSON.

        When the rail refuses the password, the payment waits for another. When the result is unknown, the
        rail is asked first, and another password is accepted once the rail says that it waits for one. There
        is one charge for each reference, so a password that arrives twice moves no money twice. Nothing is
        submitted once money is known to have moved for the payment, or once it has expired.

        `admit` is called once with a payment that waits for a password, before one is submitted; what it
        raises ends the request. At most `otp_tries_max` passwords are submitted for a payment, also by
        requests at the same time: the count is read after the version that the commit is guarded by.

        Raises ObjectNotFoundError, StateConflictError when the payment waits for no password,
        OtpTriesExceededError, StoreUnavailableError.
        """
        while True:
            case = await self.order_store.payment(payment_id)
            if case is None or not belongs(case, tenant):
                raise ObjectNotFoundError("payment", payment_id)
            live = _attempt_awaiting_otp(case)
            if await self.order_store.otp_tries(payment_id) >= self.settings.otp_tries_max:
                raise OtpTriesExceededError(self.settings.otp_tries_max)
            if admit is not None:
                await admit(case.order)
                admit = None
            # Commit before the password leaves: a second request then finds no payment waiting for one, and
            # the raised fence refuses the commits of a worker that leased the payment before.
            order = replace(
                lifecycle.password_given(case.order, now=self.clock.now()), fence=case.order.fence + 1
            )
            entry = self.commit_builder.entry("otp_submitted", {"attempt": live.id})
            commit = self.commit_builder.commit_to_send(
                case, order, lease_s=self.settings.lease_s, timeline=(entry,)
            )
            lease_ends = self.clock.monotonic() + self.settings.lease_s
            if await self.order_store.record(commit):
                leased = replace(case, order=order)
                work = self._hand_over(leased, live, otp, case.order, lease_ends)
                task = self.leases.carry_out(Lease(order.id, order.fence), work)
                await asyncio.wait({task})
                if task.cancelled():
                    # Another process took the lease over; it asks the rail for the result of the password.
                    return await self._present(payment_id)
                return task.result()

    async def _hand_over(
        self, case: PaymentCase, live: Attempt, otp: str, asked: Payment, lease_ends: float
    ) -> bytes:
        if self.clock.monotonic() >= lease_ends:
            return await self._present(case.order.id)
        answer = await self.dispatch.submit_otp(self.order_worker.rails[live.rail], live, otp)
        order = self._after(case.order, live, answer, asked)
        facts = {
            "attempt": live.id,
            "evidence": answer.evidence,
            "code": answer.provider_code,
            **cause_facts(answer),
        }
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
        return render(latest.order, latest.attempts)

    def _after(self, payment: Payment, live: Attempt, answer: SendAnswer, asked: Payment) -> Payment:
        """Return the payment with the payer's next action. This answer of a rail never ends a payment; only
        an inquiry does. A payment that waits for another password says why in `last_error`."""
        if answer.evidence is Evidence.AMBIGUOUS:
            return payment
        now = self.clock.now()
        if answer.evidence is Evidence.ACCEPTED:
            return lifecycle.with_status_of(payment, live, now=now, action=answer.next_action)
        waiting = lifecycle.with_status_of(payment, live, now=now, action=asked.next_action)
        return replace(waiting, last_error=_refusal(answer))


def _refusal(answer: SendAnswer) -> Failure | None:
    failure = answer.failure
    if failure is None or failure.code is not FailureCode.PAYER_DECLINED:
        return failure
    return replace(failure, code=FailureCode.OTP_REFUSED)


def _attempt_awaiting_otp(case: PaymentCase) -> Attempt:
    """Return the attempt that waits for a password. Raises StateConflictError."""
    action, live = case.order.next_action, case.live
    if is_expired(case):
        raise StateConflictError("the payment has expired, so no one-time password can be submitted for it")
    asked = action is not None and action.type is NextActionType.SUBMIT_OTP
    if case.order.status is not PaymentStatus.REQUIRES_ACTION or not asked or live is None:
        status = case.order.status_detail or case.order.status
        raise StateConflictError(
            f"the payment does not wait for a one-time password; its status is {status.value}"
        )
    return live
