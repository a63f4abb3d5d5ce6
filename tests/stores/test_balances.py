"""Balances in PostgreSQL match the books, with transactions in flight, old entries and restored databases."""

import asyncio
from dataclasses import replace
from importlib.resources import files
from typing import Any

import asyncpg
import pytest

from order_store_contract import attempt_of, commit, opening, paying_out, poor, refund_opening
from stores.postgres_world import PostgresWorld
from synccash.payments.attempt import AttemptState
from synccash.payments.balance import Balance, BalanceAccount
from synccash.payments.case import NotCovered, Opened, PaymentCase
from synccash.payments.payment import PaymentStatus, RefundStatus
from synccash.stores.postgres.balances import PostgresBalances
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.pool import Pool

ACCOUNT = BalanceAccount(merchant_id="m_poor", livemode=False, currency="GHS")
POOR = {"merchant_id": "m_poor"}
_ALL_ENTRIES = """
SELECT coalesce(sum(CASE WHEN kind IN ('collected', 'credit') THEN amount ELSE -amount END), 0)::bigint
FROM balance_entries WHERE merchant_id = 'm_poor'
"""
_FOLDED = "SELECT folded_to FROM balance_folding"
_LAST = "SELECT max(id) FROM balance_entries"
_WAITING_FOR_A_BALANCE = """
SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted)
"""
_GRANT = """
INSERT INTO balance_entries (merchant_id, livemode, currency, kind, amount, source)
VALUES ('m_poor', false, 'GHS', 'credit', $1, $2)
"""


@pytest.fixture
def balances(pool: Pool) -> PostgresBalances:
    return PostgresBalances(Database(pool))


async def paid(world: PostgresWorld, number: int, amount: int) -> PaymentCase:
    result = await world.order_store.open(opening(world, number, payment={**POOR, "amount": amount}))
    assert isinstance(result, Opened)
    assert result.case.live is not None
    debit = replace(result.case.live, state=AttemptState.SUCCEEDED, amount_received=amount)
    order = {"status": PaymentStatus.SUCCEEDED, "amount_received": amount, "paid_by": debit.id}
    assert await world.order_store.record(commit(result.case, debit, order=order))
    case = await world.order_store.payment(result.case.attempts[0].order_id)
    assert case is not None
    return case


async def folded(balances: PostgresBalances) -> None:
    """Fold all that is settled: what one fold has seen, the next one adds."""
    await balances.fold()
    await balances.fold()


async def test_a_balance_is_the_same_before_and_after_it_is_folded(
    world: PostgresWorld, balances: PostgresBalances
):
    await world.grant("m_poor", 50)
    await paid(world, 1, 100)
    assert isinstance(await world.order_store.open(poor(world, 1, 30)), Opened)
    expected = Balance(
        merchant_id="m_poor", livemode=False, currency="GHS", collected=100, reserved=30, credit=50
    )
    assert await balances.balance(ACCOUNT) == expected
    await folded(balances)
    assert await world.value(_FOLDED) == await world.value(_LAST)
    assert await balances.balance(ACCOUNT) == expected
    assert expected in await balances.balances()
    assert await balances.balances("m_poor") == [expected]
    assert expected.available == 120


async def test_folding_does_not_skip_an_entry_that_becomes_visible_late(
    world: PostgresWorld, balances: PostgresBalances, pool: Pool
):
    async with pool.acquire() as late:
        transaction = late.transaction()
        await transaction.start()
        await late.execute(_GRANT, 7, "drawn first")
        await world.grant("m_poor", 100)
        for _ in range(4):
            await balances.fold()
        assert (await balances.balance(ACCOUNT)).credit == 100
        await transaction.commit()
    assert (await balances.balance(ACCOUNT)).credit == 107
    await folded(balances)
    assert await world.value(_FOLDED) == await world.value(_LAST)
    assert (await balances.balance(ACCOUNT)).credit == 107


