"""Builds the opening of a payment or payout: assesses its risk and chooses its rail."""

from dataclasses import dataclass, replace

from synccash.engine.commit_builder import CommitBuilder, answer_for
from synccash.engine.dispatch.router import routing_query_of
from synccash.engine.progress.attempts import Attempts
from synccash.engine.recovery_watch import RecoveryWatch
from synccash.engine.settings import EngineSettings
from synccash.payments import lifecycle
from synccash.payments.attempt import Attempt
from synccash.payments.case import Claim, Entry, Event, KeepLease, Opening, ReleaseLease, Routed
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payment import OrderKind
from synccash.payments.ports import Clock
from synccash.payments.risk import RiskDecision, RiskOutcome, VelocityCounters

_ANNOUNCED = frozenset({OrderKind.PAYOUT})
"""The kinds of orders whose opening is an event for the merchant also when it finishes nothing."""


@dataclass(frozen=True, slots=True)
class FirstCommits:
    """Builds the openings of payments and payouts."""

    attempts: Attempts
    commit_builder: CommitBuilder
    clock: Clock
    settings: EngineSettings
    risk: VelocityCounters
    recovery: RecoveryWatch
    is_screened: bool

    def opening(self, claim: Claim, order: Routed) -> Opening[Routed]:
        """Return the opening that the risk rules decide on: the order ends, waits for a review, goes to the
        fraud service, or is routed. While a recovery is under way, it is accepted and nothing is sent."""
        created = self.commit_builder.entry("created", {"amount": order.amount})
        risk = self.risk.assess(order, self.clock.monotonic())
        timeline = (created,)
        if risk.reasons:
            timeline = (created, self.commit_builder.entry("risk_assessed", risk.explained()))
        if risk.outcome is not RiskOutcome.ALLOW:
            return self._held_for_risk(claim, order, risk, timeline)
        if self.is_screened and self.recovery.known.active:
            return self._held(claim, order, timeline)
        if self.is_screened:
            return self._to_work_on(claim, order, None, timeline)
        return self._routed(claim, order, timeline)

    def not_opened(self, order: Routed) -> None:
        """Remove from the risk counters an order that was refused and not stored."""
        self.risk.not_opened(order, self.clock.monotonic())

    def is_of_wrong_mode(self, order: Routed) -> bool:
        """True when only accounts of the other mode could take the order. Such an order is not opened."""
        return self.attempts.router.has_only_other_mode(routing_query_of(order))

    def _held_for_risk(
        self, claim: Claim, before: Routed, risk: RiskDecision, timeline: tuple[Entry, ...]
    ) -> Opening[Routed]:
        """Return the opening of an order that a risk rule stops: it ends, or waits for a review until it
        expires. Nothing is sent."""
        now = self.clock.now()
        if risk.outcome is RiskOutcome.DECLINE:
            ended = lifecycle.failed(before, Failure(FailureCode.RISK_DECLINED), now=now)
            return self._answered(claim, ended, ReleaseLease(None), timeline)
        left_s = (before.expires_at - now).total_seconds()
        held = lifecycle.in_risk_review(before, now=now)
        return self._answered(claim, held, ReleaseLease(left_s), timeline)

    def _routed(self, claim: Claim, order: Routed, timeline: tuple[Entry, ...]) -> Opening[Routed]:
        """Return the opening with an attempt at the chosen rail. The order is queued when no rail takes it
        now or a recovery is under way, and ends when no rail ever can take it."""
        if self.recovery.known.active:
            return self._held(claim, lifecycle.queued(order, now=self.clock.now()), timeline)
        route = self.attempts.route(order)
        order = replace(order, routing=route.explained())
        timeline = (*timeline, self.commit_builder.entry("routed", route.explained()))
        if route.chosen is not None:
            attempt = self.attempts.first(order, route.chosen)
            return self._to_work_on(claim, lifecycle.with_next_attempt(order, attempt), attempt, timeline)
        now = self.clock.now()
        if route.wait_s is None:
            ended = lifecycle.failed(order, Failure(FailureCode.NO_RAIL_AVAILABLE), now=now)
            return self._answered(claim, ended, ReleaseLease(None), timeline)
        left_s = (order.expires_at - now).total_seconds()
        lease = ReleaseLease(min(route.wait_s, left_s))
        return self._answered(claim, lifecycle.queued(order, now=now), lease, timeline)

    def _held(self, claim: Claim, order: Routed, timeline: tuple[Entry, ...]) -> Opening[Routed]:
        """Return the opening of an order accepted while a recovery is under way. A worker screens and sends
        it when the recovery has ended."""
        timeline = (*timeline, self.commit_builder.entry("held", {"reason": "recovery"}))
        lease = ReleaseLease(self.settings.queue_retry_s)
        is_changed = order.status_detail is not None
        return self._answered(claim, order, lease, timeline, is_event=is_changed)

    def _to_work_on(
        self, claim: Claim, order: Routed, attempt: Attempt | None, timeline: tuple[Entry, ...]
    ) -> Opening[Routed]:
        """Return an opening that keeps the lease: its attempt is sent next, or the fraud service is asked."""
        opening = Opening(
            claim=claim,
            order=order,
            attempt=attempt,
            lease=KeepLease(
                self.settings.lease_s, min(self.settings.lease_s, self.settings.schedule.first_s)
            ),
            timeline=timeline,
        )
        if order.kind not in _ANNOUNCED:
            return opening
        return replace(opening, events=(self._event(order, opening.attempts),))

    def _answered(
        self,
        claim: Claim,
        order: Routed,
        lease: ReleaseLease,
        timeline: tuple[Entry, ...],
        *,
        is_event: bool = True,
    ) -> Opening[Routed]:
        """Return an opening that also stores the response to its request. `is_event`: it tells the merchant
        about the order's status too."""
        order = replace(order, version=1)
        return Opening(
            claim=claim,
            order=order,
            attempt=None,
            lease=lease,
            timeline=timeline,
            answer=answer_for(order, ()),
            events=(self._event(order, ()),) if is_event else (),
        )

    def _event(self, order: Routed, attempts: tuple[Attempt, ...]) -> Event:
        return self.commit_builder.event(f"{order.kind}.{order.status.value}", order, attempts)
