"""A payment, a refund and an attempt to begin with, for tests of the pure parts."""

from datetime import UTC, datetime, timedelta

from synccash.payments.attempt import Attempt
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.payment import Payment, Refund
from synccash.payments.payout import Payee, Payout
from synccash.payments.rail import Operation, RailAccount

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PREPARED = Attempt(
    id="att_1",
    order_id="pay_1",
    sequence=1,
    operation=Operation.COLLECT,
    account=RailAccount(
        rail="mtn_momo", account="main", base_url="http://rail", target_environment="sandbox"
    ),
    reference="00000000-0000-4000-8000-000000000000",
    callback_token="token",
    amount=2500,
    opened_fence=1,
    started_at=NOW,
)
NO_FUNDS = Failure(FailureCode.INSUFFICIENT_FUNDS)

PAYMENT = Payment(
    id="pay_1",
    merchant_id="m_1",
    livemode=False,
    reference="order 1",
    amount=2500,
    currency="GHS",
    payer=Payer(Msisdn.parse("0241234567")),
    created_at=NOW,
    updated_at=NOW,
    expires_at=NOW + timedelta(seconds=900),
)
REFUND = Refund(
    id="re_1",
    merchant_id="m_1",
    livemode=False,
    payment_id="pay_1",
    attempt_id="att_1",
    amount=2500,
    currency="GHS",
    created_at=NOW,
    updated_at=NOW,
)
PAYOUT = Payout(
    id="po_1",
    merchant_id="m_1",
    livemode=False,
    reference="wages 1",
    amount=2500,
    currency="GHS",
    payee=Payee(Msisdn.parse("0201234567"), name="Ama"),
    created_at=NOW,
    updated_at=NOW,
    expires_at=NOW + timedelta(days=1),
)
