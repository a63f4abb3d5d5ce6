"""A payout: money sent to a wallet. It ends like a refund and looks for a rail like a payment."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from synccash.payments.failure import Failure
from synccash.payments.payer import Msisdn, Network
from synccash.payments.payment import OutgoingStatus, StatusDetail


@dataclass(frozen=True, slots=True)
class Payee:
    """The wallet to pay. `network` is None where nobody named one; `name` is its holder's."""

    msisdn: Msisdn
    network: Network | None = None
    name: str | None = field(default=None, repr=False)

    @property
    def likely_network(self) -> Network | None:
        """The network that was named, else the prefix hint."""
        return self.network or self.msisdn.network_hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """A payout as it stands. Amount in pesewas; `version` and `fence` as a payment's.

    After `expires_at` nothing is sent any more: money that comes too late is worse than an honest failure.
    """

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
    version: int = 1
    fence: int = 1
