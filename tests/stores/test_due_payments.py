"""The table that finds due payments, so that commits write into no index of payments."""

import asyncio
from collections.abc import Callable, Generator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_store_contract import LEASE_S, Ends, commit, idle, opened, opening, refunding, succeeded, taken
from servers_fixture import fresh_database
from stores.postgres_world import PostgresWorld
from synccash.payments.case import Commit, KeepLease, Lease, Opened, RefundCase, ReleaseLease
from synccash.payments.payment import OrderKind, PaymentStatus, StatusDetail
from synccash.servers.bundle import Servers
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders import due
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.orders.order_tables import ORDER_TABLES
from synccash.stores.postgres.orders.recovery import PostgresRecovery
from synccash.stores.postgres.pool import connect

UNDER_REVIEW = {"status": PaymentStatus.PROCESSING, "status_detail": StatusDetail.UNDER_REVIEW}
_INDEXED = """
SELECT DISTINCT a.attname FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid
WHERE i.indrelid = 'payments'::regclass AND (
    a.attnum = ANY (i.indkey)
    OR pg_get_expr(i.indpred, i.indrelid) ~ format('\\m%s\\M', a.attname)
)
"""
_WRONG = """
SELECT coalesce(p.id, d.payment_id) FROM payments p FULL JOIN due_payments d ON d.payment_id = p.id
WHERE (p.due_at IS NULL) <> (d.payment_id IS NULL) OR p.look_at <> d.look_at OR p.look_at > p.due_at
    OR (p.look_at IS NULL AND d.look_at > p.due_at)
    OR d.in_review <> coalesce(p.status_detail IN ('under_review', 'risk_review'), false)
"""


async def wrong(world: PostgresWorld) -> list[str]:
    """Return the payments whose row in due_payments is missing, left over or too late."""
    return [row[0] for row in await world.pool.fetch(_WRONG)]


async def look_at(world: PostgresWorld) -> object:
    return await world.value("SELECT look_at FROM due_payments WHERE payment_id = 'pay_1'")


async def test_no_commit_changes_an_indexed_column(world: PostgresWorld):
    indexed = {row[0] for row in await world.pool.fetch(_INDEXED)}
    written = {
        *ORDER_TABLES[OrderKind.PAYMENT].changed,
        "due_at",
        "look_at",
        "lease_until",
        "hinted",
        "move_id",
    }
    assert indexed & written == set()


async def test_a_commit_that_makes_a_payment_due_later_leaves_the_time_to_look_at_it(world: PostgresWorld):
    await world.order_store.open(opening(world, lease=KeepLease(LEASE_S, look_s=5.0)))
    before = await look_at(world)
    case = await world.order_store.payment("pay_1")
    assert case is not None
    assert await world.order_store.record(commit(case, lease=ReleaseLease(60.0)))
    assert await look_at(world) == before
    assert await wrong(world) == []


async def test_a_payment_that_is_looked_at_too_early_is_not_taken_and_is_taken_when_due(world: PostgresWorld):
    case = await opened(world)
    assert await world.order_store.record(commit(case, lease=ReleaseLease(60.0)))
    await world.pool.execute("UPDATE payments SET look_at = now() - interval '1 minute'")
    assert await taken(world) == {}
    assert await world.value("SELECT look_at = due_at FROM payments")
    await world.skip(61)
    assert set(await taken(world)) == {"pay_1"}
    assert await wrong(world) == []


async def test_a_hint_finds_a_payment_that_will_be_looked_at_later(world: PostgresWorld):
    await idle(world, due_in_s=3600)
    assert await world.order_store.hint("token_pay_1_1")
    assert set(await taken(world)) == {"pay_1"}


async def test_a_payment_that_somebody_writes_is_not_moved_to_a_later_look(world: PostgresWorld):
    await idle(world, due_in_s=3600)
    await world.pool.execute("UPDATE payments SET look_at = now() - interval '1 minute'")
    async with world.pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM payments FOR UPDATE")
        await world.pool.execute(due.LOOK_LATER)
        assert await world.value("SELECT look_at < now() FROM due_payments")
        await other.execute("UPDATE payments SET due_at = '-infinity', hinted = true")
    assert set(await taken(world)) == {"pay_1"}


