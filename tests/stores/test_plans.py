"""Plans that a connection keeps from when the tables were small look rows up by their keys."""

import asyncio

import pytest

from order_store_contract import commit, opened, opening
from stores.postgres_world import PostgresWorld
from synccash.payments.payment import OrderKind
from synccash.stores.postgres.orders import commits, due
from synccash.stores.postgres.orders import opening as openings

HOT = ("payments", "refunds", "payouts", "attempts", "idempotency", "events", "timeline", "deliveries")
STATEMENTS = {
    **{f"opening of a {kind}": ("json", "'[]'", statement) for kind, statement in openings.OPEN.items()},
    **{f"commit of a {kind}": ("json", "'[]'", statement) for kind, statement in commits.MOVE.items()},
    "hint": ("json", "'[]'", due.HINT),
    "hint by reference": ("json", "'[]'", due.HINT_REFERENCE),
    "take": ("integer, float8", "64, 15.0", due.TAKE_DUE),
    "answer": ("text, integer, bytea, bytea", "'pay_1', 201, '', NULL", openings.ANSWER),
}


async def generic_plan(world: PostgresWorld, types: str, arguments: str, statement: str) -> str:
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE planned ({types}) AS {statement}")
        rows = await connection.fetch(f"EXPLAIN EXECUTE planned({arguments})")
        await connection.execute("DEALLOCATE planned")
        return "\n".join(row[0] for row in rows)


@pytest.mark.parametrize("payments", [0, 200])
@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_plan_made_on_a_young_database_reads_no_whole_table(
    world: PostgresWorld, name: str, payments: int
):
    await asyncio.gather(*(world.order_store.open(opening(world, number)) for number in range(payments)))
    plan = await generic_plan(world, *STATEMENTS[name])
    assert [table for table in HOT if f"Seq Scan on {table} " in plan] == []


async def test_the_plain_reference_of_an_opening_is_looked_up_by_the_whole_reference(world: PostgresWorld):
    case = await opened(world)
    assert await world.order_store.record(commit(case))
    plan = await generic_plan(world, *STATEMENTS[f"opening of a {OrderKind.PAYMENT}"])
    assert "Index Scan using a_reference_is_used_once on payments" in plan


async def test_a_take_reads_no_dead_rows_of_the_table_of_due_payments(world: PostgresWorld):
    """Between two runs of autovacuum 20,000 payments end, and each leaves two dead rows."""
    await world.pool.execute(
        "INSERT INTO due_payments (payment_id, look_at, in_review) "
        "SELECT 'pay_' || n, now() - interval '1 minute', false FROM generate_series(1, 20000) n"
    )
    await world.pool.execute("DELETE FROM due_payments WHERE payment_id NOT LIKE 'pay_777%'")
    await world.pool.execute("ANALYZE due_payments")
    plan = await generic_plan(world, *STATEMENTS["take"])
    assert "Index Scan using due_payments_in_order on due_payments" in plan
