"""Payments and refunds: their values and statuses. `transitions` has the allowed status changes."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from synccash.payments.failure import Failure
from synccash.payments.payer import Payer
from synccash.payments.rail import NextAction, Operation


class OrderKind(StrEnum):
    """The kind of an order, as event types and answers name it."""

    PAYMENT = "payment"
    REFUND = "refund"
    PAYOUT = "payout"


class PaymentStatus(StrEnum):
    """The status that a merchant may act on. A rail that does not answer never makes a payment failed."""

    CREATED = "created"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        """True for the final statuses, which never change."""
        return self in _FINAL


class StatusDetail(StrEnum):
    """The reason for the current status."""

    AWAITING_PAYER = "awaiting_payer"
    OUTCOME_UNKNOWN = "outcome_unknown"
    UNDER_REVIEW = "under_review"
    RISK_REVIEW = "risk_review"
    QUEUED = "queued"
    EXPIRED = "expired"


_FINAL = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.FAILED, PaymentStatus.CANCELED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """The current state of a payment. Amounts in pesewas; `version` counts its commits from 1.

    `paid_by` is the id of the attempt that paid a succeeded payment; None in rows written before the field
    was added. `fence` counts the leases of the payment: a holder may write only while the fence is the one of
    its lease. `api_key_id` and `request_id` name the API key and the request that made the payment; None in
    rows of former versions. `traceparent` names the trace that it was opened in, if traces are on.
    """

    kind: ClassVar = OrderKind.PAYMENT
    operation: ClassVar = Operation.COLLECT
    takes_from_balance: ClassVar = False
    is_stopped_by_suspension: ClassVar = True

    id: str
    merchant_id: str
    livemode: bool
    reference: str
    amount: int
    currency: str
    payer: Payer
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    status: PaymentStatus = PaymentStatus.CREATED
    status_detail: StatusDetail | None = None
    pinned_rail: str | None = None
    rail: str | None = None
    provider_transaction_id: str | None = None
    paid_by: str | None = None
    next_action: NextAction | None = None
    last_error: Failure | None = None
    amount_received: int = 0
    amount_refunded: int = 0
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
    def wallet(self) -> Payer:
        """The wallet that pays."""
        return self.payer


class OutgoingStatus(StrEnum):
    """The status of a refund or a payout."""

    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """True for the final statuses, which never change."""
        return self is not OutgoingStatus.PROCESSING


RefundStatus = OutgoingStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Money returned to the payer. `attempt_id` names the attempt whose debit is returned. Amount in pesewas.

    `surplus`: the debit was not needed for the payment; the engine, not the merchant, opened this refund, and
    at most one surplus refund of a debit has not failed. `exclusive`: the rail cannot tell two refunds of a
    debit apart, so only one runs at a time. `identity` names the refund among those of its payment, also
    after its row is lost: the merchant's idempotency key, or the surplus debit and how many refunds of it had
    failed. None in rows of former versions. `api_key_id` and `request_id` as in Payment; of a surplus refund
    they are the operator's, and None if the engine opened it by itself. A refund never expires: the money
    stays owed to the payer.
    """

    kind: ClassVar = OrderKind.REFUND
    operation: ClassVar = Operation.REFUND
    expires_at: ClassVar = None

    id: str
    merchant_id: str
    livemode: bool
    payment_id: str
    attempt_id: str
    amount: int
    currency: str
    created_at: datetime
    updated_at: datetime
    status: RefundStatus = RefundStatus.PROCESSING
    status_detail: StatusDetail | None = None
    rail: str | None = None
    reason: str | None = None
    last_error: Failure | None = None
    surplus: bool = False
    exclusive: bool = False
    identity: str | None = None
    api_key_id: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    version: int = 1
    fence: int = 1

    @property
    def takes_from_balance(self) -> bool:
        """True when the amount leaves the merchant's balance. A surplus was never part of it."""
        return not self.surplus

    @property
    def is_stopped_by_suspension(self) -> bool:
        """True when a suspended merchant cannot open the refund. A surplus goes back in any case."""
        return not self.surplus
