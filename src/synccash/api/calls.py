"""Shared by all handlers: the caller, the idempotency claim, page cursors, and responses with their docs."""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, PathParameter, QueryParameter

from synccash.api.body import HasScope, scope_of
from synccash.api.problem import MEDIA_TYPE, ProblemError, invalid, malformed, no_route
from synccash.api.request_context import REQUEST_ID
from synccash.api.roles import OPERATORS_ONLY, needed_role
from synccash.api.route_scopes import BASE, ROUTE_SCOPES
from synccash.api.schemas.answers import ProblemShown
from synccash.middleware.authentication import KEY_MISSING, PRINCIPAL, insufficient_scope
from synccash.middleware.refusal import Refusal
from synccash.middleware.request_identity import IDENTITY, RequestIdentity
from synccash.payments.access import CallerKind, Principal
from synccash.payments.case import Claim
from synccash.payments.operator import actor_of
from synccash.payments.request import Origin, Reply, Tenant
from synccash.resilience.idempotency import IdempotencyKeyError

AnyRequest = Request[Any, Any, Any]
Json = Response[bytes]
KeyHeader = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="Required. A new value for each new order, and the same value for its repeats",
    ),
]
Id = Annotated[str, PathParameter()]
Limit = Annotated[int, QueryParameter(ge=1, le=100, description="Maximum number of entries")]
OPTIONAL_BODY = "optional_body"
"""The handler option that names the schema of a body that may be absent."""
encode_json = msgspec.json.Encoder().encode
"""Return a document as JSON."""


def principal_of(request: HasScope) -> Principal:
    """Return the caller of the request. Raises ProblemError 401 when authentication found none."""
    principal = scope_of(request).get(PRINCIPAL)
    if principal is None:
        raise ProblemError(KEY_MISSING)
    return principal


def check_scope(request: HasScope) -> None:
    """Check that the caller has the scope of the route. Raises ProblemError 401 or 403."""
    scope = scope_of(request)
    route = scope["method"], scope["path_template"]
    if route not in ROUTE_SCOPES:
        raise _forbidden("This endpoint has no scope, so no key may use it.")
    needed = ROUTE_SCOPES[route]
    if needed is not None and needed not in principal_of(request).scopes:
        raise ProblemError(insufficient_scope(needed))


async def tenant_of(request: AnyRequest) -> Tenant:
    """Return `merchant_of` as a dependency of the framework."""
    return merchant_of(request)


def merchant_of(request: HasScope) -> Tenant:
    """Return the merchant and mode of the API key. Raises ProblemError 403 for an operator's key."""
    tenant = principal_of(request).tenant
    if tenant is None:
        raise _forbidden("This endpoint is for merchants. Use a merchant's API key.")
    return tenant


async def operator_of(request: AnyRequest) -> str:
    """Return how the audit log names the operator, or the admin key, of the request.

    Raises ProblemError 403 for a merchant's key, for an operator whose role is too low, and for an admin key
    where a person has to answer for the call.
    """
    principal = principal_of(request)
    if principal.tenant is not None:
        raise _forbidden("This endpoint is for the operator. Use an admin key.")
    route = _route(request)
    if principal.kind is CallerKind.OPERATOR:
        needed = needed_role(route)
        if principal.role is None or not principal.role.includes(needed):
            raise _forbidden(f"This call needs the role {needed.value}. Ask an admin.")
    elif route in OPERATORS_ONLY:
        raise _forbidden(
            "This call is for operators by name, and not for admin keys. Sign in as an operator."
        )
    return principal.actor_id


def operator_name(request: AnyRequest) -> str:
    """Return the name of the operator who sends the request. Raises ProblemError 403 for a key."""
    principal = principal_of(request)
    if principal.kind is not CallerKind.OPERATOR:
        raise _forbidden("This call is for operators by name. Sign in as an operator.")
    return principal.actor_id.removeprefix(actor_of(""))


def _route(request: AnyRequest) -> str:
    """Return method and path template of the request, below the base path."""
    template: str = scope_of(request)["path_template"]
    return f"{request.method} {template.removeprefix(BASE).rstrip('/')}"


def _forbidden(detail: str) -> ProblemError:
    return ProblemError(Refusal(status=403, code="forbidden", detail=detail))


def origin_of(request: HasScope) -> Origin:
    """Return what makes an order: the caller and the request. Raises ProblemError 401."""
    return Origin(principal_of(request).actor_id, scope_of(request).get(REQUEST_ID))


def claim_of(request: HasScope) -> Claim:
    """Return the claim of a request, as the middleware has identified it. Raises ProblemError 400, 404."""
    scope = scope_of(request)
    identity: RequestIdentity | IdempotencyKeyError | None = scope.get(IDENTITY)
    if isinstance(identity, IdempotencyKeyError):
        raise malformed(str(identity), "idempotency_key_invalid") from identity
    if identity is None:
        # The router matched a path that the middleware does not know, so no limit was checked either.
        raise ProblemError(no_route(scope))
    return Claim(identity.scope, identity.key, identity.fingerprint, identity.former_fingerprints)


def reply_response(reply: Reply) -> Json:
    """Return the engine's reply as a response, byte for byte."""
    headers = {"Idempotent-Replayed": "true"} if reply.replayed else {}
    return encoded_json(reply.body, reply.status, headers)


def encoded_json(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Json:
    """Return a response with JSON that is already encoded."""
    return Response(
        body, status_code=status, media_type="application/json", headers=dict(headers) if headers else None
    )


def json(document: Any, status: int = 200) -> Json:
    """Return a response with this document as JSON."""
    return encoded_json(encode_json(document), status)


def page(rows: list[Any], limit: int, cursor: Any) -> dict[str, Any]:
    """Return one page of at most `limit` rows. `rows` has one more when there is a next page, which `cursor`
    then names."""
    shown, more = rows[:limit], len(rows) > limit
    return {"data": shown, "has_more": more, "next": cursor if more else None}


def write_cursor(at: datetime, object_id: str) -> str:
    """Return a cursor for the position after this object; its format is private."""
    return base64.urlsafe_b64encode(f"{at.astimezone(UTC).isoformat()} {object_id}".encode()).decode()


def read_cursor(text: str | None) -> tuple[datetime, str] | None:
    """Decode a cursor of `write_cursor`. Raises ProblemError 422."""
    if text is None:
        return None
    try:
        when, _, object_id = base64.urlsafe_b64decode(text.encode()).decode("ascii").partition(" ")
        at = datetime.fromisoformat(when)
        if at.tzinfo is None or not object_id.replace("_", "").isalnum():
            raise ValueError(when)
        at = at.astimezone(UTC)
    except (ValueError, OverflowError, binascii.Error) as error:
        raise invalid(("after", "expected the value of next from a previous page")) from error
    return at, object_id


def answers(documents: Mapping[int, Any], *errors: int) -> dict[int, ResponseSpec]:
    """Return the documentation of a call's responses, with its errors. Those of the list come with any call:
    a bad Host is 400, an unknown query parameter 422."""
    every = sorted({*errors, 400, 401, 403, 404, 405, 408, 413, 422, 429, 431, 500, 503})
    problems = {
        status: ResponseSpec(
            ProblemShown, generate_examples=False, description="Problem", media_type=MEDIA_TYPE
        )
        for status in every
    }
    shown = {
        status: ResponseSpec(document, generate_examples=False, description="Answer")
        for status, document in documents.items()
    }
    return {**shown, **problems}
