"""Which orders keep their personal data, and what is left of the others."""

from dataclasses import replace

import msgspec
import pytest
import pytest_asyncio

from encryption_samples import ENCRYPTION
from order_store_contract import ANSWER, LATER_S, commit, opening, read, refunding, succeeded
from payment_samples import PAYOUT
from stores.canary import CANARY, TENANT, dump, filled, shown, world_of
from stores.postgres_world import PostgresWorld
from synccash.payments.case import AlreadyClaimed, Opened, ReferenceTaken, ReleaseLease
from synccash.payments.payer import ERASED, Msisdn, Network
from synccash.payments.payer_networks import payer_hash
from synccash.payments.payment import PaymentStatus, RefundStatus
from synccash.processes.housekeeping import RetentionLoop
from synccash.stores.encryption import Encryption
from synccash.stores.postgres.operations.approvals import PostgresApprovals
from synccash.stores.postgres.operations.erasure import EVENTS_OF_OBJECTS, PostgresErasure
from synccash.stores.postgres.operations.removed_endpoints import PostgresRemovedEndpoints
from synccash.stores.postgres.payer_networks import PostgresNetworks
from synccash.stores.postgres.pool import Pool

NUMBER = Msisdn(CANARY)


def erasure(world: PostgresWorld, *, refundable_days: int = 180, retention_days: int | None = None):
    return PostgresErasure(world.order_store.database, ENCRYPTION, refundable_days, retention_days)


async def kept(world: PostgresWorld, number: Msisdn = NUMBER, **days: int) -> dict[str, str | None]:
    return {one.id: one.kept for one in await erasure(world, **days).orders_of(number)}


async def end(world: PostgresWorld, number: int) -> None:
    """End a payment of which nothing was collected."""
    case = await world.order_store.payment(f"pay_{number}")
    assert case is not None
    assert await world.order_store.record(
        commit(case, order={"status": PaymentStatus.FAILED}, lease=ReleaseLease(None))
    )


@pytest_asyncio.fixture(autouse=True)
async def merchant(pool: Pool) -> None:
    await pool.execute("INSERT INTO merchants (id, name) VALUES ('m_1', 'm_1')")


@pytest.fixture(params=[None, ENCRYPTION], ids=["plain rows", "encrypted rows"])
def world(pool: Pool, request: pytest.FixtureRequest) -> PostgresWorld:
    written_with: Encryption | None = request.param
    return world_of(pool, written_with)


async def test_nothing_of_an_erased_order_is_left(world: PostgresWorld, pool: Pool):
    await filled(world, 1)
    await filled(world, 2)
    await end(world, 1)
    encrypted = world_of(pool, ENCRYPTION)
    untouched = (await shown(encrypted, 2))[:3]
    assert await kept(encrypted) == {"pay_1": None, "pay_2": "open"}
    assert await erasure(encrypted).erase("payments", ["pay_1"]) == 1
    case = await encrypted.order_store.payment("pay_1")
    assert case is not None
    order = case.order
    assert (order.payer.msisdn.digits, order.reference, order.description, order.metadata) == (
        ERASED,
        "erased",
        None,
        {},
    )
    assert (order.amount, order.status) == (100, PaymentStatus.FAILED)
    assert (await shown(encrypted, 2))[:3] == untouched
    rows = [line for line in (await dump(pool)).splitlines() if "pay_1," in line]
    assert not any(CANARY in row for row in rows)
    documents = [event.data for event in await encrypted.events() if event.object_id == "pay_1"]
    assert not any(CANARY.encode() in document for document in documents)
    [entry] = [one for one in await encrypted.timeline("pay_1") if one.kind == "approved"]
    assert entry.data == {"by": "ama", "reason": "erased"}


async def test_the_reference_and_the_key_of_an_erased_order_stay_used(world: PostgresWorld, pool: Pool):
    await filled(world, 1)
    await end(world, 1)
    encrypted = world_of(pool, ENCRYPTION)
    await erasure(encrypted).erase("payments", ["pay_1"])
    reference, key = f"order 1 of {CANARY}", f"key-1-{CANARY}"
    repeated = await encrypted.order_store.open(opening(encrypted, 7, reference=reference, key=key))
    assert isinstance(repeated, AlreadyClaimed)
    assert repeated.answer is not None
    assert CANARY.encode() not in repeated.answer.body
    other_key = await encrypted.order_store.open(opening(encrypted, 8, reference=reference, key="other"))
    assert other_key == ReferenceTaken("pay_1")


