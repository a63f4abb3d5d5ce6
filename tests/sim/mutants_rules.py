"""One mutant for each rule of known money, repeated sends, reviews and leases. See `mutants`.

Where a rule has more than one wall, its mutant breaks all of them: one that stands hides the others.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from sim import order_store as sim_order_store
from sim.mutants import Patch, broken, within_the_lease_alone
from sim.order_store import FakeOrderStore
from synccash.engine.commit_builder import CommitBuilder
from synccash.engine.dispatch import policy_dispatch as dispatch_module
from synccash.engine.dispatch.policy_dispatch import PolicyDispatch
from synccash.engine.leases import HeldLeases
from synccash.engine.progress import attempt_timing as patience_module
from synccash.engine.progress import decisions as decisions_module
from synccash.engine.progress.attempt_timing import AttemptTiming, is_expired
from synccash.engine.progress.decisions import Decisions
from synccash.engine.progress.order_worker import OrderWorker
from synccash.engine.requests import otp as otp_module
from synccash.engine.requests.collect import PaymentRequests
from synccash.engine.requests.review import ReviewRequests
from synccash.engine.store_clock import StoreClock
from synccash.payments import lifecycle as lifecycle_module
from synccash.payments.attempt import Attempt
from synccash.payments.case import NotRefundable, PaymentCase, RefundCase, ReleaseLease
from synccash.payments.errors import StateConflictError
from synccash.payments.lifecycle import canceled, settle_late_success
from synccash.payments.payment import Payment, PaymentStatus, Refund
from synccash.resilience.evidence import Evidence
from synccash.resilience.verdict import Outcome

_NO_MONEY: Patch = (Attempt, "money_moved", lambda right: property(lambda self: False))
_STORE_REFUSES_NOTHING: Patch = (
    sim_order_store,
    "_refuse_after_known_money",
    lambda right: lambda row, commit: None,
)


def _knowing_nothing(right: Any) -> Any:
    """What decides so, decides as if no money were known to have moved."""

    def decide(*arguments: Any, **named: Any) -> Any:
        with broken(_NO_MONEY):
            return right(*arguments, **named)

    return decide


_SENDS_ALL_THE_SAME: tuple[Patch, ...] = (
    (CommitBuilder, "commit_to_send", _knowing_nothing),
    _STORE_REFUSES_NOTHING,
)
"""The engine's one guard before a send, and the order store's."""


def _fails_over_after_send(right: Any) -> Any:
    def after_send(self: Decisions, case: Any, before: Any, after: Attempt, *rest: Any, **named: Any) -> Any:
        if not after.state.is_dead:
            return right(self, case, before, after, *rest, **named)
        with broken(_NO_MONEY):
            return right(self, case, before, after, *rest, **named)

    return after_send


def _fails_over_after_an_answer(right: Any) -> Any:
    def ended(self: Decisions, case: Any, after: Attempt, *rest: Any, **named: Any) -> Any:
        if not after.state.is_dead:
            return right(self, case, after, *rest, **named)
        with broken(_NO_MONEY):
            return right(self, case, after, *rest, **named)

    return ended


def _tries_again(right: Any) -> Any:
    async def advance(self: OrderWorker, case: Any) -> Any:
        is_open = case.live is None and not case.order.status.is_final
        if is_open and case.money_moved and not is_expired(case) and not isinstance(case, RefundCase):
            return await self._try_again(case)
        return await right(self, case)

    return advance


def _expires(right: Any) -> Any:
    async def advance(self: OrderWorker, case: Any) -> Any:
        is_open = case.live is None and not case.order.status.is_final
        if is_open and is_expired(case):
            await self.order_store.record(self.decisions.expire(case))
            return None
        return await right(self, case)

    return advance


def _cancels(right: Any) -> Any:
    async def cancel(self: PaymentRequests, tenant: Any, payment_id: str) -> bytes:
        case = await self.order_store.payment(payment_id)
        if case is None or case.order.status.is_final or case.live is not None or not case.money_moved:
            return await right(self, tenant, payment_id)
        order = replace(canceled(case.order, now=self.clock.now()), fence=case.order.fence + 1)
        await self.order_store.record(
            self.commit_builder.commit(case, order, lease=ReleaseLease(0.0), timeline=())
        )
        return b""

    return cancel


def _takes_any_password(right: Any) -> Any:
    def waiting(case: PaymentCase) -> Attempt:
        live = case.live
        if live is not None and case.money_moved and not is_expired(case):
            return live
        return right(case)

    return waiting


def _admits_a_password_at_any_time(right: Any) -> Any:
    def password_given(payment: Payment, *, now: datetime) -> Payment:
        if payment.status is PaymentStatus.REQUIRES_ACTION:
            return right(payment, now=now)
        return replace(payment, updated_at=now, version=payment.version + 1)

    return password_given


def _pays_with_another_amount(right: Any) -> Any:
    def late_success(self: Decisions, case: Any, closed: Attempt, answer: Any) -> Any:
        commit = right(self, case, closed, answer)
        (paid,) = commit.attempts
        if not isinstance(case.order, Payment) or case.order.status.is_final or paid.amount_received == 0:
            return commit
        return replace(commit, order=settle_late_success(case.order, paid, now=self.clock.now()))

    return late_success


def _believes_any_currency(right: Any) -> Any:
    async def ask(self: OrderWorker, case: Any, attempt: Attempt) -> Any:
        return replace(await right(self, case, attempt), currency=None)

    return ask


def _exclusive_for_the_payment(right: Any) -> Any:
    def open_refund(self: FakeOrderStore, asked: Any) -> Any:
        refund = asked.order
        under_way = any(
            isinstance(row.order, Refund)
            and row.order.payment_id == refund.payment_id
            and not row.order.status.is_final
            for row in self.rows.values()
        )
        if refund.surplus and under_way and (asked.claim.scope, asked.claim.key) not in self.claims:
            return NotRefundable(0, under_way=True)
        return right(self, asked)

    return open_refund


def _drops_a_surplus(right: Any) -> Any:
    async def give_back(self: OrderWorker, case: Any) -> bool:
        await right(self, case)
        return True

    return give_back


def _says_nothing_of_a_second_success(right: Any) -> Any:
    def ended(self: Decisions, *arguments: Any, **named: Any) -> Any:
        commit = right(self, *arguments, **named)
        if commit.contradiction is None:
            return commit
        timeline = tuple(entry for entry in commit.timeline if entry.kind != "contradiction")
        return replace(commit, contradiction=None, events=(), timeline=timeline)

    return ended


def _sends_without_end(right: Any) -> Any:
    def resend_in_s(self: AttemptTiming, case: Any, attempt: Attempt) -> float | None:
        most = self.settings.sends_max - 1
        return right(self, case, replace(attempt, sends=min(attempt.sends, most)))

    return resend_in_s


def _resends_after_expiry(right: Any) -> Any:
    def resend_in_s(self: AttemptTiming, case: Any, attempt: Attempt) -> float | None:
        with broken((patience_module, "is_expired", lambda right: lambda case: False)):
            return right(self, case, attempt)

    return resend_in_s


def _commits_a_resend_after_expiry(right: Any) -> Any:
    def commit_to_send(self: CommitBuilder, *arguments: Any, **named: Any) -> Any:
        commit = right(self, *arguments, **named)
        resends = any(entry.kind == "sent_again" for entry in commit.timeline)
        return replace(commit, refuse_if_expired=False) if resends else commit

    return commit_to_send


def _within_the_expiry_alone(right: Any) -> Any:
    def sendable_s(self: OrderWorker, case: Any, leased_at: float) -> float:
        return right(self, case, self.clock.monotonic() + 1e6)

    return sendable_s


def _even_pauses(right: Any) -> Any:
    def resend_pause_s(self: AttemptTiming, *arguments: Any) -> float:
        return self.settings.settle_s

    return resend_pause_s


def _counts_what_never_left(right: Any) -> Any:
    def after_send(self: Attempt, answer: Any, worst: Evidence, **named: Any) -> Attempt:
        return replace(right(self, answer, worst, **named), sends=self.sends)

    return after_send


def _not_found_is_final(right: Any) -> Any:
    def capability(self: AttemptTiming, attempt: Attempt) -> Any:
        return replace(right(self, attempt), not_found_is_final=True)

    return capability


def _one_is_enough(right: Any) -> Any:
    def ends_as_not_found(self: AttemptTiming, case: Any, attempt: Attempt) -> bool:
        return right(self, case, replace(attempt, not_founds=max(attempt.not_founds, 99)))

    return ends_as_not_found


def _always_settled(right: Any) -> Any:
    def has_settled(self: AttemptTiming, *arguments: Any) -> bool:
        return True

    return has_settled


def _never_final(right: Any) -> Any:
    def ends_as_not_found(self: AttemptTiming, *arguments: Any) -> bool:
        return False

    return ends_as_not_found


def _believes_any_reference(right: Any) -> Any:
    async def told_of(self: PolicyDispatch, rail: Any, attempt: Attempt, details: Any) -> Any:
        timeout_s = self.settings.inquiry_timeout_s
        return await rail.inquire(
            attempt.account, attempt.operation, attempt.reference, timeout_s=timeout_s, details=details
        )

    return told_of


def _report_reroutes(right: Any) -> Any:
    def with_reported_failure(self: AttemptTiming, case: Any, live: Attempt, answer: Any) -> Any:
        told = right(self, case, live, answer)
        return told if told is answer else replace(told, failure=replace(told.failure, reroute=True))

    return with_reported_failure


def _tells_no_reversal(right: Any) -> Any:
    def taken_back(self: Decisions, *arguments: Any, **named: Any) -> Any:
        return replace(right(self, *arguments, **named), contradiction=None, events=(), timeline=())

    return taken_back


def _reopens(right: Any) -> Any:
    def taken_back(self: Decisions, case: Any, *rest: Any) -> Any:
        commit = right(self, case, *rest)
        if not isinstance(case.order, Payment):
            return commit
        order = replace(commit.order, status=PaymentStatus.PROCESSING, status_detail=None)
        return replace(commit, order=order, lease=ReleaseLease(1.0))

    return taken_back


def _hears_no_reversal_after_takeover(right: Any) -> Any:
    async def recheck(self: OrderWorker, case: Any) -> Any:
        return await right(self, replace(case, former_lease_end=None))

    return recheck


def _blames_the_rail(right: Any) -> Any:
    def judged(result: Any) -> Any:
        told = right(result)
        return replace(told, outcome=Outcome.FAILED) if told.outcome is Outcome.IGNORED else told

    return judged


def _no_news(right: Any) -> Any:
    def with_late_money(self: Attempt, received: int, *rest: Any, **named: Any) -> Any:
        after = right(self, received, *rest, **named)
        return after if received else replace(after, moved_at=None)

    return with_late_money


def _live_alone(right: Any) -> Any:
    def resolved(self: ReviewRequests, case: Any, *rest: Any) -> Any:
        if case.live is None:
            raise StateConflictError("no attempt is live")
        return right(self, case, *rest)

    return resolved


def _queues_a_local_refusal(right: Any) -> Any:
    def refused_locally(self: Decisions, case: Any, after: Attempt, sent: Any, entry: Any) -> Any:
        return self._queue(case, after, sent.answer.retry_after_s, entry)

    return refused_locally


def _reviews_what_had_no_turn(right: Any) -> Any:
    def ask_later(self: Decisions, case: Any, after: Attempt, answer: Any) -> Any:
        return right(self, case, after, replace(answer, deferred=False))

    return ask_later


def _blind_to_expiry(right: Any) -> Any:
    def ask_later(self: Decisions, *arguments: Any) -> Any:
        with broken((decisions_module, "is_expired", lambda right: lambda case: False)):
            return right(self, *arguments)

    return ask_later


def _judges_expiry_as_read(right: Any) -> Any:
    """The expiry is judged by the time at which the order was read, however long its rails took to answer."""

    def ask_later(self: Decisions, case: Any, after: Attempt, answer: Any) -> Any:
        stopped: Any = SimpleNamespace(now=lambda: case.as_of)
        return right(replace(self, clock=stopped), case, after, answer)

    return ask_later


def _sleeps_through_expiry(right: Any) -> Any:
    def before_expiry_s(self: Decisions, case: Any, after: Any, wait_s: float, resend_in_s: Any) -> float:
        return max(wait_s, 60.0)

    return before_expiry_s


def _tells_no_payer(right: Any) -> Any:
    def ask_later(self: Decisions, case: Any, after: Attempt, answer: Any) -> Any:
        return right(self, case, after, replace(answer, next_action=None))

    return ask_later


def _shuts_nobody_out(right: Any) -> Any:
    def commit(self: CommitBuilder, case: Any, order: Any, *changed: Any, **named: Any) -> Any:
        if order.status.value == "canceled":
            order = replace(order, fence=case.order.fence, version=case.order.version)
        return right(self, case, order, *changed, **named)

    return commit


def _renews_leases_alone(right: Any) -> Any:
    def renew(self: FakeOrderStore, leases: Any, lease_s: float) -> Any:
        kept = right(self, leases, lease_s)
        return frozenset(lease for lease in kept if self.rows[lease.order_id].lease_until is not None)

    return renew


def _ends_the_newer_work(right: Any) -> Any:
    def carry_out(self: HeldLeases, lease: Any, work: Any) -> Any:
        former = self._works.get(lease.order_id)
        if former is not None and former.lease.fence > lease.fence:
            self._end_lost(former)
            del self._works[lease.order_id]
        return right(self, lease, work)

    return carry_out


def _follows_no_clock(right: Any) -> Any:
    def observe(self: StoreClock, *arguments: Any) -> None:
        """The host's clock is believed."""

    return observe


