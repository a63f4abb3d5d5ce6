"""The SDK for merchants: `SyncCash`, `AsyncSyncCash` for asyncio, and `verify_webhook`."""

from typing import TYPE_CHECKING

from synccash.client.errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    RateLimitError,
    ServerError,
    SyncCashError,
    WebhookVerificationError,
)
from synccash.client.models import Page, Payment, Refund
from synccash.client.sync import SyncCash
from synccash.client.webhook import verify_webhook

if TYPE_CHECKING:
    from synccash.client.aio import AsyncSyncCash

__all__ = [
    "APIConnectionError",
    "APIError",
    "AsyncSyncCash",
    "AuthenticationError",
    "ConflictError",
    "InvalidRequestError",
    "NotFoundError",
    "Page",
    "Payment",
    "RateLimitError",
    "Refund",
    "ServerError",
    "SyncCash",
    "SyncCashError",
    "WebhookVerificationError",
    "verify_webhook",
]


def __getattr__(name: str) -> object:
    # aiohttp is loaded only for those who use it.
    if name == "AsyncSyncCash":
        from synccash.client.aio import AsyncSyncCash

        return AsyncSyncCash
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
