"""No endpoint with idempotency keys is left unprotected: wrong declarations are refused, mounts are found."""

import asyncio

import fastapi
import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from synccash.middleware import (
    Caller,
    Endpoint,
    MemoryClaims,
    MemoryGuard,
    Refusal,
    ResilienceMiddleware,
    one_tenant,
    refuse_with_problem,
)
from synccash.middleware.matching import Matcher
from synccash.middleware.request_guard import GuardedRequest
from synccash.resilience.rate_limiter import Limit

KEY = {"Idempotency-Key": "k"}
ORDERS = Endpoint("POST", "/orders", "order", idempotent="required")


class Shop:
    """Counts its orders, behind the middleware."""

    def __init__(self, endpoints=(ORDERS,), *, takes_any_path=False, **given):
        self.orders = 0
        self.api = fastapi.FastAPI()

        @self.api.post("/orders")
        async def order():
            self.orders += 1
            return {"order": self.orders}

        given = {"identify": one_tenant("shop"), "claims": MemoryClaims(), **given}
        app = self.take_any_path if takes_any_path else self.api
        self.app = ResilienceMiddleware(app, endpoints=endpoints, **given)

    async def take_any_path(self, scope, receive, send):
        self.orders += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


async def post(app, path="/orders", headers=KEY, times=2):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        return [await client.post(path, headers=headers) for _ in range(times)]


async def assert_guarded(shop, app, path):
    """A repeat is replayed, and a request without a key is refused."""
    first, again = await post(app, path)
    assert (first.status_code, again.content, again.headers["idempotent-replayed"]) == (
        200,
        first.content,
        "true",
    )
    (without,) = await post(app, path, {}, times=1)
    assert without.status_code == 400
    assert shop.orders == 1


async def test_a_mounted_application_is_guarded():
    shop = Shop()
    await assert_guarded(shop, Starlette(routes=[Mount("/api", app=shop.app)]), "/api/orders")


async def test_an_application_below_two_mounts_is_guarded():
    shop = Shop()
    inner = Starlette(routes=[Mount("/v1", app=shop.app)])
    await assert_guarded(shop, Starlette(routes=[Mount("/api", app=inner)]), "/api/v1/orders")


@pytest.mark.parametrize(
    ("root", "path"), [("/api", "/api/orders"), ("/api", "/orders"), ("/api/", "/api/orders")]
)
async def test_an_application_behind_a_root_path_is_guarded(root, path):
    """Servers put the root path before the path; a proxy may have removed it."""
    shop = Shop(takes_any_path=True)

    async def server(scope, receive, send):
        await shop.app({**scope, "root_path": root}, receive, send)

    await assert_guarded(shop, server, path)


async def test_a_middleware_outside_of_a_mount_finds_the_whole_path():
    shop = Shop()
    endpoint = Endpoint("POST", "/api/orders", "order", idempotent="required")
    outside = ResilienceMiddleware(
        Starlette(routes=[Mount("/api", app=shop.api)]),
        endpoints=[endpoint],
        identify=one_tenant("shop"),
        claims=MemoryClaims(),
    )
    await assert_guarded(shop, outside, "/api/orders")


async def test_endpoints_that_were_declared_with_their_prefix_are_still_guarded():
    shop = Shop(endpoints=[Endpoint("POST", "/api/orders", "order", idempotent="required")])
    await assert_guarded(shop, Starlette(routes=[Mount("/api", app=shop.app)]), "/api/orders")


async def test_a_prefix_that_is_part_of_a_word_is_not_removed():
    shop = Shop(takes_any_path=True)

    async def server(scope, receive, send):
        await shop.app({**scope, "root_path": "/api"}, receive, send)

    (elsewhere,) = await post(server, "/apis/orders", {}, times=1)
    assert elsewhere.status_code == 200


async def test_a_path_that_ends_with_a_line_feed_is_guarded_as_the_route_that_it_reaches():
    """Starlette's patterns end with `$`, which also matches before a line feed."""
    shop = Shop()
    (without,) = await post(shop.app, "/orders%0A", {}, times=1)
    assert without.status_code == 400
    assert shop.orders == 0


async def test_a_method_in_lower_case_is_guarded():
    """Uvicorn with h11 passes it on as it was sent, and Django runs it as if it were in upper case."""
    shop = Shop(takes_any_path=True)

    async def server(scope, receive, send):
        await shop.app({**scope, "method": scope["method"].lower()}, receive, send)

    await assert_guarded(shop, server, "/orders")


