"""Payments, refunds and payouts as the service answers them. Amounts in pesewas; `raw` has every member.

What a later service adds is in `raw`; a status or a code that is unknown here comes through as its text.
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
    """Why an order failed: switch on `code`."""

    code: FailureCode
    category: str
    message: str
    whose_problem: Literal["payer", "merchant", "provider", "us"]
    provider_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One reference at one rail. `reference` is what the rail's statement shows."""

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
        """Read an attempt."""
        return made(cls, raw, error=one(Failure, member(raw, "error")), started_at=moment(raw, "started_at"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """Who pays. `network` is a guess from the number where the merchant named none."""

    msisdn: str = field(repr=False)
    network: Network | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payee:
    """Who is paid."""

    msisdn: str = field(repr=False)
    network: Network | None = None
    name: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextAction:
    """What the payer has to do now. `display_text` is the rail's own wording for him."""

    type: Literal["approve_on_phone", "submit_otp", "dial_ussd"]
    display_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment. Act on `status`: silence never means failed."""

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
    """True: the answer of an earlier request under the same key. `get_payment` shows the present."""
    raw: Json = field(repr=False, compare=False)

    @property
    def ended(self) -> bool:
        """True once nothing changes any more."""
        return self.status in ("succeeded", "failed", "canceled")

    @property
    def needs_otp(self) -> bool:
        """True while the payer's one-time password is waited for: see `submit_otp`."""
        return self.next_action is not None and self.next_action.type == "submit_otp"

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Read a payment."""
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
    """Money on its way back to the payer."""

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
        """True once nothing changes any more."""
        return self.status in ("succeeded", "failed")

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Read a refund."""
        return made(cls, raw, **_order(raw))


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """Money sent to a wallet. Act on `status`: silence never means failed."""

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
        """True once nothing changes any more."""
        return self.status in ("succeeded", "failed")

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Read a payout."""
        payee = made(Payee, member(raw, "payee"))
        return made(cls, raw, payee=payee, expires_at=moment(raw, "expires_at"), **_order(raw))


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What may be refunded or paid out, in pesewas: `available` is `collected` + `credit` - `refunded` -
    `paid_out` - `reserved` - `fees`. `reserved` is what open refunds and payouts may still send."""

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
        """Read a balance."""
        return made(cls, raw, raw=raw)


Order = TypeVar("Order", Payment, Refund, Payout)


def goes_on(order: Payment | Refund | Payout) -> bool:
    """True while time alone may change an order: it has not ended, and nobody is waited for here."""
    return not order.ended and not (isinstance(order, Payment) and order.needs_otp)


def _order(raw: Any) -> dict[str, Any]:
    """What payments, refunds and payouts have in common, where it is more than a plain member."""
    return {
        "last_error": one(Failure, member(raw, "last_error")),
        "attempts": tuple(Attempt.of(attempt) for attempt in items(raw, "attempts")),
        "created_at": moment(raw, "created_at"),
        "updated_at": moment(raw, "updated_at"),
        "raw": raw,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One thing that was decided about a payment; `facts` depend on its `kind`."""

    at: datetime
    kind: str
    facts: Json

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Read a line of a timeline."""
        facts = {name: value for name, value in mapping(raw).items() if name not in ("at", "kind")}
        return made(cls, raw, at=moment(raw, "at"), facts=facts)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list: go through it, or look at `data`. `next` continues it."""

    data: tuple[T, ...]
    has_more: bool
    next: str | None

    def __iter__(self) -> Iterator[T]:
        return iter(self.data)
