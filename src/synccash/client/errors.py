"""The exceptions of the client.

SyncCashError
├── APIConnectionError              no response from the service: the request may have had an effect
├── APIError                        an error response (RFC 9457 problem)
│   ├── AuthenticationError             401: the key is missing, unknown, expired or revoked
│   ├── PermissionDeniedError           403: the key is not allowed to do this
│   │   ├── InsufficientScopeError          the key lacks the scope of the call
│   │   └── MerchantSuspendedError          the merchant cannot open new orders
│   ├── NotFoundError                   404
│   ├── ConflictError                   409: the object's state does not allow it
│   │   ├── InsufficientBalanceError        the balance does not cover it, and nothing was opened
│   │   ├── PaymentInFlightError            too late to cancel: money may already be moving
│   │   ├── ReferenceAlreadyUsedError       another order of the merchant has the reference
│   │   └── RequestInProgressError          the first request under the key is still running
│   ├── InvalidRequestError             400, 413, 415, 422: `errors` names each bad field
│   │   └── IdempotencyKeyReusedError       the key was used with another request
│   ├── RateLimitError                  429: retry after `retry_after` seconds
│   └── ServerError                     5xx
│       └── ServiceUnavailableError         503: the service cannot reach its database
└── WebhookVerificationError        the webhook's signature is invalid or too old

Each exception has its details as attributes and can be pickled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class SyncCashError(Exception):
    """The base class of all errors of this client."""


class APIConnectionError(SyncCashError):
    """The client received no response from the service.

    `sent` is False if the request was certainly not sent. `idempotency_key` is the key of a call that moves
    money: repeat the call with this key, and money moves once.
    """

    def __init__(self, reason: str, idempotency_key: str | None = None, *, sent: bool = True) -> None:
        super().__init__(reason, idempotency_key)
        self.reason = reason
        self.idempotency_key = idempotency_key
        self.sent = sent

    def __str__(self) -> str:
        return self.reason


class WebhookVerificationError(SyncCashError):
    """The signature, its time or the headers are invalid: do not trust the body."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field of the request. `field` is a dotted path."""

    field: str
    message: str


class APIError(SyncCashError):
    """An error response (RFC 9457 problem): distinguish errors by class or by `code`.

    `type` is the problem's URI, `detail` describes the error. `doc_url` is the page of its code, a path at
    the service. `retry_after` is in seconds. `idempotency_key` is the key of a call that moves money.
    `request_id` identifies the request in the service's logs.
    """

    def __init__(
        self,
        status: int,
        problem: Mapping[str, Any],
        idempotency_key: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(status, problem, idempotency_key, retry_after)
        self.status = status
        self.idempotency_key = idempotency_key
        self.type = _text(problem.get("type")) or "about:blank"
        self.code = _text(problem.get("code")) or "unknown"
        self.doc_url = _text(problem.get("doc_url"))
        self.title = _text(problem.get("title"))
        self.detail = _text(problem.get("detail"))
        self.instance = _text(problem.get("instance"))
        self.retryable = problem.get("retryable") is True
        wait = problem.get("retry_after")
        self.retry_after = float(wait) if isinstance(wait, int | float) else retry_after
        self.request_id = _text(problem.get("request_id"))
        self.errors = _fields(problem.get("errors"))
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.detail or self.title or 'an error without words'} (HTTP {self.status}, {self.code})"


class AuthenticationError(APIError):
    """The key is missing, unknown, expired or revoked."""


class PermissionDeniedError(APIError):
    """The key is not allowed to do this."""


class InsufficientScopeError(PermissionDeniedError):
    """The key lacks the scope that the call needs: use another key, or ask the operator for the scope."""

    @property
    def required_scope(self) -> str | None:
        """The scope that the call needs, such as `payouts:write`."""
        return _text(self.problem.get("required_scope"))


class MerchantSuspendedError(PermissionDeniedError):
    """The operator has suspended the merchant: open orders are completed, and new ones are rejected."""


class NotFoundError(APIError):
    """The merchant has no such object in the mode of the key."""


class ConflictError(APIError):
    """The object's state does not allow it."""


class InsufficientBalanceError(ConflictError):
    """The balance does not cover the refund or payout, which was not opened. The same call with the same key
    may succeed when the balance is higher."""

    @property
    def available(self) -> int | None:
        """The available balance, in pesewas."""
        return _number(self.problem.get("available"))

    @property
    def needed(self) -> int | None:
        """The balance that the call needs, its fee included, in pesewas."""
        return _number(self.problem.get("needed"))


class PaymentInFlightError(ConflictError):
    """Money may already be moving: wait for the outcome, then refund."""


class ReferenceAlreadyUsedError(ConflictError):
    """The reference belongs to another order, whose id is in `existing_id`."""

    @property
    def existing_id(self) -> str | None:
        """The id of the payment or payout that has the reference."""
        return _text(self.problem.get("payment_id")) or _text(self.problem.get("payout_id"))


class RequestInProgressError(ConflictError):
    """The first request with this idempotency key was still running at the time limit."""


class InvalidRequestError(APIError):
    """The request is invalid; `errors` has each invalid field."""


class IdempotencyKeyReusedError(InvalidRequestError):
    """The idempotency key was used with another request: use a new key for a new order."""


class RateLimitError(APIError):
    """Too many requests: retry after `retry_after` seconds."""


class ServerError(APIError):
    """The service failed. A call that moves money can be repeated with its idempotency key."""


class ServiceUnavailableError(ServerError):
    """The service cannot reach its database."""


_BY_CODE: Mapping[str, type[APIError]] = {
    "insufficient_balance": InsufficientBalanceError,
    "insufficient_scope": InsufficientScopeError,
    "merchant_suspended": MerchantSuspendedError,
    "payment_in_flight": PaymentInFlightError,
    "reference_already_used": ReferenceAlreadyUsedError,
    "idempotency_key_in_progress": RequestInProgressError,
    "idempotency_key_reused": IdempotencyKeyReusedError,
    "service_unavailable": ServiceUnavailableError,
}
_BY_STATUS: Mapping[int, type[APIError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidRequestError,
    415: InvalidRequestError,
    422: InvalidRequestError,
    429: RateLimitError,
}


def error_for(
    status: int, problem: Mapping[str, Any], idempotency_key: str | None, retry_after: float | None
) -> APIError:
    """Create the error for a problem, by its code, else by its status."""
    code = _text(problem.get("code")) or ""
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or (ServerError if status >= 500 else APIError)
    return kind(status, problem, idempotency_key, retry_after)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _fields(value: object) -> tuple[FieldError, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(
        FieldError(str(item.get("field")), str(item.get("message")))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        for item in value  # pyright: ignore[reportUnknownVariableType]
        if isinstance(item, dict)
    )
