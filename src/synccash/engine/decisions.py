"""What is committed after each answer: the order's next state, and when it is due again. Decides only: a
decision is one move, which the driver commits or drops."""

from dataclasses import dataclass, replace

from synccash.engine.attempts import Attempts, is_password_untold, routed_of, spent_rails
from synccash.engine.patience import Patience, age_s
from synccash.engine.ports import Clock, Sent
from synccash.engine.scribe import Scribe, merged
from synccash.engine.settings import EngineSettings
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import (
    Case,
    Entry,
    Keep,
    Move,
    Order,
    PaymentCase,
    PayoutCase,
    RefundCase,
    Release,
    order_of,
)
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.lifecycle import (
    begin,
    expired,
    failed,
    in_risk_review,
    paid_by_the_dead,
    queued,
    reflect,
    under_review,
)
from synccash.payments.payment import Payment, StatusDetail
from synccash.payments.rail import Standing, StatusAnswer
from synccash.payments.risk import RiskDecision, RiskOutcome
from synccash.payments.routing import Route


@dataclass(frozen=True, slots=True)
class Decisions:
    """One method for each thing that can be known of an order. A move that keeps the hold is one to send."""

    attempts: Attempts
    scribe: Scribe
    clock: Clock
    settings: EngineSettings
    patience: Patience

    def after_send(
        self, case: Case, before: Attempt, after: Attempt, sent: Sent, *, may_fall_over: bool = True
    ) -> Move:
        """A send was answered, or not: wait for its end, fall over, or hold it where nobody took it."""
        facts = {
            "attempt": after.id,
            "rail": after.rail,
            "evidence": sent.worst,
            "tries": sent.tries,
            "code": sent.answer.provider_code,
        }
        entry = self.scribe.entry("sent", facts)
        if after.state.is_dead:
            assert order_of(case).fence == before.opened_fence, "only the first holder may call a send dead"
            move = self._fall_over(case, after, entry) if may_fall_over else None
            if move is not None:
                return move
        if after.state is AttemptState.NOT_SENT:
            return self._queue(case, after, sent, entry)
        order = reflect(order_of(case), after, now=self.clock.now(), action=sent.answer.next_action)
        sent_s_ago = (self.clock.now() - after.started_at).total_seconds()
        wait_s = self.patience.next_inquiry_s(after, sent_s_ago)
        # A send that outlasts the ladder is asked about all the same.
        due_in_s = self.settings.ladder.first_s if wait_s is None else wait_s
        hold = let_go(case) if order.status.is_final else Release(due_in_s)
        return self.scribe.move(case, order, after, hold=hold, timeline=(entry,))

    def ended(self, case: Case, after: Attempt, answer: StatusAnswer, *, may_fall_over: bool = True) -> Move:
        """The rail's own answer ended the attempt: so ends the order, or another rail is tried."""
        facts = {"attempt": after.id, "standing": answer.standing, "code": answer.provider_code}
        entry = self.scribe.entry("rail_answered", facts)
        move = self._fall_over(case, after, entry) if after.state.is_dead and may_fall_over else None
        if move is not None:
            return move
        order = reflect(order_of(case), after, now=self.clock.now())
        return self.scribe.move(case, order, after, hold=let_go(case), timeline=(entry,))

    def _fall_over(self, case: Case, dead: Attempt, entry: Entry) -> Move | None:
        """One commit: the dead attempt closed, the next opened at another rail. None where none is left."""
        if isinstance(case, RefundCase):
            return None
        if dead.state is AttemptState.DECLINED and not (dead.failure and dead.failure.reroute):
            return None
        if self.clock.now() >= case.expires_at:
            return None
        closed = replace(dead, retry_decision="another_rail")
        now_case = replace(case, attempts=merged(case.attempts, (closed,)))
        route = self.attempts.route(routed_of(case), spent_rails(now_case))
        if route.chosen is None:
            return None
        opened = self.attempts.next_for(now_case, route.chosen)
        order = replace(_begun(case, opened, route), updated_at=self.clock.now())
        timeline = (entry, self.scribe.entry("routed", route.explained()))
        return self._to_send(case, order, closed, opened, timeline=timeline)

    def _queue(self, case: Case, after: Attempt, sent: Sent, entry: Entry) -> Move:
        """Nobody took it and nobody else can: hold it, and try again with a new attempt."""
        wait_s = self.patience.next_try_s(case, sent.answer.retry_after_s)
        after = replace(after, retry_decision="queued")
        order = reflect(order_of(case), after, now=self.clock.now())
        timeline = (entry, self.scribe.entry("queued", {"wait_s": wait_s}))
        return self.scribe.move(case, order, after, hold=Release(wait_s), timeline=timeline)

    def routed(self, case: PaymentCase | PayoutCase, route: Route, before: tuple[Entry, ...]) -> Move:
        """The next attempt of an order that no rail has taken yet; where there is no rail for it now, hold
        it, and where there never will be, end it. `before`: what its timeline says first."""
        if route.chosen is not None:
            attempt = self.attempts.next_for(case, route.chosen)
            timeline = (*before, self.scribe.entry("routed", route.explained()))
            return self._to_send(case, _begun(case, attempt, route), attempt, timeline=timeline)
        if route.wait_s is None and not case.attempts:
            order = failed(routed_of(case), Failure(FailureCode.NO_RAIL_AVAILABLE), now=self.clock.now())
            timeline = (*before, self.scribe.entry("routed", route.explained()))
            return self.scribe.move(case, order, hold=Release(None), timeline=timeline)
        wait_s = self.patience.next_try_s(case, route.wait_s)
        entry = self.scribe.entry("queued", {**route.explained(), "wait_s": wait_s})
        order = queued(routed_of(case), now=self.clock.now())
        timeline = (*before, entry) if order.version != order_of(case).version else before
        return self.scribe.move(case, order, hold=Release(wait_s), timeline=timeline)

    def refund_again(self, case: RefundCase) -> Move:
        """The next attempt of a refund, whose rail is its debit's."""
        return self._to_send(case, case.refund, self.attempts.next_for(case), timeline=())

    def resend(self, case: Case, after: Attempt) -> Move:
        """The same reference to the same rail again, counted on the row before the first byte."""
        again = replace(after, sends=after.sends + 1)
        entry = self.scribe.entry("sent_again", {"attempt": after.id, "send": again.sends})
        order = reflect(order_of(case), again, now=self.clock.now())
        if order.version == order_of(case).version:
            # Whoever has read the order before this send must not end it on what he read.
            order = replace(order, version=order.version + 1, updated_at=self.clock.now())
        return self._to_send(case, order, again, timeline=(entry,))

    def _to_send(self, case: Case, order: Order, *changed: Attempt, timeline: tuple[Entry, ...]) -> Move:
        return self.scribe.move(
            case,
            order,
            *changed,
            hold=Keep(self.settings.lease_s),
            timeline=timeline,
            before_expiry=case.expires_at is not None,
        )

    def ask_later(self, case: Case, after: Attempt, answer: StatusAnswer) -> Move:
        """Stay on the ladder; at its end hand the order to a human, never to `failed`. Asking goes on.

        A human has to look earlier where no further inquiry can tell how the prompt ended.
        """
        age = age_s(case, after)
        wait_s = self.patience.next_inquiry_s(after, age)
        order = reflect(order_of(case), after, now=self.clock.now(), action=answer.next_action)
        standing = order_of(case).status_detail
        if answer.standing is Standing.NO_INFORMATION and is_password_untold(case, after):
            order = order_of(case)
        told_by_s = self.patience.told_by_s(after)
        untold = answer.standing is Standing.PENDING and told_by_s is not None and age >= told_by_s
        if wait_s is None or untold or standing is StatusDetail.UNDER_REVIEW:
            order = under_review(order_of(case), now=self.clock.now())
        if wait_s is None:
            wait_s = self.patience.parked_s(case, after)
        if answer.retry_after_s is not None:
            wait_s = max(wait_s, answer.retry_after_s)
        entry = self.scribe.entry("inquired", {"attempt": after.id, "standing": answer.standing})
        return self.scribe.move(case, order, after, hold=Release(wait_s), timeline=(entry,))

    def wrong_amount(self, case: Case, live: Attempt, answer: StatusAnswer) -> Move:
        """The rail took another amount than was asked for: a human decides what that is worth."""
        facts = {"attempt": live.id, "asked": live.amount, "reported": answer.amount}
        order = under_review(order_of(case), now=self.clock.now())
        is_new = order is not order_of(case)
        return self.scribe.move(
            case,
            order,
            replace(live, inquiries=live.inquiries + 1),
            hold=Release(self.patience.parked_s(case, live)),
            timeline=(self.scribe.entry("amount_differs", facts),) if is_new else (),
            contradiction="amount_differs" if is_new else None,
        )

    def late_success(self, case: Case, dead: Attempt, answer: StatusAnswer) -> Move:
        """Money moved on an attempt that was called dead."""
        received = dead.amount if answer.amount is None else answer.amount
        surplus = replace(
            dead, amount_received=received, provider_transaction_id=answer.provider_transaction_id
        )
        before = order_of(case)
        order = replace(before, version=before.version + 1, updated_at=self.clock.now())
        if isinstance(before, Payment) and not before.status.is_final and case.live is None:
            # Nothing else is under way: the money that came is the payment's.
            order = paid_by_the_dead(before, surplus, now=self.clock.now())
        elif not before.status.is_final and case.live is None:
            order = under_review(before, now=self.clock.now())
        facts = {"attempt": dead.id, "rail": dead.rail, "received": received, "status": before.status}
        return self.scribe.move(
            case,
            order,
            surplus,
            hold=Release(0.0),
            timeline=(self.scribe.entry("contradiction", facts),),
            contradiction="late_success",
        )

    def looked_back(self, case: Case, looked: list[Attempt], waits: list[float]) -> Move:
        """An ended order stays as it is, and is looked at again after the shortest of `waits`, if any."""
        hold = Release(min(waits) if waits else None)
        return self.scribe.move(case, order_of(case), *looked, hold=hold, timeline=())

    def expire(self, case: Case) -> Move:
        """Its time is over, and nothing is under way."""
        order = expired(order_of(case), now=self.clock.now())
        return self.scribe.move(case, order, hold=let_go(case), timeline=(self.scribe.entry("expired"),))

    def held_for_risk(self, case: PaymentCase, decision: RiskDecision, *timeline: Entry) -> Move:
        """The fraud service said no: end the payment, or keep it for a human as long as it lives."""
        now = self.clock.now()
        if decision.outcome is RiskOutcome.DECLINE:
            order = failed(case.payment, Failure(FailureCode.RISK_DECLINED), now=now)
            return self.scribe.move(case, order, hold=Release(None), timeline=timeline)
        return self.leave_to_review(case, in_risk_review(case.payment, now=now), *timeline)

    def leave_to_review(self, case: PaymentCase, order: Payment, *timeline: Entry) -> Move:
        """Nothing is due before the payment expires, unless a human decides."""
        left_s = max(0.0, (order.expires_at - case.as_of).total_seconds())
        return self.scribe.move(case, order, hold=Release(left_s), timeline=timeline)


def _begun(case: PaymentCase | PayoutCase, attempt: Attempt, route: Route) -> Order:
    """The order with its next attempt, as it was routed."""
    before = routed_of(case)
    return replace(begin(before, attempt), routing=route.explained(), version=before.version + 1)


def let_go(case: Case) -> Release:
    """The hold of an order that ends: it is looked at once more where money came too much, or may have come
    from a rail that went back on its word while nobody could ask it."""
    again = any(a.amount_received or a.is_dead_by_word for a in case.attempts)
    return Release(0.0 if again else None)