async def test_two_mounts_with_one_claim_store_do_not_answer_for_each_other():
    claims = MemoryClaims()
    first, second = Shop(claims=claims), Shop(claims=claims)
    app = Starlette(routes=[Mount("/a", app=first.app), Mount("/b", app=second.app)])
    await post(app, "/a/orders")
    (other,) = await post(app, "/b/orders", times=1)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_caller_without_a_tenant_is_refused_where_keys_are_required():
    shop = Shop(identify=lambda scope: Caller(ip="192.0.2.1"))
    (refused,) = await post(shop.app, times=1)
    assert (refused.status_code, refused.json()["code"]) == (403, "idempotency_caller_unknown")
    assert shop.orders == 0


def test_required_keys_need_a_claim_store():
    with pytest.raises(ValueError, match=r"endpoint order: idempotent='required' needs claims="):
        Shop(claims=None)


@pytest.mark.parametrize(
    "before",
    [
        Endpoint("POST", "/{any}", "any"),
        Endpoint("POST", "/ORDERS/", "again"),
        Endpoint("POST", "/orders", "handled", idempotent="handled"),
    ],
)
def test_an_endpoint_that_hides_required_keys_is_refused(before):
    with pytest.raises(ValueError, match="declare the narrower path first"):
        Shop(endpoints=[before, ORDERS])
    Shop(endpoints=[ORDERS, before] if before.idempotent is None else [ORDERS])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"method": "post"}, "has to be in upper case"),
        ({"method": "POST "}, "has to be in upper case"),
        ({"path": "orders"}, "has to begin with /"),
        ({"path": "/orders?x=1"}, "has no query"),
        ({"path": "/orders/order-{id}"}, "matches no request"),
        ({"path": "/orders/{id:path}"}, "matches no request"),
        ({"path": "/orders/{id}", "user": "order_id"}, "is no named part"),
        ({"idempotent": "yes"}, "expected 'required' or 'handled', or None"),
        ({"idempotent": "required", "method": ""}, "needs a method"),
        ({"idempotent": "required", "limited": False}, "limited=True"),
    ],
)
def test_an_endpoint_that_no_request_would_match_is_refused(given, why):
    with pytest.raises(ValueError, match=why):
        Endpoint(**{"method": "POST", "path": "/orders", "name": "order", **given})


def test_a_declaration_without_keys_matches_as_before():
    assert Matcher([Endpoint("", "/orders", "order")]).match("", "/orders") is not None


async def test_a_guard_in_memory_limits_all_requests_and_single_endpoints():
    everywhere = Limit(name="all", scope="ip", quota=3, period_s=60)
    orders = Limit(name="orders", scope="user", quota=1, period_s=60)
    shop = Shop(guard=MemoryGuard(everywhere, endpoints={"order": [orders]}))
    first, again = await post(shop.app)
    assert (first.status_code, again.status_code) == (200, 429)
    assert again.headers["content-type"] == "application/problem+json"
    assert int(again.headers["retry-after"]) > 50
    assert again.json()["retry_after"] == int(again.headers["retry-after"])
    assert '"orders"' in first.headers["ratelimit"]
    elsewhere = await post(shop.app, "/elsewhere", times=3)
    assert [one.status_code for one in elsewhere] == [404, 404, 429]


async def test_a_guard_in_memory_counts_the_named_user_and_the_one_in_the_body():
    limit = Limit(name="users", scope="user", quota=1, period_s=60)
    users = iter(["ama", "kofi", "kofi"])
    shop = Shop(
        endpoints=[Endpoint("POST", "/orders", "order", user_of_body=("payer",))],
        identify=lambda scope: Caller(ip="192.0.2.1", user=next(users)),
        guard=MemoryGuard(limit),
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(shop.app), base_url="http://shop") as client:
        payers = ["esi", "esi", "yaw"]
        answers = [await client.post("/orders", json={"payer": payer}) for payer in payers]
    assert [one.status_code for one in answers] == [200, 429, 200]


async def test_a_user_that_is_no_text_is_counted_by_the_address():
    """The client chooses what is in the body: a user that cannot be counted must not fail the request."""
    shop = Shop(
        endpoints=[Endpoint("POST", "/orders", "order", user_of_body=("payer",))],
        guard=MemoryGuard(Limit(name="users", scope="user", quota=1, period_s=60)),
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(shop.app), base_url="http://shop") as client:
        answers = [await client.post("/orders", json={"payer": payer}) for payer in ({}, [1], 233, 233.0)]
    assert [one.status_code for one in answers] == [200, 429, 200, 429]


async def test_a_guard_in_memory_counts_by_api_key_endpoint_and_together():
    limits = [
        Limit(name=scope, scope=scope, quota=1, period_s=60) for scope in ("api_key", "endpoint", "global")
    ]
    for limit in limits:
        keys = iter(["one", "two"])
        shop = Shop(
            endpoints=[Endpoint("POST", "/orders", "order")],
            identify=lambda scope, keys=keys: Caller(ip="192.0.2.1", api_key=next(keys)),
            guard=MemoryGuard(limit),
        )
        codes = [one.status_code for one in await post(shop.app)]
        assert codes == ([200, 200] if limit.scope == "api_key" else [200, 429])


