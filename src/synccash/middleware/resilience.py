"""Rate limits and idempotency in front of any ASGI application. No framework is imported.

For each request, in this order: identify the caller; check all limits and look up the stored answer in one
round trip; replay the answer if there is one; join the same request if it is running here; else run the
application. A request that joins another one costs no user quota, as the two are one request.

Endpoints are found by the path below the prefix of a mount (`root_path`), or else by the whole path.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from synccash.middleware.idempotency_coordinator import (
    IdempotencyCoordinator,
    IdempotencyCounts,
    KeyedRequest,
    MayRerun,
)
from synccash.middleware.matching import OTHER, Endpoint, Match, Matcher, first_covering
from synccash.middleware.problem_details import refuse_with_problem
from synccash.middleware.refusal import App, Message, Receive, Refusal, Refuse, Scope, Send
from synccash.middleware.request_guard import (
    Caller,
    GuardDecision,
    GuardedRequest,
    RequestGuard,
    with_headers,
)
from synccash.middleware.request_identity import IDENTITY, request_identity
from synccash.middleware.whole_body import BODY, BufferedReceive, read_body
from synccash.resilience.claims import ClaimStore
from synccash.resilience.idempotency import (
    DuplicateMemberError,
    IdempotencyKeyError,
    NotJsonError,
    read_json,
)

DECODED = "synccash.decoded"
"""Where a request's scope holds what `read_json` returned for its body, or the error that it raised. This
middleware sets it when it has read the body, so the application does not parse the same bytes again."""
VALUES_MAX = 1_000
"""How many numbers, and how many objects with their members, a body may have: more than any request needs,
and read in 2 ms."""


def text_of(value: Any) -> str | None:
    """Return a value of a body as the text that limits count by: a text or a number; None for any other."""
    if isinstance(value, str):
        return value
    # A number, as `read_json` returns it.
    return cast(tuple[str], value)[0] if isinstance(value, tuple) else None


@dataclass(slots=True)
class ResilienceMiddleware:
    """Applies limits and idempotency in front of `app`. One per process.

    `identify` returns the caller of a request, and `user_of` turns a value of the body into a user. `refuse`
    sends error responses. `claims` stores the claims of endpoints with `idempotent="required"`, for `lease_s`
    seconds at a time. `may_rerun` decides about repeats of a request that failed with an unknown outcome;
    without it, they get 409. Bodies above `body_max` bytes are refused with 413; answers above `answer_max`
    are not stored. `unavailable` are the errors of a `claims` store out of reach; they are answered with 503.
    Without `user_of`, a text or a number in the body is a user, and any other value names none.

    Raises TypeError for an `identify` or `user_of` that is `async`. Raises ValueError when an
    endpoint with `idempotent="required"` would not be protected: without `claims`, or behind an endpoint that
    matches the same requests; and for a `MemoryGuard` with limits of an endpoint that is not there.
    """

    app: App
    endpoints: Sequence[Endpoint] = field(kw_only=True)
    identify: Callable[[Scope], Caller] = field(kw_only=True)
    refuse: Refuse = field(kw_only=True, default=refuse_with_problem)
    guard: RequestGuard | None = field(kw_only=True, default=None)
    claims: ClaimStore | None = field(kw_only=True, default=None)
    may_rerun: MayRerun | None = field(kw_only=True, default=None)
    user_of: Callable[[Any], str | None] = field(kw_only=True, default=text_of)
    lease_s: float = field(kw_only=True, default=30.0)
    body_max: int = field(kw_only=True, default=65_536)
    answer_max: int = field(kw_only=True, default=1_048_576)
    unavailable: tuple[type[Exception], ...] = field(kw_only=True, default=(OSError, TimeoutError))
    _matcher: Matcher = field(init=False)
    _coordinator: IdempotencyCoordinator = field(init=False)

    def __post_init__(self) -> None:
        _check_protection(self.endpoints, self.claims)
        _check_names(self.endpoints, getattr(self.guard, "endpoint_names", ()))
        for name in ("identify", "user_of"):
            if inspect.iscoroutinefunction(getattr(self, name)):
                raise TypeError(f"{name} must be a plain function: nothing awaits what it returns")
        self._matcher = Matcher(self.endpoints)
        self._coordinator = IdempotencyCoordinator(
            app=self.app,
            refuse=self.refuse,
            guard=self.guard,
            claims=self.claims,
            lease_s=self.lease_s,
            answer_max=self.answer_max,
            unavailable=self.unavailable,
            may_rerun=self.may_rerun,
        )

    @property
    def counts(self) -> IdempotencyCounts:
        """What became of requests with keys so far."""
        return self._coordinator.counts

    async def close(self, grace_s: float = 10.0) -> None:
        """Wait up to `grace_s` seconds for requests whose clients have hung up, and for background tasks.

        At `lifespan.shutdown` the middleware calls this itself, before the application shuts down. An
        application that is mounted in another one gets no lifespan events: then call it.
        """
        await self._coordinator.close(grace_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._lifespan(scope, receive, send)
            else:
                await self.app(scope, receive, send)
            return
        # In upper case, because h11 and uvicorn pass `post` on, which Django runs as POST.
        method = scope["method"].upper()
        match = self._matcher.match(method, scope["path"])
        if scope.get("root_path"):
            match = self._matcher.match(method, _path_below_root(scope)) or match
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
        # Without a key, and with no user in the body, the body is not buffered.
        caller = self.identify(scope)
        if user is not None:
            ip, tenant, api_key, named, _ = caller
            if named is None:
                caller = Caller(ip, tenant, api_key, user)
        if self.guard is not None:
            refusal, _, headers = await self.guard.admit(GuardedRequest(name, caller))
            send = with_headers(send, headers)
            if refusal is not None:
                await self.refuse(scope, send, refusal)
                return
        await self.app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for running requests before the application shuts down, also for one without lifespan."""
        received = False

        async def receiving() -> Message:
            nonlocal received
            received = True
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.close()
            return message

        try:
            await self.app(scope, receiving, send)
        except Exception:
            # Django raises at once for a scope that it does not know. Other applications return.
            if received:
                raise
        if not received:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receiving()
            await send({"type": "lifespan.shutdown.complete"})

    async def _with_body(self, scope: Scope, receive: Receive, send: Send, match: Match) -> None:
        # The `receive` of an earlier layer that has read the body gives it once more.
        given_again = BODY in scope
        try:
            body = await read_body(scope, receive, self.body_max)
        except ValueError as error:
            await self.refuse(scope, send, Refusal(status=413, code="body_too_large", detail=str(error)))
            return
        if body is None:
            return
        if not given_again:
            receive = BufferedReceive(body, receive)
        decoded = _decoded(scope, body)
        caller = self._with_user(self.identify(scope), match, decoded)
        if caller.tenant is None and match.endpoint.idempotent == "required":
            await self.refuse(scope, send, CALLER_UNKNOWN)
            return
        try:
            keyed = _keyed(scope, match.endpoint, caller, body, decoded)
        except IdempotencyKeyError as error:
            await self.refuse(
                scope, send, Refusal(status=400, code="idempotency_key_invalid", detail=str(error))
            )
            return
        name = None if keyed is None else keyed.identity.answer_name
        admission = GuardedRequest(endpoint=match.endpoint.name, caller=caller, answer_name=name)
        if keyed is not None:
            await self._coordinator.serve(keyed, send, admission)
            return
        decision = GuardDecision() if self.guard is None else await self.guard.admit(admission)
        send = with_headers(send, decision.headers)
        if decision.refusal is not None:
            await self.refuse(scope, send, decision.refusal)
        else:
            await self.app(scope, receive, send)

    def _with_user(self, caller: Caller, match: Match, decoded: Any) -> Caller:
        """Return the caller with its users: the one in the body always counts, whatever the caller says of
        itself; the one in the path counts when nothing else names a user."""
        ip, tenant, api_key, user, body_user = caller
        endpoint = match.endpoint
        if endpoint.user_of_body is not None:
            body_user = self.user_of(_member(decoded, endpoint.user_of_body))
        if user is None and body_user is None and endpoint.user is not None:
            user = match.parts.get(endpoint.user)
        return Caller(ip, tenant, api_key, user, body_user)