async def test_a_rolled_back_entry_does_not_block_folding(
    world: PostgresWorld, balances: PostgresBalances, pool: Pool
):
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(_GRANT, 7, "rolled back")
        await transaction.rollback()
    await world.grant("m_poor", 100)
    await folded(balances)
    assert await world.value(_FOLDED) == await world.value(_LAST)
    assert (await balances.balance(ACCOUNT)).credit == 100


async def test_folding_continues_after_a_restore_into_a_newer_cluster(
    world: PostgresWorld, balances: PostgresBalances
):
    await world.grant("m_poor", 100)
    await balances.fold()
    # What the transaction ids of a cluster in long use look like to a fresh one.
    await world.pool.execute("UPDATE balance_folding SET next_xact = '4000000000'")
    for _ in range(3):
        await balances.fold()
    assert await world.value(_FOLDED) == await world.value(_LAST)
    assert (await balances.balance(ACCOUNT)).credit == 100


async def test_one_process_folds_at_a_time(world: PostgresWorld, balances: PostgresBalances, pool: Pool):
    await world.grant("m_poor", 100)
    await balances.fold()
    async with pool.acquire() as other, other.transaction():
        await other.fetchval("SELECT folded_to FROM balance_folding FOR UPDATE")
        await balances.fold()
    await folded(balances)
    assert (await balances.balance(ACCOUNT)).credit == 100


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE balance_entries SET amount = 1 WHERE merchant_id = 'm_poor'",
        "DELETE FROM balance_entries WHERE merchant_id = 'm_poor'",
    ],
)
async def test_entries_are_only_appended(world: PostgresWorld, statement: str):
    await world.grant("m_poor", 100)
    with pytest.raises(asyncpg.CheckViolationError, match="never changed or deleted"):
        await world.pool.execute(statement)


async def test_the_schema_stops_a_writer_that_does_not_check_the_balance(world: PostgresWorld):
    await paying_out(world)
    copied = """
    INSERT INTO payouts SELECT (json_populate_record(p, json_build_object(
        'id', 'po_old', 'reference', 'old', 'merchant_id', 'm_poor'))).* FROM payouts p WHERE id = 'po_1'
    """
    with pytest.raises(asyncpg.CheckViolationError, match="the balance of m_poor does not cover po_old"):
        await world.pool.execute(copied)
    await world.grant("m_poor", 2500)
    await world.pool.execute(copied)
    await world.suspend("m_poor")
    with pytest.raises(asyncpg.CheckViolationError, match="m_poor is suspended"):
        await world.pool.execute(copied.replace("po_old", "po_new").replace("'old'", "'new'"))


async def test_the_schema_checks_two_concurrent_writers_one_after_the_other(world: PostgresWorld, pool: Pool):
    await paying_out(world)
    copied = """
    INSERT INTO payouts SELECT (json_populate_record(p, json_build_object(
        'id', $1::text, 'reference', $1::text, 'merchant_id', 'm_poor'))).* FROM payouts p WHERE id = 'po_1'
    """
    await world.grant("m_poor", 2500)
    async with pool.acquire() as first:
        transaction = first.transaction()
        await transaction.start()
        await first.execute(copied, "po_first")
        second = asyncio.create_task(pool.execute(copied, "po_second"))
        while not second.done() and not await world.value(_WAITING_FOR_A_BALANCE):  # noqa: ASYNC110
            await asyncio.sleep(0)  # PostgreSQL sends no notice of a lock wait
        assert not second.done()
        await transaction.commit()
    with pytest.raises(asyncpg.CheckViolationError, match="the balance of m_poor does not cover po_second"):
        await second


async def test_a_payment_ended_by_a_former_version_is_counted(
    world: PostgresWorld, balances: PostgresBalances
):
    result = await world.order_store.open(opening(world, payment={**POOR, "amount": 100}))
    assert isinstance(result, Opened)
    await world.pool.execute("UPDATE attempts SET state = 'succeeded', amount_received = 100")
    await world.pool.execute("UPDATE payments SET status = 'succeeded', amount_received = 100, due_at = NULL")
    assert (await balances.balance(ACCOUNT)).collected == 100
    await world.pool.execute("UPDATE attempts SET reversed_at = now()")
    assert (await balances.balance(ACCOUNT)).collected == 0


