"""The outermost layer: gives each request an id and a trace, counts and logs it, and answers 500 for errors
that nothing else has caught."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

import structlog

from synccash.api.http_counts import HttpCounts
from synccash.middleware.refusal import REFUSAL_CODE, App, Message, Receive, Refusal, Refuse, Scope, Send

log = structlog.get_logger("synccash.http")
REQUEST_ID = "synccash.request_id"
"""Where a request's scope holds its id."""
UNLOGGED = "synccash.unlogged"
"""Set in a request's scope when another line of the log stands for it."""
STREAMED = "synccash.streamed"
"""Set in a request's scope when its response lasts for as long as somebody watches it: its duration says
nothing about the service, so it is neither counted nor logged."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_ORDER = re.compile(rb'\{"id":"((?:pay|re|po)_[A-Za-z0-9]{1,64})"')
"""The beginning of a response that shows an order."""
_START_BYTES = 96
_SAMPLED = 1
"""The only flag of version 00 of `traceparent`; all others are sent as 0."""
SECURITY_HEADERS: Mapping[bytes, bytes] = {
    b"cache-control": b"no-store",
    b"x-content-type-options": b"nosniff",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"x-frame-options": b"DENY",
}
"""What each response has unless its handler says otherwise (OWASP REST Security Cheat Sheet): an answer about
money is stored by no cache, interpreted as no other type, and shown in no frame."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One span of a W3C trace (https://www.w3.org/TR/trace-context/)."""

    trace_id: str
    span_id: str
    flags: str

    @classmethod
    def continued(cls, headers: list[bytes]) -> "Trace":
        """Return a new span of the caller's trace, or of a new trace when `headers`, the values of
        `traceparent`, are not exactly one valid value. A later version than 00 may be longer."""
        match = _TRACEPARENT.fullmatch(headers[0].decode("latin-1")) if len(headers) == 1 else None
        if match is None or match[1] == "ff" or not int(match[2], 16) or not int(match[3], 16):
            return cls._new()
        if match[1] == "00" and match[5] is not None:
            return cls._new()
        return cls(match[2], token_hex(8), f"{int(match[4], 16) & _SAMPLED:02x}")

    @classmethod
    def _new(cls) -> "Trace":
        digits = token_hex(24)
        return cls(digits[:32], digits[32:], "00")

    def header(self) -> str:
        """Return the value of `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def _no_route(_method: str, _path: str) -> str | None:
    return None


@dataclass(slots=True)
class InFlight:
    """Live: the ASGI scopes of the requests that a process is serving, by request id.

    `route_of` returns the route template of a method and a path.
    """

    scopes: dict[str, Scope] = field(default_factory=dict[str, Scope])
    route_of: Callable[[str, str], str | None] = _no_route

    def name(self, scope: Mapping[str, Any]) -> str | None:
        """Return method and route of an HTTP request, such as `POST /api/v1/payments`; None for any other."""
        if scope.get("type") != "http":
            return None
        route = scope.get("path_template") or self.route_of(scope["method"], scope["path"])
        return f"{scope['method']} {route or 'other'}"

    def names(self) -> list[str]:
        """Return the routes of the requests, each once."""
        return list(dict.fromkeys(filter(None, map(self.name, list(self.scopes.values())))))


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """`new_id` generates request ids. `route_of` returns the route template of a method and a path, for
    requests that are refused before they reach a handler; None when none matches. `caller_ids` returns the
    ids of the caller for the log. `in_flight` gets the requests that are being served.
    """

    app: App
    refuse: Refuse
    new_id: Callable[[], str]
    counts: HttpCounts
    route_of: Callable[[str, str], str | None]
    caller_ids: Callable[[Scope], Mapping[str, str]]
    in_flight: InFlight = field(default_factory=lambda: InFlight())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            # The server sends no body in answer to HEAD, whatever the application returns.
            scope = {**scope, "method": "GET"}
        began = time.perf_counter()
        trace = Trace.continued([value for name, value in scope["headers"] if name == b"traceparent"])
        request_id = scope[REQUEST_ID] = self.new_id()
        self.in_flight.scopes[request_id] = scope
        response = _ResponseHeaders(send, request_id, trace.header())
        # Without `bound_contextvars`, which reads the whole context twice.
        bound = structlog.contextvars.bind_contextvars(request_id=request_id, trace_id=trace.trace_id)
        try:
            await self.app(scope, receive, response.send)
        except (Exception, asyncio.CancelledError):
            if cancelled_from_outside():
                raise
            # The line holds no request data, which may be personal; the traceback tells what failed.
            log.exception("request_failed")
            if response.status is None:
                await self.refuse(scope, response.send, INTERNAL_ERROR)
        finally:
            del self.in_flight.scopes[request_id]
            took_s = time.perf_counter() - began
            route = scope.get("path_template") or self.route_of(scope["method"], scope["path"])
            if response.status is not None and STREAMED not in scope:
                self.counts.count(scope["method"], route, response.status, took_s)
            if UNLOGGED not in scope and STREAMED not in scope:
                self._log(scope, route, response, took_s * 1000)
            structlog.contextvars.reset_contextvars(**bound)

    def _log(self, scope: Scope, route: str | None, response: "_ResponseHeaders", took_ms: float) -> None:
        """Write the request's log line: with the route, because the path may hold a callback's token."""
        parameters: dict[str, Any] = scope.get("path_params") or {}
        ids = {name: value for name, value in parameters.items() if name.endswith("_id")}
        if scope["method"] == "POST" and response.order_id is not None:
            ids["order_id"] = response.order_id
        log.info(
            "request",
            method=scope["method"],
            route=route,
            status=response.status,
            code=scope.get(REFUSAL_CODE),
            took_ms=round(took_ms, 2),
            **self.caller_ids(scope),
            **ids,
        )


def cancelled_from_outside() -> bool:
    """Tell whether this task is being cancelled, as when the server stops.

    Otherwise a CancelledError comes from work that the task waited for, and is an error like any other.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _ResponseHeaders:
    """Adds the ids of the request to its response, and keeps the status and the start of the body.

    An answer of the idempotency middleware passes no handler, so the order's id is read from the body.
    """

    __slots__ = ("_headers", "_send", "_start", "status")

    def __init__(self, send: Send, request_id: str, traceparent: str) -> None:
        self._send = send
        self._headers = [(b"request-id", request_id.encode()), (b"traceparent", traceparent.encode())]
        self._start: bytes = b""
        self.status: int | None = None

    @property
    def order_id(self) -> str | None:
        """The id of the order that the response shows; None where it shows none."""
        match = _ORDER.match(self._start)
        return None if match is None else match[1].decode()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message["headers"]
            named = {name.lower() for name, _ in headers}
            defaults = [field for field in SECURITY_HEADERS.items() if field[0] not in named]
            message = {**message, "headers": [*headers, *defaults, *self._headers]}
        elif not self._start:
            self._start = message.get("body", b"")[:_START_BYTES]
        await self._send(message)


INTERNAL_ERROR = Refusal(
    status=500,
    code="internal_error",
    detail="The service failed to handle the request. Retry it with the same Idempotency-Key.",
    retryable=True,
)
