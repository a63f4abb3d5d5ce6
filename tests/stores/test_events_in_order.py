"""A reader that continues from the last event it saw misses none, even if transactions commit late."""

from order_store_contract import opening
from stores.postgres_world import PostgresWorld
from synccash.payments.case import Opened
from synccash.payments.request import Tenant
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.reading import PostgresReading

_LATE = """
INSERT INTO events (id, merchant_id, livemode, type, created_at, object_id, object_version, data)
VALUES ('evt_late', $1, $2, 'payment.succeeded', now(), 'pay_late', 1, '{}')
"""


async def opened(world: PostgresWorld, number: int) -> Tenant:
    asked = opening(world, number)
    assert isinstance(await world.order_store.open(asked), Opened)
    return Tenant(asked.order.merchant_id, asked.order.livemode)


async def test_a_reader_that_is_ahead_still_sees_events_that_commit_late(world: PostgresWorld) -> None:
    tenant = await opened(world, 1)
    reading = PostgresReading(Database(world.pool))
    [first] = await reading.events(tenant, after=None, limit=10) or ()
    async with world.pool.acquire() as slow:
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute(_LATE, tenant.merchant_id, tenant.livemode)
        await opened(world, 2)
        # The later commit is there; to show it now would hide the one that is not there yet.
        assert await reading.events(tenant, after=first.id, limit=10) == []
        await transaction.commit()
    behind = await reading.events(tenant, after=first.id, limit=10) or ()
    assert (behind[0].id, len(behind)) == ("evt_late", 2)
    assert await reading.events(tenant, after=behind[-1].id, limit=10) == []


async def test_an_event_of_another_merchant_is_not_a_valid_cursor(world: PostgresWorld) -> None:
    tenant = await opened(world, 1)
    reading = PostgresReading(Database(world.pool))
    [event] = await reading.events(tenant, after=None, limit=10) or ()
    stranger = Tenant("m_stranger", livemode=False)
    assert await reading.events(stranger, after=event.id, limit=10) is None
    assert await reading.events(stranger, after=None, limit=10) == []
