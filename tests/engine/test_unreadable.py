"""Orders that this version cannot read are set aside, reported and retried; other orders continue."""

import pytest

from engine.scripted import FAILED, SUCCEEDED, Desk
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.waiting import PostgresWaiting

_DUE_IN_S = "SELECT extract(epoch FROM due_at - now())::float8 FROM payments WHERE id = $1"


async def newer_and_older(desk: Desk) -> tuple[str, str]:
    """Two payments; the first has a value that only a newer version knows."""
    newer, older = (await desk.pay("newer"))["id"], (await desk.pay("older"))["id"]
    await desk.pool.execute("UPDATE payments SET status_detail = 'of_a_newer_version' WHERE id = $1", newer)
    desk.first.status_at_rail = SUCCEEDED
    return newer, older


async def test_the_other_orders_of_the_batch_continue(desk: Desk):
    _, older = await newer_and_older(desk)
    await desk.work()
    assert (await desk.order(older)).status == "succeeded"


async def test_an_unreadable_order_is_counted_and_waits_for_a_human(desk: Desk):
    newer, _ = await newer_and_older(desk)
    await desk.work()
    assert await desk.waiting() == [(newer, "unreadable")]
    counts = await PostgresWaiting(Database(desk.pool)).counts()
    assert {name: one.count for name, one in counts.items()} == {("payment", "unreadable"): 1}


async def test_an_unreadable_order_is_retried_with_waits_that_grow_to_ten_minutes(desk: Desk):
    newer, _ = await newer_and_older(desk)
    for wait_s in (5, 10, 20, 40, 80, 160, 320, 600, 600):
        await desk.work()
        assert await desk.pool.fetchval(_DUE_IN_S, newer) == pytest.approx(wait_s, abs=3)
        assert await desk.pool.fetchval("SELECT lease_until FROM payments WHERE id = $1", newer) is None


async def test_a_process_that_can_read_the_order_finishes_it(desk: Desk):
    newer, _ = await newer_and_older(desk)
    await desk.work()
    await desk.pool.execute("UPDATE payments SET status_detail = 'awaiting_payer' WHERE id = $1", newer)
    await desk.work()
    assert (await desk.order(newer)).status == "succeeded"
    await desk.pool.execute("UPDATE unreadable_orders SET last_seen = now() - interval '16 minutes'")
    assert await desk.waiting() == []


async def test_a_callback_for_an_unreadable_order_is_kept(desk: Desk):
    payment_id: str = (await desk.pay())["id"]
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    (attempt,) = (await desk.case(payment_id)).attempts
    former = "UPDATE payments SET status_detail = $2 WHERE id = $1"
    await desk.pool.execute(former, payment_id, "of_a_newer_version")
    desk.first.status_at_rail = FAILED
    await desk.engine.take_callback("mtn_momo", attempt.callback_token)
    await desk.work()
    await desk.pool.execute(former, payment_id, None)
    await desk.pool.execute("UPDATE payments SET due_at = now()")
    await desk.work()
    assert await desk.contradictions() == ["reversed"]


@pytest.mark.parametrize("column", ["state", "operation"])
async def test_an_unknown_value_in_an_attempt_makes_its_order_unreadable(desk: Desk, column: str):
    newer, older = (await desk.pay("newer"))["id"], (await desk.pay("older"))["id"]
    await desk.pool.execute(
        "ALTER TABLE attempts DROP CONSTRAINT attempts_state_check, DROP CONSTRAINT attempts_operation_check"
    )
    await desk.pool.execute(f"UPDATE attempts SET {column} = 'a_newer_word' WHERE order_id = $1", newer)
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    assert (await desk.order(older)).status == "succeeded"
    assert await desk.waiting() == [(newer, "unreadable")]
