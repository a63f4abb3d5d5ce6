"""A merchant that sends many requests at once delays its own, not those of other merchants."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from hashlib import sha256

from service.test_service_guard import TEST_KEY, served
from synccash.payments.request import Role
from synccash.processes.fair_queue import REFUSED, WAITED, FairQueue
from synccash.stores.postgres.operations.merchants import PostgresKeys

LONG_S = 1_000.0


class Requests:
    """Requests behind a queue: `started` has their names in order, and `end` lets one end."""

    def __init__(self, **settings):
        self.queue = FairQueue(lambda scope: scope["tenant"], **settings)
        self.started = []
        self.answers = Counter()
        self._app = self.queue.layer(self._serve)
        self._ends = {}
        self._starts = {}
        self._tasks = {}

    async def _serve(self, scope, _receive, send):
        self.started.append(scope["name"])
        self._starts[scope["name"]].set()
        await self._ends[scope["name"]].wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(self, tenant, *names):
        """Send requests, and wait until each has started, waits or was refused."""

        async def answered(message):
            if message["type"] == "http.response.start":
                self.answers[message["status"]] += 1

        for name in names:
            self._ends[name], self._starts[name] = asyncio.Event(), asyncio.Event()
            scope = {"type": "http", "method": "POST", "path": "/", "tenant": tenant, "name": name}
            self._tasks[name] = asyncio.create_task(self._app(scope, None, answered))
        await settled()

    async def has_started(self, name):
        await self._starts[name].wait()

    async def end(self, *names):
        for name in names:
            self._ends[name].set()
            await self._tasks[name]
        await settled()

    async def cancel(self, name):
        self._tasks[name].cancel()
        await asyncio.gather(self._tasks[name], return_exceptions=True)
        await settled()

    async def end_all(self):
        for event in self._ends.values():
            event.set()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


@asynccontextmanager
async def requests(**settings):
    sent = Requests(**{"young_s": LONG_S, "active_s": LONG_S, **settings})
    yield sent
    await sent.end_all()
    assert sent.queue._tenants == {}


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_tenant_alone_starts_all_its_requests_at_once():
    async with requests() as sent:
        await sent.send("a", *range(100))
        assert sent.started == list(range(100))
        assert not sent.queue.counts


async def test_beside_another_tenant_a_request_starts_when_an_earlier_one_ends():
    async with requests(young_max=2) as sent:
        await sent.send("b", "b0")
        await sent.send("a", "a0", "a1", "a2", "a3", "a4")
        assert sent.started == ["b0", "a0", "a1"]
        await sent.end("a1")
        assert sent.started == ["b0", "a0", "a1", "a2"]
        await sent.end("a0", "a2")
        assert sent.started == ["b0", "a0", "a1", "a2", "a3", "a4"]
        assert sent.queue.counts == {WAITED: 3}


async def test_the_other_tenant_starts_at_once_however_many_wait():
    async with requests(young_max=2) as sent:
        await sent.send("b", "b0")
        await sent.end("b0")
        await sent.send("a", *range(50))
        await sent.send("b", "b1", "b2")
        assert sent.started == ["b0", 0, 1, "b1", "b2"]


async def test_requests_that_take_long_keep_none_waiting():
    """None of them ends: each is young for a moment only, as when the fraud service hangs."""
    async with requests(young_max=2, young_s=0.001) as sent:
        await sent.send("b", "b0")
        await sent.send("a", *range(20))
        await sent.has_started(19)
        assert sent.started[1:] == list(range(20))


async def test_a_tenant_is_active_for_a_while_only():
    async with requests(young_max=2, active_s=0.0) as sent:
        await sent.send("b", "b0")
        await sent.send("a", *range(20))
        assert len(sent.started) == 21


async def test_a_third_tenant_counts_as_another_one():
    async with requests(young_max=1) as sent:
        for name in ("b", "c", "a"):
            await sent.send(name, f"{name}0", f"{name}1")
        assert sent.started == ["b0", "b1", "c0", "a0"]


async def test_a_request_that_is_cancelled_while_it_waits_takes_no_room():
    async with requests(young_max=1) as sent:
        await sent.send("b", "b0")
        await sent.send("a", "a0", "a1", "a2")
        await sent.cancel("a1")
        await sent.end("a0")
        assert sent.started == ["b0", "a0", "a2"]


async def test_a_request_that_is_cancelled_as_it_may_start_lets_the_next_one_start():
    async with requests(young_max=1) as sent:
        await sent.send("b", "b0")
        await sent.send("a", "a0", "a1", "a2")
        sent._ends["a0"].set()
        await asyncio.sleep(0)
        # a1 has been told to start and has not run yet.
        await sent.cancel("a1")
        assert sent.started == ["b0", "a0", "a2"]


async def test_a_request_that_fails_lets_the_next_one_start():
    async with requests(young_max=1) as sent:
        await sent.send("b", "b0")
        await sent.send("a", "a0", "a1")
        await sent.cancel("a0")
        assert sent.started == ["b0", "a0", "a1"]


async def test_more_waiting_requests_than_allowed_are_refused():
    async with requests(young_max=1, waiting_max=3) as sent:
        await sent.send("b", "b0")
        await sent.send("a", *range(10))
        assert sent.answers == {429: 6}
        assert sent.queue.counts == {WAITED: 3, REFUSED: 6}
        await sent.end("b0")
        await sent.send("b", "b1")
        assert sent.started == ["b0", 0, "b1"]


async def test_a_request_without_a_tenant_never_waits_and_counts_for_nobody():
    async with requests(young_max=1) as sent:
        await sent.send(None, "none0", "none1", "none2")
        await sent.send("a", "a0", "a1")
        assert len(sent.started) == 5


async def test_nothing_is_kept_of_tenants_whose_requests_have_ended():
    async with requests() as sent:
        for number in range(100):
            await sent.send(f"tenant-{number}", number)
            await sent.end(number)
        assert sent.queue._tenants == {}


async def test_the_service_queues_the_requests_of_a_busy_merchant(database_url):
    """Another merchant is active when the first of its requests arrives, or a later attempt finds it so."""
    other_key = "sk_test_" + "3" * 48
    async with served(database_url) as api:
        keys = PostgresKeys(api.service.database)
        await keys.ensure_merchant("other", "Other")
        await keys.ensure_key(
            sha256(other_key.encode()).digest(), Role.MERCHANT, merchant_id="other", livemode=False
        )
        while await api.series('synccash_requests_queued_total{result="waited"}') == 0:
            other = api.ask("GET", "/events", other_key)
            mine = [api.ask("GET", "/events", TEST_KEY) for _ in range(30)]
            answers = await asyncio.gather(other, *mine)
            assert {answer.status_code for answer in answers} == {200}
        assert await api.series("synccash_requests_waiting") == 0
