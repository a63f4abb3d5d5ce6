"""The limit of webhook endpoints per merchant, also under concurrent creation."""

import asyncio
from collections.abc import AsyncGenerator

import asyncpg
import pytest
import pytest_asyncio

from api.served import PROBLEM, served
from synccash.payments.errors import EndpointLimitError
from synccash.payments.webhook import MAX_ENDPOINTS, EndpointStatus, WebhookEndpoint
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import connect
from synccash.stores.postgres.webhooks import PostgresWebhooks
from webhooks.test_delivery import TENANT, endpoint


def numbered(number: int, **changes: object) -> WebhookEndpoint:
    return endpoint("https://example.com/hook", id=f"we_{number}", **changes)


@pytest_asyncio.fixture
async def webhooks(database_url: str) -> AsyncGenerator[PostgresWebhooks]:
    # Connections enough for all that are made at once, and there before they are needed.
    pool = await connect(database_url, min_size=20, max_size=20)
    yield PostgresWebhooks(Database(pool))
    await pool.close()


async def full(webhooks: PostgresWebhooks) -> None:
    for number in range(MAX_ENDPOINTS):
        await webhooks.add(numbered(number))


async def test_of_twenty_concurrent_creations_only_the_allowed_number_succeeds(webhooks: PostgresWebhooks):
    results = await asyncio.gather(*(webhooks.add(numbered(n)) for n in range(20)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, BaseException)]
    assert [type(error) for error in refused] == [EndpointLimitError] * (20 - MAX_ENDPOINTS)
    assert len(await webhooks.endpoints(TENANT)) == MAX_ENDPOINTS


async def test_the_count_waits_for_an_uncommitted_endpoint(webhooks: PostgresWebhooks, database_url: str):
    await full(webhooks)
    await webhooks.remove(TENANT, "we_0")
    other = await asyncpg.connect(database_url)
    transaction = other.transaction()
    await transaction.start()
    await other.execute(
        "INSERT INTO webhook_endpoints (id, merchant_id, livemode, url, secrets, status) "
        "VALUES ('we_other', $1, false, 'https://example.com', '[]', 'enabled')",
        TENANT.merchant_id,
    )
    late = asyncio.create_task(webhooks.add(numbered(99)))
    watcher = await asyncpg.connect(database_url)
    waiting = (
        "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
        "WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted)"
    )
    while not await watcher.fetchval(waiting):
        assert not late.done()
    await transaction.commit()
    with pytest.raises(EndpointLimitError):
        await late
    await watcher.close()
    await other.close()


async def test_the_limit_is_per_merchant_and_mode(webhooks: PostgresWebhooks):
    await full(webhooks)
    await webhooks.add(numbered(20, merchant_id="m_2"))
    await webhooks.add(numbered(21, livemode=True))


async def test_a_removed_endpoint_makes_room_and_a_disabled_one_does_not(webhooks: PostgresWebhooks):
    await full(webhooks)
    await webhooks.change(TENANT, numbered(0, status=EndpointStatus.DISABLED))
    with pytest.raises(EndpointLimitError):
        await webhooks.add(numbered(20))
    assert await webhooks.remove(TENANT, "we_0")
    await webhooks.add(numbered(20))


async def test_adding_the_last_endpoint_can_be_repeated_after_a_lost_response(webhooks: PostgresWebhooks):
    await full(webhooks)
    last = numbered(MAX_ENDPOINTS - 1)
    assert (await webhooks.add(last)).id == last.id


async def test_an_endpoint_above_the_limit_is_a_problem_that_says_what_to_do(database_url: str):
    async with served(database_url) as api:
        body = {"url": "https://example.com/hook"}
        made = [await api.send("POST", "/webhook-endpoints", body) for _ in range(MAX_ENDPOINTS)]
        assert {answer.status_code for answer in made} == {201}
        refused = await api.send("POST", "/webhook-endpoints", body)
        assert (refused.status_code, refused.headers["content-type"]) == (409, PROBLEM)
        problem = refused.json()
        assert (problem["code"], problem["retryable"]) == ("webhook_endpoint_limit", False)
        assert f"{MAX_ENDPOINTS} webhook endpoints" in problem["detail"]
        assert "delete one" in problem["detail"]
        described = (await api.client.get("/openapi.json")).json()["paths"]["/api/v1/webhook-endpoints"]
        assert "409" in described["post"]["responses"]
        assert problem["code"] in described["post"]["description"]
        assert (await api.send("POST", "/webhook-endpoints", body, api.other_key)).status_code == 201
        await api.send("DELETE", f"/webhook-endpoints/{made[0].json()['id']}")
        assert (await api.send("POST", "/webhook-endpoints", body)).status_code == 201
