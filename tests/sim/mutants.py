"""The engine with one rule broken at a time. A simulation that does not catch these proves nothing."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

from synccash.engine.commit_builder import CommitBuilder
from synccash.engine.dispatch.policy_dispatch import PolicyDispatch
from synccash.engine.engine import Engine
from synccash.engine.progress.attempt_timing import AttemptTiming
from synccash.engine.progress.attempts import Attempts
from synccash.engine.progress.decisions import Decisions
from synccash.engine.progress.order_worker import OrderWorker
from synccash.engine.progress.refund_openings import RefundOpenings, debit_of
from synccash.engine.requests.collect import PaymentRequests
from synccash.engine.requests.otp import OtpSubmitter
from synccash.engine.worker import Worker
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import PaymentCase, ReleaseLease
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.inquiry_schedule import InquirySchedule
from synccash.payments.lifecycle import canceled, failed, with_status_of
from synccash.payments.payment import Payment, Refund
from synccash.payments.payout import Payout
from synccash.payments.rail import RailStatus, StatusAnswer
from synccash.resilience.evidence import Evidence

_ABSENT = Failure(FailureCode.PROVIDER_ERROR, reroute=True)
Patch = tuple[Any, str, Callable[[Any], Any]]
"""A class or module, the name of its function, and what makes the broken one from the right one."""


@contextlib.contextmanager
def broken(*patches: Patch) -> Iterator[None]:
    """The engine with these functions replaced."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    try:
        for owner, name, make in patches:
            setattr(owner, name, make(getattr(owner, name)))
        yield
    finally:
        for owner, name, right in before:
            setattr(owner, name, right)


def _another_reference() -> str:
    return str(uuid4())


def _resend_anew(right: Any) -> Any:
    async def resend(self: OrderWorker, case: Any, after: Attempt) -> Any:
        return await right(self, case, replace(after, reference=_another_reference()))

    return resend


def _fresh_reference(right: Any) -> Any:
    def order_for(self: Attempts, case: Any, attempt: Attempt) -> Any:
        return replace(right(self, case, attempt), reference=_another_reference())

    return order_for


def _absent_is_failed(right: Any) -> Any:
    async def ask(self: OrderWorker, case: Any, attempt: Attempt) -> StatusAnswer:
        answer = await right(self, case, attempt)
        if answer.status_at_rail is RailStatus.NOT_FOUND:
            return StatusAnswer(status_at_rail=RailStatus.FAILED, failure=_ABSENT)
        return answer

    return ask


def _silence_is_not_sent(right: Any) -> Any:
    async def send(self: PolicyDispatch, *arguments: Any, **named: Any) -> Any:
        sent = await right(self, *arguments, **named)
        return replace(sent, worst=Evidence.NOT_SENT) if sent.worst is Evidence.AMBIGUOUS else sent

    return send


