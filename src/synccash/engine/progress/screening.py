"""Asks an external fraud service; what happens without its answer is the operator's choice."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from synccash.payments.lifecycle import Routed
from synccash.payments.payment import Payment
from synccash.payments.risk import RiskDecision, RiskOutcome

log = structlog.get_logger("synccash.risk")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutagePolicy:
    """What becomes of a payment or payout about which the service says nothing.

    `outcome` for all payments and `payouts` for all payouts, which nobody can take back; those above
    `decline_above` pesewas are declined whatever it is.
    """

    outcome: RiskOutcome = RiskOutcome.ALLOW
    payouts: RiskOutcome = RiskOutcome.REVIEW
    decline_above: int | None = None

    def decide(self, order: Routed) -> RiskDecision:
        """The decision in the service's place."""
        too_much = self.decline_above is not None and order.amount > self.decline_above
        usual = self.outcome if isinstance(order, Payment) else self.payouts
        outcome = RiskOutcome.DECLINE if too_much else usual
        return RiskDecision(outcome, ("fraud_service_unavailable",))


@dataclass(frozen=True, slots=True)
class Screening:
    """`ask` calls the service under its policy and raises when there is no answer to be had."""

    ask: Callable[[Routed], Awaitable[RiskDecision]]
    outage: OutagePolicy

    async def decide(self, order: Routed) -> RiskDecision:
        """The service's decision, or the operator's where it does not answer. Never raises."""
        try:
            return await self.ask(order)
        except Exception as error:
            log.warning("fraud_service_unavailable", order_id=order.id, error=type(error).__name__)
            return self.outage.decide(order)
