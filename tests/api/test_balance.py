"""`/balance` over HTTP, and the requests that a balance refuses."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from api.served import NUMBER, Served, payment, served
from synccash.engine.system import SystemClock
from synccash.payments.balance import BY_MIGRATION, BalanceAccount, credit_source
from synccash.processes.balance_loop import BalanceLoop
from synccash.stores.postgres.balances import PostgresBalances
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.merchants import PostgresKeys
from synccash.stores.postgres.pool import connect

ACCOUNT = BalanceAccount(merchant_id="mer_test", livemode=False, currency="GHS")
GRANTED_TO_ALL_TESTS = 10**15


@asynccontextmanager
async def database(url: str) -> AsyncGenerator[Database]:
    pool = await connect(url, min_size=1, max_size=1)
    yield Database(pool)
    await pool.close()


@pytest_asyncio.fixture
async def api(database_url: str) -> AsyncGenerator[Served]:
    """A merchant whom an operator has granted 500 pesewas."""
    async with database(database_url) as base:
        await PostgresBalances(base).grant(ACCOUNT, 500 - GRANTED_TO_ALL_TESTS, "credit:of this test")
    async with served(database_url) as api:
        yield api


def payout(amount: int) -> dict[str, object]:
    payee = {"msisdn": NUMBER, "name": "Ama"}
    return {"amount": amount, "currency": "GHS", "payee": payee, "reference": uuid.uuid4().hex}


async def test_a_merchant_sees_what_it_may_pay_out_in_the_mode_of_its_key(api: Served):
    await api.send("POST", "/payouts", payout(120), Idempotency_Key=uuid.uuid4().hex)
    answer = await api.send("GET", "/balance")
    assert answer.status_code == 200
    assert answer.json() == {
        "object": "balance",
        "merchant_id": "mer_test",
        "livemode": False,
        "currency": "GHS",
        "available": 380,
        "reserved": 120,
        "collected": 0,
        "refunded": 0,
        "paid_out": 0,
        "credit": 500,
        "fees": 0,
    }
    assert (await api.send("GET", "/balance?currency=EUR")).json()["available"] == 0
    assert (await api.send("GET", "/balance", key=api.other_key)).json()["merchant_id"] == "mer_other"


async def test_a_balance_is_a_merchants_and_its_currency_is_named_by_three_letters(api: Served):
    answer = await api.send("GET", "/balance", key=api.admin_key)
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    answer = await api.send("GET", "/balance?currency=cedi")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "currency")


async def test_a_payout_beyond_the_balance_is_a_problem_and_its_key_stays_free(api: Served):
    body = payout(501)
    answer = await api.send("POST", "/payouts", body, Idempotency_Key="wages-june")
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["retryable"]) == (409, "insufficient_balance", True)
    assert (problem["available"], problem["needed"], problem["retry_after"]) == (500, 501, None)
    answer = await api.send("POST", "/payouts", {**body, "amount": 500}, Idempotency_Key="wages-june")
    assert answer.status_code in (201, 202)


async def test_a_refused_payout_succeeds_under_its_key_once_the_balance_covers_it(
    api: Served, database_url: str
):
    body = payout(501)
    answer = await api.send("POST", "/payouts", body, Idempotency_Key="wages-july")
    assert (answer.status_code, answer.json()["retryable"]) == (409, True)
    async with database(database_url) as base:
        await PostgresBalances(base).grant(ACCOUNT, 1, "credit:one-more")
    answer = await api.send("POST", "/payouts", body, Idempotency_Key="wages-july")
    assert answer.status_code in (201, 202)


async def test_a_suspended_merchant_cannot_start_new_orders(api: Served, database_url: str):
    made = await api.send("POST", "/payments", payment(), Idempotency_Key="before")
    async with database(database_url) as base:
        assert await PostgresKeys(base).suspend("mer_test", "a court's order")
    for path, body in (("/payments", payment()), ("/payouts", payout(1))):
        answer = await api.send("POST", path, body, Idempotency_Key=uuid.uuid4().hex)
        assert (answer.status_code, answer.json()["code"]) == (403, "merchant_suspended")
    assert (await api.send("GET", f"/payments/{made.json()['id']}")).status_code == 200
    other = await api.send("POST", "/payments", payment(), key=api.other_key, Idempotency_Key="other")
    assert other.status_code in (201, 202)
    async with database(database_url) as base:
        assert await PostgresKeys(base).resume("mer_test")
    assert (await api.pay()).status_code in (201, 202)


@pytest.mark.parametrize("path", ["/health/ready", "/api/v1/resilience/health"])
async def test_a_credit_granted_by_a_migration_is_reported_with_the_command_to_confirm_it(
    database_url: str, path: str
):
    async with database(database_url) as base:
        await PostgresBalances(base).grant(ACCOUNT, 10**12, credit_source(BY_MIGRATION, ACCOUNT))
    async with served(database_url) as api:
        headers = {"Authorization": f"Bearer {api.admin_key}"}
        text = ""
        while "synccash balances confirm mer_test --test" not in text:
            await asyncio.sleep(0)
            answer = await api.client.get(path, headers=headers)
            text = answer.text
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")


async def test_the_warning_disappears_after_the_confirmation(database_url: str):
    async with database(database_url) as base:
        balances = PostgresBalances(base)
        loop = BalanceLoop(balances, SystemClock(), {("mtn_momo", "payout"): 50})
        await loop.pass_once()
        assert loop.warnings() == ()
        await balances.grant(ACCOUNT, 10**12, credit_source(BY_MIGRATION, ACCOUNT))
        await loop.pass_once()
        assert [part for part, _ in loop.warnings()] == ["balances"]
        (credit,) = await balances.unconfirmed()
        assert await balances.confirm(credit, credit.amount)
        assert not await balances.confirm(credit, 5)
        await loop.pass_once()
        assert loop.warnings() == ()
        found = await base.repeat("SELECT rail, operation, bps FROM balance_fees")
        assert [tuple(row) for row in found] == [("mtn_momo", "payout", 50)]
