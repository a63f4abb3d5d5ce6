"""For how long the oldest due order has waited for a worker, as PostgreSQL has it."""

from order_store_contract import idle, taken
from synccash.stores.postgres.orders.overdue_orders import OVERDUE, PostgresOverdueOrders


async def test_the_oldest_due_order_counts_until_a_worker_takes_it(world):
    orders = PostgresOverdueOrders(world.order_store.database)
    await idle(world, 1)
    assert await orders.overdue_s(30.0) is None
    await world.pool.execute("UPDATE payments SET due_at = now() - interval '100 seconds'")
    assert 99.0 < await orders.overdue_s(30.0) < 200.0
    await taken(world)
    assert await orders.overdue_s(30.0) is None


async def test_an_order_with_a_callback_counts_from_the_callback(world):
    orders = PostgresOverdueOrders(world.order_store.database)
    await idle(world, 1)
    await world.order_store.hint("token_pay_1_1")
    assert await orders.overdue_s(30.0) is None
    await world.pool.execute("UPDATE attempts SET callback_at = now() - interval '100 seconds'")
    assert 99.0 < await orders.overdue_s(30.0) < 200.0


async def test_overdue_orders_are_found_without_reading_all_payments(world):
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")
        plan = await connection.fetch(f"EXPLAIN {OVERDUE.replace('$1', '30.0')}")
    assert not any("Seq Scan on payments" in line for (line,) in plan)