class _AnyFence(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


def _any_holder_declares_dead(right: Any) -> Any:
    def after_send(self: Attempt, answer: Any, worst: Evidence, **named: Any) -> Attempt:
        forgetful = replace(
            self, state=AttemptState.PREPARED, evidence=None, opened_fence=_AnyFence(self.opened_fence)
        )
        return right(forgetful, answer, worst, **named)

    return after_send


def _any_fence_before(right: Any) -> Any:
    def after_send(
        self: Decisions, case: Any, before: Attempt, after: Attempt, sent: Any, **named: Any
    ) -> Any:
        return right(self, case, replace(before, opened_fence=_AnyFence(0)), after, sent, **named)

    return after_send


def _no_worker(right: Any) -> Any:
    async def run(self: Worker) -> None:
        """Nobody takes over."""

    return run


def _believed_callback(right: Any) -> Any:
    async def take_callback(self: Engine, rail: str, token: str, *rest: Any) -> None:
        await right(self, rail, token, *rest)
        order_worker = self.worker.order_worker
        observed: Any = self.order_store
        for order_id in tuple(observed.inner.rows):
            case = await self.order_store.payment(order_id)
            if case is not None and case.live is not None and case.live.callback_token == token:
                after = case.live.after_inquiry(StatusAnswer(status_at_rail=RailStatus.SUCCEEDED))
                order = with_status_of(case.order, after, now=order_worker.clock.now())
                commit = order_worker.commit_builder.commit(
                    case, order, after, lease=ReleaseLease(None), timeline=()
                )
                await self.order_store.record(commit)

    return take_callback


def _resend_but(**changes: Any) -> Callable[[Any], Any]:
    def make(right: Any) -> Any:
        def resend_in_s(self: AttemptTiming, case: Any, attempt: Attempt) -> float | None:
            return right(self, case, replace(attempt, **changes))

        return resend_in_s

    return make


def _resends_blindly(right: Any) -> Any:
    def resend_in_s(self: AttemptTiming, case: Any, attempt: Attempt) -> float | None:
        may = attempt.state is AttemptState.UNKNOWN and attempt.sends < self.settings.sends_max
        return 0.0 if may else None

    return resend_in_s


def _gives_up(right: Any) -> Any:
    def ask_later(self: Decisions, case: Any, after: Attempt, answer: StatusAnswer) -> Any:
        if isinstance(case.order, Payment) and after.inquiries >= 3:
            order = failed(case.order, _ABSENT, now=self.clock.now())
            return self.commit_builder.commit(case, order, after, lease=ReleaseLease(None), timeline=())
        return right(self, case, after, answer)

    return ask_later


def within_the_lease_alone(right: Any) -> Any:
    """A sender who minds its lease, and no expiry."""

    def sendable_s(self: OrderWorker, case: Any, leased_at: float) -> float:
        return leased_at + self.settings.lease_s - self.clock.monotonic()

    return sendable_s


def _commits_after_expiry(right: Any) -> Any:
    def commit(self: CommitBuilder, *arguments: Any, **named: Any) -> Any:
        return right(self, *arguments, **{**named, "refuse_if_expired": False})

    return commit


def _cancels_in_flight(right: Any) -> Any:
    async def cancel(self: PaymentRequests, tenant: Any, payment_id: str) -> bytes:
        case = await self.order_store.payment(payment_id)
        assert case is not None
        order = replace(canceled(case.order, now=self.clock.now()), fence=case.order.fence + 1)
        await self.order_store.record(
            self.commit_builder.commit(case, order, lease=ReleaseLease(None), timeline=())
        )
        return b""

    return cancel


def _moves_on_when_unknown(kind: type) -> Callable[[Any], Any]:
    def make(right: Any) -> Any:
        def after_send(
            self: Decisions, case: Any, before: Any, after: Attempt, sent: Any, **named: Any
        ) -> Any:
            if after.state is AttemptState.UNKNOWN and isinstance(case.order, kind):
                after = replace(after, state=AttemptState.NOT_SENT)
            return right(self, case, replace(before, opened_fence=_AnyFence(0)), after, sent, **named)

        return after_send

    return make


def _sees_no_dead(right: Any) -> Any:
    async def late_success(self: OrderWorker, case: Any) -> None:
        """The dead are dead."""

    return late_success


def _looks_back_at_nothing(right: Any) -> Any:
    async def recheck(self: OrderWorker, case: Any) -> Any:
        alive = replace(case, attempts=tuple(a for a in case.attempts if not a.is_closed_by_rail_report))
        return await right(self, alive)

    return recheck


def _keeps_what_came_too_much(right: Any) -> Any:
    async def give_back(self: OrderWorker, case: Any) -> None:
        """Nobody asks for it."""

    return give_back


def _gives_back_what_is_due(right: Any) -> Any:
    def surplus(self: RefundOpenings, case: PaymentCase, debit: Attempt) -> Any:
        return right(self, case, debit_of(case))

    return surplus


def _fails_without_an_answer(right: Any) -> Any:
    def after(self: OtpSubmitter, payment: Payment, live: Attempt, answer: Any, asked: Payment) -> Payment:
        if answer.evidence is Evidence.AMBIGUOUS:
            return failed(payment, _ABSENT, now=self.clock.now())
        return right(self, payment, live, answer, asked)

    return after


def _believes_a_password(right: Any) -> Any:
    def after(self: OtpSubmitter, payment: Payment, live: Attempt, answer: Any, asked: Payment) -> Payment:
        if answer.evidence is not Evidence.ACCEPTED:
            return right(self, payment, live, answer, asked)
        paid = live.after_inquiry(StatusAnswer(status_at_rail=RailStatus.SUCCEEDED))
        return with_status_of(payment, paid, now=self.clock.now())

    return after


def _forgets_the_parked(right: Any) -> Any:
    def parked_s(self: InquirySchedule, age_s: float) -> float:
        return 1e9

    return parked_s


MUTANTS: dict[str, tuple[Patch, ...]] = {
    "a re-send takes a new reference": ((OrderWorker, "_resend", _resend_anew),),
    "the reference is not the committed one": ((Attempts, "order_for", _fresh_reference),),
    "not found counts as failed": ((OrderWorker, "_ask", _absent_is_failed),),
    "silence counts as not sent": ((PolicyDispatch, "send", _silence_is_not_sent),),
    "silence fails over to another rail": ((Decisions, "after_send", _moves_on_when_unknown(Payment)),),
    "any holder may call a send dead": (
        (Attempt, "after_send", _any_holder_declares_dead),
        (Decisions, "after_send", _any_fence_before),
    ),
    "nobody takes over": ((Worker, "run", _no_worker),),
    "a callback is believed": ((Engine, "take_callback", _believed_callback),),
    "sends are not counted": ((AttemptTiming, "resend_in_s", _resend_but(sends=1)),),
    "a rail without dedup is sent to again": ((AttemptTiming, "resend_in_s", _resends_blindly),),
    "the ladder ends in failed": ((Decisions, "ask_later", _gives_up),),
    "both walls round the expiry are gone": (
        (OrderWorker, "_sendable_s", within_the_lease_alone),
        (CommitBuilder, "commit", _commits_after_expiry),
    ),
    "a payment in flight is canceled": ((PaymentRequests, "cancel_payment", _cancels_in_flight),),
}

WIDE_MUTANTS: dict[str, tuple[Patch, ...]] = {
    "a payout that nobody answered goes out again": (
        (Decisions, "after_send", _moves_on_when_unknown(Payout)),
    ),
    "a refund that nobody answered goes out again": (
        (Decisions, "after_send", _moves_on_when_unknown(Refund)),
    ),
    "what was called failed is never looked at again": (
        (OrderWorker, "_late_success", _sees_no_dead),
        (OrderWorker, "_recheck_after_end", _looks_back_at_nothing),
    ),
    "what came too much stays": ((OrderWorker, "_refund_surplus", _keeps_what_came_too_much),),
    "the wrong debit is given back": ((RefundOpenings, "of_surplus", _gives_back_what_is_due),),
    "a password that nobody answered ends the payment": ((OtpSubmitter, "_after", _fails_without_an_answer),),
    "a password that was taken is money": ((OtpSubmitter, "_after", _believes_a_password),),
}
"""Rules of what `cases.wide` has beside payments."""

IMPATIENT_MUTANTS: dict[str, tuple[Patch, ...]] = {
    "a parked order is never looked at again": ((InquirySchedule, "parked_s", _forgets_the_parked),),
    "a parked order is no reason to look at its dead": (
        (OrderWorker, "_late_success", _sees_no_dead),
        (OrderWorker, "_recheck_after_end", _looks_back_at_nothing),
    ),
}
"""Rules of what happens at a ladder's end."""