async def test_a_success_after_a_reversal_counts_once(world: PostgresWorld, balances: PostgresBalances):
    result = await world.order_store.open(opening(world, payment={**POOR, "amount": 100}))
    assert isinstance(result, Opened)
    assert result.case.live is not None
    back = replace(result.case.live, moved_at=world.now(), reversed_at=world.now())
    assert await world.order_store.record(commit(result.case, back, contradiction="reversed"))
    case = await world.order_store.payment("pay_1")
    assert case is not None
    debit = replace(case.attempts[0], state=AttemptState.SUCCEEDED, amount_received=100, reversed_at=None)
    order = {"status": PaymentStatus.SUCCEEDED, "amount_received": 100, "paid_by": debit.id}
    assert await world.order_store.record(commit(case, debit, order=order))
    assert (await balances.balance(ACCOUNT)).collected == 100
    assert await world.value("SELECT count(*) FROM balance_entries WHERE source = 'pay_1'") == 1


async def test_concurrent_payouts_of_a_merchant_are_serialised_and_a_success_does_not_wait(
    world: PostgresWorld, balances: PostgresBalances, pool: Pool
):
    await world.grant("m_poor", 100)
    async with pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.fetchval("SELECT lock_balance('m_poor', false, 'GHS')")
        await paid(world, 1, 5)
        second = asyncio.create_task(world.order_store.open(poor(world, 1, 60)))
        while not second.done() and not await world.value(_WAITING_FOR_A_BALANCE):  # noqa: ASYNC110
            await asyncio.sleep(0)  # PostgreSQL sends no notice of a lock wait
        assert not second.done()
        await other.execute(_GRANT, -50, "taken away meanwhile")
        await transaction.commit()
    assert await second == NotCovered(available=55, needed=60)


async def test_orders_waiting_for_one_balance_leave_connections_for_other_merchants(
    world: PostgresWorld, balances: PostgresBalances, pool: Pool
):
    payments = [await paid(world, number, 10) for number in range(12)]
    async with pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.fetchval("SELECT lock_balance('m_poor', false, 'GHS')")
        asked = [refund_opening(case, n, 10, merchant_id="m_poor") for n, case in enumerate(payments)]
        waiting = [
            *(asyncio.create_task(world.order_store.open(one)) for one in asked),
            *(asyncio.create_task(world.order_store.open(poor(world, n, 10))) for n in range(12)),
        ]
        while not await other.fetchval(_WAITING_FOR_A_BALANCE):  # noqa: ASYNC110
            await asyncio.sleep(0)  # PostgreSQL sends no notice of a lock wait
        assert isinstance(await world.order_store.open(opening(world, 100)), Opened)
        assert not any(task.done() for task in waiting)
        await transaction.commit()
    results = await asyncio.gather(*waiting)
    assert sum(isinstance(result, Opened) for result in results) == 12
    assert (await balances.balance(ACCOUNT)).available == 0


async def test_64_concurrent_payouts_in_two_processes_never_exceed_the_incoming_money(
    world: PostgresWorld, balances: PostgresBalances, pool: Pool
):
    await world.grant("m_poor", 95)
    order_stores = [world.order_store, PostgresOrderStore(Database(pool))]

    async def come_in() -> None:
        for number in range(8):
            await paid(world, number, 10)
            await balances.fold()

    async def pay_out(number: int) -> bool:
        result = await order_stores[number % 2].open(poor(world, number, 10))
        assert isinstance(result, Opened | NotCovered)
        return isinstance(result, Opened)

    *opened, _ = await asyncio.gather(*map(pay_out, range(64)), come_in())
    balance = await balances.balance(ACCOUNT)
    assert (balance.collected, balance.reserved) == (80, 10 * sum(map(bool, opened)))
    assert 9 <= sum(map(bool, opened)) <= 17
    assert balance.available >= 0
    assert await world.value(_ALL_ENTRIES) == balance.available
    rest = await asyncio.gather(*map(pay_out, range(100, 164)))
    assert sum(rest) + sum(map(bool, opened)) == 17


