"""Each ended order counts once in the minute of its end, however many processes count and whatever fails."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from order_store_contract import NO_FUNDS, commit, event, opening
from stores.postgres_world import PostgresWorld
from synccash.payments.case import Opened, ReleaseLease
from synccash.payments.history import GoalResult
from synccash.payments.payment import PaymentStatus
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.merchants import PostgresKeys
from synccash.stores.postgres.operations.rollups import RollupStore
from synccash.stores.postgres.pool import connect

MINUTE = timedelta(minutes=1)


def this_minute() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


async def ended(world: PostgresWorld, number: int, at: datetime, status: PaymentStatus, took_s: float) -> str:
    """A payment that was created `took_s` seconds before it ended `at`; the id of its event."""
    began = at - timedelta(seconds=took_s)
    asked = opening(world, number)
    order = replace(asked.order, created_at=began)
    await PostgresKeys(world.order_store.database).ensure_merchant(order.merchant_id, "Ama")
    result = await world.order_store.open(replace(asked, order=order))
    assert isinstance(result, Opened)
    error = NO_FUNDS if status is PaymentStatus.FAILED else None
    happened = replace(event(order, f"payment.{status.value}"), created_at=at)
    changes = {"status": status, "last_error": error, "amount_received": 0}
    written = commit(result.case, order=changes, events=(happened,), lease=ReleaseLease(None))
    assert await world.order_store.record(written)
    return happened.id


def store(world: PostgresWorld) -> RollupStore:
    return RollupStore(world.order_store.database)


async def test_ended_orders_count_once_with_their_labels_and_durations(world: PostgresWorld) -> None:
    at = this_minute() - MINUTE
    await ended(world, 1, at, PaymentStatus.SUCCEEDED, 3.0)
    await ended(world, 2, at + timedelta(seconds=59), PaymentStatus.SUCCEEDED, 100.0)
    await ended(world, 3, at, PaymentStatus.FAILED, 45.0)
    rollups = store(world)
    assert await rollups.roll_up() == (3, False)
    assert await rollups.roll_up() == (0, False)
    failed, succeeded = await rollups.between(at, at + MINUTE, MINUTE)
    assert (succeeded.at, succeeded.rail, succeeded.network) == (at, "mtn_momo", "mtn")
    assert (succeeded.orders, succeeded.seconds) == (2, 103.0)
    assert [place for place, count in enumerate(succeeded.durations) if count] == [3, 8]
    assert (failed.orders, failed.failure_code) == (1, NO_FUNDS.code.value)
    assert (succeeded.result, failed.result) == (GoalResult.MET, GoalResult.EXCLUDED)


async def test_later_orders_of_a_minute_are_added_to_it(world: PostgresWorld) -> None:
    at = this_minute() - MINUTE
    rollups = store(world)
    for number, took_s in ((1, 3.0), (2, 4.0), (3, 100.0)):
        await ended(world, number, at, PaymentStatus.SUCCEEDED, took_s)
        assert (await rollups.roll_up())[0] == 1
    [counted] = await rollups.between(at, at + MINUTE, MINUTE)
    assert (counted.orders, counted.seconds) == (3, 107.0)
    assert (counted.durations[3], counted.durations[8], sum(counted.durations)) == (2, 1, 3)


async def test_an_event_that_commits_late_counts_in_the_minute_of_the_end(world: PostgresWorld) -> None:
    at = this_minute() - 3 * MINUTE
    await ended(world, 1, at, PaymentStatus.SUCCEEDED, 1.0)
    rollups = store(world)
    await rollups.roll_up()
    async with world.pool.acquire() as slow:
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute(
            "INSERT INTO events"
            " (id, merchant_id, livemode, type, created_at, object_id, object_version, data)"
            " SELECT 'evt_late', merchant_id, livemode, type, created_at, object_id, 9, '{}' FROM events"
            " WHERE type = 'payment.succeeded'"
        )
        await ended(world, 2, at + MINUTE, PaymentStatus.SUCCEEDED, 1.0)
        assert await rollups.roll_up() == (0, False)
        await transaction.commit()
    assert await rollups.roll_up() == (2, False)
    by_minute = await rollups.between(at, at + 2 * MINUTE, MINUTE)
    assert [(one.at, one.orders) for one in by_minute] == [(at, 2), (at + MINUTE, 1)]


async def test_several_processes_that_count_at_once_count_each_order_once(
    world: PostgresWorld, database_url: str
) -> None:
    at = this_minute()
    pools = [await connect(database_url, min_size=1, max_size=1) for _ in range(3)]
    try:
        workers = [RollupStore(Database(pool)) for pool in pools]
        for number in range(1, 31):
            await asyncio.gather(
                ended(world, number, at, PaymentStatus.SUCCEEDED, 1.0), *(one.roll_up() for one in workers)
            )
        await workers[0].roll_up()
    finally:
        for pool in pools:
            await pool.close()
    [counted] = await store(world).between(at, at + MINUTE, MINUTE)
    assert counted.orders == 30


async def test_a_count_that_fails_halfway_leaves_nothing_and_is_repeated(world: PostgresWorld) -> None:
    at = this_minute()
    await ended(world, 1, at, PaymentStatus.SUCCEEDED, 1.0)
    await world.pool.execute("ALTER TABLE order_rollup_cursor ADD CONSTRAINT halt CHECK (xact = '0')")
    rollups = store(world)
    with pytest.raises(asyncpg.CheckViolationError):
        await rollups.roll_up()
    assert await rollups.between(at, at + MINUTE, MINUTE) == []
    await world.pool.execute("ALTER TABLE order_rollup_cursor DROP CONSTRAINT halt")
    assert await rollups.roll_up() == (1, False)


async def test_after_a_restore_into_another_cluster_no_order_counts_twice(world: PostgresWorld) -> None:
    at = this_minute() - MINUTE
    await ended(world, 1, at, PaymentStatus.SUCCEEDED, 1.0)
    rollups = store(world)
    await rollups.roll_up()
    await world.pool.execute("UPDATE order_rollup_cursor SET xact = '999999999999'")
    assert await rollups.roll_up() == (0, False)
    # Events keep the numbers of the former cluster, which come again in this one.
    await world.pool.execute("UPDATE events SET xact = pg_current_xact_id()")
    await ended(world, 2, datetime.now(UTC) + MINUTE, PaymentStatus.SUCCEEDED, 1.0)
    assert await rollups.roll_up() == (1, False)


async def test_a_long_backlog_is_counted_in_parts(world: PostgresWorld) -> None:
    at = this_minute()
    await ended(world, 1, at, PaymentStatus.SUCCEEDED, 1.0)
    await world.pool.execute(
        "DO $$ BEGIN FOR i IN 1..1100 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    )
    await ended(world, 2, at, PaymentStatus.SUCCEEDED, 1.0)
    rollups = store(world)
    assert await rollups.roll_up() == (1, True)
    assert await rollups.roll_up() == (1, False)
    [counted] = await rollups.between(at, at + MINUTE, MINUTE)
    assert counted.orders == 2


async def test_the_network_of_an_encrypted_number_is_that_of_its_prefix(
    encrypted_world: PostgresWorld,
) -> None:
    at = this_minute()
    await ended(encrypted_world, 1, at, PaymentStatus.SUCCEEDED, 1.0)
    await store(encrypted_world).roll_up()
    [counted] = await store(encrypted_world).between(at, at + MINUTE, MINUTE)
    assert counted.network == "mtn"


async def test_periods_add_up_their_minutes_and_old_minutes_are_deleted(world: PostgresWorld) -> None:
    at = this_minute().replace(minute=0) - timedelta(hours=2)
    for number, minute in enumerate((0, 1, 59, 60), start=1):
        await ended(world, number, at + minute * MINUTE, PaymentStatus.SUCCEEDED, 1.0)
    rollups = store(world)
    await rollups.roll_up()
    by_hour = await rollups.between(at, at + timedelta(hours=2), timedelta(hours=1))
    assert [one.orders for one in by_hour] == [3, 1]
    await world.pool.execute(
        "UPDATE order_rollups SET minute = minute - interval '35 days' WHERE minute = $1", at
    )
    await rollups.delete_old()
    left = await rollups.between(at - timedelta(days=40), at + timedelta(hours=2), MINUTE)
    assert sum(one.orders for one in left) == 3
