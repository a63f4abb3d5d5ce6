"""Statements under the `database` profile: retried only if they had no effect, without blocking others."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import asyncpg
import pytest

from order_store_contract import opening
from postgres_proxy import postgres_proxy
from stores.postgres_world import PostgresWorld
from synccash.payments.case import Opened
from synccash.payments.errors import StoreUnavailableError
from synccash.stores.postgres.database import Database, InDoubtError
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.pool import Pool, connect

LONGEST_WAITS = [0.5, 1.0]

Then = Callable[[], Awaitable[object]]


class Waits:
    """Takes the place of sleeping: keeps how long it would be, and lets something happen meanwhile."""

    def __init__(self, then: Then | None = None) -> None:
        self.seconds: list[float] = []
        self._then = then

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if self._then is not None:
            await self._then()


def patient(pool: Pool, waits: Waits) -> Database:
    return Database(pool, sleep=waits, random=lambda: 1.0)


class Door:
    """A way to PostgreSQL that is refused until somebody opens it."""

    def __init__(self, url: str, folder: Path) -> None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        self._real = Path(query["host"][0])
        self._folder = folder
        query["host"] = [str(folder)]
        self.url = parts._replace(query=urlencode(query, doseq=True)).geturl()

    async def open(self) -> None:
        for socket in self._real.glob(".s.PGSQL.*"):
            (self._folder / socket.name).symlink_to(socket)


@pytest.fixture
def door(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    # A machine that stands still for some seconds would use up the time to wait for a connection.
    monkeypatch.setattr("synccash.stores.postgres.database.CONNECT_TIMEOUT_S", 60.0)
    return Door(database_url, tmp_path)


async def test_a_refused_connection_is_tried_three_times_with_the_profiles_waits(door: Door) -> None:
    waits = Waits()
    pool = await connect(door.url, min_size=0, max_size=1)
    with pytest.raises(StoreUnavailableError, match="refused"):
        await patient(pool, waits).commit("SELECT 1")
    assert waits.seconds == LONGEST_WAITS
    await pool.close()


async def test_a_server_that_is_back_before_the_next_try_causes_no_failure(door: Door) -> None:
    waits = Waits(door.open)
    pool = await connect(door.url, min_size=0, max_size=1)
    assert [tuple(row) for row in await patient(pool, waits).commit("SELECT 1")] == [(1,)]
    assert len(waits.seconds) == 1
    await pool.close()


async def test_a_caller_waiting_for_its_retry_does_not_block_later_callers(
    door: Door, world: PostgresWorld
) -> None:
    pool = await connect(door.url, min_size=0, max_size=1)
    behind: list[object] = []

    async def others_come() -> None:
        await door.open()
        behind.append(await order_store.open(opening(world, 2)))

    order_store = PostgresOrderStore(patient(pool, Waits(others_come)))
    first = await order_store.open(opening(world, 1))
    assert isinstance(first, Opened)
    assert [type(one) for one in behind] == [Opened]
    await pool.close()


async def test_the_victim_of_a_deadlock_waits_and_runs_again(pool: Pool) -> None:
    await pool.execute("CREATE SEQUENCE runs")
    await pool.execute("CREATE TABLE kept (run bigint)")
    await pool.execute(
        "CREATE FUNCTION first_a_victim() RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE run bigint; "
        "BEGIN run := nextval('runs'); INSERT INTO kept VALUES (run); "
        "IF run = 1 THEN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END IF; RETURN run; END $$"
    )
    waits = Waits()
    await patient(pool, waits).commit("SELECT first_a_victim()")
    assert waits.seconds == LONGEST_WAITS[:1]
    assert [row["run"] for row in await pool.fetch("SELECT run FROM kept")] == [2]


COUNT_AND_WAIT = "SELECT nextval('runs'), pg_advisory_xact_lock(1)"


@asynccontextmanager
async def held(pool: Pool) -> AsyncGenerator[asyncpg.Connection]:
    """A connection that holds what COUNT_AND_WAIT waits for."""
    await pool.execute("CREATE SEQUENCE runs")
    async with pool.acquire() as holder:
        await holder.execute("SELECT pg_advisory_lock(1)")
        yield holder


async def kill_waiting_backend(pool: Pool) -> None:
    # Over a connection of its own: the holder's is used as soon as the statement fails, before this returns.
    waiting = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with pool.acquire() as killer:
        while not (pids := await killer.fetch(waiting)):
            pass
        await killer.execute("SELECT pg_terminate_backend($1)", pids[0]["pid"])


async def test_a_commit_with_unknown_outcome_is_not_retried(pool: Pool) -> None:
    waits = Waits()
    async with held(pool):
        statement = asyncio.create_task(patient(pool, waits).commit(COUNT_AND_WAIT))
        await kill_waiting_backend(pool)
        with pytest.raises(InDoubtError):
            await statement
    assert waits.seconds == []
    assert await pool.fetchval("SELECT last_value FROM runs") == 1


async def test_a_repeatable_statement_is_retried_after_a_lost_connection(pool: Pool) -> None:
    async with held(pool) as holder:
        waits = Waits(lambda: holder.execute("SELECT pg_advisory_unlock(1)"))
        statement = asyncio.create_task(patient(pool, waits).repeat(COUNT_AND_WAIT))
        await kill_waiting_backend(pool)
        await statement
    assert len(waits.seconds) == 1
    assert await pool.fetchval("SELECT last_value FROM runs") == 2


async def test_a_server_that_hangs_leaves_a_statement_in_doubt(database_url, monkeypatch):
    # A connection is waited for, and given back, in a shorter time than a cancelled statement is asked about.
    monkeypatch.setattr("synccash.stores.postgres.database.CONNECT_TIMEOUT_S", 0.1)
    async with postgres_proxy(database_url) as between:
        pool = await connect(between.url, min_size=1, max_size=1, statement_timeout_s=0.5)
        database = Database(pool)
        await database.once("SELECT 1")
        between.silence()
        with pytest.raises(InDoubtError):
            await database.once("SELECT 1")
        pool.terminate()
