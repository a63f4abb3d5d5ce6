"""Claims of requests without an order, on a real PostgreSQL."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from encryption_samples import ENCRYPTION
from order_store_contract import LEASE_S, opened
from synccash.resilience.claims import ClaimAnswer, Granted, InProgress, Replayed, Reused
from synccash.resilience.conformance import ClaimStoreConformance
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.claims import _SWEEPS, PostgresClaims
from synccash.stores.postgres.pool import connect

ONE, TWO = b"1" * 33, b"2" * 33
ANSWER = ClaimAnswer(201, (("content-type", "application/json"),), b'{"a": "\xc3\xa9"}')


class TestConformance(ClaimStoreConformance):
    durable = True

    @pytest.fixture(autouse=True, params=[None, ENCRYPTION], ids=["plain", "encrypted"])
    def configure(self, database_url, request):
        self.url, self.encryption = database_url, request.param

    @asynccontextmanager
    async def open(self):
        pool = await connect(self.url, min_size=1, max_size=4)
        try:
            yield PostgresClaims(Database(pool, encryption=self.encryption))
        finally:
            await pool.close()


@pytest.fixture(params=[None, ENCRYPTION], ids=["plain", "encrypted"])
def store(pool, request):
    return PostgresClaims(Database(pool, encryption=request.param))


async def asked(store, fingerprint=ONE, key="k", lease_s=10.0):
    return await store.claim("s", key, fingerprint, lease_s=lease_s)


async def test_of_thirty_concurrent_requests_one_holds_the_key(store):
    decisions = await asyncio.gather(*(asked(store) for _ in range(30)))
    assert decisions.count(Granted(1, taken_over=False)) == 1
    others = [d for d in decisions if not isinstance(d, Granted)]
    assert len(others) == 29
    assert all(isinstance(d, InProgress) and 0 < d.retry_after <= 10 for d in others)


async def test_a_completed_request_is_replayed_byte_for_byte(store):
    await asked(store)
    assert await store.complete("s", "k", 1, ANSWER)
    assert await asked(store) == Replayed(ANSWER)
    assert await asked(store, TWO) == Reused()
    assert await store.complete("s", "k", 1, ANSWER), "told twice, as after a lost connection"
    assert not await store.complete("s", "k", 1, ClaimAnswer(200, (), b""))


async def test_a_response_too_large_to_store_is_replayed_without_its_body(store):
    await asked(store)
    large = ClaimAnswer(201, (("location", "/api/v1/things/1"),), None)
    await store.complete("s", "k", 1, large)
    assert await asked(store) == Replayed(large)


async def test_an_expired_lease_is_taken_over_once_and_its_former_holder_completes_nothing(store):
    await asked(store, lease_s=0.0)
    decisions = await asyncio.gather(*(asked(store) for _ in range(10)))
    assert decisions.count(Granted(2, taken_over=True)) == 1
    assert not await store.complete("s", "k", 1, ANSWER)
    assert not await store.renew("s", "k", 1, lease_s=10)
    assert not await store.give_back("s", "k", 1)
    assert await store.renew("s", "k", 2, lease_s=10)
    assert await store.complete("s", "k", 2, ANSWER)


async def test_a_released_claim_can_be_taken_at_once(store):
    await asked(store)
    assert await store.give_back("s", "k", 1)
    assert await asked(store, TWO) == Reused()
    assert await asked(store) == Granted(2, taken_over=True, given_back=True)


async def test_finished_claims_are_deleted_in_small_batches_and_claims_in_progress_are_kept(store, pool):
    for number in range(5):
        await asked(store, key=f"done {number}")
        await store.complete("s", f"done {number}", 1, ANSWER)
    await asked(store, key="at work")
    await pool.execute("UPDATE request_claims SET created_at = now() - interval '40 days'")
    await asked(store, key="young")
    await store.complete("s", "young", 1, ANSWER)
    month = 30 * 86_400.0
    assert [await store.sweep(older_than_s=month, limit=3) for _ in range(3)] == [3, 2, 0]
    left = {row["key"] for row in await pool.fetch("SELECT key FROM request_claims")}
    assert left == {store._key("s", key) for key in ("at work", "young")}


@pytest.mark.parametrize("table", ["idempotency", "request_claims"])
async def test_old_claims_are_found_without_reading_new_ones(pool, table):
    # The statements themselves, because EXPLAIN takes the text of one.
    (sweep,) = [statement for statement in _SWEEPS if f"DELETE FROM {table} " in statement]
    async with pool.acquire() as connection, connection.transaction():
        # The table is empty: reading it whole would look like the best plan.
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        plan = "\n".join([row[0] for row in await connection.fetch(f"EXPLAIN {sweep}", 86_400.0, 500)])
    assert f"Index Scan using {table}_by_age" in plan


async def test_statistics_count_claims_in_progress_and_overdue_claims(store):
    await asked(store, key="a")
    await store.complete("s", "a", 1, ANSWER)
    await asked(store, key="b")
    await asked(store, key="c", lease_s=0.0)
    found = await store.statistics(window_s=3_600)
    assert (found["completed"], found["processing"], found["overdue"]) == (1, 2, 1)
    assert found["oldest_processing_s"] >= 0


async def test_statistics_take_the_lease_of_a_key_from_its_order(store, world):
    await opened(world, 1)
    found = await store.statistics(window_s=3_600)
    assert (found["completed"], found["processing"], found["overdue"]) == (0, 1, 0)
    await world.skip(LEASE_S + 1)
    await opened(world, 2)
    found = await store.statistics(window_s=3_600)
    assert (found["completed"], found["processing"], found["overdue"]) == (0, 2, 1)
