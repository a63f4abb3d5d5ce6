"""Client of an external fraud service over HTTP: one request for each payment or payout, answered with allow,
review or decline.

`POST {url}` with `{payment_id, merchant_id, reference, amount, currency, msisdn, network, livemode}`, amounts
in pesewas; 200 with `{"decision": "allow" | "review" | "decline", "reasons": ["…"]}`. A request about the
same `payment_id` is idempotent, so it may be repeated. A payout has `payout_id` in place of `payment_id`, and
`"operation": "payout"`; `msisdn` and `network` are its payee's. A service that supports only payments refuses
it, which is then handled like an outage.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from synccash.payments.case import Routed
from synccash.payments.payment import OrderKind
from synccash.payments.risk import RiskDecision, RiskOutcome
from synccash.rails.authorization import bearer_authorization
from synccash.rails.http.transport import Exchange, Transport
from synccash.resilience.evidence import Evidence
from synccash.settings.secret import Secret, SecretUrl


class FraudServiceError(Exception):
    """The service returned no decision. `evidence` says whether the request may have arrived."""

    def __init__(self, reason: str, evidence: Evidence) -> None:
        super().__init__(reason)
        self.evidence = evidence


class _FraudAnswer(msgspec.Struct):
    decision: RiskOutcome
    reasons: list[str] = msgspec.field(default_factory=list[str])


# Payments were there first: a request about one has no field for it.
_KIND_FIELDS: Mapping[OrderKind, Mapping[str, str]] = {
    OrderKind.PAYMENT: {},
    OrderKind.PAYOUT: {"operation": "payout"},
}
_decode = msgspec.json.Decoder(_FraudAnswer).decode


@dataclass(frozen=True, slots=True)
class FraudService:
    """Sends one request per order. Raises FraudServiceError for every result that is not a decision."""

    url: SecretUrl
    transport: Transport
    timeout_s: float
    key: Secret | None = None

    async def ask(self, order: Routed) -> RiskDecision:
        """Return the decision about a payment or payout."""
        wallet, network = order.wallet, order.wallet.likely_network
        answer = await self.transport.request(
            "POST",
            self.url.reveal(),
            headers={"Authorization": bearer_authorization(self.key)} if self.key else {},
            json={
                f"{order.kind}_id": order.id,
                **_KIND_FIELDS[order.kind],
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
            decoded = _decode(answer.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FraudServiceError("the answer is not a valid decision", Evidence.AMBIGUOUS) from error
        return RiskDecision(
            decoded.decision, tuple(f"fraud:{reason[:100]}" for reason in decoded.reasons[:20])
        )
