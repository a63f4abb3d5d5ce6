"""The table that lists payments without success, so that no index of payments is on the status."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from order_store_contract import commit, opened, succeeded
from stores.postgres_world import PostgresWorld
from synccash.payments.case import ReleaseLease
from synccash.payments.payment import PaymentStatus
from synccash.payments.request import Tenant
from synccash.stores import postgres
from synccash.stores.postgres.operations.operating import OrderFilter, PostgresOperating
from synccash.stores.postgres.orders.reading import PostgresReading
from synccash.stores.postgres.orders.recovery import PostgresRecovery

FAILED = {"status": PaymentStatus.FAILED}
CANCELED = {"status": PaymentStatus.CANCELED}
MIGRATIONS = Path(postgres.__file__).parent / "migrations"
_WRONG = """
SELECT coalesce(p.id, e.payment_id) FROM (
    SELECT * FROM payments WHERE status IN ('failed', 'canceled')
) p FULL JOIN unsuccessful_payments e ON e.payment_id = p.id
WHERE (p.merchant_id, p.livemode, p.status, p.created_at) IS DISTINCT FROM
    (e.merchant_id, e.livemode, e.status, e.created_at)
"""
TENANT = Tenant("m_1", livemode=False)


async def wrong(world: PostgresWorld) -> list[str]:
    """Return the payments whose row is missing, left over or different."""
    return [row[0] for row in await world.pool.fetch(_WRONG)]


async def end(world: PostgresWorld, number: int, order: dict[str, Any]) -> None:
    case = await opened(world, number)
    assert await world.order_store.record(commit(case, order=order, lease=ReleaseLease(None)))


async def listed(world: PostgresWorld, status: PaymentStatus) -> list[list[str]]:
    """Return what a merchant and an operator see of a status."""
    where: Any = SimpleNamespace(status=status, reference=None, payer=None, after=None, limit=20)
    database = world.order_store.database
    await world.pool.execute("INSERT INTO merchants (id, name) VALUES ('m_1', 'Shop') ON CONFLICT DO NOTHING")
    seen = await PostgresReading(database).payments(TENANT, where)
    orders = await PostgresOperating(database).orders(OrderFilter(status=status))
    return [sorted(getattr(case, "order", case).id for case in seen), sorted(row["id"] for row in orders)]


async def test_a_payment_that_fails_or_is_canceled_is_written_and_no_other(world: PostgresWorld):
    await succeeded(world, 1)
    await end(world, 2, FAILED)
    await end(world, 3, CANCELED)
    await opened(world, 4)
    assert await world.value(
        "SELECT array_agg(payment_id ORDER BY payment_id) FROM unsuccessful_payments"
    ) == [
        "pay_2",
        "pay_3",
    ]
    assert await wrong(world) == []


async def test_each_status_lists_its_payments(world: PostgresWorld):
    await succeeded(world, 1)
    await end(world, 2, FAILED)
    await end(world, 3, CANCELED)
    await opened(world, 4)
    status = PaymentStatus(str(await world.value("SELECT status FROM payments WHERE id = 'pay_4'")))
    assert await listed(world, PaymentStatus.SUCCEEDED) == [["pay_1"]] * 2
    assert await listed(world, PaymentStatus.FAILED) == [["pay_2"]] * 2
    assert await listed(world, PaymentStatus.CANCELED) == [["pay_3"]] * 2
    assert await listed(world, status) == [["pay_4"]] * 2


async def test_an_open_payment_from_before_the_migration_is_listed(world: PostgresWorld):
    await opened(world)
    await world.pool.execute("UPDATE due_payments SET merchant_id = NULL, livemode = NULL")
    status = PaymentStatus(str(await world.value("SELECT status FROM payments")))
    assert await listed(world, status) == [["pay_1"]] * 2


async def test_a_payment_that_is_inserted_with_its_end_is_listed(world: PostgresWorld):
    """As a restore of single rows does."""
    await end(world, 1, FAILED)
    await world.pool.execute("DELETE FROM unsuccessful_payments")
    await world.pool.execute(
        """INSERT INTO payments
        SELECT (jsonb_populate_record(p, '{"id": "pay_9", "reference": "another"}')).* FROM payments p"""
    )
    assert await world.value("SELECT array_agg(payment_id) FROM unsuccessful_payments") == ["pay_9"]


async def test_a_refused_end_leaves_no_row(world: PostgresWorld):
    await succeeded(world, 1)
    with pytest.raises(Exception, match="has ended"):
        await world.pool.execute("UPDATE payments SET status = 'failed'")
    assert await world.value("SELECT count(*) FROM unsuccessful_payments") == 0


async def test_payments_of_a_former_schema_are_filled_in_and_again_without_effect(world: PostgresWorld):
    await end(world, 1, FAILED)
    await end(world, 2, CANCELED)
    await world.pool.execute("DELETE FROM unsuccessful_payments WHERE payment_id = 'pay_1'")
    text = await asyncio.to_thread((MIGRATIONS / "0034_fill_unsuccessful_payments.sql").read_text)
    fill = text.partition("-- migrate:down")[0]
    for _ in range(2):
        await world.pool.execute(fill)
        assert await wrong(world) == []


async def test_a_recovery_writes_the_rows_that_a_restore_without_triggers_lacks(world: PostgresWorld):
    await end(world, 1, FAILED)
    await succeeded(world, 2)
    await world.pool.execute("DELETE FROM unsuccessful_payments")
    await PostgresRecovery(world.order_store.database).repair_due_payments()
    assert await wrong(world) == []


async def test_updates_of_the_status_are_heap_only(world: PostgresWorld):
    await opened(world)
    updates = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'payments'"
    async with world.pool.acquire() as connection:
        await connection.execute("UPDATE payments SET status = 'processing'")
        await connection.execute("UPDATE payments SET status = 'failed'")
        await connection.execute("SELECT pg_stat_force_next_flush()")
        row = await connection.fetchrow(updates)
    assert row is not None
    assert row["n_tup_upd"] >= 2
    assert row["n_tup_hot_upd"] == row["n_tup_upd"]
