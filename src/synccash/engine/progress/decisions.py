"""Decides what to commit after each answer of a rail: the order's next state, and when it is due again. Each
decision is one commit, which the order worker writes or drops."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from synccash.engine.commit_builder import CommitBuilder, merged
from synccash.engine.dispatch.guarded_rail import OTHER_ACCOUNT
from synccash.engine.ports import SendResult
from synccash.engine.progress.attempt_timing import AttemptTiming, age_s, is_expired, left_s
from synccash.engine.progress.attempts import (
    Attempts,
    closed_attempts,
    is_otp_outcome_unknown,
    is_short_of_float,
)
from synccash.engine.progress.lost_attempts import FoundAttempt, adopt
from synccash.engine.settings import EngineSettings
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import (
    Case,
    Commit,
    Entry,
    KeepLease,
    Order,
    RefundCase,
    ReleaseLease,
    RoutedCase,
)
from synccash.payments.errors import InternalError
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.lifecycle import (
    expired,
    failed,
    in_risk_review,
    queued,
    settle_late_success,
    under_review,
    with_next_attempt,
    with_status_of,
)
from synccash.payments.payment import StatusDetail
from synccash.payments.ports import Clock
from synccash.payments.rail import RailStatus, StatusAnswer, cause_facts
from synccash.payments.receipts import Receipt, receipt_of, received_by
from synccash.payments.risk import RiskDecision, RiskOutcome
from synccash.payments.routing import FLOAT_TOO_LOW, UNCONFIRMED, Route


@dataclass(frozen=True, slots=True)
class Decisions:
    """Has one method for each situation of an order. A returned commit that keeps the lease is followed by a
    send, except that of `callbacks_checked`, after which the work on the order goes on."""

    attempts: Attempts
    commit_builder: CommitBuilder
    clock: Clock
    settings: EngineSettings
    timing: AttemptTiming

    def after_send(
        self, case: Case, before: Attempt, after: Attempt, sent: SendResult, *, allow_failover: bool = True
    ) -> Commit:
        """Decide after a send, answered or not: wait for its end, fail over to another rail, or queue the
        order when no rail accepted it."""
        facts = {
            "attempt": after.id,
            "rail": after.rail,
            "evidence": sent.worst,
            "tries": sent.tries,
            "code": sent.answer.provider_code,
            **cause_facts(sent.answer),
        }
        entry = self.commit_builder.entry("sent", facts)
        if after.state.is_dead:
            if case.order.fence != before.opened_fence:
                raise InternalError(
                    f"only the worker that opened {before.id} may close it by the evidence of a send"
                )
            commit = self._fail_over(case, after, entry) if allow_failover else None
            if commit is not None:
                return commit
        if sent.answer.refused_locally and after.state.is_dead:
            return self._refused_locally(case, after, sent, entry)
        if after.state is AttemptState.NOT_SENT or is_short_of_float(after):
            return self._queue(case, after, sent.answer.retry_after_s, entry)
        if self._needs_search_first(case, after):
            return self._queue_until_searched(case, after, entry)
        order = with_status_of(case.order, after, now=self.clock.now(), action=sent.answer.next_action)
        order = self._review_if_overdue(case, after, order)
        due_in_s = self._ask_after_send_s(replace(case, as_of=self.clock.now()), after)
        lease = self.timing.release_ended(case, after) if order.status.is_final else ReleaseLease(due_in_s)
        outside = after.state.is_dead and after.may_fail_over
        return self.commit_builder.commit(
            case, order, after, lease=lease, timeline=(entry,), refuse_in_recovery=outside
        )

    def _needs_search_first(self, case: Case, dead: Attempt) -> bool:
        """True when the order may have been sent to another rail by an attempt that the database lost."""
        return dead.state.is_dead and not case.may_send and dead.may_fail_over

    def _queue_until_searched(self, case: Case, dead: Attempt, entry: Entry) -> Commit:
        """Close the attempt but do not end the order: the rails are searched when the recovery has ended."""
        closed = replace(dead, retry_decision="held")
        order = queued(case.order, now=self.clock.now())
        lease = ReleaseLease(self.timing.held_s(case))
        return self.commit_builder.commit(case, order, closed, lease=lease, timeline=(entry,))

    def _ask_after_send_s(self, case: Case, after: Attempt) -> float:
        """Return the wait before the inquiry about a send: that of the schedule. An unanswered send is asked
        about no later than when the next send is allowed or the order expires."""
        wait_s = self.timing.next_inquiry_s(after, age_s(case, after))
        if wait_s is None:
            # A send that took longer than the whole schedule still gets an inquiry.
            wait_s = self.settings.schedule.first_s
        if after.state is not AttemptState.UNKNOWN:
            return wait_s
        if is_expired(case):
            wait_s = min(wait_s, self.settings.schedule.first_s)
        return self._before_expiry_s(case, after, wait_s, self.timing.resend_in_s(case, after))

    def ended(
        self, case: Case, after: Attempt, answer: StatusAnswer, *, allow_failover: bool = True
    ) -> Commit:
        """Decide after the rail's own answer ended the attempt: end the order, or try another rail."""
        facts = {"attempt": after.id, "standing": answer.status_at_rail, "code": answer.provider_code}
        entry = self.commit_builder.entry("rail_answered", facts)
        # This attempt is left out: its rail may have reported another amount before, and now the right one.
        other_paid = any(attempt.money_moved for attempt in case.attempts if attempt.id != after.id)
        if other_paid and after.state.is_dead:
            order = self._by_known_money(case)
            return self.commit_builder.commit(
                case, order, after, lease=self._release_after_money(case, order, after), timeline=(entry,)
            )
        commit = self._fail_over(case, after, entry) if after.state.is_dead and allow_failover else None
        if commit is not None:
            return commit
        if self._needs_search_first(case, after):
            return self._queue_until_searched(case, after, entry)
        if is_short_of_float(after) and not other_paid:
            return self._queue(case, after, None, entry)
        order = with_status_of(case.order, after, now=self.clock.now())
        if not other_paid:
            lease = self.timing.release_ended(case, after)
            # The order may have been sent to another rail by an attempt that a recovery has lost.
            outside = after.state.is_dead and after.may_fail_over
            return self.commit_builder.commit(
                case, order, after, lease=lease, timeline=(entry,), refuse_in_recovery=outside
            )
        # A second attempt has moved money: the surplus is refunded, or left to an operator.
        facts = {"attempt": after.id, "rail": after.rail, "received": after.amount_received}
        return self.commit_builder.commit(
            case,
            _next_version(case, order, now=self.clock.now()),
            after,
            lease=ReleaseLease(0.0),
            timeline=(entry, self.commit_builder.entry("contradiction", facts)),
            contradiction="second_success",
        )

    def not_found_for_good(self, case: Case, after: Attempt) -> Commit:
        """End the order: the rail never had the attempt, and its documentation calls "not found" final."""
        facts = {"attempt": after.id, "standing": RailStatus.NOT_FOUND, "answers": after.not_founds}
        closed = after.closed_as_not_found(Failure(FailureCode.PROVIDER_UNAVAILABLE))
        if is_expired(case):
            order = expired(case.order, now=self.clock.now())
        else:
            order = with_status_of(case.order, closed, now=self.clock.now())
        timeline = (self.commit_builder.entry("rail_answered", facts),)
        lease = self.timing.release_ended(case, closed)
        return self.commit_builder.commit(case, order, closed, lease=lease, timeline=timeline)

    def _by_known_money(self, case: Case) -> Order:
        """Return the next state of an order that has moved money and has no live attempt: a payment has
        succeeded when the whole amount arrived; otherwise an operator decides."""
        now = self.clock.now()
        paid = next((a for a in case.attempts if _is_whole(a, case.order)), None)
        if paid is None:
            return under_review(case.order, now=now)
        return settle_late_success(case.order, paid, now=now)

    def known_money(self, case: Case) -> Commit:
        """Decide when no attempt is live and money is known to have moved: settle, or leave it to review."""
        order = self._by_known_money(case)
        return self.commit_builder.commit(
            case, order, lease=self._release_after_money(case, order), timeline=()
        )

    def _release_after_money(self, case: Case, order: Order, *changed: Attempt) -> ReleaseLease:
        """Return the release: due at once for an order that has just ended, and at the parked interval or the
        next recheck for one that waits for an operator."""
        if order.status.is_final:
            return ReleaseLease(0.0)
        parked = [self.timing.parked_s(case, attempt) for attempt in case.attempts]
        closed = closed_attempts(replace(case, attempts=merged(case.attempts, changed)))
        rechecks = (self.timing.recheck_s(case, attempt) for attempt in closed)
        return ReleaseLease(min((*parked, *(wait_s for wait_s in rechecks if wait_s is not None))))

    def _fail_over(self, case: Case, dead: Attempt, entry: Entry) -> Commit | None:
        """Close the dead attempt and open the next at another rail, in one commit. None when failing over is
        not allowed or no other rail is left."""
        if isinstance(case, RefundCase) or not dead.may_fail_over:
            return None
        if case.money_moved or not case.may_send or self.clock.now() >= case.order.expires_at:
            return None
        closed = replace(dead, retry_decision="another_rail")
        if case.is_callback_unchecked:
            # Another closed attempt may have moved the money: wait for its rail's answer before failing over.
            order = queued(case.order, now=self.clock.now())
            lease = ReleaseLease(self.timing.callback_check_s(case))
            return self.commit_builder.commit(case, order, closed, lease=lease, timeline=(entry,))
        now_case = replace(case, attempts=merged(case.attempts, (closed,)))
        route = self.attempts.route(case.order, self.attempts.excluded_rails(now_case) | {dead.rail})
        if route.chosen is None:
            return None
        opened = self.attempts.next_for(now_case, route.chosen)
        order = replace(_begun(case, opened, route), updated_at=self.clock.now())
        timeline = (entry, self.commit_builder.entry("routed", route.explained()))
        return self._to_send(case, order, closed, opened, timeline=timeline)

    def _refused_locally(self, case: Case, after: Attempt, sent: SendResult, entry: Entry) -> Commit:
        """Decide when the connector cannot send the order at all and no other rail takes it now. A refund
        waits for an operator, since it has only one rail. Another order ends, unless a rail that was
        unreachable may still take it."""
        if isinstance(case, RefundCase):
            order = under_review(case.order, now=self.clock.now())
            lease = ReleaseLease(self.timing.parked_s(case, after))
            return self.commit_builder.commit(case, order, after, lease=lease, timeline=(entry,))
        if any(attempt.state is AttemptState.NOT_SENT for attempt in case.attempts if attempt.id != after.id):
            return self._queue(case, after, sent.answer.retry_after_s, entry)
        order = with_status_of(case.order, after, now=self.clock.now())
        lease = self.timing.release_ended(case, after)
        return self.commit_builder.commit(case, order, after, lease=lease, timeline=(entry,))

    def _queue(self, case: Case, after: Attempt, requested_s: float | None, entry: Entry) -> Commit:
        """Queue an order that no rail accepted, and try it again later with a new attempt."""
        wait_s = self.timing.next_try_s(case, requested_s)
        after = replace(after, retry_decision="queued")
        now = self.clock.now()
        is_unsent = after.state is AttemptState.NOT_SENT
        order = with_status_of(case.order, after, now=now) if is_unsent else queued(case.order, now=now)
        if self.timing.is_refund_overdue(case):
            # The refund is retried even while it is under review: it has only this rail, which may recover.
            order = under_review(order, now=now)
        facts: dict[str, Any] = {"wait_s": wait_s}
        if is_short_of_float(after):
            order, facts = replace(order, last_error=after.failure), {"reason": FLOAT_TOO_LOW, **facts}
        timeline = (entry, self.commit_builder.entry("queued", facts))
        return self.commit_builder.commit(case, order, after, lease=ReleaseLease(wait_s), timeline=timeline)

    def routed(self, case: RoutedCase, route: Route, before: tuple[Entry, ...]) -> Commit:
        """Open the next attempt of an order that no rail has accepted yet. Queue the order when no rail can
        take it now, and end it when none ever can. `before`: timeline entries to write first."""
        if route.chosen is not None:
            attempt = self.attempts.next_for(case, route.chosen)
            timeline = (*before, self.commit_builder.entry("routed", route.explained()))
            return self._to_send(case, _begun(case, attempt, route), attempt, timeline=timeline)
        if route.wait_s is None and self.attempts.needs_review(case):
            return self._park_unsafe(case, route, before)
        if route.wait_s is None and not case.attempts:
            order = failed(case.order, Failure(FailureCode.NO_RAIL_AVAILABLE), now=self.clock.now())
            timeline = (*before, self.commit_builder.entry("routed", route.explained()))
            return self.commit_builder.commit(
                case, order, lease=ReleaseLease(None), timeline=timeline, refuse_in_recovery=True
            )
        wait_s = self.timing.next_try_s(case, route.wait_s)
        entry = self.commit_builder.entry("queued", {**route.explained(), "wait_s": wait_s})
        order = queued(case.order, now=self.clock.now())
        timeline = (*before, entry) if order.version != case.order.version else before
        return self.commit_builder.commit(case, order, lease=ReleaseLease(wait_s), timeline=timeline)

    def callbacks_checked(self, case: Case, asked: Sequence[tuple[Attempt, StatusAnswer]]) -> Commit:
        """Record the rails' answers about closed attempts with unchecked callbacks, and keep the lease."""
        timeline = tuple(
            self.commit_builder.entry(
                "inquired",
                {"attempt": attempt.id, "standing": answer.status_at_rail, **cause_facts(answer)},
            )
            for attempt, answer in asked
        )
        lease = KeepLease(self.settings.lease_s)
        return self.commit_builder.commit(
            case, case.order, *(attempt for attempt, _ in asked), lease=lease, timeline=timeline
        )

    def wait_for_callbacks(self, case: Case) -> Commit:
        """Postpone sending while the callback of a closed attempt is unchecked."""
        order = case.order
        if self.timing.is_refund_overdue(case):
            order = under_review(order, now=self.clock.now())
        lease = ReleaseLease(self.timing.callback_check_s(case))
        return self.commit_builder.commit(case, order, lease=lease, timeline=())

    def _park_unsafe(self, case: RoutedCase, route: Route, before: tuple[Entry, ...]) -> Commit:
        """Leave to an operator an order whose sends a recovery may have lost, when the only rail left would
        execute it a second time."""
        order = under_review(case.order, now=self.clock.now())
        is_new = order.version != case.order.version
        entries = (*before, self.commit_builder.entry("parked", route.explained())) if is_new else before
        return self.commit_builder.commit(
            case, order, lease=ReleaseLease(self.timing.held_s(case)), timeline=entries
        )

    def wait_for_recovery(self, case: Case) -> Commit:
        """Postpone an order that a recovery keeps from being sent. It does not end for lack of attempts,
        since the database may have lost one; after its expiry it goes under review."""
        before, now = case.order, self.clock.now()
        order = before
        if before.status_detail is None or before.status_detail is StatusDetail.OUTCOME_UNKNOWN:
            # An order that was never sent may still have to be screened.
            is_new = not case.attempts and before.status_detail is None
            order = before if is_new else queued(before, now=now)
        if not case.held and self._needs_review_now(case):
            order = under_review(before, now=now)
        return self.commit_builder.commit(
            case, order, lease=ReleaseLease(self.timing.held_s(case)), timeline=()
        )

    def _needs_review_now(self, case: Case) -> bool:
        """True when an order whose rails have not answered goes under review: after its expiry. A refund does
        so at once when its rail would execute it twice, else when it is overdue."""
        if isinstance(case, RefundCase):
            return case.order.exclusive or self.timing.is_refund_overdue(case)
        return is_expired(case)

    def searched(self, case: Case, found: Sequence[FoundAttempt]) -> Commit:
        """Store the attempts that a complete search of all rails has found. They are asked about next. An
        order without any goes on as if it had just been opened.

        An attempt found under the order's references belongs to the order when number, amount and currency
        agree. Anything else is left to an operator, and nothing more is sent.
        """
        if case.unsearched is None:
            raise InternalError(f"{case.order.id} needs no search: no recovery can have lost its attempts")
        now = self.clock.now()
        if not found:
            entry = self.commit_builder.entry("searched", {"recovery": case.unsearched})
            return self.commit_builder.commit(
                case, case.order, lease=ReleaseLease(0.0), timeline=(entry,), searched=case.unsearched
            )
        adopted, contradiction = adopt(case, found, case.order.currency, now=now)
        order = _with_attempts(case.order, adopted)
        if contradiction is not None:
            order = under_review(order, now=now)
        elif all(attempt.state.is_final for attempt in adopted) and case.live is None:
            last = adopted[-1]
            ends = not last.may_fail_over
            order = with_status_of(order, last, now=now) if ends else queued(order, now=now)
        timeline = tuple(
            self.commit_builder.entry(
                "adopted",
                {
                    "attempt": one.attempt.id,
                    "rail": one.attempt.rail,
                    "sequence": one.attempt.sequence,
                    "standing": one.answer.status_at_rail,
                },
            )
            for one in found
        )
        return self.commit_builder.commit(
            case,
            _next_version(case, order, now=now),
            *adopted,
            lease=ReleaseLease(0.0),
            timeline=timeline,
            searched=case.unsearched,
            contradiction=contradiction,
        )

    def refund_again(self, case: RefundCase) -> Commit:
        """Open the next attempt of a refund at the rail of its debit. An operator decides instead when that
        rail now has another account, has reversed the debit itself, or might execute a second time a refund
        that the database lost."""
        unsafe = case.restored and case.order.exclusive
        if not self.attempts.at_present_account(case.debit) or case.debit.reversed_at is not None or unsafe:
            order = under_review(case.order, now=self.clock.now())
            is_new = order.version != case.order.version
            facts = {"rail": case.debit.rail, "code": self._why_parked(case.debit)}
            return self.commit_builder.commit(
                case,
                order,
                lease=ReleaseLease(self.timing.parked_s(case, case.debit)),
                timeline=(self.commit_builder.entry("parked", facts),) if is_new else (),
            )
        return self._to_send(case, case.order, self.attempts.next_for(case), timeline=())

    def _why_parked(self, debit: Attempt) -> str:
        if debit.reversed_at is not None:
            return "reversed"
        return UNCONFIRMED if self.attempts.rails[debit.rail].is_unconfirmed else OTHER_ACCOUNT

    def resend(self, case: Case, after: Attempt) -> Commit:
        """Send the same reference to the same rail again; the commit counts the send before it leaves."""
        again = replace(after, sends=after.sends + 1, not_founds=0)
        entry = self.commit_builder.entry("sent_again", {"attempt": after.id, "send": again.sends})
        order = self._review_if_overdue(case, again, with_status_of(case.order, again, now=self.clock.now()))
        if order.version == case.order.version:
            # A process that read the order before this send must not end it by that older state.
            order = replace(order, version=order.version + 1, updated_at=self.clock.now())
        return self._to_send(case, order, again, timeline=(entry,))

    def _to_send(self, case: Case, order: Order, *changed: Attempt, timeline: tuple[Entry, ...]) -> Commit:
        return self.commit_builder.commit_to_send(
            case, order, *changed, lease_s=self.settings.lease_s, timeline=timeline
        )

    def ask_later(self, case: Case, after: Attempt, answer: StatusAnswer) -> Commit:
        """Schedule the next inquiry. When the schedule ends, the order goes under review, never to `failed`,
        and inquiries continue.

        The order goes under review earlier when no further inquiry can tell how the prompt ended, and when it
        is lost and has expired by now: the inquiries of one turn may take longer than the time it had left.

        An inquiry that got no turn under the rail's rate limit is only put off: it is not counted, and no
        reason for a review. After a callback it does not wait for the schedule, which may be an hour. If the
        order goes under review at its expiry all the same, the timeline says that the rail was not asked.
        """
        answered = replace(case, as_of=self.clock.now())
        age = age_s(case, after)
        wait_s = self.timing.next_inquiry_s(after, age)
        order = with_status_of(case.order, after, now=self.clock.now(), action=answer.next_action)
        detail_before = case.order.status_detail
        if answer.status_at_rail is RailStatus.NO_INFORMATION and is_otp_outcome_unknown(case, after):
            order = case.order
        failure_callback_due_s = self.timing.failure_callback_due_s(after)
        is_callback_missing = (
            answer.status_at_rail is RailStatus.PENDING
            and failure_callback_due_s is not None
            and age >= failure_callback_due_s
        )
        is_lost = after.state is AttemptState.UNKNOWN or answer.status_at_rail is RailStatus.NOT_FOUND
        # Silence counts up to the question, not up to its answer; the expiry counts now.
        resend_in_s = None if is_expired(answered) else self.timing.resend_in_s(case, after)
        is_lost_for_good = (
            is_lost and resend_in_s is None and (is_expired(answered) or self._is_used_up(case, after))
        )
        is_refused = answer.refused_locally and not answer.deferred
        needs_review = is_callback_missing or is_lost_for_good or is_refused or case.money_moved
        if wait_s is None or needs_review or detail_before is StatusDetail.UNDER_REVIEW:
            order = under_review(case.order, now=self.clock.now())
        order = self._review_if_overdue(case, after, order)
        if wait_s is None:
            wait_s = self.timing.parked_s(case, after)
        elif is_lost and not is_lost_for_good:
            wait_s = self._before_expiry_s(answered, after, wait_s, resend_in_s)
        if answer.retry_after_s is not None:
            is_urgent = answer.deferred and (case.hinted or after.callback_at is not None)
            wait_s = answer.retry_after_s if is_urgent else max(wait_s, answer.retry_after_s)
        facts: dict[str, str | None] = {
            "attempt": after.id,
            "standing": answer.status_at_rail,
            **cause_facts(answer),
        }
        if answer.refused_locally:
            facts["code"] = answer.provider_code
        is_new_review = (
            order.status_detail is StatusDetail.UNDER_REVIEW
            and detail_before is not StatusDetail.UNDER_REVIEW
        )
        is_noted = is_new_review or not answer.deferred
        entries = (self.commit_builder.entry("inquired", facts),) if is_noted else ()
        return self.commit_builder.commit(case, order, after, lease=ReleaseLease(wait_s), timeline=entries)

    def _review_if_overdue(self, case: Case, after: Attempt, order: Order) -> Order:
        """Return the order; under review when it is an overdue refund whose attempt is still unknown."""
        if after.state is AttemptState.UNKNOWN and self.timing.is_refund_overdue(case):
            return under_review(order, now=self.clock.now())
        return order

    def _is_used_up(self, case: Case, after: Attempt) -> bool:
        """True for an order without an expiry that has been sent as often as it may be."""
        return case.expires_at is None and after.sends >= self.settings.sends_max

    def _before_expiry_s(self, case: Case, after: Attempt, wait_s: float, resend_in_s: float | None) -> float:
        """Return `wait_s`, but no longer than until the next send is allowed or the order expires."""
        # A moment in the past brings no inquiry forward: the action that it allows waits for an answer.
        moments = (s for s in (resend_in_s, left_s(case)) if s is not None and s > 0)
        return max(min((wait_s, *moments)), self.timing.not_before_s(case, after))

    def other_money(self, case: Case, live: Attempt, answer: StatusAnswer) -> Commit:
        """Leave to an operator an attempt whose rail moved another amount or currency than requested.

        The attempt stays open, so that the rail can still correct its answer. The contradiction is reported
        once.
        """
        facts = {
            "attempt": live.id,
            "asked": live.amount,
            "reported": answer.amount,
            "currency": answer.currency,
        }
        kind = receipt_of(live, case.order.currency, answer).value
        is_new = live.moved_at is None
        now = self.clock.now()
        order = under_review(case.order, now=now)
        asked = replace(live, inquiries=live.inquiries + 1, moved_at=live.moved_at or now)
        return self.commit_builder.commit(
            case,
            _next_version(case, order, now=now) if is_new else order,
            asked,
            lease=ReleaseLease(self.timing.parked_s(case, live)),
            timeline=(self.commit_builder.entry(kind, facts),) if is_new else (),
            contradiction=kind if is_new else None,
        )

    def reversed_money(self, case: Case, attempt: Attempt, answer: StatusAnswer) -> Commit:
        """Record that a rail now says that money it had reported as moved did not move or went back. Re-opens
        nothing; the order goes under review once."""
        now = self.clock.now()
        facts = {"attempt": attempt.id, "rail": attempt.rail, "code": answer.provider_code}
        order = under_review(case.order, now=now)
        reversed_ = replace(attempt, inquiries=attempt.inquiries + 1, reversed_at=now)
        lease = ReleaseLease(self.timing.parked_s(case, attempt))
        if order.status.is_final:
            lease = self.timing.release_ended(case, reversed_)
        return self.commit_builder.commit(
            case,
            _next_version(case, order, now=now),
            reversed_,
            lease=lease,
            timeline=(self.commit_builder.entry("contradiction", {**facts, "standing": "reversed"}),),
            contradiction="reversed",
        )

    def late_success(self, case: Case, closed: Attempt, answer: StatusAnswer) -> Commit:
        """Record that money moved on an attempt that had been closed.

        A payment that waits for exactly this amount succeeds by it, whatever else is under way; money that a
        live attempt still brings is refunded as a surplus. Any other open order waits for an operator, and
        nothing more is sent.
        """
        before, now = case.order, self.clock.now()
        receipt = receipt_of(closed, before.currency, answer)
        paid = closed.with_late_money(received_by(closed, before.currency, answer), answer, now=now)
        if receipt is Receipt.AS_ASKED:
            order = settle_late_success(before, paid, now=now)
        else:
            order = under_review(before, now=now)
        facts = {
            "attempt": closed.id,
            "rail": closed.rail,
            "received": paid.amount_received,
            "reported": answer.amount,
            "asked": closed.amount,
            "currency": answer.currency or before.currency,
            "status": before.status,
        }
        return self.commit_builder.commit(
            case,
            _next_version(case, order, now=now),
            paid,
            lease=ReleaseLease(0.0),
            timeline=(self.commit_builder.entry("contradiction", facts),),
            contradiction="late_success",
        )

    def rechecked(self, case: Case, asked: list[Attempt], waits: list[float]) -> Commit:
        """Keep an ended order as it is; it is due again after the shortest of `waits`, if there is any."""
        lease = ReleaseLease(min(waits) if waits else None)
        return self.commit_builder.commit(case, case.order, *asked, lease=lease, timeline=())

    def expire(self, case: Case) -> Commit:
        """End an order that has expired and has no live attempt."""
        order = expired(case.order, now=self.clock.now())
        lease = self.timing.release_ended(case)
        timeline = (self.commit_builder.entry("expired"),)
        return self.commit_builder.commit(
            case, order, lease=lease, timeline=timeline, refuse_in_recovery=True
        )

    def held_for_risk(self, case: Case, decision: RiskDecision, *timeline: Entry) -> Commit:
        """Apply the fraud service's refusal: end the order, or hold it for review until it expires."""
        now, before = self.clock.now(), case.order
        if decision.outcome is RiskOutcome.DECLINE:
            order = failed(before, Failure(FailureCode.RISK_DECLINED), now=now)
            return self.commit_builder.commit(
                case, order, lease=ReleaseLease(None), timeline=timeline, refuse_in_recovery=True
            )
        return self.leave_to_review(case, in_risk_review(before, now=now), *timeline)

    def leave_to_review(self, case: Case, order: Order, *timeline: Entry) -> Commit:
        """Release the order until it expires or an operator decides on it."""
        return self.commit_builder.commit(case, order, lease=ReleaseLease(left_s(case)), timeline=timeline)


def _with_attempts(order: Order, adopted: Sequence[Attempt]) -> Order:
    """Return the order with the attempts that the database had lost."""
    last = max(adopted, key=lambda attempt: attempt.sequence)
    return with_next_attempt(order, last)


def _is_whole(attempt: Attempt, order: Order) -> bool:
    """True when the attempt moved the order's whole amount and the rail has not taken it back."""
    whole = attempt.state.is_final and attempt.amount_received == order.amount
    return whole and attempt.reversed_at is None


def _next_version(case: Case, order: Order, *, now: datetime) -> Order:
    """Return the order with the next version, even when nothing else changed, so that a process that read it
    earlier can neither send nor end it by that older state."""
    before = case.order
    if order.version > before.version:
        return order
    return replace(order, version=before.version + 1, updated_at=now)


def _begun(case: RoutedCase, attempt: Attempt, route: Route) -> Order:
    """Return the order with its next attempt and the routing decision."""
    before = case.order
    return with_next_attempt(before, attempt, routing=route.explained(), version=before.version + 1)