async def test_documents_of_orders_are_erased_field_by_field(pool: Pool):
    world = world_of(pool, ENCRYPTION)
    document = {
        "id": "pay_1",
        "amount": 2500,
        "reference": CANARY,
        "description": CANARY,
        "metadata": {"a": CANARY},
        "payer": {"msisdn": CANARY, "network": "mtn"},
        "payee": {"msisdn": CANARY, "name": CANARY},
        "reason": CANARY,
    }
    body = msgspec.json.encode(document)
    asked = opening(
        world, attempt=None, lease=ReleaseLease(LATER_S), answer=replace(ANSWER, body=body), key="k"
    )
    asked = replace(asked, events=tuple(replace(one, data=body) for one in asked.events))
    assert isinstance(await world.order_store.open(asked), Opened)
    await end(world, 1)
    await erasure(world).erase("payments", ["pay_1"])
    claimed = await world.order_store.claimed(asked.claim.scope, "k")
    assert claimed is not None
    assert claimed.answer is not None
    for found in (claimed.answer.body, *(event.data for event in await world.events())):
        assert msgspec.json.decode(found) == {
            "id": "pay_1",
            "amount": 2500,
            "reference": "erased",
            "description": None,
            "metadata": {},
            "payer": {"msisdn": ERASED, "network": "mtn"},
            "payee": {"msisdn": ERASED, "name": None},
            "reason": None,
        }


async def test_an_order_keeps_its_data_while_it_may_be_needed(pool: Pool):
    world = world_of(pool, ENCRYPTION)
    number = opening(world).order.payer.msisdn
    case = await succeeded(world, 1)
    assert await kept(world, number) == {"pay_1": "look_back"}
    assert await world.order_store.record(commit(await read(world, case), lease=ReleaseLease(None)))
    assert await kept(world, number) == {"pay_1": "refundable"}
    refunds = await refunding(world, await read(world, case), 1, 100, identity="key:1")
    assert await kept(world, number) == {"pay_1": "refund_open"}
    await pool.execute("UPDATE payments SET updated_at = now() - interval '181 days'")
    assert await kept(world, number) == {"pay_1": "refund_open"}, "however old its payment is"
    done = commit(refunds, order={"status": RefundStatus.SUCCEEDED}, lease=ReleaseLease(None))
    assert await world.order_store.record(done)
    await pool.execute("UPDATE payments SET due_at = NULL")
    assert await kept(world, number) == {"pay_1": None}
    assert await kept(world, number, retention_days=30) == {"pay_1": "retention"}


async def test_money_that_is_left_is_refundable_for_the_configured_days(pool: Pool):
    world = world_of(pool, ENCRYPTION)
    case = await succeeded(world, 1)
    assert await world.order_store.record(commit(case, lease=ReleaseLease(None)))
    number = case.order.payer.msisdn
    await pool.execute("UPDATE payments SET updated_at = now() - interval '10 days'")
    assert await kept(world, number) == {"pay_1": "refundable"}
    assert await kept(world, number, refundable_days=9) == {"pay_1": None}


async def test_an_order_keeps_its_data_until_its_events_are_delivered(pool: Pool):
    """Else its merchant gets an event without the reference that it asks for."""
    world = world_of(pool, ENCRYPTION)
    await filled(world, 1)
    await end(world, 1)
    refund = await world.order_store.refund("re_1")
    assert refund is not None
    done = commit(refund, order={"status": RefundStatus.FAILED}, lease=ReleaseLease(None))
    assert await world.order_store.record(done)
    await pool.execute("UPDATE payments SET due_at = NULL, updated_at = now() - interval '181 days'")
    await pool.execute("UPDATE events SET created_at = now()")
    other = opening(world).order.payer.msisdn

    async def all_kept() -> dict[str, str | None]:
        return await kept(world) | await kept(world, other)

    assert await all_kept() == {"pay_1": None, "pay_101": None}
    await pool.execute(
        "INSERT INTO webhook_endpoints (id, merchant_id, livemode, url, secrets, status)"
        " SELECT 'we_2', merchant_id, livemode, 'https://example.com', '[]', 'enabled' FROM payments LIMIT 1"
    )
    for object_id, order_id in (("pay_1", "pay_1"), ("re_1", "pay_101")):
        await pool.execute(
            "INSERT INTO deliveries (event_id, endpoint_id, due_at)"
            " SELECT id, 'we_2', 'infinity' FROM events WHERE object_id = $1 LIMIT 1",
            object_id,
        )
        assert await all_kept() == {"pay_1": None, "pay_101": None, order_id: "undelivered"}
        await pool.execute("DELETE FROM deliveries")
    await pool.execute(
        "INSERT INTO deliveries (event_id, endpoint_id, due_at) SELECT id, 'we_2', now() FROM events"
    )
    assert set((await all_kept()).values()) == {"undelivered"}
    await pool.execute("UPDATE events SET created_at = now() - interval '31 days'")
    assert set((await all_kept()).values()) == {None}
    await pool.execute("UPDATE events SET created_at = now()")
    await pool.execute("UPDATE webhook_endpoints SET status = 'removed'")
    assert set((await all_kept()).values()) == {None}


