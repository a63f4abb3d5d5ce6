"""A server that takes no writes, as during a failover: its connections are replaced without a restart."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest

from api.served import Served, served
from servers_fixture import service_url
from stores.test_postgres_retries import LONGEST_WAITS, Waits, patient
from synccash.payments.errors import StoreUnavailableError
from synccash.stores.postgres.pool import Pool, connect

CONNECTIONS = 4
WRITE = "INSERT INTO merchants (id, name) VALUES ($1, 'x') RETURNING id"
READ_ONLY = "SELECT current_setting('transaction_read_only')::boolean"


async def takes_writes(url: str, *, taken: bool) -> None:
    """Decide what each connection that is made from now on takes; those that are there go on as they are."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET default_transaction_read_only = off")
        change = "RESET default_transaction_read_only" if taken else "SET default_transaction_read_only = on"
        await connection.execute(f"ALTER DATABASE {urlsplit(url).path[1:]} {change}")
    finally:
        await connection.close()


async def lose_connections(url: str) -> None:
    """End the service's connections; `url` is that of its own role."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND usename = current_user"
        )
    finally:
        await connection.close()


async def read_only(pool: Pool) -> list[bool]:
    """What each connection of the pool says; they are held at once, so that no connection answers twice."""
    held = [await pool.acquire() for _ in range(CONNECTIONS)]
    try:
        return [await connection.fetchval(READ_ONLY) for connection in held]
    finally:
        for connection in held:
            await pool.release(connection)


@asynccontextmanager
async def pool_of_the_former_primary(url: str) -> AsyncGenerator[Pool]:
    await takes_writes(url, taken=False)
    pool = await connect(url, min_size=0, max_size=CONNECTIONS)
    try:
        assert await read_only(pool) == [True] * CONNECTIONS
        yield pool
    finally:
        await pool.close()


async def test_a_write_that_outlasts_the_failover_reaches_the_new_primary(database_url: str):
    async with pool_of_the_former_primary(database_url) as pool:
        waits = Waits(lambda: takes_writes(database_url, taken=True))
        assert await patient(pool, waits).commit(WRITE, "mer_1")
        assert len(waits.seconds) == 1
        assert await read_only(pool) == [False] * CONNECTIONS


async def test_a_write_after_the_failover_succeeds_on_connections_made_during_it(database_url: str):
    async with pool_of_the_former_primary(database_url) as pool:
        waits = Waits()
        database = patient(pool, waits)
        with pytest.raises(StoreUnavailableError, match="no writes"):
            await database.commit(WRITE, "mer_1")
        assert waits.seconds == LONGEST_WAITS
        assert await read_only(pool) == [True] * CONNECTIONS
        await takes_writes(database_url, taken=True)
        assert await database.commit(WRITE, "mer_1")


async def test_reads_continue_while_writes_are_refused(database_url: str):
    async with pool_of_the_former_primary(database_url) as pool:
        database = patient(pool, Waits())
        with pytest.raises(StoreUnavailableError):
            await database.commit(WRITE, "mer_1")
        assert await database.repeat("SELECT id FROM merchants") == []


async def test_a_url_that_requires_a_primary_is_unavailable_without_one(database_url: str):
    await takes_writes(database_url, taken=False)
    primary = database_url + "&target_session_attrs=read-write"
    with pytest.raises(StoreUnavailableError, match="cannot connect"):
        await connect(primary, min_size=1, max_size=1)
    pool = await connect(primary, min_size=0, max_size=1)
    try:
        waits = Waits(lambda: takes_writes(database_url, taken=True))
        assert await patient(pool, waits).commit(WRITE, "mer_1")
        assert len(waits.seconds) == 1
    finally:
        await pool.close()


async def ready(api: Served) -> int:
    return (await api.client.get("/health/ready")).status_code


async def test_the_service_answers_503_and_recovers_without_a_restart(database_url: str):
    service = await service_url(database_url)
    async with served(database_url) as api:
        assert (await api.pay()).status_code == 202
        await takes_writes(database_url, taken=False)
        await lose_connections(service)
        refused = [await api.pay() for _ in range(4)]
        assert {answer.status_code for answer in refused} == {503}
        assert all("retry-after" in answer.headers for answer in refused)
        await takes_writes(database_url, taken=True)
        while (answer := await api.pay()).status_code == 503:
            pass  # what was begun before may find the last connections without writes
        assert answer.status_code == 202


async def test_a_service_that_cannot_write_is_not_ready_and_finds_the_new_primary_itself(
    database_url: str,
):
    service = await service_url(database_url)
    async with served(database_url) as api:
        assert await ready(api) == 200
        await takes_writes(database_url, taken=False)
        await lose_connections(service)
        assert [await ready(api) for _ in range(4)] == [503] * 4
        await takes_writes(database_url, taken=True)
        # A load balancer sends nothing but this question to a process that is not ready.
        assert await ready(api) == 200