async def test_a_refusal_shows_its_errors_members_and_headers():
    sent = []

    async def send(message):
        sent.append(message)

    refusal = Refusal(
        status=422,
        code="bad",
        detail="wrong",
        errors=[("a.b", "missing")],
        headers={"X-Kind": "k"},
        members={"order": 7},
    )
    await refuse_with_problem({}, send, refusal)
    headers = dict(sent[0]["headers"])
    assert (headers[b"x-kind"], headers[b"content-length"]) == (b"k", str(len(sent[1]["body"])).encode())
    assert b"retry-after" not in headers
    document = httpx.Response(422, content=sent[1]["body"]).json()
    assert document == {
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "wrong",
        "code": "bad",
        "retryable": False,
        "errors": [{"field": "a.b", "message": "missing"}],
        "order": 7,
    }


async def test_the_limits_of_get_apply_to_head():
    async def search(request):
        return PlainTextResponse("found")

    app = ResilienceMiddleware(
        Starlette(routes=[Route("/search", search)]),
        endpoints=[Endpoint("GET", "/search", "search")],
        identify=one_tenant("shop"),
        guard=MemoryGuard(endpoints={"search": [Limit(name="searches", scope="ip", quota=1, period_s=60)]}),
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        answers = [await client.head("/search"), await client.head("/search"), await client.get("/search")]
    assert [one.status_code for one in answers] == [200, 429, 429]


async def test_a_compressed_answer_is_replayed_as_what_it_is():
    async def order(request):
        return PlainTextResponse("order " * 500)

    routes = [Route("/orders", order, methods=["POST"])]
    app = ResilienceMiddleware(
        Starlette(routes=routes, middleware=[Middleware(GZipMiddleware)]),
        endpoints=[ORDERS],
        identify=one_tenant("shop"),
        claims=MemoryClaims(),
    )
    first, again = await post(app)
    assert (first.headers["content-encoding"], again.headers["content-encoding"]) == ("gzip", "gzip")
    assert again.text == first.text == "order " * 500


def test_one_tenant_believes_forwarded_addresses_of_trusted_proxies_only():
    headers = [(b"x-forwarded-for", b"198.51.100.7")]
    scope = {"client": ("10.0.0.1", 1), "headers": headers}
    assert one_tenant("shop")(scope) == Caller(ip="10.0.0.1", tenant="shop")
    assert one_tenant("shop", trusted="10.0.0.0/8")(scope).ip == "198.51.100.7"
    assert one_tenant("shop")({"headers": []}).ip == "unknown"


def posted_scope(path="/orders"):
    headers = [(b"idempotency-key", b"k")]
    return {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}


async def receive_nothing():
    return {"type": "http.request", "body": b"", "more_body": False}


class Background:
    """An application that goes on working after its response."""

    def __init__(self, error=None):
        self.may_end, self.error = asyncio.Event(), error
        self.sent, self.answered = [], asyncio.Event()
        self.app = ResilienceMiddleware(
            self.serve, endpoints=[ORDERS], identify=one_tenant("shop"), claims=MemoryClaims()
        )

    async def serve(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})
        await self.may_end.wait()
        if self.error is not None:
            raise self.error

    async def send(self, message):
        self.sent.append(message)
        if message["type"] == "http.response.body":
            self.answered.set()

    def post(self):
        return asyncio.create_task(self.app(posted_scope(), receive_nothing, self.send))


async def test_background_work_does_not_delay_the_answer_and_close_waits_for_it():
    background = Background()
    request = background.post()
    await background.answered.wait()
    assert background.sent[1]["body"] == b"onetwo"
    again = background.post()
    await again  # the stored answer, while the background work goes on
    assert (b"idempotent-replayed", b"true") in background.sent[2]["headers"]
    closing = asyncio.create_task(background.app.close())
    await asyncio.sleep(0)
    assert not request.done()
    assert not closing.done()
    background.may_end.set()
    await closing
    await request


async def test_an_error_of_background_work_reaches_the_server_and_changes_no_answer():
    background = Background(RuntimeError("receipt printer"))
    request = background.post()
    await background.answered.wait()
    background.may_end.set()
    with pytest.raises(RuntimeError, match="receipt printer"):
        await request
    await background.post()
    assert [one["status"] for one in background.sent if "status" in one] == [201, 201]