async def test_more_early_payments_than_one_statement_moves_are_moved_by_the_next_takes(
    world: PostgresWorld, monkeypatch: pytest.MonkeyPatch
):
    """Else they pile up when more become due in a second, and every take reads them all."""
    monkeypatch.setattr(due, "LOOK_LATER_AT_ONCE", 2)
    monkeypatch.setattr(due, "LOOK_LATER", due.LOOK_LATER.replace("LIMIT 500", "LIMIT 2"))
    store = PostgresOrderStore(world.order_store.database, _clock=lambda: 0.0)
    for number in range(1, 6):
        await idle(world, number, due_in_s=3600)
    await world.pool.execute("UPDATE payments SET look_at = now() - interval '1 minute'")
    left: list[object] = []
    for _ in range(3):
        assert await store.take_due(limit=10, lease_s=LEASE_S) == []
        left.append(await world.value("SELECT count(*) FROM due_payments WHERE look_at <= now()"))
    assert left == [3, 1, 0]


async def test_what_a_process_of_the_former_release_writes_is_found(world: PostgresWorld):
    """It writes `due_at` alone."""
    await idle(world, due_in_s=3600)
    await world.pool.execute("UPDATE payments SET due_at = now() + interval '10 seconds'")
    assert await wrong(world) == []
    await world.pool.execute("UPDATE payments SET due_at = NULL, status = 'failed'")
    assert await world.value("SELECT count(*) FROM due_payments") == 0
    await world.pool.execute("UPDATE payments SET due_at = now()")
    assert set(await taken(world)) == {"pay_1"}


async def test_payments_of_a_former_schema_are_found(world: PostgresWorld):
    """The migration copies their due times, and leaves `look_at` empty."""
    await idle(world, due_in_s=10)
    await world.pool.execute("ALTER TABLE payments DISABLE TRIGGER USER")
    await world.pool.execute("UPDATE payments SET look_at = NULL")
    await world.pool.execute("ALTER TABLE payments ENABLE TRIGGER USER")
    assert await wrong(world) == []
    await world.skip(11)
    assert set(await taken(world)) == {"pay_1"}
    assert await wrong(world) == []


async def test_one_update_repairs_what_was_written_without_the_trigger(world: PostgresWorld):
    """`docs/operating.md` has it, for a restore with `--disable-triggers`."""
    for number in (1, 2, 3):
        await idle(world, number, due_in_s=3600)
    await world.pool.execute("ALTER TABLE payments DISABLE TRIGGER USER")
    await world.pool.execute("UPDATE payments SET due_at = now() WHERE id <> 'pay_3'")
    await world.pool.execute("ALTER TABLE payments ENABLE TRIGGER USER")
    await world.pool.execute("DELETE FROM due_payments WHERE payment_id <> 'pay_1'")
    assert await taken(world) == {}
    await world.pool.execute("UPDATE payments SET look_at = NULL WHERE due_at IS NOT NULL")
    assert await wrong(world) == []
    assert set(await taken(world)) == {"pay_1", "pay_2"}


async def test_payments_that_wait_for_an_operator_are_marked(world: PostgresWorld):
    in_review = "SELECT in_review FROM due_payments"
    case = await opened(world)
    assert await world.order_store.record(commit(case, order=UNDER_REVIEW))
    assert await world.value(in_review) is True
    case = await world.order_store.payment("pay_1")
    assert case is not None
    assert await world.order_store.record(commit(case, order={"status_detail": StatusDetail.AWAITING_PAYER}))
    assert await world.value(in_review) is False


LOST = {
    "a row is missing": "DELETE FROM due_payments",
    "a row finds its payment too late": "UPDATE due_payments SET look_at = 'infinity'",
    "a row does not say that its payment is in review": "UPDATE due_payments SET in_review = true",
}


@pytest.mark.parametrize("change", LOST.values(), ids=LOST)
async def test_a_repair_lets_workers_find_what_was_written_without_triggers(
    world: PostgresWorld, change: str
):
    for number in range(1, 6):
        await opened(world, number)
    ended = await world.order_store.payment("pay_5")
    assert ended is not None
    await world.order_store.record(
        commit(
            ended, order={"status": PaymentStatus.CANCELED, "status_detail": None}, lease=ReleaseLease(None)
        )
    )
    await world.skip(LEASE_S + 1)
    await world.pool.execute(change)
    assert len(await wrong(world)) == 4
    recovery = PostgresRecovery(world.order_store.database)
    assert await recovery.repair_due_payments(at_once=2) == 4
    assert await wrong(world) == []
    assert await recovery.repair_due_payments() == 0
    assert set(await taken(world)) == {"pay_1", "pay_2", "pay_3", "pay_4"}


