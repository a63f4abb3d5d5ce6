"""Delivery of events to the merchant's server, from their commit through the real outbox."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from order_store_contract import opening
from stores.postgres_world import PostgresWorld
from synccash.engine.system import SystemClock, SystemIdentities
from synccash.payments.case import Opened
from synccash.payments.request import Tenant
from synccash.payments.webhook import (
    DISABLED_BY_MERCHANT,
    EndpointStatus,
    MerchantShare,
    WebhookEndpoint,
    WebhookSecret,
)
from synccash.resilience.breaker_settings import BreakerSettings
from synccash.stores.local_work_signal import LocalWorkSignal
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.pool import Pool
from synccash.stores.postgres.webhooks import PostgresWebhooks
from synccash.webhooks.dispatcher import WebhookDispatcher, WebhookDispatcherSettings
from synccash.webhooks.sender import WebhookSender
from synccash.webhooks.signature import new_secret, signed_headers
from webhooks.merchant_server import merchant_server

TENANT = Tenant("m_1", livemode=False)
SECRET = WebhookSecret(new_secret())


def endpoint(url: str, **changes) -> WebhookEndpoint:
    now = datetime.now(UTC)
    made = WebhookEndpoint(
        id="we_1",
        merchant_id=TENANT.merchant_id,
        livemode=TENANT.livemode,
        url=url,
        types=None,
        secrets=(SECRET,),
        status=EndpointStatus.ENABLED,
        created_at=now,
        updated_at=now,
    )
    return replace(made, **changes)


class Leaping(SystemClock):
    """The real time, and what a test adds to it."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


@asynccontextmanager
async def notifying(
    pool: Pool, *, private: bool = True, clock: SystemClock | None = None, **settings
) -> AsyncGenerator[WebhookDispatcher]:
    sender = WebhookSender(private=private)
    notifier = WebhookDispatcher(
        outbox=PostgresWebhooks(Database(pool)),
        post=sender.post,
        sign=signed_headers,
        clock=clock or SystemClock(),
        identities=SystemIdentities(),
        work_signal=LocalWorkSignal(),
        random=lambda: 0.0,
        settings=WebhookDispatcherSettings(**{"timeout_s": 5.0, "poll_s": 0.01} | settings),
    )
    running = asyncio.create_task(notifier.run())
    try:
        yield notifier
    finally:
        notifier.stop()
        await running
        await sender.aclose()


async def happen(pool: Pool, number: int = 1) -> None:
    """One event, written in the commit of a payment."""
    order_store = PostgresOrderStore(Database(pool))
    opened = await order_store.open(opening(PostgresWorld(pool, order_store), number))
    assert isinstance(opened, Opened)


async def owe(pool: Pool, endpoint_id: str) -> None:
    """Make all events due for an endpoint."""
    owed = "INSERT INTO deliveries (event_id, endpoint_id, due_at) SELECT id, $1, now() FROM events"
    await pool.execute(owed, endpoint_id)


async def backlog(pool: Pool, endpoint_ids: list[str], events: int, due_at: str, *, merchant: str = "m_1"):
    """Write events of a merchant, and a delivery of each to each endpoint."""
    await pool.execute(
        "INSERT INTO events"
        " (id, merchant_id, livemode, type, created_at, object_id, object_version, data)"
        f" SELECT '{merchant}_evt_' || n, '{merchant}', false, 'payment.succeeded', now(), 'pay', 1, '{{}}'"
        f" FROM generate_series(1, {events}) n"
    )
    for endpoint_id in endpoint_ids:
        await pool.execute(
            "INSERT INTO deliveries (event_id, endpoint_id, due_at)"
            f" SELECT '{merchant}_evt_' || n, '{endpoint_id}', {due_at} FROM generate_series(1, {events}) n"
        )
    await pool.execute("ANALYZE deliveries, webhook_endpoints")


async def eventually(pool: Pool, query: str) -> None:
    """Poll a row that another task writes: there is nothing of ours to wait on."""
    async with asyncio.timeout(30):
        while not await pool.fetchval(query):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def settled(pool: Pool, condition: str) -> None:
    await eventually(pool, f"SELECT bool_and({condition}) FROM deliveries")


