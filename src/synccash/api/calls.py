"""What handlers share: who is calling, the claim of a key, cursors, answers and their documentation."""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, PathParameter, QueryParameter

from synccash.api.body import scope_of
from synccash.api.problem import MEDIA_TYPE, ProblemError, invalid, malformed, no_route
from synccash.api.schemas import ProblemShown
from synccash.middleware.authentication import MISSING, PRINCIPAL
from synccash.middleware.refusal import Refusal
from synccash.middleware.request_identity import IDENTITY, RequestIdentity
from synccash.payments.case import Claim
from synccash.payments.request import Principal, Reply, Role, Tenant
from synccash.resilience.idempotency import IdempotencyKeyError

AnyRequest = Request[Any, Any, Any]
Json = Response[bytes]
KeyHeader = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="Required. A fresh value for each new order; the same for its repeats",
    ),
]
Id = Annotated[str, PathParameter()]
Limit = Annotated[int, QueryParameter(ge=1, le=100, description="At most so many")]
_encode = msgspec.json.Encoder().encode


def principal_of(request: AnyRequest) -> Principal:
    """Who is calling. Raises ProblemError 401 where no layer before has found that out."""
    principal = scope_of(request).get(PRINCIPAL)
    if principal is None:
        raise ProblemError(MISSING)
    return principal


async def tenant_of(request: AnyRequest) -> Tenant:
    """The merchant who is calling. Raises ProblemError 403 for an operator's key."""
    tenant = principal_of(request).tenant
    if tenant is None:
        raise _forbidden("This endpoint is for merchants. Use a merchant's API key.")
    return tenant


async def operator_of(request: AnyRequest) -> str:
    """The id of the operator's key. Raises ProblemError 403 for a merchant's key."""
    principal = principal_of(request)
    if principal.role is not Role.ADMIN:
        raise _forbidden("This endpoint is for the operator. Use an admin key.")
    return principal.key_id


def _forbidden(detail: str) -> ProblemError:
    return ProblemError(Refusal(status=403, code="forbidden", detail=detail))


def claim_of(request: AnyRequest) -> Claim:
    """Return the claim of a request, as the middleware has identified it. Raises ProblemError 400, 404."""
    scope = scope_of(request)
    identity: RequestIdentity | IdempotencyKeyError | None = scope.get(IDENTITY)
    if isinstance(identity, IdempotencyKeyError):
        raise malformed(str(identity), "idempotency_key_invalid") from identity
    if identity is None:
        # The router matched a path that the middleware does not know, so no limit was checked either.
        raise ProblemError(no_route(scope))
    return Claim(identity.scope, identity.key, identity.fingerprint, identity.former_fingerprints)


def of_reply(reply: Reply) -> Json:
    """The engine's answer as it stands."""
    headers = {"Idempotent-Replayed": "true"} if reply.replayed else {}
    return raw_json(reply.body, reply.status, headers)


def raw_json(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Json:
    """JSON that is already written."""
    return Response(
        body, status_code=status, media_type="application/json", headers=dict(headers) if headers else None
    )


def json(document: Any, status: int = 200) -> Json:
    """A document as JSON."""
    return raw_json(_encode(document), status)


def page(rows: list[Any], limit: int, cursor: Any) -> dict[str, Any]:
    """A list of at most `limit`, made from one too many; `cursor` names the place behind the last one."""
    shown, more = rows[:limit], len(rows) > limit
    return {"data": shown, "has_more": more, "next": cursor if more else None}


def write_cursor(at: datetime, object_id: str) -> str:
    """A place in a list, opaque to the caller."""
    return base64.urlsafe_b64encode(f"{at.astimezone(UTC).isoformat()} {object_id}".encode()).decode()


def read_cursor(text: str | None) -> tuple[datetime, str] | None:
    """Read what `write_cursor` wrote. Raises ProblemError 422."""
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
    """The documentation of a call: what it answers, and with which errors."""
    every = sorted({*errors, 401, 403, 404, 405, 408, 413, 429, 500, 503})
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