RULE_MUTANTS: dict[str, tuple[Patch, ...]] = {
    "known money stops no repeated send (3 walls)": (
        (AttemptTiming, "resend_in_s", _knowing_nothing),
        *_SENDS_ALL_THE_SAME,
    ),
    "known money stops no other rail (3 walls)": (
        (Decisions, "after_send", _fails_over_after_send),
        (Decisions, "ended", _fails_over_after_an_answer),
        *_SENDS_ALL_THE_SAME,
    ),
    "known money stops no new try (3 walls)": ((OrderWorker, "advance", _tries_again), *_SENDS_ALL_THE_SAME),
    "known money stops no expiry (2 walls)": ((OrderWorker, "advance", _expires), _STORE_REFUSES_NOTHING),
    "known money stops no cancelation (2 walls)": (
        (PaymentRequests, "cancel_payment", _cancels),
        _STORE_REFUSES_NOTHING,
    ),
    "known money stops no password (3 walls)": (
        (otp_module, "_attempt_awaiting_otp", _takes_any_password),
        (lifecycle_module, "password_given", _admits_a_password_at_any_time),
        *_SENDS_ALL_THE_SAME,
    ),
    "a late success of another amount pays": ((Decisions, "late_success", _pays_with_another_amount),),
    "another currency is believed": ((OrderWorker, "_ask", _believes_any_currency),),
    "a surplus that another refund keeps waiting is dropped (2 walls)": (
        (FakeOrderStore, "_open_refund", _exclusive_for_the_payment),
        (OrderWorker, "_refund_surplus", _drops_a_surplus),
    ),
    "a second success is told to nobody": ((Decisions, "ended", _says_nothing_of_a_second_success),),
    "a reference is sent more than eight times": ((AttemptTiming, "resend_in_s", _sends_without_end),),
    "a reference is sent again after the expiry (3 walls)": (
        (AttemptTiming, "resend_in_s", _resends_after_expiry),
        (CommitBuilder, "commit_to_send", _commits_a_resend_after_expiry),
        (OrderWorker, "_sendable_s", within_the_lease_alone),
    ),
    "pauses between sends do not grow": ((AttemptTiming, "_resend_pause_s", _even_pauses),),
    "a send that never left is counted": ((Attempt, "after_send", _counts_what_never_left),),
    "not found is final at every rail": ((AttemptTiming, "_capability", _not_found_is_final),),
    "one answer of not found is enough (2 walls)": (
        (AttemptTiming, "ends_as_not_found", _one_is_enough),
        (AttemptTiming, "_has_settled", _always_settled),
    ),
    "not found is final nowhere": ((AttemptTiming, "ends_as_not_found", _never_final),),
    "the status of another reference is believed": (
        (PolicyDispatch, "_checked_inquiry", _believes_any_reference),
    ),
    "a reported failure is a ground for another rail": (
        (AttemptTiming, "with_reported_failure", _report_reroutes),
    ),
    "a reversal is not reported": ((Decisions, "reversed_money", _tells_no_reversal),),
    "a reversal opens a payment again": ((Decisions, "reversed_money", _reopens),),
    "a callback of a reversal dies with its node": (
        (OrderWorker, "_recheck_after_end", _hears_no_reversal_after_takeover),
    ),
    "an inquiry without a turn is a reason for a review": (
        (Decisions, "ask_later", _reviews_what_had_no_turn),
    ),
    "what no connector sends is queued": ((Decisions, "_refused_locally", _queues_a_local_refusal),),
    "what no connector sends counts against its rail": ((dispatch_module, "judge_send", _blames_the_rail),),
    "a late success of nothing is no news": ((Attempt, "with_late_money", _no_news),),
    "no order is resolved without a live attempt": ((ReviewRequests, "_resolved", _live_alone),),
    "an expired order is no human's matter": ((Decisions, "ask_later", _blind_to_expiry),),
    "an order that expires while its rails are asked waits for the next turn": (
        (Decisions, "ask_later", _judges_expiry_as_read),
    ),
    "nobody looks at an order when it expires": ((Decisions, "_before_expiry_s", _sleeps_through_expiry),),
    "a payer is not told that his rail waits for a password": ((Decisions, "ask_later", _tells_no_payer),),
    "a cancelation shuts no worker out (2 walls)": ((CommitBuilder, "commit", _shuts_nobody_out),),
    "a heartbeat ends work that has released its lease": ((FakeOrderStore, "_renew", _renews_leases_alone),),
    "work under an older lease ends work under a newer one": (
        (HeldLeases, "carry_out", _ends_the_newer_work),
    ),
    "the order store's clock is not followed": ((StoreClock, "observe", _follows_no_clock),),
    "sends go on when the lease is over": ((OrderWorker, "_sendable_s", _within_the_expiry_alone),),
}
"""One for each rule; a new rule of the engine gets its mutant here, with all of its walls."""

