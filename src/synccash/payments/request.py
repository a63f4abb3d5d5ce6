"""Validated requests of merchants, and the merchants that make them."""

from dataclasses import dataclass, field
from enum import StrEnum

from synccash.payments.payer import Payer
from synccash.payments.payout import Payee


@dataclass(frozen=True, slots=True)
class Tenant:
    """A merchant in test or live mode. Tenants are isolated from each other."""

    merchant_id: str
    livemode: bool


class Role(StrEnum):
    """The role of an API key: merchant or operator."""

    MERCHANT = "merchant"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Origin:
    """What made an order: the id of the API key or operator, and the id of the request."""

    api_key_id: str | None = None
    request_id: str | None = None


UNKNOWN_ORIGIN = Origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRequest:
    """Collect `amount` pesewas from `payer`. `rail` pins one rail: no other rail is tried."""

    tenant: Tenant
    amount: int
    currency: str
    payer: Payer
    reference: str
    description: str | None = None
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    expires_in_s: int = 900
    rail: str | None = None
    origin: Origin = UNKNOWN_ORIGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRequest:
    """Refund `amount` pesewas of a payment; None = all that is left."""

    tenant: Tenant
    payment_id: str
    amount: int | None = None
    reason: str | None = None
    origin: Origin = UNKNOWN_ORIGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRequest:
    """Send `amount` pesewas to `payee`. `rail` pins one rail: no other rail is tried."""

    tenant: Tenant
    amount: int
    currency: str
    payee: Payee
    reference: str
    description: str | None = None
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    expires_in_s: int = 86_400
    rail: str | None = None
    origin: Origin = UNKNOWN_ORIGIN


@dataclass(frozen=True, slots=True)
class Reply:
    """The response to the caller: an HTTP status and a JSON body. `replayed`: the answer of an earlier
    request."""

    status: int
    body: bytes
    replayed: bool = False
