"""An endpoint that was removed long ago is deleted with its deliveries, and nothing else is."""

import pytest

from encryption_samples import ENCRYPTION
from synccash.payments.request import Tenant
from synccash.processes.housekeeping import RetentionLoop
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations import removed_endpoints
from synccash.stores.postgres.operations.approvals import PostgresApprovals
from synccash.stores.postgres.operations.erasure import PostgresErasure
from synccash.stores.postgres.operations.removed_endpoints import PostgresRemovedEndpoints
from synccash.stores.postgres.pool import Pool
from synccash.stores.postgres.webhooks import PostgresWebhooks
from webhooks.test_delivery import TENANT, backlog, endpoint, happen

DAYS = 30
OTHER = Tenant("m_2", livemode=False)


async def delete_old(pool: Pool) -> int:
    return sum([step async for step in PostgresRemovedEndpoints(Database(pool), DAYS).delete_old()])


async def age(pool: Pool, endpoint_id: str, days: int) -> None:
    age = "UPDATE webhook_endpoints SET updated_at = now() - make_interval(days => $2) WHERE id = $1"
    await pool.execute(age, endpoint_id, days)


async def ids(pool: Pool, table: str, column: str) -> list[str]:
    return [row[0] for row in await pool.fetch(f"SELECT DISTINCT {column} FROM {table} ORDER BY 1")]


async def test_an_endpoint_is_deleted_after_the_retention_with_its_deliveries(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(removed_endpoints, "_EVENTS_AT_ONCE", 3)
    webhooks = PostgresWebhooks(Database(pool))
    for number in (1, 2, 3):
        await webhooks.add(endpoint(f"https://shop.example/{number}", id=f"we_{number}"))
    await webhooks.add(endpoint("https://other.example", id="we_other", merchant_id=OTHER.merchant_id))
    await backlog(pool, ["we_1", "we_2", "we_3"], 10, "NULL")
    await backlog(pool, ["we_other"], 10, "NULL", merchant=OTHER.merchant_id)
    assert await webhooks.remove(TENANT, "we_1")
    assert await webhooks.remove(TENANT, "we_2")
    await age(pool, "we_1", DAYS + 1)
    await age(pool, "we_3", DAYS + 1)
    assert await delete_old(pool) == 1
    left = ["we_2", "we_3", "we_other"]
    assert await ids(pool, "webhook_endpoints", "id") == left
    assert await ids(pool, "deliveries", "endpoint_id") == left
    assert await pool.fetchval("SELECT count(*) FROM deliveries") == 30
    assert await pool.fetchval("SELECT count(*) FROM events") == 20
    assert await delete_old(pool) == 0


async def test_events_go_on_after_an_endpoint_was_deleted(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    for number in (1, 2):
        await webhooks.add(endpoint(f"https://shop.example/{number}", id=f"we_{number}"))
    await happen(pool)
    assert await webhooks.disable("we_1", reason="it failed", event_id="evt_disabled")
    assert await webhooks.remove(TENANT, "we_1")
    await age(pool, "we_1", DAYS + 1)
    assert await delete_old(pool) == 1
    assert "evt_disabled" in await ids(pool, "events", "id")
    await happen(pool, 2)
    taken = await webhooks.take(free=10, each=10, lease_s=10.0)
    assert {one.endpoint.id for one in taken} == {"we_2"}
    assert len(taken) == 3


async def test_a_delivery_that_is_still_due_is_deleted_with_its_endpoint(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    await webhooks.add(endpoint("https://shop.example"))
    await backlog(pool, ["we_1"], 5, "now()")
    assert await webhooks.remove(TENANT, "we_1")
    await age(pool, "we_1", DAYS + 1)
    assert await delete_old(pool) == 1
    assert await pool.fetchval("SELECT count(*) FROM deliveries") == 0
    assert await webhooks.end_useless() == 0


async def test_a_worker_deletes_it_too(pool: Pool):
    database = Database(pool, encryption=ENCRYPTION)
    webhooks = PostgresWebhooks(database)
    await webhooks.add(endpoint("https://shop.example"))
    assert await webhooks.remove(TENANT, "we_1")
    await age(pool, "we_1", DAYS + 1)
    erasure = PostgresErasure(database, ENCRYPTION, 180, DAYS)
    loop = RetentionLoop(erasure, PostgresRemovedEndpoints(database, DAYS), PostgresApprovals(database))
    await loop.delete_endpoints()
    assert (loop.deleted, await ids(pool, "webhook_endpoints", "id")) == (1, [])