async def test_an_event_arrives_signed_with_its_object(pool: Pool):
    async with merchant_server() as server, notifying(pool):
        await PostgresWebhooks(Database(pool)).add(endpoint(server.url))
        await happen(pool)
        await settled(pool, "delivered_at IS NOT NULL")
    [told] = server.verified(SECRET.text)
    assert (told["type"], told["object"]) == ("payment.created", "event")
    assert told["data"]["object"] == {"a": 2, "b": 1}
    assert told["id"] == server.received[0][0]["webhook-id"]


async def test_a_failed_delivery_is_retried_under_the_same_id(pool: Pool):
    async with merchant_server() as server, notifying(pool):
        server.answers = [web.Response(status=500), web.Response(status=429, headers={"Retry-After": "60"})]
        await PostgresWebhooks(Database(pool)).add(endpoint(server.url))
        await happen(pool)
        await settled(pool, "tries = 1 AND last_status = 500 AND due_at > now() + interval '4 seconds'")
        await pool.execute("UPDATE deliveries SET due_at = now()")
        await settled(pool, "tries = 2 AND last_status = 429 AND due_at > now() + interval '58 seconds'")
        await pool.execute("UPDATE deliveries SET due_at = now()")
        await settled(pool, "delivered_at IS NOT NULL AND due_at IS NULL AND tries = 3")
    assert len({headers["webhook-id"] for headers, _ in server.received}) == 1
    assert len(server.received) == 3


async def test_an_unexpected_error_counts_as_a_failed_try(pool: Pool):
    async def broken(*_args, **_kwargs):
        raise ValueError("not foreseen")

    async with notifying(pool) as notifier:
        notifier._pool.send = broken
        await PostgresWebhooks(Database(pool)).add(endpoint("https://example.com/"))
        await happen(pool)
        await settled(
            pool, "tries = 1 AND last_error = 'ValueError' AND due_at < now() + interval '9 seconds'"
        )


