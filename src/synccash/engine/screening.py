"""Asks an external fraud service; what happens without its answer is the operator's choice."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from synccash.payments.payment import Payment
from synccash.payments.risk import RiskDecision, RiskOutcome

log = structlog.get_logger("synccash.risk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What becomes of a payment about which the service says nothing.

    `outcome` for all of them; those above `decline_above` pesewas are declined whatever it is.
    """

    outcome: RiskOutcome = RiskOutcome.ALLOW
    decline_above: int | None = None

    def decide(self, payment: Payment) -> RiskDecision:
        """The decision in the service's place."""
        too_much = self.decline_above is not None and payment.amount > self.decline_above
        outcome = RiskOutcome.DECLINE if too_much else self.outcome
        return RiskDecision(outcome, ("fraud_service_unavailable",))


@dataclass(frozen=True, slots=True)
class Screening:
    """`ask` calls the service under its policy and raises when there is no answer to be had."""

    ask: Callable[[Payment], Awaitable[RiskDecision]]
    outage: Outage

    async def decide(self, payment: Payment) -> RiskDecision:
        """The service's decision, or the operator's where it does not answer. Never raises."""
        try:
            return await self.ask(payment)
        except Exception as error:
            log.warning("fraud_service_unavailable", payment_id=payment.id, error=type(error).__name__)
            return self.outage.decide(payment)