async def test_an_order_that_becomes_due_again_before_its_row_is_written_is_not_erased(pool: Pool):
    world = world_of(pool, ENCRYPTION)
    await filled(world, 1)
    await end(world, 1)
    await pool.execute("UPDATE payments SET due_at = '-infinity' WHERE id = 'pay_1'")
    assert await erasure(world).erase("payments", ["pay_1"]) == 0
    case = await world.order_store.payment("pay_1")
    assert case is not None
    assert case.order.payer.msisdn.digits == CANARY


async def test_a_payout_is_erased_with_the_name_of_its_payee(pool: Pool):
    world = world_of(pool, ENCRYPTION)
    payout = replace(PAYOUT, payee=replace(PAYOUT.payee, msisdn=NUMBER, name="Ama Canary"))
    first = opening(world, 1)
    asked = replace(first, order=payout, attempt=None, lease=ReleaseLease(LATER_S), events=())
    assert isinstance(await world.order_store.open(asked), Opened)
    assert await kept(world) == {"po_1": "open"}
    await pool.execute("UPDATE payouts SET status = 'failed', due_at = NULL")
    assert await kept(world) == {"po_1": None}
    assert await erasure(world).erase("payouts", ["po_1"]) == 1
    case = await world.order_store.payout("po_1")
    assert case is not None
    assert (case.order.payee.msisdn.digits, case.order.payee.name) == (ERASED, None)
    assert await kept(world) == {}


async def test_what_is_known_of_a_numbers_network_is_forgotten(pool: Pool):
    world = world_of(pool, ENCRYPTION)
    networks = PostgresNetworks(world.order_store.database)
    known = payer_hash(await networks.secret(), TENANT, NUMBER)
    await networks.write({known: Network.TELECEL})
    await erasure(world).forget_networks(NUMBER, [TENANT])
    assert await networks.since(0.0, limit=10) == {}
    assert await pool.fetchval("SELECT count(*) FROM installation_keys") == 0, "the key is in no dump"


async def test_the_retention_erases_old_ended_orders_and_goes_on_behind_them(pool: Pool):
    world = world_of(pool, ENCRYPTION)
    for number in range(1, 6):
        await filled(world, number)
        if number != 3:
            await end(world, number)
    await pool.execute("UPDATE payments SET created_at = now() - interval '100 days' WHERE id <> 'pay_5'")
    loop = RetentionLoop(
        erasure(world, retention_days=90),
        PostgresRemovedEndpoints(world.order_store.database, 90),
        PostgresApprovals(world.order_store.database),
    )
    await loop.erase_old()
    assert loop.erased == 0, "their events may still be delivered"
    age = "UPDATE payments SET updated_at = now() - interval '8 days'"
    await pool.execute(age)
    await loop.erase_old()
    erased = {"pay_1", "pay_2", "pay_4"}
    query = "SELECT id FROM payments WHERE erased_at IS NOT NULL"
    assert {row["id"] for row in await pool.fetch(query)} == erased
    assert loop.erased == 3
    await end(world, 3)
    await pool.execute(age)
    await loop.erase_old()
    assert {row["id"] for row in await pool.fetch(query)} == erased | {"pay_3"}


async def test_the_events_of_an_order_are_found_without_reading_those_of_others(pool: Pool):
    await pool.execute(
        "INSERT INTO events (id, merchant_id, livemode, type, created_at, object_id, object_version, data) "
        "SELECT 'evt_' || n, 'm_1', false, 'payment.succeeded', now(), 'pay_' || n, 1, '{}' "
        "FROM generate_series(1, 5000) n"
    )
    await pool.execute("ANALYZE events")
    plan = await pool.fetch(f"EXPLAIN {EVENTS_OF_OBJECTS}", ["pay_1", "pay_2"])
    assert "events_of_object" in "".join(row[0] for row in plan)


async def test_an_erased_payments_refund_keeps_no_reason(pool: Pool):
    world = world_of(pool, ENCRYPTION)
    await filled(world, 1)
    refund = await world.order_store.refund("re_1")
    assert refund is not None
    assert refund.order.reason == f"sorry {CANARY}"
    done = commit(refund, order={"status": RefundStatus.FAILED}, lease=ReleaseLease(None))
    assert await world.order_store.record(done)
    await pool.execute("UPDATE payments SET due_at = NULL WHERE id = 'pay_101'")
    assert await erasure(world).erase("payments", ["pay_101"]) == 1
    found = await world.order_store.refund("re_1")
    assert found is not None
    assert (found.order.reason, found.order.identity, found.order.amount) == (None, None, 10)
