"""What the service answers. Amounts in pesewas; times as RFC 3339 text. `raw` has every field."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

PaymentStatus = Literal["created", "requires_action", "processing", "succeeded", "failed", "canceled"]
RefundStatus = Literal["processing", "succeeded", "failed"]
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an order failed: switch on `code`."""

    code: str
    category: str
    message: str
    whose_problem: str

    @classmethod
    def of(cls, raw: Json | None) -> "Problem | None":
        """Read `last_error`."""
        return None if raw is None else cls(*(raw[name] for name in cls.__slots__))


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment. Act on `status`: silence never means failed."""

    id: str
    status: PaymentStatus
    status_detail: str | None
    reference: str
    amount: int
    amount_received: int
    amount_refunded: int
    currency: str
    rail: str | None
    provider_transaction_id: str | None
    next_action: str | None
    last_error: Problem | None
    metadata: Mapping[str, str]
    version: int
    livemode: bool
    created_at: str
    expires_at: str
    replayed: bool = False
    raw: Json = field(repr=False, default_factory=dict[str, Any])

    @property
    def ended(self) -> bool:
        """True once nothing changes any more."""
        return self.status in ("succeeded", "failed", "canceled")

    @classmethod
    def of(cls, raw: Json, *, replayed: bool = False) -> "Payment":
        """Read a payment."""
        action: Json | None = raw["next_action"]
        plain = {name: raw[name] for name in _PLAIN}
        return cls(
            **plain,
            next_action=action["type"] if action else None,
            last_error=Problem.of(raw["last_error"]),
            replayed=replayed,
            raw=raw,
        )


_PLAIN = (
    "id",
    "status",
    "status_detail",
    "reference",
    "amount",
    "amount_received",
    "amount_refunded",
    "currency",
    "rail",
    "provider_transaction_id",
    "metadata",
    "version",
    "livemode",
    "created_at",
    "expires_at",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Money on its way back to the payer."""

    id: str
    payment_id: str
    status: RefundStatus
    status_detail: str | None
    amount: int
    currency: str
    last_error: Problem | None
    version: int
    replayed: bool = False
    raw: Json = field(repr=False, default_factory=dict[str, Any])

    @property
    def ended(self) -> bool:
        """True once nothing changes any more."""
        return self.status != "processing"

    @classmethod
    def of(cls, raw: Json, *, replayed: bool = False) -> "Refund":
        """Read a refund."""
        names = ("id", "payment_id", "status", "status_detail", "amount", "currency", "version")
        plain = {name: raw[name] for name in names}
        return cls(**plain, last_error=Problem.of(raw["last_error"]), replayed=replayed, raw=raw)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `next` continues it."""

    payments: tuple[Payment, ...]
    has_more: bool
    next: str | None

    def __iter__(self) -> Iterator[Payment]:
        return iter(self.payments)

    @classmethod
    def of(cls, raw: Json) -> "Page":
        """Read a page."""
        return cls(tuple(Payment.of(item) for item in raw["data"]), raw["has_more"], raw["next"])
