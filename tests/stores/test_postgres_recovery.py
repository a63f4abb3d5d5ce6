"""The recovery row: what begins and ends a recovery, and its cost."""

import asyncio

import asyncpg
import pytest

from stores.postgres_world import PostgresWorld
from synccash.payments.recovery import Recovery
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.recovery import PostgresRecovery, ServerCheck
from synccash.stores.postgres.pool import connect

ANOTHER_SERVER = "UPDATE recovery SET system_identifier = system_identifier - 1"
ANOTHER_TIMELINE = "UPDATE recovery SET timeline = '0000000F'"


@pytest.fixture
def recovery(world: PostgresWorld) -> PostgresRecovery:
    return PostgresRecovery(Database(world.pool))


async def connections(database_url: str, how_many: int = 1) -> None:
    pool = await connect(database_url, min_size=how_many, max_size=how_many, check=ServerCheck())
    await pool.close()


async def test_a_connection_to_the_same_server_begins_no_recovery(
    database_url: str, recovery: PostgresRecovery
):
    await connections(database_url, 3)
    assert await recovery.recovery() == Recovery(epoch=0, active=False)


@pytest.mark.parametrize("change", [ANOTHER_SERVER, ANOTHER_TIMELINE])
async def test_connections_to_another_server_begin_one_recovery(
    database_url: str, recovery: PostgresRecovery, world: PostgresWorld, change: str
):
    await world.pool.execute(change)
    await asyncio.gather(*(connections(database_url, 3) for _ in range(3)))
    assert await recovery.recovery() == Recovery(epoch=1, active=True)
    deeds = await world.pool.fetch("SELECT actor, action FROM audit")
    assert [tuple(deed) for deed in deeds] == [("the service", "recovery_start")]


@pytest.mark.parametrize("change", [ANOTHER_SERVER, ANOTHER_TIMELINE])
async def test_a_server_change_behind_a_connection_is_detected_at_the_next_check(
    recovery: PostgresRecovery, world: PostgresWorld, change: str
):
    await world.pool.execute(change)
    assert await recovery.recovery() == Recovery(epoch=1, active=True)
    await recovery.release(by="test")
    assert await recovery.recovery() == Recovery(epoch=1, active=False)


async def test_a_server_change_during_a_recovery_begins_another(
    recovery: PostgresRecovery, world: PostgresWorld
):
    await recovery.start(by="test", reason="a test")
    await world.pool.execute(ANOTHER_SERVER)
    assert await recovery.recovery() == Recovery(epoch=2, active=True)


async def test_a_start_in_a_recovery_changes_nothing(recovery: PostgresRecovery):
    first = await recovery.start(by="ama", reason="the first")
    assert await recovery.start(by="kofi", reason="the second") == first


async def test_a_connection_to_a_former_primary_is_refused(database_url: str, world: PostgresWorld):
    check = ServerCheck()
    pool = await connect(database_url, min_size=0, max_size=1, check=check)
    try:
        assert await pool.fetchval("SELECT 1") == 1
        # As after a failover: this process has seen the timeline of the new primary.
        system, timeline = check._latest
        check._latest = (system, f"{int(timeline, 16) + 1:08X}")
        await pool.expire_connections()
        with pytest.raises(asyncpg.TargetServerAttributeNotMatched, match="former primary"):
            await pool.fetchval("SELECT 1")
        # Another system has timelines of its own: a restored cluster is no former primary.
        check._latest = (system - 1, f"{int(timeline, 16) + 1:08X}")
        assert await pool.fetchval("SELECT 1") == 1
    finally:
        await pool.close()