FOUND_BY: Mapping[str, tuple[str, ...]] = {
    "known money stops no repeated send (3 walls)": ("acts_late", "wide", "impatient"),
    "known money stops no other rail (3 walls)": ("acts_late", "wide"),
    "known money stops no new try (3 walls)": ("acts_late",),
    "known money stops no expiry (2 walls)": ("acts_late",),
    "known money stops no cancelation (2 walls)": ("acts_late",),
    "known money stops no password (3 walls)": ("acts_late",),
    "a late success of another amount pays": ("acts_late",),
    "another currency is believed": ("other_currency",),
    "a surplus that another refund keeps waiting is dropped (2 walls)": ("acts_late", "wide"),
    "a second success is told to nobody": ("acts_late", "wide"),
    "a reference is sent more than eight times": ("ailing",),
    "a reference is sent again after the expiry (3 walls)": ("mixed", "wide"),
    "pauses between sends do not grow": ("ailing", "healing"),
    "a send that never left is counted": ("shut",),
    "not found is final at every rail": ("vanished",),
    "an expired order is no human's matter": ("vanished", "wide", "ailing"),
    "an order that expires while its rails are asked waits for the next turn": (
        "acts_late",
        "wide",
        "vanished",
    ),
    "nobody looks at an order when it expires": ("healing", "ailing"),
    "a payer is not told that his rail waits for a password": ("acts_late", "wide"),
    "a cancelation shuts no worker out (2 walls)": ("hasty",),
    "a cancelation raises no fence": ("mixed", "wide", "hasty"),
    "refunds without a key are not exclusive": ("wide",),
    "a reservation is written from a value": ("reversal_told", "acts_late", "late_unsaid"),
    "one answer of not found is enough (2 walls)": ("final",),
    "not found is final nowhere": ("final",),
    "the status of another reference is believed": ("other_reference",),
    "a reported failure is a ground for another rail": ("reports",),
    "a reversal is not reported": ("reversal_told",),
    "a reversal opens a payment again": ("reversal_told",),
    "a callback of a reversal dies with its node": ("reversal_told",),
    "an inquiry without a turn is a reason for a review": ("paced",),
    "what no connector sends is queued": ("refused_locally",),
    "what no connector sends counts against its rail": ("unserved",),
    "a late success of nothing is no news": ("nothing_came",),
    "no order is resolved without a live attempt": ("resolved",),
    "what the fraud service holds is sent": ("outgoing",),
    "a takeover asks no fraud service": ("outgoing",),
    "a heartbeat ends work that has released its lease": ("mixed", "wide", "acts_late"),
    "work under an older lease ends work under a newer one": ("sleeper",),
    "the order store's clock is not followed": ("skew",),
    "sends go on when the lease is over": ("partition", "sleeper", "mixed"),
    "another amount is believed": ("other_amount",),
    "both walls round the expiry are gone": ("hasty",),
    "the wrong debit is given back": ("other_amount", "acts_late"),
    "a password that nobody answered ends the payment": ("other_amount", "acts_late"),
    "any holder may call a send dead": ("sleeper",),
    "a re-send takes a new reference": ("sleeper",),
    "a takeover does not restart the settle time": ("impatient",),
    "closed attempts are not checked after a takeover": ("late_unsaid",),
    "a parked order is never looked at again": ("impatient",),
    "a callback is believed": ("wide", "unreadable"),
    "there is never a recheck": ("late_unsaid",),
    "there is one recheck only": ("late_unsaid",),
    "sends are not counted": ("healing",),
    "a re-send is not counted": ("healing",),
    "an unreadable row ends the batch": ("unreadable",),
    "a payer's own refusal goes to another rail": ("reports", "wide"),
    "an acknowledged attempt is sent again": ("forgotten",),
    "a heartbeat renews nothing": ("strange", "other_amount", "forgotten"),
    "lost leases end no work": ("partition", "sleeper"),
}
"""The kinds of scenario that find a mutant; the others are looked for everywhere."""
