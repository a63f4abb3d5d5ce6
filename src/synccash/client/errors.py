"""What a call can end with.

SyncCashError
├── APIConnectionError              no answer of the service: nobody knows whether the request did something
├── APIError                        an answer that is a problem
│   ├── AuthenticationError             401: the key is missing, unknown or revoked
│   ├── PermissionDeniedError           403: the key may not do this
│   │   └── MerchantSuspendedError          nothing new starts for this merchant
│   ├── NotFoundError                   404
│   ├── ConflictError                   409: the object's state does not allow it
│   │   ├── InsufficientBalanceError        the balance does not cover it, and nothing was opened
│   │   ├── PaymentInFlightError            too late to cancel: money may already be moving
│   │   ├── ReferenceAlreadyUsedError       the reference belongs to another order, for ever
│   │   └── RequestInProgressError          the first request under the key is still running
│   ├── InvalidRequestError             400, 413, 415, 422: `errors` names each bad field
│   │   └── IdempotencyKeyReusedError       the key was used with another request
│   ├── RateLimitError                  429: come back after `retry_after` seconds
│   └── ServerError                     5xx
│       └── ServiceUnavailableError         503: the database is away, nothing was decided
└── WebhookVerificationError        a webhook that we did not sign, or not lately

Each keeps its facts as fields and survives pickling.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class SyncCashError(Exception):
    """The root of all errors of this client."""


class APIConnectionError(SyncCashError):
    """No answer of the service came.

    `sent` is False where the request certainly did not leave. `idempotency_key` is the key of a call that
    moves money: ask again under it, and money moves once.
    """

    def __init__(self, reason: str, idempotency_key: str | None = None, *, sent: bool = True) -> None:
        super().__init__(reason, idempotency_key)
        self.reason = reason
        self.idempotency_key = idempotency_key
        self.sent = sent

    def __str__(self) -> str:
        return self.reason


class WebhookVerificationError(SyncCashError):
    """The signature, its time or its headers are not right: do not believe the body."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that was refused. `field` is a dotted path."""

    field: str
    message: str


class APIError(SyncCashError):
    """A problem (RFC 9457) as the service tells it: switch on the class, or on `code`.

    `type` is the problem's URI, `detail` says in words what is wrong. `retry_after` is in seconds.
    `idempotency_key` is the key of a call that moves money. `request_id` finds the request in the logs.
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
    """The key is missing, unknown or revoked."""


class PermissionDeniedError(APIError):
    """The key may not do this."""


class MerchantSuspendedError(PermissionDeniedError):
    """The operator has suspended the merchant: what is open is finished, and nothing new starts."""


class NotFoundError(APIError):
    """No such object of this merchant in this mode."""


class ConflictError(APIError):
    """The object's state does not allow it."""


class InsufficientBalanceError(ConflictError):
    """The balance does not cover the refund or payout. Nothing was opened: the same call, under the same key,
    may succeed once the balance has grown."""

    @property
    def available(self) -> int | None:
        """What the balance covered, in pesewas."""
        return _number(self.problem.get("available"))

    @property
    def needed(self) -> int | None:
        """What it would have had to cover, its fee included, in pesewas."""
        return _number(self.problem.get("needed"))


class PaymentInFlightError(ConflictError):
    """Money may already be moving: wait for the outcome, then refund."""


class ReferenceAlreadyUsedError(ConflictError):
    """The reference belongs to another order, whose id is in `existing_id`."""

    @property
    def existing_id(self) -> str | None:
        """The order that has the reference: a payment, or a payout."""
        return _text(self.problem.get("payment_id")) or _text(self.problem.get("payout_id"))


class RequestInProgressError(ConflictError):
    """The first request under the key was still running when the time was up."""


class InvalidRequestError(APIError):
    """The request itself is wrong; `errors` names each field."""


class IdempotencyKeyReusedError(InvalidRequestError):
    """The key was used with another request: take a fresh one for a new order."""


class RateLimitError(APIError):
    """Too many requests; come back after `retry_after` seconds."""


class ServerError(APIError):
    """The service failed. What moves money may be asked again under its key."""


class ServiceUnavailableError(ServerError):
    """The service's database is out of reach."""


_BY_CODE: Mapping[str, type[APIError]] = {
    "insufficient_balance": InsufficientBalanceError,
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
    """Make the error that fits a problem: by its code, else by its status."""
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
