"""What a merchant asks for, already read and checked."""

from dataclasses import dataclass, field
from enum import StrEnum

from synccash.payments.payer import Payer
from synccash.payments.payout import Payee


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose money it is: a merchant, in test or live mode. Nothing of one is ever seen by another."""

    merchant_id: str
    livemode: bool


class Role(StrEnum):
    """What a key may do: a merchant's own business, or the operator's."""

    MERCHANT = "merchant"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling. `tenant` is None for the operator, who belongs to no merchant."""

    key_id: str
    role: Role
    tenant: Tenant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRequest:
    """Collect `amount` pesewas from `payer`. `rail` pins one rail: no other is tried."""

    tenant: Tenant
    amount: int
    currency: str
    payer: Payer
    reference: str
    description: str | None = None
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    expires_in_s: int = 900
    rail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRequest:
    """Give back `amount` pesewas of a payment; None = all that is left."""

    tenant: Tenant
    payment_id: str
    amount: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRequest:
    """Send `amount` pesewas to `payee`. `rail` pins one rail: no other is tried."""

    tenant: Tenant
    amount: int
    currency: str
    payee: Payee
    reference: str
    description: str | None = None
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    expires_in_s: int = 86_400
    rail: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What the caller is told: an HTTP status and a JSON body. `replayed`: an earlier request's answer."""

    status: int
    body: bytes
    replayed: bool = False