CALLER_UNKNOWN = Refusal(
    status=403,
    code="idempotency_caller_unknown",
    detail="Requests to this endpoint need a known caller, because Idempotency-Keys belong to callers. "
    "Authenticate, and send the request again. (For the operator: `identify` returned no tenant.)",
)


def _check_protection(endpoints: Sequence[Endpoint], claims: ClaimStore | None) -> None:
    for endpoint in endpoints:
        if endpoint.idempotent == "required" and claims is None:
            raise ValueError(
                f"endpoint {endpoint.name}: idempotent='required' needs claims=, such as MemoryClaims()"
            )
        first = first_covering(endpoints, endpoint)
        if endpoint.idempotent is not None and first.idempotent != endpoint.idempotent:
            raise ValueError(
                f"endpoint {endpoint.name}: all its requests match {first.method} {first.path}, which is "
                "declared before it with other idempotency; declare the narrower path first"
            )


def _check_names(endpoints: Sequence[Endpoint], limited: Iterable[str]) -> None:
    known = {OTHER, *(endpoint.name for endpoint in endpoints if endpoint.limited)}
    for name in limited:
        if name not in known:
            raise ValueError(
                f"the guard has limits for {name!r}, which is no name of an endpoint, so they would never "
                f"apply; expected one of {', '.join(sorted(known))}"
            )


def _path_below_root(scope: Scope) -> str:
    """Return the path without the prefix of a mount or of `--root-path`; servers put it before the path, and
    proxies may have removed it."""
    root, path = scope["root_path"].rstrip("/"), scope["path"]
    return path[len(root) :] or "/" if path == root or path.startswith(f"{root}/") else path


def _decoded(scope: Scope, body: bytes) -> Any:
    """Return the body as JSON and keep it in the scope. None when it is not JSON: the handler refuses it."""
    try:
        decoded = scope[DECODED] = read_json(body, values_max=VALUES_MAX)
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