async def test_a_fee_is_reserved_with_the_payout_charged_once_and_released_with_it(
    world: PostgresWorld, balances: PostgresBalances
):
    await balances.set_fees({("mtn_momo", "payout"): 100, ("mtn_momo", "collect"): 50})
    await paid(world, 1, 1000)
    assert (await balances.balance(ACCOUNT)).fees == 5
    assert await world.order_store.open(poor(world, 1, 990)) == NotCovered(available=995, needed=1000)
    result = await world.order_store.open(poor(world, 2, 900))
    assert isinstance(result, Opened)
    assert (await balances.balance(ACCOUNT)).fees == 14
    await balances.set_fees({})
    case = result.case
    dead = replace(case.attempts[0], state=AttemptState.DECLINED)
    assert await world.order_store.record(commit(case, dead, order={"status": RefundStatus.FAILED}))
    balance = await balances.balance(ACCOUNT)
    assert (balance.fees, balance.available) == (5, 995)


async def test_a_payout_that_succeeds_is_charged_no_second_fee(
    world: PostgresWorld, balances: PostgresBalances
):
    await balances.set_fees({("mtn_momo", "payout"): 100})
    await world.grant("m_poor", 1_000)
    result = await world.order_store.open(poor(world, 1, 900))
    assert isinstance(result, Opened)
    done = replace(result.case.attempts[0], state=AttemptState.SUCCEEDED, amount_received=900)
    assert await world.order_store.record(commit(result.case, done, order={"status": RefundStatus.SUCCEEDED}))
    balance = await balances.balance(ACCOUNT)
    assert (balance.paid_out, balance.fees, balance.available) == (900, 9, 91)


async def test_revoking_credit_waits_for_a_payout_in_progress(
    world: PostgresWorld, balances: PostgresBalances, pool: Pool
):
    await world.grant("m_poor", 100)
    async with pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.fetchval("SELECT lock_balance('m_poor', false, 'GHS')")
        taking = asyncio.create_task(balances.grant(ACCOUNT, -50, "credit:back"))
        while not taking.done() and not await world.value(_WAITING_FOR_A_BALANCE):  # noqa: ASYNC110
            await asyncio.sleep(0)  # PostgreSQL sends no notice of a lock wait
        assert not taking.done()
        await transaction.commit()
    assert await taking == (-50, True)


async def test_late_money_of_a_failed_payment_changes_no_balance(
    world: PostgresWorld, balances: PostgresBalances
):
    result = await world.order_store.open(opening(world, payment=POOR))
    assert isinstance(result, Opened)
    assert result.case.live is not None
    dead = replace(result.case.live, state=AttemptState.DECLINED)
    assert await world.order_store.record(commit(result.case, dead, order={"status": PaymentStatus.FAILED}))
    case = await world.order_store.payment("pay_1")
    assert case is not None
    late = replace(case.attempts[0], amount_received=100)
    assert await world.order_store.record(commit(case, late, contradiction="late_success"))
    assert (await balances.balance(ACCOUNT)).collected == 0


async def test_a_reversed_surplus_does_not_reduce_the_collected_amount(
    world: PostgresWorld, balances: PostgresBalances
):
    result = await world.order_store.open(opening(world, payment={**POOR, "amount": 100}))
    assert isinstance(result, Opened)
    case = result.case
    dead = replace(case.attempts[0], state=AttemptState.DECLINED)
    second = attempt_of(case.order, 2)
    assert await world.order_store.record(commit(case, dead, second))
    case = await world.order_store.payment("pay_1")
    assert case is not None
    debit = replace(second, state=AttemptState.SUCCEEDED, amount_received=100)
    order = {"status": PaymentStatus.SUCCEEDED, "amount_received": 100, "paid_by": debit.id}
    assert await world.order_store.record(commit(case, debit, order=order))
    changes: list[dict[str, Any]] = [{"amount_received": 100}, {"reversed_at": world.now()}]
    for change in changes:
        case = await world.order_store.payment("pay_1")
        assert case is not None
        assert await world.order_store.record(
            commit(case, replace(case.attempts[0], **change), contradiction="told")
        )
    assert (await balances.balance(ACCOUNT)).collected == 100
    assert await balances.differences() == []


