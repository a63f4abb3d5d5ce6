"""A payout: money sent to a wallet. It has the statuses of a refund and is routed like a payment."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from synccash.payments.failure import Failure
from synccash.payments.payer import Msisdn, Network
from synccash.payments.payment import OrderKind, OutgoingStatus, StatusDetail
from synccash.payments.rail import Operation


@dataclass(frozen=True, slots=True)
class Payee:
    """The wallet to pay. `network` is None when the request names none; `name` is the wallet holder's."""

    msisdn: Msisdn
    network: Network | None = None
    name: str | None = field(default=None, repr=False)

    @property
    def likely_network(self) -> Network | None:
        """The network of the request, else the prefix hint."""
        return self.network or self.msisdn.network_hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """The current state of a payout. Amount in pesewas; `version`, `fence`, `api_key_id` and `request_id` as
    in Payment.

    After `expires_at` nothing is sent: a late payout is worse than a reported failure.
    """

    kind: ClassVar = OrderKind.PAYOUT
    operation: ClassVar = Operation.PAYOUT
    takes_from_balance: ClassVar = True
    is_stopped_by_suspension: ClassVar = True

    id: str
    merchant_id: str
    livemode: bool
    reference: str
    amount: int
    currency: str
    payee: Payee
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    status: OutgoingStatus = OutgoingStatus.PROCESSING
    status_detail: StatusDetail | None = None
    pinned_rail: str | None = None
    rail: str | None = None
    provider_transaction_id: str | None = None
    last_error: Failure | None = None
    attempt_count: int = 0
    description: str | None = None
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    routing: dict[str, Any] = field(default_factory=dict[str, Any])
    api_key_id: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    version: int = 1
    fence: int = 1

    @property
    def wallet(self) -> Payee:
        """The wallet that is paid."""
        return self.payee
