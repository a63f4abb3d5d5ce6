"""The outermost layer: a name for each request, its trace, its size, its log line, and the last net."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import structlog

from synccash.middleware.http_counts import HttpCounts
from synccash.middleware.refusal import App, Message, Receive, Refusal, Refuse, Scope, Send

log = structlog.get_logger("synccash.http")
REQUEST_ID = "synccash.request_id"
"""Where a request's scope holds its id."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Trace:
    """One span of a W3C trace (https://www.w3.org/TR/trace-context/)."""

    trace_id: str
    span_id: str
    flags: str

    @classmethod
    def following(cls, headers: list[bytes]) -> "Trace":
        """A new span of the caller's trace; of a new one where he sent none, several or a broken one."""
        match = _TRACEPARENT.fullmatch(headers[0].decode("latin-1")) if len(headers) == 1 else None
        if match is None or match[1] == "ff" or not int(match[2], 16) or not int(match[3], 16):
            return cls(token_hex(16), token_hex(8), "00")
        return cls(match[2], token_hex(8), match[4])

    def header(self) -> str:
        """The value of `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """`new_id` names requests; `body_max` is the largest body in bytes."""

    app: App
    refuse: Refuse
    new_id: Callable[[], str]
    counts: HttpCounts
    body_max: int = 65_536

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Bodies are read whole before anything else sees the request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        trace = Trace.following([value for name, value in scope["headers"] if name == b"traceparent"])
        request_id = scope[REQUEST_ID] = self.new_id()
        answer = _Answer(send, request_id, trace.header())
        with structlog.contextvars.bound_contextvars(request_id=request_id, trace_id=trace.trace_id):
            try:
                await self._serve(scope, receive, answer)
            except Exception:
                # Nothing of the request is in the line: what failed is in the traceback.
                log.exception("request_failed")
                if answer.status is None:
                    await self.refuse(scope, answer.send, BROKEN)
            finally:
                took_s = time.perf_counter() - began
                if answer.status is not None:
                    route = scope.get("path_template")
                    self.counts.count(scope["method"], route, answer.status, took_s)
                self._tell(scope, answer.status, took_s * 1000)

    async def _serve(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        if _announced(scope) > self.body_max:
            await self.refuse(scope, answer.send, self._too_large())
            return
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > self.body_max:
                await self.refuse(scope, answer.send, self._too_large())
                return
            if not message.get("more_body", False):
                break
        await self.app(scope, _Replayed(bytes(body), receive), answer.send)

    def _too_large(self) -> Refusal:
        return Refusal(
            status=413,
            code="body_too_large",
            detail=f"a body may have at most {self.body_max} bytes",
            headers={"Connection": "close"},
        )

    def _tell(self, scope: Scope, status: int | None, took_ms: float) -> None:
        """One line a request. The route, not the path: a path may hold a callback's token."""
        parameters: dict[str, Any] = scope.get("path_params") or {}
        log.info(
            "request",
            method=scope["method"],
            route=scope.get("path_template"),
            status=status,
            took_ms=round(took_ms, 2),
            **{name: value for name, value in parameters.items() if name.endswith("_id")},
        )


class _Replayed:
    """Gives the body that was read, then what the connection says."""

    __slots__ = ("_body", "_receive")

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Answer:
    """Adds the request's names to its answer, and remembers the status."""

    __slots__ = ("_headers", "_send", "status")

    def __init__(self, send: Send, request_id: str, traceparent: str) -> None:
        self._send = send
        self._headers = [(b"request-id", request_id.encode()), (b"traceparent", traceparent.encode())]
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], *self._headers]}
        await self._send(message)


def _announced(scope: Scope) -> int:
    """The length that the caller announces; 0 where he does not."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


BROKEN = Refusal(
    status=500,
    code="internal_error",
    detail="something went wrong on our side; repeat the request with the same Idempotency-Key",
    retryable=True,
)