async def test_a_payout_under_review_that_overpaid_reserves_the_full_amount(
    world: PostgresWorld, balances: PostgresBalances
):
    await world.grant("m_poor", 100)
    result = await world.order_store.open(poor(world, 1, 30))
    assert isinstance(result, Opened)
    late = replace(result.case.attempts[0], state=AttemptState.DECLINED, amount_received=50)
    assert await world.order_store.record(commit(result.case, late, contradiction="late_success"))
    assert (await balances.balance(ACCOUNT)).reserved == 50
    assert await world.order_store.open(poor(world, 2, 51)) == NotCovered(available=50, needed=51)


async def test_opening_balances_match_the_books_and_payouts_continue_until_confirmed(
    world: PostgresWorld, balances: PostgresBalances, pool: Pool
):
    first = await paid(world, 1, 100)
    second = await paid(world, 2, 40)
    back = replace(second.attempts[0], reversed_at=world.now())
    assert await world.order_store.record(commit(second, back, contradiction="reversed"))
    folder = files("synccash.stores.postgres") / "migrations"
    up, down = (folder / "0013_balances.sql").read_text().split("-- migrate:down")
    await pool.execute(down)
    for number, status, received in ((1, "succeeded", 30), (2, "processing", 0), (3, "failed", 0)):
        await pool.execute(_PAYOUT_BEFORE, f"po_{number}", status)
        await pool.execute(_ATTEMPT_BEFORE, f"po_{number}", received)
    await pool.execute(up)
    expected = Balance(
        merchant_id="m_poor",
        livemode=False,
        currency="GHS",
        collected=first.order.amount,
        paid_out=30,
        reserved=30,
        credit=10**12,
    )
    assert await balances.balance(ACCOUNT) == expected
    (credit,) = await balances.unconfirmed()
    assert (credit.account, credit.amount) == (ACCOUNT, 10**12)
    assert await balances.confirm(credit, 500)
    assert await balances.unconfirmed() == []
    assert await balances.balance(ACCOUNT) == replace(expected, credit=500)
    # What still becomes of an old order is a difference to its opening entry, and counts once.
    await pool.execute("UPDATE payouts SET status = 'failed', due_at = NULL WHERE id = 'po_2'")
    await pool.execute("UPDATE attempts SET reversed_at = now() WHERE order_id = 'po_1'")
    balance = await balances.balance(ACCOUNT)
    assert (balance.paid_out, balance.reserved) == (0, 0)


_PAYOUT_BEFORE = """
INSERT INTO payouts (id, merchant_id, livemode, reference, amount, currency, payee_msisdn, created_at,
    updated_at, expires_at, status, attempt_count, metadata, routing, version, fence, due_at, move_id)
VALUES ($1, 'm_poor', false, $1, 30, 'GHS', '233241234567', now(), now(), now(), $2, 1, '{}', '{}', 1, 1,
    now(), $1)
"""
_ATTEMPT_BEFORE = """
INSERT INTO attempts (id, order_id, sequence, operation, rail, account, base_url, target_environment,
    reference, callback_token, amount, opened_fence, started_at, state, sends, inquiries, amount_received,
    refund_reserved)
VALUES ('att_' || $1, $1, 1, 'payout', 'mtn_momo', 'main', 'http://x', 't', gen_random_uuid(), 'token_' || $1,
    30, 1, now(), 'acknowledged', 1, 0, $2, 0)
"""
