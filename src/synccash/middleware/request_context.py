"""The outermost layer: a name for each request, its trace, its count, its log line, and the last net."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import structlog

from synccash.middleware.http_counts import HttpCounts
from synccash.middleware.refusal import REFUSED, App, Message, Receive, Refusal, Refuse, Scope, Send

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
    """`new_id` names requests. `route_of` gives the template that a method and a path mean, for requests that
    are refused before they come to a handler; None where they mean none. `about` tells who asked.
    """

    app: App
    refuse: Refuse
    new_id: Callable[[], str]
    counts: HttpCounts
    route_of: Callable[[str, str], str | None]
    about: Callable[[Scope], Mapping[str, str]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        trace = Trace.following([value for name, value in scope["headers"] if name == b"traceparent"])
        request_id = scope[REQUEST_ID] = self.new_id()
        answer = _Answer(send, request_id, trace.header())
        with structlog.contextvars.bound_contextvars(request_id=request_id, trace_id=trace.trace_id):
            try:
                await self.app(scope, receive, answer.send)
            except (Exception, asyncio.CancelledError):
                if cancelled_from_outside():
                    raise
                # Nothing of the request is in the line: what failed is in the traceback.
                log.exception("request_failed")
                if answer.status is None:
                    await self.refuse(scope, answer.send, BROKEN)
            finally:
                took_s = time.perf_counter() - began
                route = scope.get("path_template") or self.route_of(scope["method"], scope["path"])
                if answer.status is not None:
                    self.counts.count(scope["method"], route, answer.status, took_s)
                self._tell(scope, route, answer.status, took_s * 1000)

    def _tell(self, scope: Scope, route: str | None, status: int | None, took_ms: float) -> None:
        """One line a request. The route, not the path: a path may hold a callback's token."""
        parameters: dict[str, Any] = scope.get("path_params") or {}
        log.info(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            code=scope.get(REFUSED),
            took_ms=round(took_ms, 2),
            **self.about(scope),
            **{name: value for name, value in parameters.items() if name.endswith("_id")},
        )


def cancelled_from_outside() -> bool:
    """Whether this task is being cancelled, as at a server's end.

    A CancelledError in a task that is not comes from work that it waited for, and is a failure like others.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


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


BROKEN = Refusal(
    status=500,
    code="internal_error",
    detail="The service failed to handle the request. Retry it with the same Idempotency-Key.",
    retryable=True,
)
