"""The same middleware round three frameworks: one answer for each key, whatever happens to the request."""

import asyncio
import json
from dataclasses import dataclass, field

import fastapi
import httpx
import litestar
import pytest

from synccash.api.problem import refuse
from synccash.middleware.idempotency_coordinator import CLAIM
from synccash.middleware.matching import Endpoint
from synccash.middleware.refusal import Refusal
from synccash.middleware.request_guard import Admitted, Caller
from synccash.middleware.resilience import ResilienceMiddleware
from synccash.resilience.claims import Granted
from synccash.resilience.memory_claims import MemoryClaims

ENDPOINTS = (
    Endpoint("POST", "/things", name="thing_creation", idempotent="required"),
    Endpoint("GET", "/things/{id}", name="thing_status"),
)


@dataclass
class Shop:
    """What the application does; each framework serves it in its own way."""

    runs: int = 0
    status: int = 201
    body_size: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    claims: list = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def create(self, scope):
        self.runs += 1
        self.claims.append(scope.get(CLAIM))
        self.begun.set()
        await self.gate.wait()
        if self.status == 599:
            raise RuntimeError("broken")
        return {"run": self.runs, "filler": "x" * self.body_size}


def bare(shop):
    async def app(scope, receive, send):
        await receive()
        body = json.dumps(await shop.create(scope)).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"set-cookie", b"a=b"),
            (b"location", b"/things/1"),
        ]
        await send({"type": "http.response.start", "status": shop.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def in_fastapi(shop):
    app = fastapi.FastAPI()

    @app.post("/things")
    async def create(request: fastapi.Request, response: fastapi.Response):
        response.headers["Set-Cookie"] = "a=b"
        response.headers["Location"] = "/things/1"
        made = await shop.create(request.scope)
        response.status_code = shop.status
        return made

    return app


def in_litestar(shop):
    @litestar.post("/things")
    async def create(request: litestar.Request) -> litestar.Response:
        made = await shop.create(request.scope)
        headers = {"Set-Cookie": "a=b", "Location": "/things/1"}
        return litestar.Response(made, status_code=shop.status, headers=headers)

    return litestar.Litestar([create])


class World:
    def __init__(self, framework, door=None):
        self.shop = Shop()
        self.shop.gate.set()
        self.now = 0.0
        self.claims = MemoryClaims(clock=lambda: self.now)
        self.door = door
        self.middleware = ResilienceMiddleware(
            framework(self.shop),
            endpoints=ENDPOINTS,
            identify=lambda scope: Caller(
                ip="127.0.0.1", tenant=dict(scope["headers"]).get(b"x-tenant", b"a").decode()
            ),
            refuse=refuse,
            door=door,
            claims=self.claims,
            answer_max=2_000,
        )
        transport = httpx.ASGITransport(self.middleware, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://shop")

    async def create(self, content='{"a": 1, "b": 2}', *, key="k", path="/things", **headers):
        keys = {} if key is None else {"Idempotency-Key": key}
        return await self.client.post(
            path, content=content, headers={"Content-Type": "application/json", **keys, **headers}
        )


@pytest.fixture(params=[bare, in_fastapi, in_litestar], ids=["asgi", "fastapi", "litestar"])
async def world(request):
    made = World(request.param)
    yield made
    await made.client.aclose()


async def test_a_request_without_a_key_or_with_two_is_refused(world):
    missing = await world.create(key=None)
    assert (missing.status_code, missing.json()["code"]) == (400, "idempotency_key_invalid")
    assert missing.headers["content-type"] == "application/problem+json"
    assert (await world.create(key="a b")).status_code == 400
    assert world.shop.runs == 0


async def test_a_repeat_gets_the_first_answer_and_runs_nothing(world):
    first, again = await world.create(), await world.create(key='"k"')
    assert (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == "/things/1"
    assert "set-cookie" in first.headers
    assert "set-cookie" not in again.headers
    assert world.shop.runs == 1


async def test_the_same_payload_in_another_order_is_a_repeat_and_another_payload_is_refused(world):
    await world.create()
    assert (await world.create('{"b":2.0,"a":1}')).headers["idempotent-replayed"] == "true"
    other = await world.create('{"a": 1, "b": 3}')
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert world.shop.runs == 1


async def test_another_tenant_s_key_is_another_key(world):
    await world.create()
    other = await world.create('{"a": 9}', **{"X-Tenant": "b"})
    assert other.status_code == 201
    assert world.shop.runs == 2


@pytest.mark.parametrize("path", ["/things/", "http://shop//things", "/Things", "/%74hings"])
async def test_no_spelling_of_the_path_escapes(world, path):
    assert (await world.create(key=None, path=path)).status_code == 400


@pytest.mark.parametrize("paths", [("/things", "/things/"), ("/things/", "/things")])
async def test_a_trailing_slash_is_the_same_request(paths):
    """Of a framework that serves both paths."""
    for framework in (bare, in_litestar):
        world = World(framework)
        first, again = [await world.create(path=path) for path in paths]
        assert (
            (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)
        )
        assert again.headers["idempotent-replayed"] == "true"
        assert world.shop.runs == 1
        await world.client.aclose()


async def test_a_redirect_to_the_path_without_its_slash_is_not_replayed_there():
    world = World(in_fastapi)
    sent_elsewhere = await world.create(path="/things/")
    assert (sent_elsewhere.status_code, sent_elsewhere.headers["location"]) == (307, "http://shop/things")
    assert (await world.create()).status_code == 201
    again = await world.create(path="/things/")
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert world.shop.runs == 1
    await world.client.aclose()


async def test_twenty_at_once_run_once_and_get_one_answer(world):
    world.shop.gate.clear()
    asked = [asyncio.create_task(world.create()) for _ in range(20)]
    await world.shop.begun.wait()
    world.shop.gate.set()
    answers = await asyncio.gather(*asked)
    assert {a.content for a in answers} == {answers[0].content}
    assert sum("idempotent-replayed" not in a.headers for a in answers) == 1
    assert world.shop.runs == 1


async def test_another_payload_beside_a_running_one_is_refused_at_once(world):
    world.shop.gate.clear()
    running = asyncio.create_task(world.create())
    await world.shop.begun.wait()
    assert (await world.create('{"a": 2}')).status_code == 422
    world.shop.gate.set()
    assert (await running).status_code == 201


async def test_a_client_that_hangs_up_cancels_nothing(world):
    world.shop.gate.clear()
    running = asyncio.create_task(world.create())
    await world.shop.begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    world.shop.gate.set()
    await world.middleware.close()
    again = await world.create()
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert world.shop.runs == 1


@pytest.mark.parametrize("status", [500, 503, 409, 429, 599])
async def test_trouble_is_never_stored_and_a_repeat_runs_again_knowing_it(world, status):
    world.shop.status = status
    first = await world.create()
    assert first.status_code == (500 if status == 599 else status)
    world.shop.status = 201
    assert (await world.create()).status_code == 201
    assert world.shop.claims == [Granted(1, taken_over=False), Granted(2, taken_over=True)]


async def test_a_refusal_of_the_application_is_an_answer_like_any_other(world):
    world.shop.status = 404
    await world.create()
    world.shop.status = 201
    again = await world.create()
    assert (again.status_code, again.headers["idempotent-replayed"]) == (404, "true")


async def test_a_sleeper_whose_claim_was_taken_over_tells_nobody_its_own_answer(world):
    world.shop.gate.clear()
    running = asyncio.create_task(world.create())
    await world.shop.begun.wait()
    world.now += 31
    other = World(bare)
    other.middleware._once.claims = world.claims
    assert (await other.create()).status_code == 201
    world.shop.gate.set()
    late = await running
    assert (late.status_code, late.json()["code"]) == (409, "idempotency_key_in_progress")
    assert world.middleware.counts.fenced_off == 1
    await other.client.aclose()


async def test_a_key_that_is_held_elsewhere_is_told_when_to_come_back(world):
    from synccash.resilience.idempotency import fingerprint, read_json

    print_ = fingerprint("/things", read_json(b'{"a": 1, "b": 2}'))
    await world.claims.claim("a:POST:/things", "k", print_, lease_s=30.0)
    told = await world.create()
    assert (told.status_code, told.headers["retry-after"]) == (409, "30")


async def test_an_answer_too_large_to_keep_is_sent_whole_and_repeated_as_a_link(world):
    world.shop.body_size = 5_000
    first = await world.create()
    assert first.json()["run"] == 1
    again = await world.create()
    assert (again.status_code, again.content, again.headers["location"]) == (201, b"", "/things/1")
    assert world.shop.runs == 1


async def test_a_body_too_large_to_read_is_refused(world):
    assert (await world.create("[" + "1," * 40_000 + "1]")).status_code == 413
    assert world.shop.runs == 0


class Doors:
    """A door that a test opens and shuts, and that remembers what it was asked."""

    def __init__(self):
        self.asked, self.kept = [], {}
        self.shut = False

    async def admit(self, asked):
        self.asked.append(asked)
        headers = ((b"ratelimit", b'"user";r=9;t=6'),)
        if self.shut:
            refusal = Refusal(status=429, code="rate_limited", detail="too many", retry_after_s=6.0)
            return Admitted(refusal=refusal, headers=headers)
        return Admitted(stored=self.kept.get(asked.answer_name), headers=headers)

    def keep(self, answer_name, stored):
        self.kept[answer_name] = stored


@pytest.fixture
async def guarded():
    made = World(bare, Doors())
    yield made
    await made.client.aclose()


async def test_a_shut_door_ends_the_request_with_its_headers(guarded):
    guarded.door.shut = True
    told = await guarded.create()
    assert (told.status_code, told.headers["retry-after"], told.headers["ratelimit"]) == (
        429,
        "6",
        '"user";r=9;t=6',
    )
    assert guarded.shop.runs == 0


async def test_an_answer_at_the_door_needs_no_claim(guarded):
    first = await guarded.create()
    guarded.claims._records.clear()
    again = await guarded.create()
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert again.headers["ratelimit"]
    assert guarded.middleware.counts.cache_hit == 1


async def test_what_a_door_forgot_or_garbled_decides_nothing(guarded):
    first = await guarded.create()
    for garbage in (b"", b"\x00", b"\x01\x21\x00", b"x" * 100):
        guarded.door.kept = dict.fromkeys(guarded.door.kept, garbage)
        again = await guarded.create()
        assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert guarded.shop.runs == 1


async def test_other_requests_are_counted_and_not_buffered(guarded):
    await guarded.client.get("/things/7")
    await guarded.client.get("/elsewhere")
    assert [asked.endpoint for asked in guarded.door.asked] == ["thing_status", "other"]
