"""What a call can end with.

SyncCashError
├── APIConnectionError      no answer: nobody knows whether the request arrived; its key makes a repeat safe
├── APIError                an answer that is a problem
│   ├── AuthenticationError     401, 403
│   ├── NotFoundError           404
│   ├── ConflictError           409
│   ├── InvalidRequestError     400, 413, 415, 422
│   ├── RateLimitError          429
│   └── ServerError             5xx
└── WebhookVerificationError    a webhook that we did not sign, or not lately
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class SyncCashError(Exception):
    """The root of all errors of this client."""


class APIConnectionError(SyncCashError):
    """No answer came. The idempotency key of the call is in `idempotency_key`: repeat it under that key."""

    def __init__(self, reason: str, idempotency_key: str | None) -> None:
        super().__init__(reason)
        self.idempotency_key = idempotency_key


class WebhookVerificationError(SyncCashError):
    """The signature, its time or its headers are not right: do not believe the body."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that was refused. `field` is a dotted path."""

    field: str
    message: str


class APIError(SyncCashError):
    """A problem (RFC 9457) as the service tells it.

    `retry_after` is in seconds. `payment_id` is there where the reference belongs to another payment.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or f"HTTP {status}"))
        self.status = status
        self.code = str(problem.get("code") or "unknown")
        self.retryable = problem.get("retryable") is True
        wait = problem.get("retry_after")
        self.retry_after = float(wait) if isinstance(wait, int | float) else None
        self.request_id = _text(problem.get("request_id"))
        self.payment_id = _text(problem.get("payment_id"))
        self.errors = _fields(problem.get("errors"))


class AuthenticationError(APIError):
    """The key is missing, unknown, or may not do this."""


class NotFoundError(APIError):
    """No such object of this merchant."""


class ConflictError(APIError):
    """The object's state does not allow it, or the first request under the key is still running."""


class InvalidRequestError(APIError):
    """The request itself is wrong; `errors` names each field."""


class RateLimitError(APIError):
    """Too many requests; come back after `retry_after` seconds."""


class ServerError(APIError):
    """The service cannot answer now. Repeating the call under its key is safe."""


_BY_STATUS: dict[int, type[APIError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidRequestError,
    415: InvalidRequestError,
    422: InvalidRequestError,
    429: RateLimitError,
}


def error_for(status: int, problem: Mapping[str, Any]) -> APIError:
    """Make the error that fits a status."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else APIError)(status, problem)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _fields(value: object) -> Sequence[FieldError]:
    if not isinstance(value, list):
        return ()
    return tuple(
        FieldError(str(item.get("field")), str(item.get("message")))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        for item in value  # pyright: ignore[reportUnknownVariableType]
        if isinstance(item, dict)
    )
