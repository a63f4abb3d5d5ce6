"""Renders every error response of the service as `application/problem+json` (RFC 9457)."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import msgspec
import structlog

from synccash.api.request_context import INTERNAL_ERROR, REQUEST_ID
from synccash.middleware.authentication import UNAVAILABLE
from synccash.middleware.refusal import REFUSAL_CODE, Refusal, Scope, Send, title_of
from synccash.payments.approval import AlreadyWaitingError, OperatorNeededError, SecondOperatorError
from synccash.payments.errors import (
    EndpointLimitError,
    InsufficientBalanceError,
    KeyInProgressError,
    KeyReusedError,
    MerchantSuspendedError,
    NoRailForModeError,
    ObjectNotFoundError,
    OrderUnreadableError,
    OtpTriesExceededError,
    PaymentError,
    PaymentInFlightError,
    ReferenceAlreadyUsedError,
    StateConflictError,
    StoreUnavailableError,
)
from synccash.payments.operator import SignInRefusedError, SignInThrottledError
from synccash.payments.webhook import MAX_ENDPOINTS

log = structlog.get_logger("synccash.api")
MEDIA_TYPE = "application/problem+json"
PROBLEMS_PATH = "/docs/problems"
"""The page of all codes: `openapi/problems_page.py`."""
_encode = msgspec.json.Encoder().encode


class ProblemError(Exception):
    """Ends a request with a problem response. The API's handlers and dependencies raise it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


async def refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Send a problem response. Middleware and handlers both use it."""
    headers, body = rendered(scope, refusal)
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def rendered(scope: Scope, refusal: Refusal) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a problem response; store its code in the scope."""
    scope[REFUSAL_CODE] = refusal.code
    headers = {"Content-Type": MEDIA_TYPE, **refusal.headers}
    wait_s = None if refusal.retry_after_s is None else max(1, math.ceil(refusal.retry_after_s))
    if wait_s is not None:
        headers["Retry-After"] = str(wait_s)
    document = {
        "type": f"urn:synccash:problem:{refusal.code}",
        "title": title_of(refusal.status),
        "status": refusal.status,
        "detail": refusal.detail,
        "instance": _path(scope),
        "code": refusal.code,
        "doc_url": f"{PROBLEMS_PATH}#{refusal.code}",
        "retryable": refusal.retryable,
        "retry_after": wait_s,
        "request_id": scope.get(REQUEST_ID),
        "errors": [{"field": name, "message": message} for name, message in refusal.errors],
        **refusal.members,
    }
    return headers, _encode(document)


def invalid(*errors: tuple[str, str]) -> ProblemError:
    """Return a 422 error that lists each invalid field with its reason."""
    detail = "; ".join(f"{name}: {message}" if name else message for name, message in errors[:3])
    return ProblemError(Refusal(status=422, code="invalid_request", detail=detail, errors=errors))


def malformed(detail: str, code: str = "malformed_request") -> ProblemError:
    """Return a 400 error for a request that cannot be parsed."""
    return ProblemError(Refusal(status=400, code=code, detail=detail))


def not_found(detail: str) -> Refusal:
    """Return a 404. An object of another merchant gets the same text as one that does not exist."""
    return Refusal(status=404, code="not_found", detail=detail)


def no_route(scope: Scope) -> Refusal:
    """Return the 404 for a request whose method and path match no route."""
    return not_found(f"No route matches {scope['method']} {_path(scope)}. See /docs.")


def _path(scope: Scope) -> str:
    return scope.get("raw_path", b"/").decode("ascii", "replace")


_FIXED: Mapping[type, Refusal] = MappingProxyType(
    {
        KeyReusedError: Refusal(
            status=422,
            code="idempotency_key_reused",
            detail="This Idempotency-Key was already used with a different request. "
            "Use a new key for a new request.",
        ),
        PaymentInFlightError: Refusal(
            status=409,
            code="payment_in_flight",
            detail="The payment cannot be canceled: an attempt may already be moving money. "
            "Wait for the outcome; if the payment succeeds, refund it.",
        ),
        MerchantSuspendedError: Refusal(
            status=403,
            code="merchant_suspended",
            detail="This merchant is suspended: open orders are completed, but no new ones are accepted. "
            "Contact the operator.",
        ),
        EndpointLimitError: Refusal(
            status=409,
            code="webhook_endpoint_limit",
            detail=f"There are already {MAX_ENDPOINTS} webhook endpoints, the maximum per merchant "
            "and mode. To add another, delete one that is not needed, or change its URL and types.",
        ),
        SignInRefusedError: Refusal(
            status=401,
            code="sign_in_refused",
            detail="The sign-in was refused: the name, the password or the code is wrong or expired, or "
            "the code was used before.",
            headers={"WWW-Authenticate": "Bearer"},
        ),
        StoreUnavailableError: UNAVAILABLE,
    }
)
"""The problems of errors that say the same each time."""


