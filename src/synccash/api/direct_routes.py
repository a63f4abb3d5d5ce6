"""Serves the requests of a payment's normal course without the framework, which costs more than all layers
before it together.

The framework has the same routes: it describes them, and serves every request that is spelled in another way.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from synccash.api.body import check_parts, required_body
from synccash.api.calls import check_scope, merchant_of
from synccash.api.ports import Reading
from synccash.api.problem import refusal_of, refuse
from synccash.api.route_scopes import BASE
from synccash.api.schemas.requests import PaymentBody
from synccash.api.v1.callbacks import pass_on
from synccash.api.v1.payments import collect, shown_payment
from synccash.engine.engine import Engine
from synccash.middleware.refusal import App, Receive, Scope, Send

_PLAIN_HOST = re.compile(rb"[A-Za-z0-9.-]+(?::[0-9]{1,5})?")
_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_REPLAYED = (b"idempotent-replayed", b"true")


class DirectRequest(NamedTuple):
    """A request, and the named parts of its path in their order."""

    scope: Scope
    parts: tuple[str, ...]


class DirectAnswer(NamedTuple):
    """A response that is complete but for its length."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """A route whose named parts are at the end of its path. `answer` raises what handlers raise."""

    method: str
    path: str
    answer: Callable[[DirectRequest], Awaitable[DirectAnswer]]

    @property
    def fixed(self) -> str:
        """The path before its named parts."""
        return self.path.partition("/{")[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The named parts of the path."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


@dataclass(slots=True, eq=False)
class DirectRoutes:
    """Answers the requests of its routes; `app` serves all others.

    Only what is spelled plainly is served here: no query, no prefix of a mount, no slash too many.
    """

    app: App
    routes: Iterable[DirectRoute]
    _by_parts: tuple[dict[tuple[str, str], DirectRoute], ...] = field(init=False)
    _names: dict[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self._by_parts = ({}, {}, {})
        for route in self.routes:
            self._by_parts[len(route.names)][route.method, route.fixed] = route
        self._names = {route.path: route.names for route in self.routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        found = self._find(scope)
        if found is None:
            await self.app(scope, receive, send)
            return
        route, parts = found
        scope["path_template"] = route.path
        scope["path_params"] = dict(zip(self._names[route.path], parts, strict=True))
        try:
            answer = await route.answer(DirectRequest(scope, parts))
        except Exception as error:
            await refuse(scope, send, refusal_of(error))
            return
        headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _find(self, scope: Scope) -> tuple[DirectRoute, tuple[str, ...]] | None:
        if scope["type"] != "http" or scope.get("query_string") or scope.get("root_path"):
            return None
        for name, value in scope["headers"]:
            if name == b"host" and not _PLAIN_HOST.fullmatch(value):
                return None
        method, rest, parts = scope["method"], scope["path"], ()
        for routes in self._by_parts:
            route = routes.get((method, rest))
            if route is not None:
                return route, parts
            rest, _, part = rest.rpartition("/")
            if not part:
                return None
            parts = part, *parts
        return None


def payment_routes(engine: Engine, reading: Reading) -> tuple[DirectRoute, ...]:
    """Return the routes that create a payment, take the callback about it, and show it."""

    async def create(request: DirectRequest) -> DirectAnswer:
        check_scope(request)
        tenant = merchant_of(request)
        reply = await collect(request, required_body(request, PaymentBody), engine, tenant)
        return DirectAnswer(reply.status, (_REPLAYED, _JSON) if reply.replayed else (_JSON,), reply.body)

    async def show(request: DirectRequest) -> DirectAnswer:
        check_scope(request)
        check_parts(request.parts)
        (payment_id,) = request.parts
        return DirectAnswer(200, (_JSON,), await shown_payment(payment_id, reading, merchant_of(request)))

    async def take_callback(request: DirectRequest) -> DirectAnswer:
        check_scope(request)
        check_parts(request.parts)
        rail, token = request.parts
        await pass_on(request, rail, token, engine)
        return DirectAnswer(200, (_TEXT,), b"")

    callback = f"{BASE}/callbacks/{{rail}}/{{token}}"
    return (
        DirectRoute("POST", f"{BASE}/payments", create),
        DirectRoute("GET", f"{BASE}/payments/{{payment_id}}", show),
        DirectRoute("POST", callback, take_callback),
        DirectRoute("PUT", callback, take_callback),
    )
