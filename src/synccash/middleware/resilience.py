"""Limits and idempotency in front of any ASGI application. No framework is imported.

For each request, in this order: who asks; one look at all limits and at the stored answer together; an answer
that is there is replayed; a request that runs here already is joined; else the application runs.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from synccash.middleware import capture
from synccash.middleware.idempotency_coordinator import Counts, IdempotencyCoordinator, KeyedRequest
from synccash.middleware.matching import OTHER, Endpoint, Match, Matcher
from synccash.middleware.refusal import App, Message, Receive, Refusal, Refuse, Scope, Send
from synccash.middleware.request_guard import Admitted, Asked, Caller, Door, Headers
from synccash.middleware.request_identity import IDENTITY, request_identity
from synccash.middleware.whole_body import read_body
from synccash.resilience.claims import ClaimStore
from synccash.resilience.fast_tuple import make_namedtuple as made
from synccash.resilience.idempotency import (
    DuplicateMemberError,
    IdempotencyKeyError,
    NotJsonError,
    read_json,
)

DECODED = "synccash.decoded"
"""Where a request's scope holds what `read_json` made of its body: the value, or the error that it raised.
Set wherever this middleware has read the body, so that nobody behind it parses the same bytes again."""


@dataclass(slots=True)
class ResilienceMiddleware:
    """Live: one per process, in front of `app`.

    `identify` reads the caller off a request, and `user_of` turns a value of the body into a user. `claims`
    keeps what endpoints with `idempotent="required"` claim, for `lease_s` seconds at a time. Bodies above
    `body_max` bytes are refused with 413; answers above `answer_max` are not kept. `unavailable` are the
    errors of a `claims` out of reach, which are answered with 503.
    """

    app: App
    endpoints: Sequence[Endpoint] = field(kw_only=True)
    identify: Callable[[Scope], Caller] = field(kw_only=True)
    refuse: Refuse = field(kw_only=True)
    door: Door | None = field(kw_only=True, default=None)
    claims: ClaimStore | None = field(kw_only=True, default=None)
    user_of: Callable[[Any], str | None] = field(kw_only=True, default=lambda value: value)
    lease_s: float = field(kw_only=True, default=30.0)
    body_max: int = field(kw_only=True, default=65_536)
    answer_max: int = field(kw_only=True, default=1_048_576)
    unavailable: tuple[type[Exception], ...] = field(kw_only=True, default=(OSError, TimeoutError))
    _matcher: Matcher = field(init=False)
    _once: IdempotencyCoordinator = field(init=False)

    def __post_init__(self) -> None:
        self._matcher = Matcher(self.endpoints)
        self._once = IdempotencyCoordinator(
            app=self.app,
            refuse=self.refuse,
            door=self.door,
            claims=self.claims,
            lease_s=self.lease_s,
            answer_max=self.answer_max,
            unavailable=self.unavailable,
        )

    @property
    def counts(self) -> Counts:
        """What idempotency came to so far."""
        return self._once.counts

    async def close(self, grace_s: float = 10.0) -> None:
        """Let requests whose clients hung up finish, for `grace_s` seconds."""
        await self._once.close(grace_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        match = self._matcher.match(scope["method"], scope["path"])
        name, user = OTHER, None
        if match is not None:
            endpoint, parts = match
            if not endpoint.limited:
                await self.app(scope, receive, send)
                return
            if endpoint.idempotent is not None or endpoint.user_of_body is not None:
                await self._with_body(scope, receive, send, match)
                return
            name = endpoint.name
            if endpoint.user is not None:
                user = parts.get(endpoint.user)
        # The body does not matter and there is no key: limits only, nothing is buffered.
        caller = self.identify(scope)
        if user is not None:
            ip, tenant, api_key, named = caller
            if named is None:
                caller = made(Caller, (ip, tenant, api_key, user))
        if self.door is not None:
            refusal, _, headers = await self.door.admit(made(Asked, (name, caller, None)))
            send = with_headers(send, headers)
            if refusal is not None:
                await self.refuse(scope, send, refusal)
                return
        await self.app(scope, receive, send)

    async def _with_body(self, scope: Scope, receive: Receive, send: Send, match: Match) -> None:
        try:
            body = await read_body(scope, receive, self.body_max)
        except ValueError as error:
            await self.refuse(scope, send, Refusal(status=413, code="body_too_large", detail=str(error)))
            return
        if body is None:
            return
        decoded = _decoded(scope, body)
        caller = self._with_user(self.identify(scope), match, decoded)
        try:
            keyed = _keyed(scope, match.endpoint, caller, body, decoded)
        except IdempotencyKeyError as error:
            await self.refuse(
                scope, send, Refusal(status=400, code="idempotency_key_invalid", detail=str(error))
            )
            return
        name = None if keyed is None else keyed.identity.answer_name
        admitted = await self._admit(Asked(endpoint=match.endpoint.name, caller=caller, answer_name=name))
        send = with_headers(send, admitted.headers)
        if admitted.refusal is not None:
            await self.refuse(scope, send, admitted.refusal)
        elif keyed is None:
            await self.app(scope, capture.given(body), send)
        else:
            await self._once.serve(keyed, send, admitted.stored)

    async def _admit(self, asked: Asked) -> Admitted:
        return Admitted() if self.door is None else await self.door.admit(asked)

    def _with_user(self, caller: Caller, match: Match, decoded: Any) -> Caller:
        """The user: whom the caller names, else whom the body means, else a part of the path."""
        if caller.user is not None:
            return caller
        endpoint, user = match.endpoint, None
        if endpoint.user_of_body is not None:
            user = self.user_of(_member(decoded, endpoint.user_of_body))
        if user is None and endpoint.user is not None:
            user = match.parts.get(endpoint.user)
        return Caller(caller.ip, caller.tenant, caller.api_key, user)


def with_headers(send: Send, headers: Headers) -> Send:
    """A `send` that adds headers to the answer."""
    if not headers:
        return send

    def sending(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message = dict(message)
            message["headers"] = [*message.get("headers", ()), *headers]
        return send(message)

    return sending


def _decoded(scope: Scope, body: bytes) -> Any:
    """The body as JSON, also kept in the scope; None for what is none: the application refuses it."""
    try:
        decoded = scope[DECODED] = read_json(body)
    except (NotJsonError, DuplicateMemberError) as error:
        scope[DECODED] = error
        return None
    return decoded


def _member(decoded: Any, path: Sequence[str]) -> Any:
    for part in path:
        if not isinstance(decoded, dict):
            return None
        decoded = decoded.get(part)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return decoded  # pyright: ignore[reportUnknownVariableType]


def _keyed(
    scope: Scope, endpoint: Endpoint, caller: Caller, body: bytes, decoded: Any
) -> KeyedRequest | None:
    """Return the request under its key; None where no keys are taken, or the handler has to refuse it.

    Raises IdempotencyKeyError when a key is required and there is none that can be used.
    """
    if endpoint.idempotent is None or caller.tenant is None:
        return None
    handled = endpoint.idempotent == "handled"
    if handled and decoded is None:
        return None
    payload = body.hex() if decoded is None else decoded
    try:
        identity = scope[IDENTITY] = request_identity(scope, caller.tenant, endpoint, payload)
    except IdempotencyKeyError as error:
        scope[IDENTITY] = error
        if handled:
            return None
        raise
    return KeyedRequest(
        scope=scope, body=body, identity=identity, claimed_by="handler" if handled else "middleware"
    )
