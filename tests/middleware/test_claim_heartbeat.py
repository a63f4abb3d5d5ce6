"""A claim is renewed while its request runs, also when its store, a real PostgreSQL, fails."""

import asyncio

import httpx
import pytest

from synccash.middleware.matching import Endpoint
from synccash.middleware.request_guard import Caller
from synccash.middleware.resilience import ResilienceMiddleware
from synccash.payments.errors import StoreUnavailableError
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.claims import PostgresClaims
from synccash.stores.postgres.pool import connect

HELD = "SELECT lease_until > now() FROM request_claims"
UNTIL = "SELECT lease_until FROM request_claims"


class Work:
    """An application that works until a test ends it, behind a middleware that claims its keys."""

    def __init__(self, pool):
        self.pool, self.status = pool, 201
        self.begun, self.ending = asyncio.Event(), asyncio.Event()
        self.middleware = ResilienceMiddleware(
            self.app,
            endpoints=(Endpoint("POST", "/work", name="work", idempotent="required"),),
            identify=lambda scope: Caller(ip="127.0.0.1", tenant="a"),
            claims=PostgresClaims(Database(pool)),
            lease_s=1.5,  # renewed every 0.5 s: a busy machine needs some of the rest
            unavailable=(StoreUnavailableError,),
        )

    async def app(self, scope, receive, send):
        await receive()
        self.begun.set()
        await self.ending.wait()
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    async def ask(self):
        transport = httpx.ASGITransport(self.middleware)
        async with httpx.AsyncClient(transport=transport, base_url="http://work") as client:
            return await client.post("/work", content=b"{}", headers={"Idempotency-Key": "k"})


async def until(holds):
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110 - a database sets no event
            await asyncio.sleep(0.02)


def logged(caplog):
    """The events that the middleware has logged."""
    return [one.resilience["event"] for one in caplog.records if one.name == "synccash.idempotency"]


def heartbeats():
    """The heartbeats that are running."""
    return [task for task in asyncio.all_tasks() if task.get_name() == "claim heartbeat"]


@pytest.fixture
async def pool(database_url):
    pool = await connect(database_url, min_size=1, max_size=4)
    yield pool
    await pool.close()


@pytest.fixture
async def work(pool):
    return Work(pool)


async def test_a_failed_renewal_is_tried_again_before_the_lease_ends(work, pool, caplog):
    running = asyncio.create_task(work.ask())
    await work.begun.wait()
    await pool.execute("ALTER TABLE request_claims RENAME TO elsewhere")

    async def failed():
        return "claim_renewal_failed" in logged(caplog)

    await until(failed)
    await pool.execute("ALTER TABLE elsewhere RENAME TO request_claims")
    before = await pool.fetchval(UNTIL)

    async def renewed():
        return await pool.fetchval(UNTIL) > before and await pool.fetchval(HELD)

    await until(renewed)
    work.ending.set()
    assert (await running).status_code == 201
    again = await work.ask()
    assert (again.content, again.headers["idempotent-replayed"]) == (b"done", "true")


async def test_a_claim_survives_the_loss_of_all_connections(work, pool):
    running = asyncio.create_task(work.ask())
    await work.begun.wait()
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    await pool.execute(f"{others} WHERE datname = current_database() AND pid <> pg_backend_pid()")
    before = await pool.fetchval(UNTIL)

    async def renewed():
        return await pool.fetchval(UNTIL) > before

    await until(renewed)
    work.ending.set()
    assert (await running).status_code == 201


async def test_a_claim_that_was_taken_over_is_not_renewed_and_the_answer_is_not_sent(work, pool, caplog):
    running = asyncio.create_task(work.ask())
    await work.begun.wait()
    assert len(heartbeats()) == 1
    await pool.execute("UPDATE request_claims SET fence = fence + 1")

    async def lost():
        return "claim_lost" in logged(caplog)

    await until(lost)
    assert heartbeats() == []
    work.ending.set()
    late = await running
    assert (late.status_code, late.json()["code"]) == (409, "idempotency_key_in_progress")


async def test_without_the_store_no_request_runs_and_no_answer_is_sent_that_was_not_stored(work, pool):
    running = asyncio.create_task(work.ask())
    await work.begun.wait()
    await pool.close()
    work.ending.set()
    unkept = await running
    assert (unkept.status_code, unkept.json()["code"]) == (503, "service_unavailable")
    assert unkept.headers["retry-after"]
    work.begun.clear()
    assert (await work.ask()).status_code == 503
    assert not work.begun.is_set()
