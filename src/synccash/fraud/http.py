"""An external fraud service over HTTP: one question for each payment or payout, answered allow, review or
decline.

`POST {url}` with `{payment_id, merchant_id, reference, amount, currency, msisdn, network, livemode}`, amounts
in pesewas; 200 with `{"decision": "allow" | "review" | "decline", "reasons": ["…"]}`. Asking twice about one
`payment_id` is the same question, so it may be repeated. A payout is asked about with `payout_id` in place of
`payment_id` and `"operation": "payout"`; `msisdn` and `network` are its payee's. A service that knows only
payments refuses such a question, which is then answered as its outage is.
"""

from dataclasses import dataclass, field

import msgspec

from synccash.payments.lifecycle import Routed
from synccash.payments.payment import Payment
from synccash.payments.risk import RiskDecision, RiskOutcome
from synccash.rails.transport import Exchange, Transport
from synccash.resilience.evidence import Evidence


class FraudServiceError(Exception):
    """The service gave no decision. `evidence` says whether the question may have arrived."""

    def __init__(self, reason: str, evidence: Evidence) -> None:
        super().__init__(reason)
        self.evidence = evidence


class _Answer(msgspec.Struct):
    decision: RiskOutcome
    reasons: list[str] = msgspec.field(default_factory=list[str])


_decode = msgspec.json.Decoder(_Answer).decode


@dataclass(frozen=True, slots=True)
class FraudService:
    """Asks once. Raises FraudServiceError for whatever is not a decision."""

    url: str
    transport: Transport
    timeout_s: float
    key: str | None = field(default=None, repr=False)

    async def ask(self, order: Routed) -> RiskDecision:
        """Ask about a payment or payout."""
        if isinstance(order, Payment):
            wallet, named = order.payer, {"payment_id": order.id}
        else:
            wallet, named = order.payee, {"payout_id": order.id, "operation": "payout"}
        network = wallet.likely_network
        answer = await self.transport.request(
            "POST",
            self.url,
            headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
            json={
                **named,
                "merchant_id": order.merchant_id,
                "reference": order.reference,
                "amount": order.amount,
                "currency": order.currency,
                "msisdn": wallet.msisdn.digits,
                "network": network.value if network else None,
                "livemode": order.livemode,
            },
            timeout_s=self.timeout_s,
        )
        if not isinstance(answer, Exchange):
            raise FraudServiceError(f"no answer: {answer.fault.value}", answer.evidence)
        if answer.status != 200:
            raise FraudServiceError(f"HTTP {answer.status}", Evidence.AMBIGUOUS)
        try:
            told = _decode(answer.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FraudServiceError("the answer is no decision", Evidence.AMBIGUOUS) from error
        return RiskDecision(told.decision, tuple(f"fraud:{reason[:100]}" for reason in told.reasons[:20]))