def refusal_of(error: Exception) -> Refusal:
    """Return the problem that answers an error of a handler. Logs an unexpected one with its traceback; the
    log line holds no request data."""
    if isinstance(error, ProblemError):
        return error.refusal
    if isinstance(error, PaymentError):
        return of_engine(error)
    log.error("request_failed", error=type(error).__name__, exc_info=error)
    return INTERNAL_ERROR


def of_engine(error: PaymentError) -> Refusal:
    """Return the problem that reports an error of the engine."""
    for kind in type(error).__mro__:
        if kind in _FIXED:
            return _FIXED[kind]
    match error:
        case ObjectNotFoundError():
            return not_found(
                f"No {error.kind} with this id was found. Check the id, and that the key has the right mode."
            )
        case KeyInProgressError():
            return Refusal(
                status=409,
                code="idempotency_key_in_progress",
                detail="The first request with this Idempotency-Key is still running. "
                "Retry after Retry-After seconds.",
                retryable=True,
                retry_after_s=error.retry_after_s,
            )
        case ReferenceAlreadyUsedError():
            return Refusal(
                status=409,
                code="reference_already_used",
                detail=_used_reference(error),
                members={f"{error.kind}_id": error.order_id},
            )
        case NoRailForModeError():
            return Refusal(status=422, code="no_rail_for_mode", detail=str(error))
        case OtpTriesExceededError():
            return Refusal(
                status=409,
                code="otp_tries_exceeded",
                detail=f"{error.tries} one-time passwords were submitted for this payment, the most that it "
                "takes; this one was not. Wait for the payment's outcome, or open a new payment once it has "
                "ended.",
            )
        case StateConflictError():
            return Refusal(status=409, code="state_conflict", detail=str(error))
        case OrderUnreadableError():
            return Refusal(
                status=500,
                code="order_unreadable",
                detail=f"This version of SyncCash cannot read {error.order_id}; nothing was changed. "
                "Retry after the service is upgraded; if the error persists, contact its operator.",
                retryable=True,
            )
        case InsufficientBalanceError():
            return Refusal(
                status=409,
                code="insufficient_balance",
                detail=f"The available balance is {error.available} pesewas, but {error.needed} are needed. "
                "Nothing was created; retry the same request when the balance is sufficient.",
                # The key stays free. No Retry-After: when the balance grows is up to the merchant's payers.
                retryable=True,
                members={"available": error.available, "needed": error.needed},
            )
        case OperatorNeededError():
            return Refusal(status=403, code="forbidden", detail=_sentence(str(error)))
        case SecondOperatorError():
            return Refusal(status=403, code="second_operator_needed", detail=_sentence(str(error)))
        case AlreadyWaitingError():
            return Refusal(
                status=409,
                code="approval_pending",
                detail=f"This action already waits for a second operator, as {error.approval_id}.",
                members={"approval_id": error.approval_id},
            )
        case SignInThrottledError():
            return Refusal(
                status=429,
                code="sign_in_throttled",
                detail="Too many sign-ins have failed for this name or from this address. "
                "Retry after Retry-After seconds.",
                retryable=True,
                retry_after_s=error.retry_after_s,
            )
        case _:
            return Refusal(
                status=500, code="internal_error", detail="The service failed to handle the request."
            )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _used_reference(error: ReferenceAlreadyUsedError) -> str:
    if error.kind == "refund":
        return f"This Idempotency-Key is already used by {error.order_id}. Use a new key for another refund."
    return (
        f"This reference is already used by {error.order_id}. References are unique per merchant and mode "
        "and cannot be reused; choose another."
    )
