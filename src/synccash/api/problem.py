"""Every error that leaves the service: `application/problem+json` (RFC 9457), written only here."""

import math
from http import HTTPStatus

import msgspec

from synccash.middleware.authentication import UNAVAILABLE
from synccash.middleware.refusal import REFUSED, Refusal, Scope, Send
from synccash.middleware.request_context import REQUEST_ID
from synccash.payments.errors import (
    EndpointLimitError,
    InsufficientBalanceError,
    KeyInProgressError,
    KeyReusedError,
    MerchantSuspendedError,
    NoRailForModeError,
    ObjectNotFoundError,
    OrderUnreadableError,
    PaymentError,
    PaymentInFlightError,
    ReferenceAlreadyUsedError,
    StateConflictError,
    StoreUnavailableError,
)
from synccash.payments.webhook import MAX_ENDPOINTS

MEDIA_TYPE = "application/problem+json"
_encode = msgspec.json.Encoder().encode


class ProblemError(Exception):
    """Ends a request with a problem. Raised by the API's own parts."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


async def refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Answer with a problem. For middleware and handlers alike."""
    headers, body = rendered(scope, refusal)
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def rendered(scope: Scope, refusal: Refusal) -> tuple[dict[str, str], bytes]:
    """The headers and the body of a problem. Its code is noted in the scope."""
    scope[REFUSED] = refusal.code
    headers = {"Content-Type": MEDIA_TYPE, **refusal.headers}
    wait_s = None if refusal.retry_after_s is None else max(1, math.ceil(refusal.retry_after_s))
    if wait_s is not None:
        headers["Retry-After"] = str(wait_s)
    document = {
        "type": f"urn:synccash:problem:{refusal.code}",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "detail": refusal.detail,
        "instance": scope.get("raw_path", b"/").decode("ascii", "replace"),
        "code": refusal.code,
        "retryable": refusal.retryable,
        "retry_after": wait_s,
        "request_id": scope.get(REQUEST_ID),
        "errors": [{"field": name, "message": message} for name, message in refusal.errors],
        **refusal.members,
    }
    return headers, _encode(document)


def invalid(*errors: tuple[str, str]) -> ProblemError:
    """Fields that cannot be used, each with its reason."""
    detail = "; ".join(f"{name}: {message}" if name else message for name, message in errors[:3])
    return ProblemError(Refusal(status=422, code="invalid_request", detail=detail, errors=errors))


def malformed(detail: str, code: str = "malformed_request") -> ProblemError:
    """A request that cannot be read at all."""
    return ProblemError(Refusal(status=400, code=code, detail=detail))


def not_found(detail: str = "there is nothing here") -> Refusal:
    """The same for what does not exist and for what is another's."""
    return Refusal(status=404, code="not_found", detail=detail)


def of_engine(error: PaymentError) -> Refusal:
    """What the engine refuses, as told to the caller."""
    match error:
        case ObjectNotFoundError():
            return not_found(f"there is no such {error.kind}")
        case KeyReusedError():
            return Refusal(
                status=422,
                code="idempotency_key_reused",
                detail="this Idempotency-Key was used with another request; take a fresh one",
            )
        case KeyInProgressError():
            return Refusal(
                status=409,
                code="idempotency_key_in_progress",
                detail="the first request under this key is still running; repeat this one later",
                retryable=True,
                retry_after_s=error.retry_after_s,
            )
        case ReferenceAlreadyUsedError():
            return Refusal(
                status=409,
                code="reference_already_used",
                detail=f"the reference belongs to {error.order_id}, for ever",
                members={f"{error.kind}_id": error.order_id},
            )
        case PaymentInFlightError():
            return Refusal(
                status=409,
                code="payment_in_flight",
                detail="money may already be moving: wait for the outcome, then refund",
            )
        case NoRailForModeError():
            return Refusal(status=422, code="no_rail_for_mode", detail=str(error))
        case StateConflictError():
            return Refusal(status=409, code="state_conflict", detail=str(error))
        case OrderUnreadableError():
            return Refusal(
                status=500,
                code="order_unreadable",
                detail=f"this version of SyncCash cannot read {error.order_id}, and nothing was changed: "
                "ask again when the service is upgraded; if it stays so, tell its operator",
                retryable=True,
            )
        case InsufficientBalanceError():
            return Refusal(
                status=409,
                code="insufficient_balance",
                detail=f"the balance covers {error.available} pesewas, and {error.needed} are needed; "
                "nothing was opened, so the same request may be sent again once the balance has grown",
                members={"available": error.available, "needed": error.needed},
            )
        case MerchantSuspendedError():
            return Refusal(
                status=403,
                code="merchant_suspended",
                detail="this merchant is suspended: what is open is finished, and nothing new starts; "
                "ask the operator",
            )
        case EndpointLimitError():
            return Refusal(
                status=409,
                code="webhook_endpoint_limit",
                detail=f"there are {MAX_ENDPOINTS} webhook endpoints already, as many as a merchant may have "
                "in one mode: delete one that is not needed, or change its URL and types",
            )
        case StoreUnavailableError():
            return UNAVAILABLE
        case _:
            return Refusal(status=500, code="internal_error", detail="something went wrong on our side")
