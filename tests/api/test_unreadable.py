"""Orders whose rows this version cannot read, as during an upgrade; all other orders are shown."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator

import asyncpg
import pytest

from api.served import NUMBER, PROBLEM, Served
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.waiting import PostgresWaiting
from synccash.stores.postgres.pool import connect

pytestmark = pytest.mark.asyncio(loop_scope="module")


@contextlib.asynccontextmanager
async def connection(url: str) -> AsyncGenerator[asyncpg.Connection]:
    """A connection to what the API works on."""
    opened = await asyncpg.connect(url)
    try:
        yield opened
    finally:
        await opened.close()


async def written_by_a_newer_version(url: str, table: str, order_id: str) -> None:
    """The new version shuts out a send that may still be under way, which would write its own word."""
    async with connection(url) as database:
        await database.execute(
            f"UPDATE {table} SET status_detail = 'a_newer_word', version = version + 1 WHERE id = $1",
            order_id,
        )


async def waiting(url: str) -> dict[tuple[str, str], int]:
    pool = await connect(url, min_size=0, max_size=1)
    try:
        found = await PostgresWaiting(Database(pool)).counts()
        return {name: one.count for name, one in found.items()}
    finally:
        await pool.close()


async def paid(url: str, payment_id: str) -> None:
    """The payment has succeeded, so that it can be refunded."""
    async with connection(url) as database, asyncio.timeout(60):
        while True:
            if await database.fetchval("SELECT count(*) FROM attempts WHERE order_id = $1", payment_id):
                break
            await asyncio.sleep(0.02)
        # Without the triggers, which let nothing that has ended succeed.
        await database.execute(
            "ALTER TABLE attempts DISABLE TRIGGER USER; ALTER TABLE payments DISABLE TRIGGER USER"
        )
        await database.execute(
            "UPDATE payments SET status = 'succeeded', status_detail = NULL, due_at = NULL,"
            " lease_until = NULL, amount_received = amount, version = version + 1 WHERE id = $1",
            payment_id,
        )
        await database.execute(
            "UPDATE attempts SET state = 'succeeded', evidence = 'accepted', amount_received = amount"
            " WHERE order_id = $1 AND sequence = (SELECT max(sequence) FROM attempts WHERE order_id = $1)",
            payment_id,
        )
        await database.execute(
            "ALTER TABLE attempts ENABLE TRIGGER USER; ALTER TABLE payments ENABLE TRIGGER USER"
        )


async def made(api: Served, url: str, kind: str) -> str:
    """One order of the kind, which a newer version has changed."""
    if kind == "payouts":
        body = {"amount": 100, "currency": "GHS", "payee": {"msisdn": NUMBER}, "reference": uuid.uuid4().hex}
        answer = await api.send("POST", "/payouts", body, Idempotency_Key=uuid.uuid4().hex)
    else:
        # No rail answers here: an open breaker would let no attempt of this payment begin.
        await api.send("POST", "/resilience/circuit-breakers/mtn_momo/reset", {}, key=api.admin_key)
        answer = await api.pay()
        if kind == "refunds":
            await paid(url, answer.json()["id"])
            path = f"/payments/{answer.json()['id']}/refunds"
            answer = await api.send("POST", path, {"amount": 10}, Idempotency_Key=uuid.uuid4().hex)
    assert answer.status_code in (201, 202), answer.text
    order_id: str = answer.json()["id"]
    await written_by_a_newer_version(url, kind, order_id)
    return order_id


@pytest.mark.parametrize("kind", ["payments", "payouts", "refunds"])
async def test_an_unreadable_order_is_a_problem_that_says_so(api: Served, database_of_file: str, kind: str):
    order_id = await made(api, database_of_file, kind)
    before = (await waiting(database_of_file)).get((kind[:-1], "unreadable"), 0)
    for _ in range(2):
        answer = await api.send("GET", f"/{kind}/{order_id}")
        assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
        problem = answer.json()
        assert (problem["code"], problem["retryable"]) == ("order_unreadable", True)
        assert order_id in problem["detail"]
        assert "a_newer_word" not in answer.text
    assert (await waiting(database_of_file))[kind[:-1], "unreadable"] == before + 1


async def test_changing_an_unreadable_order_is_the_same_problem(api: Served, database_of_file: str):
    order_id = await made(api, database_of_file, "payments")
    answer = await api.send("POST", f"/payments/{order_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (500, "order_unreadable")


async def test_another_merchant_gets_404_for_an_unreadable_order(api: Served, database_of_file: str):
    order_id = await made(api, database_of_file, "payments")
    answer = await api.send("GET", f"/payments/{order_id}", key=api.other_key)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_list_shows_the_readable_payments_and_names_the_unreadable(
    api: Served, database_of_file: str
):
    first = (await api.pay()).json()["id"]
    unreadable = await made(api, database_of_file, "payments")
    last = (await api.pay()).json()["id"]
    page = (await api.send("GET", "/payments?limit=3")).json()
    assert [one["id"] for one in page["data"]] == [last, first]
    assert page["unreadable"] == [unreadable]


async def test_a_page_continues_after_an_unreadable_payment(api: Served, database_of_file: str):
    first = (await api.pay()).json()["id"]
    unreadable = await made(api, database_of_file, "payments")
    page = (await api.send("GET", "/payments?limit=1")).json()
    assert (page["data"], page["unreadable"], page["has_more"]) == ([], [unreadable], True)
    behind = (await api.send("GET", f"/payments?limit=1&after={page['next']}")).json()
    assert ([one["id"] for one in behind["data"]], behind["unreadable"]) == ([first], [])
