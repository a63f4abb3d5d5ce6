"""Data classes for payments, refunds, payouts and balances. Amounts are in pesewas.

`raw` is the JSON object of the response, which may have members that newer services add. A status or code
that this version does not know is kept as text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from synccash.client.decoding import Json, items, made, mapping, member, moment, one

PaymentStatus = Literal["created", "requires_action", "processing", "succeeded", "failed", "canceled"]
OutgoingStatus = Literal["processing", "succeeded", "failed"]
StatusDetail = Literal[
    "awaiting_payer", "outcome_unknown", "under_review", "risk_review", "queued", "expired"
]
Network = Literal["mtn", "telecel", "at"]
FailureCode = Literal[
    "insufficient_funds",
    "payer_timeout",
    "payer_declined",
    "otp_refused",
    "invalid_payer",
    "payer_limit_reached",
    "payer_account_blocked",
    "merchant_account_blocked",
    "float_too_low",
    "provider_account_blocked",
    "provider_unavailable",
    "provider_error",
    "risk_declined",
    "expired",
    "no_rail_available",
    "amount_not_allowed",
]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an order failed: distinguish failures by `code`."""

    code: FailureCode
    category: str
    message: str
    whose_problem: Literal["payer", "merchant", "provider", "us"]
    provider_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of an order at one rail. The rail's statement shows `reference`."""

    id: str
    rail: str
    operation: Literal["collect", "refund", "payout"]
    reference: str
    state: Literal["prepared", "acknowledged", "succeeded", "declined", "not_sent", "unknown"]
    evidence: str | None = None
    latency_ms: int | None = None
    provider_code: str | None = None
    retry_decision: str | None = None
    error: Failure | None = None
    started_at: datetime

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Decode an attempt."""
        return made(cls, raw, error=one(Failure, member(raw, "error")), started_at=moment(raw, "started_at"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """The wallet that pays. `network` is derived from the number if the merchant did not give it."""

    msisdn: str = field(repr=False)
    network: Network | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payee:
    """The wallet that receives a payout."""

    msisdn: str = field(repr=False)
    network: Network | None = None
    name: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextAction:
    """What the payer has to do now. `display_text` is the rail's text for the payer."""

    type: Literal["approve_on_phone", "submit_otp", "dial_ussd"]
    display_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment. Act only on `status`: a missing response does not mean that it failed."""

    PATH: ClassVar[str] = "/payments"

    id: str
    status: PaymentStatus
    status_detail: StatusDetail | None = None
    reference: str
    amount: int
    amount_received: int
    amount_refunded: int
    currency: str
    payer: Payer
    rail: str | None = None
    provider_transaction_id: str | None = None
    next_action: NextAction | None = None
    last_error: Failure | None = None
    attempts: tuple[Attempt, ...] = ()
    routing: Json | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    version: int
    livemode: bool
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    replayed: bool = False
    """True if this is the response of an earlier request with the same key. `get_payment` reads the current
    state."""
    raw: Json = field(repr=False, compare=False)

    @property
    def ended(self) -> bool:
        """True when the status is final."""
        return self.status in ("succeeded", "failed", "canceled")

    @property
    def needs_otp(self) -> bool:
        """True while the payment waits for the payer's one-time password: see `submit_otp`."""
        return self.next_action is not None and self.next_action.type == "submit_otp"

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Decode a payment."""
        return made(
            cls,
            raw,
            payer=made(Payer, member(raw, "payer")),
            next_action=one(NextAction, member(raw, "next_action")),
            expires_at=moment(raw, "expires_at"),
            **_order(raw),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """A refund of a payment to the payer."""

    PATH: ClassVar[str] = "/refunds"

    id: str
    payment_id: str
    status: OutgoingStatus
    status_detail: StatusDetail | None = None
    amount: int
    currency: str
    reason: str | None = None
    rail: str | None = None
    last_error: Failure | None = None
    attempts: tuple[Attempt, ...] = ()
    version: int
    livemode: bool
    created_at: datetime
    updated_at: datetime
    replayed: bool = False
    raw: Json = field(repr=False, compare=False)

    @property
    def ended(self) -> bool:
        """True when the status is final."""
        return self.status in ("succeeded", "failed")

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Decode a refund."""
        return made(cls, raw, **_order(raw))


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """A payout to a wallet. Act only on `status`: a missing response does not mean that it failed."""

    PATH: ClassVar[str] = "/payouts"

    id: str
    status: OutgoingStatus
    status_detail: StatusDetail | None = None
    reference: str
    amount: int
    currency: str
    payee: Payee
    rail: str | None = None
    provider_transaction_id: str | None = None
    last_error: Failure | None = None
    attempts: tuple[Attempt, ...] = ()
    routing: Json | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    version: int
    livemode: bool
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    replayed: bool = False
    raw: Json = field(repr=False, compare=False)

    @property
    def ended(self) -> bool:
        """True when the status is final."""
        return self.status in ("succeeded", "failed")

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Decode a payout."""
        payee = made(Payee, member(raw, "payee"))
        return made(cls, raw, payee=payee, expires_at=moment(raw, "expires_at"), **_order(raw))


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The merchant's balance, in pesewas: `available` is `collected` + `credit` - `refunded` - `paid_out` -
    `reserved` - `fees`. `reserved` is the amount that open refunds and payouts may still send."""

    merchant_id: str
    livemode: bool
    currency: str
    available: int
    reserved: int
    collected: int
    refunded: int
    paid_out: int
    credit: int
    fees: int
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Decode a balance."""
        return made(cls, raw, raw=raw)


Order = TypeVar("Order", Payment, Refund, Payout)


def goes_on(order: Payment | Refund | Payout) -> bool:
    """Return True if an order has not ended and does not wait for a one-time password."""
    return not order.ended and not (isinstance(order, Payment) and order.needs_otp)


def _order(raw: Any) -> dict[str, Any]:
    """Decode the members that payments, refunds and payouts have in common and that need decoding."""
    return {
        "last_error": one(Failure, member(raw, "last_error")),
        "attempts": tuple(Attempt.of(attempt) for attempt in items(raw, "attempts")),
        "created_at": moment(raw, "created_at"),
        "updated_at": moment(raw, "updated_at"),
        "raw": raw,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One entry of a payment's timeline; the members of `facts` depend on `kind`."""

    at: datetime
    kind: str
    facts: Json

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Decode a timeline entry."""
        facts = {name: value for name, value in mapping(raw).items() if name not in ("at", "kind")}
        return made(cls, raw, at=moment(raw, "at"), facts=facts)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list: iterate over it, or read `data`. Pass `next` as `after` for the next page."""

    data: tuple[T, ...]
    has_more: bool
    next: str | None

    def __iter__(self) -> Iterator[T]:
        return iter(self.data)