steps = st.lists(
    st.sampled_from(["hint", "take", "later", "soon", "renew", "review", "end", "look", "skip", "former"]),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(steps)
def test_whatever_is_written_the_table_finds_every_due_payment(walked_url: str, names: list[str]):
    asyncio.run(_walk(walked_url, names))


@pytest.fixture(scope="module")
def walked_url(servers: Servers, migrated_template: str) -> Generator[str]:
    """A database that all examples share; each opens a payment of its own."""
    with fresh_database(servers, migrated_template) as url:
        yield url


async def _walk(url: str, names: list[str]) -> None:
    pool = await connect(url, min_size=1, max_size=2)
    try:
        world = PostgresWorld(pool, PostgresOrderStore(Database(pool)))
        number = await world.value("SELECT count(*) + 1 FROM payments")
        order_id = f"pay_{number}"
        await world.order_store.open(opening(world, number, lease=KeepLease(LEASE_S, look_s=1.0)))
        for name in names:
            await _step(world, order_id, name)
            assert await wrong(world) == [], name
    finally:
        await pool.close()


async def _step(world: PostgresWorld, order_id: str, name: str) -> None:
    store = world.order_store
    case = await store.payment(order_id)
    assert case is not None
    is_open = not case.order.status.is_final
    match name:
        case "hint":
            await store.hint(f"token_{order_id}_1")
        case "take":
            await store.take_due(limit=10, lease_s=LEASE_S)
        case "later" | "soon" if is_open:
            await store.record(commit(case, lease=ReleaseLease(3600.0 if name == "later" else 0.5)))
        case "renew":
            await store.renew([Lease(order_id, case.order.fence)], lease_s=LEASE_S)
        case "review" if is_open:
            await store.record(commit(case, order=UNDER_REVIEW))
        case "end" if is_open:
            ended = {"status": PaymentStatus.CANCELED, "status_detail": None}
            await store.record(commit(case, order=ended, lease=ReleaseLease(None)))
        case "look":
            await world.pool.execute(due.LOOK_LATER)
        case "skip":
            await world.skip(30.0)
        case "former":
            await world.pool.execute("UPDATE payments SET due_at = now() + random() * interval '1 hour'")
        case _:
            pass


async def test_the_webhooks_process_is_woken_by_a_commit_that_writes_a_delivery(world: PostgresWorld):
    woken: list[None] = []
    store = PostgresOrderStore(world.order_store.database, lambda: woken.append(None))
    assert isinstance(await store.open(opening(world, 1)), Opened)
    assert woken == []
    await world.pool.execute(
        "INSERT INTO webhook_endpoints (id, merchant_id, livemode, url, secrets, status)"
        " VALUES ('we_1', 'm_1', false, 'https://shop.example', '[]', 'enabled')"
    )
    assert isinstance(await store.open(opening(world, 2)), Opened)
    assert woken == [None]


async def test_hints_that_come_together_share_a_statement_and_each_learns_about_its_own(world: PostgresWorld):
    for number in range(1, 9):
        await idle(world, number, due_in_s=3600)
    tokens = [f"token_pay_{number}_1" for number in range(1, 9)]
    told = await asyncio.gather(
        *(world.order_store.hint(token) for token in [*tokens, "nobody's", tokens[0]])
    )
    assert told == [True] * 8 + [False, True]
    assert len(await taken(world, 20)) == 8
    assert await world.value("SELECT count(DISTINCT xmin::text) FROM attempts") < 8


async def test_a_callback_locks_its_order_before_the_attempt(world: PostgresWorld):
    """As commits do, which would else deadlock with it."""
    await idle(world, due_in_s=3600)
    async with world.pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM payments FOR NO KEY UPDATE")
        hint = asyncio.create_task(world.order_store.hint("token_pay_1_1"))
        await somebody_waits(world)
        await other.execute("SELECT FROM attempts FOR NO KEY UPDATE NOWAIT")
    assert await hint


@pytest.mark.parametrize("end", [Ends.well, Ends.badly])
async def test_the_end_of_a_refund_locks_the_payment_before_its_debit(
    world: PostgresWorld, end: Callable[[RefundCase], Commit]
):
    refund = await refunding(world, await succeeded(world), 1, 60)
    async with world.pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM payments FOR NO KEY UPDATE")
        ending = asyncio.create_task(world.order_store.record(end(refund)))
        await somebody_waits(world)
        await other.execute("SELECT FROM attempts WHERE operation = 'collect' FOR NO KEY UPDATE NOWAIT")
    assert await ending


async def somebody_waits(world: PostgresWorld) -> None:
    """Return once a statement on the database waits for a lock."""
    here = "datname = current_database() AND wait_event_type = 'Lock'"
    waiting = f"SELECT count(*) FROM pg_stat_activity WHERE {here}"
    async with asyncio.timeout(60):
        while not await world.value(waiting):
            pass
