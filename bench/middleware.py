"""What the resilience middleware adds to a request: limits in memory, no key; and a replay from the cache."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from bench.measure import overhead
from bench.report import Report
from synccash.api.problem import refuse
from synccash.middleware.matching import Endpoint
from synccash.middleware.request_guard import Caller
from synccash.middleware.resilience import ResilienceMiddleware
from synccash.processes.service_guard import LocalLimiter, ServiceGuard
from synccash.resilience.limit_policies import ConfiguredLimits
from synccash.settings.request_limits import REQUEST_LIMITS

GENEROUS = ", ".join(f"{name}=900000/1" for name in ("payment_status", "api_key", "ip", "endpoint", "global"))
ENDPOINTS = (Endpoint("GET", "/api/v1/payments/{id}", "payment_status", user="id"),)
SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/api/v1/payments/pay_1",
    "raw_path": b"/api/v1/payments/pay_1",
    "headers": [(b"host", b"localhost"), (b"authorization", b"Bearer sk_test_1"), (b"accept", b"*/*")],
    "client": ("127.0.0.1", 1),
}


def run(report: Report) -> None:
    """ns a request over the bare application, in process, without sockets."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_measure(report))


async def _measure(report: Report) -> None:
    book = REQUEST_LIMITS.overridden(GENEROUS)
    guard = ServiceGuard(LocalLimiter(), None, book, ())
    ours = ResilienceMiddleware(
        _app,
        endpoints=ENDPOINTS,
        identify=lambda _: Caller(ip="127.0.0.1", tenant="m:test", api_key="key_1"),
        refuse=refuse,
        guard=guard,
    )
    unlimited = ResilienceMiddleware(
        _app, endpoints=ENDPOINTS, identify=lambda _: Caller(ip="127.0.0.1"), refuse=refuse
    )
    one = ConfiguredLimits({}, tuple(limit for limit in book.shared if limit.scope == "ip"))
    single = ResilienceMiddleware(
        _app,
        endpoints=ENDPOINTS,
        identify=lambda _: Caller(ip="127.0.0.1"),
        refuse=refuse,
        guard=ServiceGuard(LocalLimiter(), None, one, ()),
    )
    contenders = {
        "one limit in memory": _call(single),
        "five limits in memory": _call(ours),
        "matching alone": _call(unlimited),
    }
    peer = _slowapi()
    if peer is not None:
        contenders["slowapi, one limit in memory"] = _call(peer)
    measured = await overhead(contenders, bare=_call(_app))
    rows = [
        (name, f"{one.ns / 1_000:.1f}", f"{one.low / 1_000:.1f}-{one.high / 1_000:.1f}")
        for name, one in measured.items()
    ]
    report.table("Middleware, added to a request (us)", ("", "us", "quartiles"), rows)
    for name, one in measured.items():
        report.add("_".join("".join(c if c.isalnum() else " " for c in name).split()), one.ns, "ns")


async def _app(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"ok"})


def _call(app: Any) -> Callable[[], Awaitable[None]]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Any) -> None:
        return None

    async def once() -> None:
        await app(dict(SCOPE), receive, send)

    return once


def _slowapi() -> Any | None:
    try:
        from slowapi import Limiter
        from slowapi.middleware import SlowAPIASGIMiddleware
        from slowapi.util import get_remote_address
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse
        from starlette.routing import Route
    except ImportError:
        print("(slowapi is not installed; `make bench` installs it)")
        return None
    app = Starlette(routes=[Route("/api/v1/payments/{id}", lambda _: PlainTextResponse("ok"))])
    app.state.limiter = Limiter(key_func=get_remote_address, default_limits=["900000000/minute"])
    app.add_middleware(SlowAPIASGIMiddleware)
    return app
