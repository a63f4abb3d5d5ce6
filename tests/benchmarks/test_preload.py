"""Copies of ended payments are whole payments of their own, on which no process has anything to do."""

from bench.payments.preload import preload

from order_store_contract import succeeded
from stores.conftest import encrypted_world, pool  # noqa: F401 - fixtures
from stores.postgres_world import PostgresWorld
from synccash.stores.postgres.balances import PostgresBalances
from synccash.stores.postgres.operations.rollups import RollupStore

ORIGINALS, COPIES = 3, 120


async def test_a_copy_has_all_rows_of_its_payment_and_is_never_due(
    encrypted_world: PostgresWorld,  # noqa: F811
    database_url: str,
):
    world = encrypted_world
    for number in range(1, ORIGINALS + 1):
        await succeeded(world, number)
    await world.pool.execute("UPDATE payments SET due_at = NULL")
    rows = {
        table: await world.value(f"SELECT count(*) FROM {table} WHERE {column} LIKE 'pay_%'")
        for table, column in (
            ("payments", "id"),
            ("attempts", "order_id"),
            ("timeline", "order_id"),
            ("events", "object_id"),
            ("idempotency", "order_id"),
            ("balance_entries", "source"),
        )
    }
    assert min(rows.values()) > 0
    await preload(database_url, COPIES)
    for table, before in rows.items():
        found = await world.value(f"SELECT count(*) FROM {table}")
        others = await world.value("SELECT count(*) FROM balance_entries WHERE kind = 'credit'")
        extra = others if table == "balance_entries" else 0
        assert found - extra == before * (1 + COPIES // ORIGINALS), table
    assert await world.value("SELECT count(*) FROM due_payments") == 0
    assert await world.value("SELECT count(DISTINCT payer_msisdn) FROM payments") > COPIES // 8
    named = "SELECT count(*) FROM payments p JOIN attempts a ON a.order_id = p.id AND a.payment_id = p.id"
    assert await world.value(named) == ORIGINALS + COPIES
    assert list(await PostgresBalances(world.order_store.database).differences()) == []


async def test_the_rollups_do_not_count_copies_again(encrypted_world: PostgresWorld, database_url: str):  # noqa: F811
    world = encrypted_world
    await succeeded(world)
    await world.pool.execute("UPDATE payments SET due_at = NULL")
    store = RollupStore(world.order_store.database)
    await store.roll_up()
    await preload(database_url, 50)
    counted, _ = await store.roll_up()
    assert counted == 0
    assert await world.value("SELECT sum(orders) FROM order_rollups") >= 50
