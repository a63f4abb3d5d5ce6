"""Asks an external fraud service about an order; applies the operator's policy when it does not answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from synccash.payments.case import Routed
from synccash.payments.payment import OrderKind
from synccash.payments.risk import RiskDecision, RiskOutcome

log = structlog.get_logger("synccash.risk")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutagePolicy:
    """The decision for a payment or payout when the fraud service does not answer.

    `outcome` applies to payments and `payouts` to payouts, which cannot be taken back. An order above
    `decline_above` pesewas is declined in either case.
    """

    outcome: RiskOutcome = RiskOutcome.ALLOW
    payouts: RiskOutcome = RiskOutcome.REVIEW
    decline_above: int | None = None

    def decide(self, order: Routed) -> RiskDecision:
        """Return the decision that replaces the service's."""
        is_above_limit = self.decline_above is not None and order.amount > self.decline_above
        default = self.payouts if order.kind is OrderKind.PAYOUT else self.outcome
        outcome = RiskOutcome.DECLINE if is_above_limit else default
        return RiskDecision(outcome, ("fraud_service_unavailable",))


@dataclass(frozen=True, slots=True)
class Screening:
    """Decides on an order through the fraud service. `ask` calls the service under its resilience policy and
    raises when there is no answer."""

    ask: Callable[[Routed], Awaitable[RiskDecision]]
    outage: OutagePolicy

    async def decide(self, order: Routed) -> RiskDecision:
        """Return the service's decision, or the outage policy's when it does not answer. Never raises."""
        try:
            return await self.ask(order)
        except Exception as error:
            log.warning("fraud_service_unavailable", order_id=order.id, error=type(error).__name__)
            return self.outage.decide(order)
