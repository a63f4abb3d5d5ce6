"""The middleware around three frameworks: one answer for each key, whatever happens to the request."""

import asyncio
import json
from dataclasses import dataclass, field

import fastapi
import httpx
import litestar
import pytest

from synccash.middleware.idempotency_coordinator import CLAIM, nothing_done
from synccash.middleware.matching import Endpoint
from synccash.middleware.refusal import Refusal
from synccash.middleware.request_guard import Caller, GuardDecision
from synccash.middleware.resilience import ResilienceMiddleware
from synccash.resilience.claims import ClaimAnswer, Granted
from synccash.resilience.idempotency import fingerprint, read_json
from synccash.resilience.memory_claims import MemoryClaims
from synccash.resilience.stored_answers import encode_answer

ENDPOINTS = (
    Endpoint("POST", "/things", name="thing_creation", idempotent="required"),
    Endpoint("GET", "/things/{id}", name="thing_status"),
)


@dataclass
class Shop:
    """What the application does, whichever framework serves it."""

    runs: int = 0
    status: int = 201
    body_size: int = 0
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    says_nothing_done: bool = False
    claims: list = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def create(self, scope):
        self.runs += 1
        self.claims.append(scope.get(CLAIM))
        self.begun.set()
        await self.may_end.wait()
        if self.says_nothing_done:
            nothing_done(scope)
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
    def __init__(self, framework, guard=None, claims=None, may_rerun=None, lease_s=30.0):
        self.shop = Shop()
        self.shop.may_end.set()
        self.now = 0.0
        self.claims = claims or MemoryClaims(clock=lambda: self.now)
        self.guard = guard
        self.middleware = ResilienceMiddleware(
            framework(self.shop),
            endpoints=ENDPOINTS,
            identify=lambda scope: Caller(
                ip="127.0.0.1", tenant=dict(scope["headers"]).get(b"x-tenant", b"a").decode(), user="ama"
            ),
            guard=guard,
            claims=self.claims,
            answer_max=2_000,
            may_rerun=may_rerun,
            lease_s=lease_s,
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
async def test_no_spelling_of_the_path_avoids_the_key(world, path):
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
    world.shop.may_end.clear()
    asked = [asyncio.create_task(world.create()) for _ in range(20)]
    await world.shop.begun.wait()
    world.shop.may_end.set()
    answers = await asyncio.gather(*asked)
    assert {a.content for a in answers} == {answers[0].content}
    assert sum("idempotent-replayed" not in a.headers for a in answers) == 1
    assert world.shop.runs == 1


async def test_another_payload_beside_a_running_one_is_refused_at_once(world):
    world.shop.may_end.clear()
    running = asyncio.create_task(world.create())
    await world.shop.begun.wait()
    assert (await world.create('{"a": 2}')).status_code == 422
    world.shop.may_end.set()
    assert (await running).status_code == 201


async def test_a_client_that_hangs_up_cancels_nothing(world):
    world.shop.may_end.clear()
    running = asyncio.create_task(world.create())
    await world.shop.begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    world.shop.may_end.set()
    await world.middleware.close()
    again = await world.create()
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert world.shop.runs == 1


@pytest.mark.parametrize("status", [401, 403, 408, 409, 413, 425, 429])
async def test_a_request_that_the_application_refused_runs_again(world, status):
    world.shop.status = status
    assert (await world.create()).status_code == status
    world.shop.status = 201
    assert (await world.create()).status_code == 201
    assert world.shop.claims == [
        Granted(1, taken_over=False),
        Granted(2, taken_over=True, given_back=True),
    ]


FAILURES = pytest.mark.parametrize("status", [500, 503, 599])
"""599: the application raises an exception."""


@FAILURES
async def test_a_request_that_failed_with_an_unknown_outcome_never_runs_again(world, status):
    world.shop.status = status
    assert (await world.create()).status_code == (500 if status == 599 else status)
    world.shop.status = 201
    for _ in range(2):
        repeat = await world.create()
        assert (repeat.status_code, repeat.json()["code"]) == (409, "idempotency_outcome_unknown")
        assert repeat.headers["retry-after"] == "30"
    world.now += 31
    assert (await world.create()).status_code == 409
    assert world.shop.runs == 1


@FAILURES
async def test_a_request_that_says_that_nothing_was_done_runs_again(world, status):
    world.shop.status = status
    world.shop.says_nothing_done = True
    await world.create()
    world.shop.status = 201
    assert (await world.create()).status_code == 201
    assert (await world.create()).headers["idempotent-replayed"] == "true"
    assert world.shop.runs == 2


async def test_repeats_that_wait_for_a_request_that_fails_do_not_run():
    world = World(bare)
    world.shop.may_end.clear()
    world.shop.status = 502
    asked = [asyncio.create_task(world.create()) for _ in range(5)]
    await world.shop.begun.wait()
    world.shop.may_end.set()
    assert [one.status_code for one in await asyncio.gather(*asked)] == [502] + [409] * 4
    assert world.shop.runs == 1
    await world.client.aclose()


async def test_a_request_whose_process_died_does_not_run_again():
    dead, next_process = World(bare), None
    dead.shop.may_end.clear()
    running = asyncio.create_task(dead.create())
    await dead.shop.begun.wait()
    next_process = World(bare, claims=dead.claims)
    assert (await next_process.create()).json()["code"] == "idempotency_key_in_progress"
    dead.now += 31
    assert (await next_process.create()).json()["code"] == "idempotency_outcome_unknown"
    assert next_process.shop.runs == 0
    running.cancel()
    dead.shop.may_end.set()
    await dead.middleware.close()
    for world in (dead, next_process):
        await world.client.aclose()


async def test_may_rerun_decides_about_a_request_with_an_unknown_outcome():
    decisions, asked = [], []

    async def may_rerun(request):
        asked.append((request.identity.scope, request.identity.key, request.body))
        return decisions.pop()

    world = World(bare, may_rerun=may_rerun)
    world.shop.status = 500
    await world.create()
    assert asked == []
    world.shop.status = 201
    decisions.append(False)
    assert (await world.create()).status_code == 409
    decisions.append(True)
    rerun = await world.create()
    assert (rerun.status_code, rerun.json()["run"]) == (201, 2)
    assert (await world.create()).content == rerun.content
    assert asked == [("a:POST /things", "k", b'{"a": 1, "b": 2}')] * 2
    await world.client.aclose()


async def test_an_answer_of_may_rerun_is_stored_and_replayed():
    async def may_rerun(request):
        return ClaimAnswer(201, (("location", "/things/7"),), b"found")

    world = World(bare, may_rerun=may_rerun)
    world.shop.status = 500
    await world.create()
    for _ in range(2):
        found = await world.create()
        assert (found.status_code, found.content, found.headers["location"]) == (201, b"found", "/things/7")
    assert world.shop.runs == 1
    await world.client.aclose()


async def test_an_exception_in_may_rerun_runs_nothing_and_the_next_repeat_asks_again():
    errors = [LookupError]

    async def may_rerun(request):
        if errors:
            raise errors.pop()
        return True

    world = World(bare, may_rerun=may_rerun)
    world.shop.status = 500
    await world.create()
    assert (await world.create()).status_code == 500
    assert world.shop.runs == 1
    world.shop.status = 201
    assert (await world.create()).status_code == 201
    await world.client.aclose()


async def test_a_may_rerun_without_a_decision_changes_no_claim():
    decisions = [None, "yes", True]

    async def may_rerun(request):
        return decisions.pop(0)

    world = World(bare, may_rerun=may_rerun)
    world.shop.status = 500
    await world.create()
    world.shop.status = 201
    codes = [(await world.create()).status_code for _ in range(3)]
    assert (codes, world.shop.runs) == ([500, 500, 201], 2)
    await world.client.aclose()


async def test_an_application_that_ends_without_a_whole_response_leaves_the_outcome_unknown():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    world = World(lambda shop: app)
    assert (await world.create()).status_code == 500
    assert (await world.create()).json()["code"] == "idempotency_outcome_unknown"
    await world.client.aclose()


async def test_a_204_is_replayed_without_a_content_length():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    world = World(lambda shop: app)
    await world.create()
    again = await world.create()
    assert (again.status_code, again.headers.get("idempotent-replayed")) == (204, "true")
    assert "content-length" not in again.headers
    await world.client.aclose()


async def test_a_404_of_the_application_is_stored_like_any_answer(world):
    world.shop.status = 404
    await world.create()
    world.shop.status = 201
    again = await world.create()
    assert (again.status_code, again.headers["idempotent-replayed"]) == (404, "true")


async def test_a_request_whose_claim_was_taken_over_and_run_does_not_send_its_own_answer(world):
    async def may_rerun(request):
        return True

    world.shop.may_end.clear()
    running = asyncio.create_task(world.create())
    await world.shop.begun.wait()
    world.now += 31
    other = World(bare, claims=world.claims, may_rerun=may_rerun)
    assert (await other.create()).status_code == 201
    world.shop.may_end.set()
    late = await running
    assert (late.status_code, late.json()["code"]) == (409, "idempotency_key_in_progress")
    assert world.middleware.counts.fenced_off == 1
    await other.client.aclose()


async def test_a_late_answer_counts_when_nothing_ran_after_the_lease(world):
    world.shop.may_end.clear()
    running = asyncio.create_task(world.create())
    await world.shop.begun.wait()
    world.now += 31
    other = World(bare, claims=world.claims)
    assert (await other.create()).json()["code"] == "idempotency_outcome_unknown"
    world.shop.may_end.set()
    late = await running
    assert late.status_code == 201
    assert (await other.create()).content == late.content
    assert (world.shop.runs, other.shop.runs) == (1, 0)
    await other.client.aclose()


class UnreliableClaims(MemoryClaims):
    """Cannot be reached for the first completions."""

    failures = 2

    async def complete(self, *given):
        if self.failures:
            self.failures -= 1
            raise ConnectionResetError
        return await super().complete(*given)


async def test_an_answer_that_the_store_could_not_take_is_not_sent_but_stored_later():
    world = World(bare, claims=UnreliableClaims(clock=lambda: 0.0), lease_s=0.01)
    first = await world.create()
    assert (first.status_code, first.headers["retry-after"]) == (503, "1")
    await world.middleware.close()
    again = await world.create()
    assert (again.status_code, again.json()["run"], again.headers["idempotent-replayed"]) == (201, 1, "true")
    assert world.shop.runs == 1
    await world.client.aclose()


async def test_a_large_answer_that_the_store_could_not_take_was_sent_and_is_not_refused_after_it():
    world = World(bare, claims=UnreliableClaims(clock=lambda: 0.0), lease_s=0.01)
    world.shop.body_size = 5_000
    first = await world.create()
    assert (first.status_code, first.json()["run"]) == (201, 1)
    await world.middleware.close()
    assert (await world.create()).headers["idempotent-replayed"] == "true"
    assert world.shop.runs == 1
    await world.client.aclose()


async def test_a_full_store_refuses_new_keys_and_replays_known_ones():
    world = World(bare, claims=MemoryClaims(most=1))
    await world.create()
    refused = await world.create(key="another")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["code"] == "service_unavailable"
    assert ((await world.create()).status_code, world.shop.runs) == (201, 1)
    await world.client.aclose()


async def test_a_key_held_by_another_process_gets_409_with_retry_after(world):
    stored = fingerprint("/things", read_json(b'{"a": 1, "b": 2}'), b"")
    await world.claims.claim("a:POST /things", "k", stored, lease_s=30.0)
    told = await world.create()
    assert (told.status_code, told.headers["retry-after"]) == (409, "30")


async def test_the_query_belongs_to_the_request_in_any_order(world):
    first = await world.create(path="/things?dry=true&n=1")
    again = await world.create(path="/things?n=1&dry=tru%65")
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    for other in ("/things", "/things?dry=false&n=1", "/things?dry=true"):
        assert (await world.create(path=other)).json()["code"] == "idempotency_key_reused"
    await world.create(key="without")
    assert (await world.create(key="without", path="/things?n=1")).status_code == 422
    assert world.shop.runs == 2


FORMER = fingerprint("/things", read_json(b'{"a": 1, "b": 2}'))
"""What earlier versions stored for the request: they ignored the query."""


@pytest.mark.parametrize("path", ["/things", "/things?n=1", "/things/"])
async def test_an_answer_that_an_earlier_version_stored_is_replayed(path):
    world = World(bare)
    await world.claims.claim("a:POST /things", "k", FORMER, lease_s=30.0)
    await world.claims.complete("a:POST /things", "k", 1, ClaimAnswer(201, (), b"of old"))
    again = await world.create(path=path)
    assert (again.content, again.headers["idempotent-replayed"]) == (b"of old", "true")
    assert (await world.create('{"a": 2}', path=path)).status_code == 422
    assert world.shop.runs == 0
    await world.client.aclose()


async def test_an_answer_that_an_earlier_version_cached_is_replayed():
    world = World(bare, Guard())
    world.guard.kept["a:POST /things\nk"] = encode_answer(FORMER, ClaimAnswer(201, (), b"of old"))
    assert (await world.create(path="/things?n=1")).content == b"of old"
    assert (await world.create('{"a": 2}')).status_code == 422
    assert world.shop.runs == 0
    await world.client.aclose()


async def test_a_claim_of_an_earlier_version_in_progress_or_failed_does_not_run_again():
    world = World(bare)
    await world.claims.claim("a:POST /things", "k", FORMER, lease_s=30.0)
    assert (await world.create()).json()["code"] == "idempotency_key_in_progress"
    # Earlier versions gave a claim back after any failure, also one that had charged.
    await world.claims.give_back("a:POST /things", "k", 1)
    assert (await world.create()).json()["code"] == "idempotency_outcome_unknown"
    assert world.shop.runs == 0
    await world.client.aclose()


async def test_an_answer_too_large_to_store_is_sent_whole_and_repeated_as_a_link(world):
    world.shop.body_size = 5_000
    first = await world.create()
    assert first.json()["run"] == 1
    again = await world.create()
    assert (again.status_code, again.content, again.headers["location"]) == (201, b"", "/things/1")
    assert world.shop.runs == 1


async def test_a_body_too_large_to_read_is_refused(world):
    assert (await world.create("[" + "1," * 40_000 + "1]")).status_code == 413
    assert world.shop.runs == 0


class CountedClaims(MemoryClaims):
    """Counts the claims that are asked for."""

    asked = 0

    async def claim(self, *given, **named):
        self.asked += 1
        return await super().claim(*given, **named)


class Guard:
    """A guard that refuses when a test says so, and records what it was asked."""

    def __init__(self):
        self.requests, self.kept = [], {}
        self.refusing = False
        self.arrivals = asyncio.Queue()
        self.may_decide = asyncio.Event()
        self.may_decide.set()

    async def admit(self, request):
        self.requests.append(request)
        self.arrivals.put_nowait(request)
        await self.may_decide.wait()
        headers = ((b"ratelimit", b'"user";r=9;t=6'),)
        if self.refusing:
            refusal = Refusal(status=429, code="rate_limited", detail="too many", retry_after_s=6.0)
            return GuardDecision(refusal=refusal, headers=headers)
        return GuardDecision(stored_answer=self.kept.get(request.answer_name), headers=headers)

    async def until_asked(self, times):
        for _ in range(times):
            await self.arrivals.get()

    def keep(self, answer_name, stored):
        self.kept[answer_name] = stored


@pytest.fixture
async def guarded():
    made = World(bare, Guard(), CountedClaims())
    yield made
    await made.client.aclose()


async def test_a_refusal_of_the_guard_ends_the_request_with_its_headers(guarded):
    guarded.guard.refusing = True
    told = await guarded.create()
    assert (told.status_code, told.headers["retry-after"], told.headers["ratelimit"]) == (
        429,
        "6",
        '"user";r=9;t=6',
    )
    assert guarded.shop.runs == 0


async def test_a_cached_answer_needs_no_claim(guarded):
    first = await guarded.create()
    assert guarded.claims.asked == 1
    again = await guarded.create()
    assert guarded.claims.asked == 1
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert again.headers["ratelimit"]
    assert guarded.middleware.counts.cache_hit == 1


async def test_a_lost_or_damaged_cache_entry_decides_nothing(guarded):
    first = await guarded.create()
    for garbage in (b"", b"\x00", b"\x01\x21\x00", b"x" * 100):
        guarded.guard.kept = dict.fromkeys(guarded.guard.kept, garbage)
        again = await guarded.create()
        assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert guarded.shop.runs == 1


async def test_other_requests_are_counted_and_not_buffered(guarded):
    await guarded.client.get("/things/7")
    await guarded.client.get("/elsewhere")
    assert [request.endpoint for request in guarded.guard.requests] == ["thing_status", "other"]


def users_counted(guarded):
    return [request.caller.user for request in guarded.guard.requests]


@pytest.mark.parametrize("held", ["before it is admitted", "while it runs"])
async def test_repeats_that_join_a_request_cost_one_quota(guarded, held):
    gate = guarded.guard.may_decide if held == "before it is admitted" else guarded.shop.may_end
    gate.clear()
    asked = [asyncio.create_task(guarded.create()) for _ in range(20)]
    await guarded.guard.until_asked(20)
    gate.set()
    answers = await asyncio.gather(*asked)
    assert {(one.status_code, one.content) for one in answers} == {(201, answers[0].content)}
    assert guarded.middleware.counts.joined == 19
    assert users_counted(guarded) == ["ama"] + [None] * 19


async def test_repeats_of_a_refused_request_are_counted_before_they_run(guarded):
    guarded.guard.may_decide.clear()
    asked = [asyncio.create_task(guarded.create()) for _ in range(3)]
    await guarded.guard.until_asked(3)
    guarded.guard.refusing = True
    guarded.guard.may_decide.set()
    assert [one.status_code for one in await asyncio.gather(*asked)] == [429] * 3
    guarded.guard.refusing = False
    guarded.shop.status = 429
    guarded.guard.requests.clear()
    assert [one.status_code for one in await asyncio.gather(*(guarded.create() for _ in range(5)))] == [
        429
    ] * 5
    assert guarded.shop.runs == 5
    assert sorted(map(str, users_counted(guarded))) == ["None"] * 4 + ["ama"] * 5


async def test_a_repeat_whose_client_hangs_up_leaves_the_turn_to_the_next(guarded):
    guarded.shop.may_end.clear()
    guarded.shop.status = 429
    first, second, third = [asyncio.create_task(guarded.create()) for _ in range(3)]
    await guarded.shop.begun.wait()
    await guarded.guard.until_asked(3)
    second.cancel()
    guarded.shop.may_end.set()
    assert (await first).status_code == 429
    assert (await third).status_code == 429
    assert guarded.shop.runs == 2
    assert guarded.middleware._coordinator._running == {}
