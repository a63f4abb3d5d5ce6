"""Builds the first commit of a payment or payout: assesses its risk and chooses its rail."""

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from synccash.engine.commit_builder import CommitBuilder, answer_for
from synccash.engine.dispatch.router import routing_query_of
from synccash.engine.progress.attempts import Attempts
from synccash.engine.recovery_watch import RecoveryWatch
from synccash.engine.settings import EngineSettings
from synccash.payments import lifecycle
from synccash.payments.attempt import Attempt
from synccash.payments.case import Claim, Entry, Event, KeepLease, Opening, ReleaseLease, Routed, StoredAnswer
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payment import OrderKind, Payment
from synccash.payments.payout import Payout
from synccash.payments.ports import Clock
from synccash.payments.risk import RiskDecision, RiskOutcome, VelocityCounters

R = TypeVar("R", Payment, Payout, Routed)

_ANNOUNCED = frozenset({OrderKind.PAYOUT})
"""The kinds of orders whose opening is an event for the merchant also when it finishes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstCommit(Generic[R]):
    """The order as it is opened. `answer` is set when nothing is left to do for the request. When neither
    `answer` nor `attempt` is set, the fraud service is asked next."""

    order: R
    attempt: Attempt | None
    lease: KeepLease | ReleaseLease
    timeline: tuple[Entry, ...]
    answer: StoredAnswer | None = None
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class FirstCommits:
    """Builds first commits."""

    attempts: Attempts
    commit_builder: CommitBuilder
    clock: Clock
    settings: EngineSettings
    risk: VelocityCounters
    recovery: RecoveryWatch
    is_screened: bool

    def assessed(self, order: R) -> FirstCommit[R]:
        """Return the first commit that the risk rules decide on: the order ends, waits for a review, goes to
        the fraud service, or is routed. While a recovery is under way, it is accepted and nothing is sent."""
        created = self.commit_builder.entry("created", {"amount": order.amount})
        risk = self.risk.assess(order, self.clock.monotonic())
        timeline = (created,)
        if risk.reasons:
            timeline = (created, self.commit_builder.entry("risk_assessed", risk.explained()))
        if risk.outcome is not RiskOutcome.ALLOW:
            return self._held_for_risk(order, risk, timeline)
        if self.is_screened and self.recovery.known.active:
            return self.held(order, timeline)
        if self.is_screened:
            lease = KeepLease(self.settings.lease_s)
            return FirstCommit(order=order, attempt=None, lease=lease, timeline=timeline)
        return self.routed(order, timeline)

    def opening(self, claim: Claim, order: Routed) -> Opening[Routed]:
        """Return the opening of the order, assessed and routed."""
        first = self.assessed(order)
        events = first.events
        if first.answer is None and order.kind in _ANNOUNCED:
            attempts = () if first.attempt is None else (first.attempt,)
            kind = f"{order.kind}.{first.order.status.value}"
            events = (self.commit_builder.event(kind, first.order, attempts),)
        return Opening(
            claim=claim,
            order=first.order,
            attempt=first.attempt,
            lease=first.lease,
            answer=first.answer,
            events=events,
            timeline=first.timeline,
        )

    def not_opened(self, order: R) -> None:
        """Remove from the risk counters an order that was refused and not stored."""
        self.risk.not_opened(order, self.clock.monotonic())

    def _held_for_risk(self, before: R, risk: RiskDecision, timeline: tuple[Entry, ...]) -> FirstCommit[R]:
        """Return the first commit of an order that a risk rule stops: it ends, or waits for a review until it
        expires. Nothing is sent."""
        now = self.clock.now()
        if risk.outcome is RiskOutcome.DECLINE:
            ended = lifecycle.failed(before, Failure(FailureCode.RISK_DECLINED), now=now)
            return self.answered(ended, ReleaseLease(None), timeline)
        left_s = (before.expires_at - now).total_seconds()
        return self.answered(lifecycle.in_risk_review(before, now=now), ReleaseLease(left_s), timeline)

    def is_of_wrong_mode(self, order: Routed) -> bool:
        """True when only accounts of the other mode could take the order. Such an order is not opened."""
        return self.attempts.router.has_only_other_mode(routing_query_of(order))

    def routed(self, order: R, timeline: tuple[Entry, ...]) -> FirstCommit[R]:
        """Return the first commit with an attempt at the chosen rail. The order is queued when no rail takes
        it now or a recovery is under way, and ends when no rail ever can take it."""
        if self.recovery.known.active:
            return self.held(lifecycle.queued(order, now=self.clock.now()), timeline)
        route = self.attempts.route(order)
        order = replace(order, routing=route.explained())
        timeline = (*timeline, self.commit_builder.entry("routed", route.explained()))
        if route.chosen is not None:
            attempt = self.attempts.first(order, route.chosen)
            begun = lifecycle.begin(order, attempt)
            lease = KeepLease(self.settings.lease_s)
            return FirstCommit(order=begun, attempt=attempt, lease=lease, timeline=timeline)
        now = self.clock.now()
        if route.wait_s is None:
            ended = lifecycle.failed(order, Failure(FailureCode.NO_RAIL_AVAILABLE), now=now)
            return self.answered(ended, ReleaseLease(None), timeline)
        left_s = (order.expires_at - now).total_seconds()
        return self.answered(
            lifecycle.queued(order, now=now), ReleaseLease(min(route.wait_s, left_s)), timeline
        )

    def held(self, order: R, timeline: tuple[Entry, ...]) -> FirstCommit[R]:
        """Return the first commit of an order accepted while a recovery is under way. A worker screens and
        sends it when the recovery has ended."""
        timeline = (*timeline, self.commit_builder.entry("held", {"reason": "recovery"}))
        lease = ReleaseLease(self.settings.queue_retry_s)
        if order.status_detail is None:
            order = replace(order, version=1)
            return FirstCommit(
                order=order, attempt=None, lease=lease, timeline=timeline, answer=answer_for(order, ())
            )
        return self.answered(order, lease, timeline)

    def answered(self, order: R, lease: ReleaseLease, timeline: tuple[Entry, ...]) -> FirstCommit[R]:
        """Return a first commit that also stores the response to its request."""
        order = replace(order, version=1)
        return FirstCommit(
            order=order,
            attempt=None,
            lease=lease,
            timeline=timeline,
            answer=answer_for(order, ()),
            events=(self.commit_builder.event(f"{order.kind}.{order.status.value}", order, ()),),
        )
