"""The Python SDK for merchants: `SyncCash`, `AsyncSyncCash`, `verify_webhook` and
`answer_challenge`. See docs/client.md."""

from typing import TYPE_CHECKING

from synccash.client.errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    ConflictError,
    FieldError,
    IdempotencyKeyReusedError,
    InsufficientBalanceError,
    InsufficientScopeError,
    InvalidRequestError,
    MerchantSuspendedError,
    NotFoundError,
    PaymentInFlightError,
    PermissionDeniedError,
    RateLimitError,
    ReferenceAlreadyUsedError,
    RequestInProgressError,
    ServerError,
    ServiceUnavailableError,
    SyncCashError,
    WebhookVerificationError,
)
from synccash.client.events import Event, Health, Redelivery, WebhookEndpoint
from synccash.client.models import (
    Attempt,
    Balance,
    Failure,
    NextAction,
    Page,
    Payee,
    Payer,
    Payment,
    Payout,
    Refund,
    TimelineEntry,
)
from synccash.client.sync import SyncCash
from synccash.client.webhook import answer_challenge, verify_webhook
from synccash.resilience.deadline import deadline

if TYPE_CHECKING:
    from synccash.client.aio import AsyncSyncCash

__all__ = [
    "APIConnectionError",
    "APIError",
    "AsyncSyncCash",
    "Attempt",
    "AuthenticationError",
    "Balance",
    "ConflictError",
    "Event",
    "Failure",
    "FieldError",
    "Health",
    "IdempotencyKeyReusedError",
    "InsufficientBalanceError",
    "InsufficientScopeError",
    "InvalidRequestError",
    "MerchantSuspendedError",
    "NextAction",
    "NotFoundError",
    "Page",
    "Payee",
    "Payer",
    "Payment",
    "PaymentInFlightError",
    "Payout",
    "PermissionDeniedError",
    "RateLimitError",
    "Redelivery",
    "ReferenceAlreadyUsedError",
    "Refund",
    "RequestInProgressError",
    "ServerError",
    "ServiceUnavailableError",
    "SyncCash",
    "SyncCashError",
    "TimelineEntry",
    "WebhookEndpoint",
    "WebhookVerificationError",
    "answer_challenge",
    "deadline",
    "verify_webhook",
]


def __getattr__(name: str) -> object:
    # AsyncSyncCash is imported only when it is used, because it needs aiohttp.
    if name == "AsyncSyncCash":
        from synccash.client.aio import AsyncSyncCash

        return AsyncSyncCash
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