async def test_a_shutdown_waits_for_a_request_before_the_application_ends():
    background, order = Background(), []
    may_shut_down, messages = asyncio.Event(), iter(["lifespan.startup", "lifespan.shutdown"])
    serve = background.app.app

    async def app(scope, receive, send):
        if scope["type"] != "lifespan":
            await serve(scope, receive, send)
            order.append("request")
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        order.append("application")
        await send({"type": "lifespan.shutdown.complete"})

    background.app = ResilienceMiddleware(
        app, endpoints=[ORDERS], identify=one_tenant("shop"), claims=MemoryClaims()
    )
    started = asyncio.Event()

    async def receive():
        message = next(messages)
        if message == "lifespan.shutdown":
            started.set()
            await may_shut_down.wait()
        return {"type": message}

    async def send(message):
        order.append(message["type"])

    lifespan = asyncio.create_task(background.app({"type": "lifespan"}, receive, send))
    await started.wait()
    request = background.post()
    await background.answered.wait()
    request.cancel()
    may_shut_down.set()
    background.may_end.set()
    await lifespan
    assert order == ["lifespan.startup.complete", "request", "application", "lifespan.shutdown.complete"]


@pytest.mark.parametrize(("received", "raises"), [(False, True), (False, False), (True, True)])
async def test_a_lifespan_is_served_for_an_application_that_does_not_know_it(received, raises):
    async def app(scope, receive, send):
        if received:
            await receive()
        if raises:
            raise ValueError("no lifespan here")

    guarded = ResilienceMiddleware(app, endpoints=[], identify=one_tenant("shop"))
    messages, sent = iter(["lifespan.startup", "lifespan.shutdown"]), []

    async def receive():
        return {"type": next(messages)}

    async def send(message):
        sent.append(message["type"])

    if received:
        with pytest.raises(ValueError, match="no lifespan here"):
            await guarded({"type": "lifespan"}, receive, send)
        assert sent == []
    else:
        await guarded({"type": "lifespan"}, receive, send)
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_server_s_extensions_do_not_send_a_response_past_the_claim():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["extensions"])
        await Shop().take_any_path(scope, receive, send)

    guarded = ResilienceMiddleware(
        app, endpoints=[ORDERS], identify=one_tenant("shop"), claims=MemoryClaims()
    )
    extensions = {"http.response.pathsend": {}, "tls": {}}

    async def send(message):
        pass

    await guarded({**posted_scope(), "extensions": extensions}, receive_nothing, send)
    assert seen == [{"tls": {}}]


@pytest.mark.parametrize("layers", [1, 2])
async def test_an_application_without_keys_learns_that_its_client_hung_up(layers):
    received, sent = [], iter([{"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"}])

    async def app(scope, receive, send):
        received.extend([await receive(), await receive()])

    async def receive():
        return next(sent)

    for _ in range(layers):
        endpoint = Endpoint("POST", "/orders", "order", user_of_body=("payer",))
        app = ResilienceMiddleware(app, endpoints=[endpoint], identify=one_tenant("shop"))
    await app(posted_scope(), receive, None)
    assert [one["type"] for one in received] == ["http.request", "http.disconnect"]
    assert received[0]["body"] == b"{}"


async def test_a_limit_may_count_by_tenant():
    guard = MemoryGuard(Limit(name="t", scope="tenant", quota=1, period_s=60))
    tenants = [
        Caller("192.0.2.1", "shop"),
        Caller("192.0.2.1", "inn"),
        Caller("192.0.2.2", "shop"),
        Caller("ip"),
    ]
    decisions = [await guard.admit(GuardedRequest("order", caller)) for caller in tenants]
    assert [one.refusal is None for one in decisions] == [True, True, False, True]


def test_a_scope_that_requests_have_no_id_for_is_refused():
    device = Limit(name="d", scope="device", quota=1, period_s=60)
    for guard in (lambda: MemoryGuard(device), lambda: MemoryGuard(endpoints={"order": [device]})):
        with pytest.raises(ValueError, match="limit d counts by device"):
            guard()


def test_two_limits_that_would_share_their_counters_are_refused():
    """The counter of the last one would count for both: a strict limit would never refuse."""
    strict, loose = (Limit(name="o", scope="ip", quota=quota, period_s=60) for quota in (2, 100))
    with pytest.raises(ValueError, match="two different limits are named o and count by ip"):
        MemoryGuard(strict, endpoints={"order": [loose]})
    MemoryGuard(strict, endpoints={"order": [strict]})


@pytest.mark.parametrize("name", ["identify", "user_of"])
def test_an_async_function_whose_result_nothing_awaits_is_refused(name):
    """Each request would have a user of its own, a coroutine, and no limit would apply."""

    async def wrong(value):
        return value

    with pytest.raises(TypeError, match=f"{name} must be a plain function"):
        Shop(**{name: wrong})


def test_limits_of_an_endpoint_that_is_not_there_are_refused():
    limit = Limit(name="orders", scope="ip", quota=1, period_s=60)
    with pytest.raises(ValueError, match="limits for 'ordr', which is no name of an endpoint"):
        Shop(guard=MemoryGuard(endpoints={"ordr": [limit]}))
    Shop(guard=MemoryGuard(endpoints={"order": [limit], "other": [limit]}))