async def test_an_endpoint_receives_only_the_event_types_it_subscribed_to(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    await webhooks.add(endpoint("https://example.com", types=("payment.failed",)))
    await webhooks.add(endpoint("https://example.com", id="we_2", types=("payment.created",)))
    await webhooks.add(endpoint("https://example.com", id="we_3", merchant_id="m_2"))
    await webhooks.add(endpoint("https://example.com", id="we_4", livemode=True))
    await happen(pool)
    assert [row["endpoint_id"] for row in await pool.fetch("SELECT endpoint_id FROM deliveries")] == ["we_2"]


async def test_during_a_rotation_both_secrets_verify(pool: Pool):
    former = WebhookSecret(new_secret(), until=datetime.now(UTC) + timedelta(hours=1))
    ended = WebhookSecret(new_secret(), until=datetime.now(UTC) - timedelta(seconds=1))
    async with merchant_server() as server, notifying(pool):
        await PostgresWebhooks(Database(pool)).add(endpoint(server.url, secrets=(SECRET, former, ended)))
        await happen(pool)
        await settled(pool, "delivered_at IS NOT NULL")
    assert server.verified(SECRET.text) == server.verified(former.text)
    headers, body = server.received[0]
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(ended.text).verify(body, headers)


async def test_an_endpoint_that_answers_gone_is_disabled_and_its_merchant_notified(pool: Pool):
    async with merchant_server() as server, notifying(pool):
        server.answers = [web.Response(status=410)]
        await PostgresWebhooks(Database(pool)).add(endpoint(server.url))
        await happen(pool)
        await settled(pool, "due_at IS NULL AND last_status = 410")
        await eventually(pool, "SELECT 1 FROM events WHERE type = 'webhook_endpoint.disabled'")
    [found] = await PostgresWebhooks(Database(pool)).endpoints(TENANT)
    assert (found.status, found.disabled_reason) == (
        EndpointStatus.DISABLED,
        "the endpoint answered 410 Gone",
    )


async def test_an_endpoint_that_failed_for_days_is_disabled(pool: Pool):
    async with merchant_server() as server, notifying(pool):
        server.answers = [web.Response(status=500)]
        await PostgresWebhooks(Database(pool)).add(endpoint(server.url))
        await pool.execute("UPDATE webhook_endpoints SET failing_since = now() - interval '73 hours'")
        await happen(pool)
        await eventually(pool, "SELECT 1 FROM webhook_endpoints WHERE status = 'disabled'")
    [found] = await PostgresWebhooks(Database(pool)).endpoints(TENANT)
    assert found.disabled_reason is not None
    assert "72 hours" in found.disabled_reason


async def test_one_success_ends_a_series_of_failures(pool: Pool):
    async with merchant_server() as server, notifying(pool):
        await PostgresWebhooks(Database(pool)).add(endpoint(server.url))
        await pool.execute("UPDATE webhook_endpoints SET failing_since = now() - interval '71 hours'")
        await happen(pool)
        await settled(pool, "delivered_at IS NOT NULL")
    assert await pool.fetchval("SELECT failing_since FROM webhook_endpoints") is None


async def test_deliveries_of_a_crashed_process_are_sent_after_its_lease(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    async with merchant_server() as server:
        await webhooks.add(endpoint(server.url))
        await happen(pool)
        [stale] = await webhooks.take(free=10, each=10, lease_s=30)
        assert await webhooks.take(free=10, each=10, lease_s=30) == []
        await pool.execute("UPDATE deliveries SET due_at = now()")
        async with notifying(pool):
            await settled(pool, "delivered_at IS NOT NULL")
        assert not await webhooks.failed(stale, status=None, error="too late", due_in_s=5)
        assert len(server.received) == 1


async def test_an_event_requested_again_during_its_delivery_is_delivered_again(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    async with merchant_server() as server:
        server.hold = asyncio.Event()
        await webhooks.add(endpoint(server.url))
        await happen(pool)
        event_id = await pool.fetchval("SELECT id FROM events")
        async with notifying(pool):
            await server.arrived.get()
            assert await webhooks.redeliver(TENANT, event_id) == 1
            server.hold.set()
            await server.arrived.get()
            await settled(pool, "delivered_at IS NOT NULL")
        assert len(server.received) == 2


async def test_a_slow_endpoint_uses_only_its_share_of_the_senders(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    await webhooks.add(endpoint("https://example.com"))
    for number in range(6):
        await happen(pool, number)
    await webhooks.add(endpoint("https://example.com", id="we_2"))
    await happen(pool, 7)
    taken = [delivery.endpoint.id for delivery in await webhooks.take(free=10, each=3, lease_s=30)]
    assert sorted(taken) == ["we_1", "we_1", "we_1", "we_2"]


async def test_a_hanging_endpoint_uses_only_its_share_of_the_senders_over_many_rounds(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    async with merchant_server() as slow, merchant_server() as quick:
        slow.hold = asyncio.Event()
        await webhooks.add(endpoint(slow.url))
        for number in range(6):
            await happen(pool, number)
        async with notifying(pool, concurrency=5, each=2):
            for _ in range(2):
                await slow.arrived.get()
            await webhooks.add(endpoint(quick.url, id="we_2"))
            await happen(pool, 7)
            await quick.arrived.get()
            assert len(slow.received) == 2
            slow.hold.set()
            await settled(pool, "delivered_at IS NOT NULL")
    assert (len(slow.received), len(quick.received)) == (7, 1)


async def test_merchants_take_turns_and_one_merchant_has_a_bounded_share(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    for number in range(6):
        await webhooks.add(endpoint("https://example.com", id=f"we_{number}"))
    for number in range(4):
        await happen(pool, number)
    await webhooks.add(endpoint("https://example.com", id="we_other", merchant_id="m_2"))
    await owe(pool, "we_other")
    taken = await webhooks.take(free=8, each=4, lease_s=30)
    assert sorted(Counter(delivery.endpoint.merchant_id for delivery in taken).items()) == [
        ("m_1", 3),
        ("m_2", 3),
    ]
    taken = await webhooks.take(free=100, each=4, lease_s=30, merchant_each=5)
    assert Counter(delivery.endpoint.merchant_id for delivery in taken) == {"m_1": 5, "m_2": 1}
    two, none = ({TENANT: MerchantShare(room=room, under_way=0)} for room in (2, 0))
    assert len(await webhooks.take(free=100, each=4, lease_s=30, shares=two)) == 2
    assert await webhooks.take(free=100, each=4, lease_s=30, shares=none) == []
    assert len(await webhooks.take(free=100, each=4, lease_s=30)) == 24 - 3 - 5 - 2


async def test_all_hanging_endpoints_of_a_merchant_leave_room_for_others(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    async with merchant_server() as slow, merchant_server() as quick:
        slow.hold = asyncio.Event()
        for number in range(8):
            await webhooks.add(endpoint(slow.url, id=f"we_{number}"))
        await happen(pool, 1)
        async with notifying(pool, concurrency=8, merchant_concurrency=3):
            for _ in range(3):
                await slow.arrived.get()
            await webhooks.add(endpoint(quick.url, id="we_other", merchant_id="m_2"))
            await owe(pool, "we_other")
            await quick.arrived.get()
            assert len(slow.received) == 3
            slow.hold.set()
            await settled(pool, "delivered_at IS NOT NULL")


async def test_hanging_endpoints_of_many_merchants_leave_room_for_one_more(pool: Pool):
    """Eight merchants whose shares are all posts of the process together, and then a ninth and a tenth."""
    webhooks = PostgresWebhooks(Database(pool))
    async with merchant_server() as slow, merchant_server() as quick:
        slow.hold = asyncio.Event()
        await happen(pool, 1)
        for merchant in range(8):
            for number in range(4):
                name = f"we_{merchant}_{number}"
                await webhooks.add(endpoint(slow.url, id=name, merchant_id=f"m_slow_{merchant}"))
                await owe(pool, name)
        settings = {"concurrency": 32, "merchant_concurrency": 4, "timeout_s": 600.0}
        async with asyncio.timeout(30), notifying(pool, **settings):
            for _ in range(29):
                await slow.arrived.get()
            for number in range(2):
                await webhooks.add(endpoint(quick.url, id=f"we_{number}", merchant_id=f"m_quick_{number}"))
                await owe(pool, f"we_{number}")
                await quick.arrived.get()
            await eventually(pool, "SELECT count(delivered_at) = 2 FROM deliveries")
            assert len(slow.received) == 29
            slow.hold.set()
            await settled(pool, "delivered_at IS NOT NULL")


async def test_merchants_with_fewer_posts_under_way_come_first(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    await happen(pool, 1)
    for merchant in ("m_busy", "m_idle"):
        for number in range(6):
            name = f"we_{merchant}_{number}"
            await webhooks.add(endpoint("https://example.com", id=name, merchant_id=merchant))
            await owe(pool, name)
    busy = Tenant("m_busy", livemode=False)

    async def take(free: int, under_way: int) -> Counter[str]:
        taken = await webhooks.take(
            free=free, each=8, lease_s=30, shares={busy: MerchantShare(room=8, under_way=under_way)}
        )
        return Counter(delivery.endpoint.merchant_id for delivery in taken)

    assert await take(free=1, under_way=1) == {"m_idle": 1}
    assert await take(free=4, under_way=2) == {"m_idle": 2}
    assert await take(free=6, under_way=1) == {"m_idle": 2, "m_busy": 2}
    assert await take(free=100, under_way=95) == {"m_idle": 1, "m_busy": 2}


async def test_a_stop_is_bounded_and_deliveries_that_it_cuts_are_sent_again(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    async with merchant_server() as server:
        server.hold = asyncio.Event()
        for number in range(16):
            await webhooks.add(endpoint(server.url, id=f"we_{number}"))
        await happen(pool)
        async with asyncio.timeout(10):
            async with notifying(pool, timeout_s=600.0, stop_s=0.1):
                for _ in range(16):
                    await server.arrived.get()
        await settled(pool, "due_at <= now() AND tries = 0 AND delivered_at IS NULL")
        server.hold.set()
        async with notifying(pool):
            await settled(pool, "delivered_at IS NOT NULL")
        assert len(server.received) == 32


async def test_a_failing_endpoint_is_paused_and_the_pause_costs_no_delivery_a_try(pool: Pool):
    webhooks, clock = PostgresWebhooks(Database(pool)), Leaping()
    settings = {"each": 1, "breaker": BreakerSettings(failures=2, open_s=60.0)}
    async with merchant_server() as down, merchant_server() as up, notifying(pool, clock=clock, **settings):
        down.answers = [web.Response(status=503), web.Response(status=503)]
        await webhooks.add(endpoint(down.url))
        for number in range(5):
            await happen(pool, number)
        await eventually(pool, "SELECT sum(tries) = 2 AND count(last_status) = 2 FROM deliveries")
        await pool.execute("UPDATE deliveries SET due_at = now()")
        await webhooks.add(endpoint(up.url, id="we_2"))
        await happen(pool, 7)
        await up.arrived.get()
        assert len(down.received) == 2
        clock.ahead_s = 70.0
        await settled(pool, "delivered_at IS NOT NULL")
        of = "SELECT array_agg(tries ORDER BY tries) FROM deliveries WHERE endpoint_id = 'we_1'"
        assert await pool.fetchval(of) == [1, 1, 1, 1, 2, 2]


async def test_a_delivery_leased_for_a_paused_endpoint_is_sent_later_as_the_same_try(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    await webhooks.add(endpoint("https://example.com"))
    await happen(pool)
    [taken] = await webhooks.take(free=10, each=10, lease_s=30)
    assert await webhooks.postpone(taken, due_in_s=20)
    assert not await webhooks.postpone(taken, due_in_s=20), "it is said once"
    await settled(pool, "tries = 0 AND due_at BETWEEN now() + interval '15 s' AND now() + interval '20 s'")
    await pool.execute("UPDATE deliveries SET due_at = now()")
    assert [again.tries for again in await webhooks.take(free=10, each=10, lease_s=30)] == [1]


async def test_a_private_address_is_never_sent_to(pool: Pool):
    async with merchant_server() as server:
        for number, url in enumerate((server.url, "https://localhost/hook", "https://2130706433/hook")):
            await PostgresWebhooks(Database(pool)).add(endpoint(url, id=f"we_{number}"))
        async with notifying(pool, private=False):
            await happen(pool)
            await settled(pool, "last_error IS NOT NULL AND delivered_at IS NULL")
        assert server.received == []


async def test_an_event_can_be_redelivered(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    async with merchant_server() as server, notifying(pool):
        await webhooks.add(endpoint(server.url))
        await happen(pool)
        await settled(pool, "delivered_at IS NOT NULL")
        event_id = await pool.fetchval("SELECT id FROM events")
        assert await webhooks.redeliver(TENANT, event_id) == 1
        assert await webhooks.redeliver(Tenant("m_2", livemode=False), event_id) is None
        await settled(pool, "delivered_at IS NOT NULL")
    assert len(server.received) == 2


async def test_a_removed_endpoint_receives_nothing_more_and_its_secret_is_deleted(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    await webhooks.add(endpoint("https://example.com"))
    await happen(pool)
    assert not await webhooks.remove(Tenant("m_2", livemode=False), "we_1")
    assert await webhooks.remove(TENANT, "we_1")
    assert await webhooks.take(free=10, each=10, lease_s=30) == []
    assert await webhooks.endpoints(TENANT) == []
    assert SECRET.text not in str(await pool.fetchval("SELECT secrets FROM webhook_endpoints"))


async def test_deliveries_of_disabled_and_removed_endpoints_end_in_parts_until_none_is_left(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    names = ["removed", "disabled", "disabled_by_merchant", "enabled"]
    for name in names:
        await webhooks.add(endpoint("https://example.com", id=name))
    await backlog(pool, names, 2_500, "now() - interval '1 hour'")
    [under_way] = await webhooks.take(free=1, each=1, lease_s=30, room=dict.fromkeys(names[1:], 0))
    await webhooks.remove(TENANT, "removed")
    by_merchant = {"status": EndpointStatus.DISABLED, "disabled_reason": DISABLED_BY_MERCHANT}
    await webhooks.change(TENANT, endpoint("https://example.com", id="disabled_by_merchant", **by_merchant))
    await webhooks.disable("disabled", reason="the endpoint answered 410 Gone", event_id="evt_disabled")

    async def left() -> dict[str, int]:
        ended = []
        while (number := await webhooks.end_useless()) > 0:
            ended.append(number)
        assert all(number <= 2_000 for number in ended)
        query = "SELECT endpoint_id, count(*) FROM deliveries WHERE due_at IS NOT NULL GROUP BY 1"
        return {row["endpoint_id"]: row["count"] for row in await pool.fetch(query)}

    # The event that the endpoint was disabled is due for the only endpoint that is left.
    assert await left() == {"disabled_by_merchant": 2_500, "enabled": 2_501}
    assert await webhooks.failed(under_way, status=500, error="HTTP 500", due_in_s=5.0)
    await pool.execute(
        "UPDATE webhook_endpoints SET updated_at = now() - interval '73 hours' WHERE status = 'disabled'"
    )
    assert await left() == {"enabled": 2_501}


def test_a_secret_is_masked_in_its_repr():
    assert SECRET.text not in repr(endpoint("https://example.com"))
