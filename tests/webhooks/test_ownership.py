"""A new endpoint gets events only after its server has answered a challenge."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files

import asyncpg
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from synccash.client import answer_challenge, verify_webhook
from synccash.engine.system import SystemClock
from synccash.observability.undelivered import UndeliveredWatch
from synccash.payments.case import Event
from synccash.payments.webhook import Challenge, EndpointStatus, WebhookEndpoint
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import Pool
from synccash.stores.postgres.webhooks import _END, _TAKE, FAILING_SHOWN, PostgresWebhooks
from synccash.webhooks.challenge import answers_challenge
from synccash.webhooks.dispatcher import CHALLENGE_LIMIT
from webhooks.merchant_server import MerchantServer, merchant_server
from webhooks.test_delivery import SECRET, TENANT, backlog, endpoint, eventually, happen, notifying

CHALLENGE = Challenge("evt_challenge", "a-random-text")
PENDING = EndpointStatus.PENDING


def pending(url: str, **changes) -> WebhookEndpoint:
    return endpoint(url, status=PENDING, **changes)


async def created(pool: Pool, url: str, **changes) -> PostgresWebhooks:
    """Create a pending endpoint whose challenge is due at once."""
    webhooks = PostgresWebhooks(Database(pool))
    await webhooks.add(pending(url, **changes), CHALLENGE)
    await due(pool)
    return webhooks


async def due(pool: Pool) -> None:
    await pool.execute("UPDATE deliveries SET due_at = now() WHERE due_at < 'infinity'")


async def status(pool: Pool, wanted: str) -> None:
    await eventually(pool, f"SELECT status = '{wanted}' FROM webhook_endpoints")


def types(server: MerchantServer) -> list[str]:
    return [json.loads(body)["type"] for _, body in server.received]


async def test_events_are_kept_until_the_challenge_is_answered_and_then_delivered(pool: Pool):
    async with merchant_server() as server, notifying(pool):
        server.answers_challenges = False
        webhooks = await created(pool, server.url)
        await happen(pool, 1)
        await server.arrived.get()
        await eventually(
            pool, "SELECT last_error IS NOT NULL FROM deliveries WHERE event_id = 'evt_challenge'"
        )
        assert types(server) == ["endpoint.verification"]
        server.answers_challenges = True
        await due(pool)
        await status(pool, "enabled")
        await eventually(pool, "SELECT bool_and(delivered_at IS NOT NULL) FROM deliveries")
        assert types(server)[1:] == ["payment.created"]
        assert server.challenges == [CHALLENGE.text]
        assert [found.status for found in await webhooks.endpoints(TENANT)] == [EndpointStatus.ENABLED]


async def test_the_challenge_is_signed_and_the_sdk_answers_it(pool: Pool):
    async with merchant_server() as server, notifying(pool):
        server.answers_challenges = False
        await created(pool, server.url)
        await server.arrived.get()
        headers, body = server.received[0]
        event = verify_webhook(body, headers, SECRET.text)
        Webhook(SECRET.text).verify(body, headers)
    answer = answer_challenge(event)
    assert answer is not None
    assert json.loads(answer) == {"challenge": CHALLENGE.text}
    assert answers_challenge(challenge_event(), answer)


def challenge_event() -> Event:
    data = json.dumps({"id": "we_1", "challenge": CHALLENGE.text}).encode()
    return Event(
        id=CHALLENGE.event_id,
        merchant_id="m_1",
        livemode=False,
        type="endpoint.verification",
        created_at=datetime.now(UTC),
        object_id="we_1",
        object_version=1,
        data=data,
    )


@pytest.mark.parametrize(
    "body", [b'{"challenge": "a-random-text", "more": 1}', b"a-random-text", b" a-random-text\n"]
)
def test_the_repeated_challenge_proves_ownership(body: bytes):
    assert answers_challenge(challenge_event(), body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        b"null",
        b"[]",
        b'{"challenge": "another"}',
        b'{"challenge": 1}',
        b'{"challenge": "\\ud800"}',
        b'{"data": {"object": {"challenge": "a-random-text"}}}',
        b"\xff\xfe",
        b'"\\ud800"',
        "ä".encode(),
        b'{"challenge": "\xff"}',
        b'{"more": ' + b"[" * 2_000,
    ],
)
def test_any_other_body_does_not_prove_ownership(body: bytes):
    assert not answers_challenge(challenge_event(), body)


async def test_a_server_that_answers_200_to_everything_is_not_verified(pool: Pool):
    async with merchant_server() as server, notifying(pool):
        server.answers_challenges = False
        server.answers = [web.Response(text="ok")]
        await created(pool, server.url)
        await eventually(pool, "SELECT last_error LIKE '%repeat the challenge%' FROM deliveries")
        await status(pool, "pending")


async def test_a_server_that_returns_the_request_is_not_verified(pool: Pool):
    async with merchant_server() as server, notifying(pool):
        server.answers_challenges = False
        server.echoes = True
        await created(pool, server.url)
        await eventually(pool, "SELECT last_error LIKE '%repeat the challenge%' FROM deliveries")
        await status(pool, "pending")


async def test_a_challenge_without_an_answer_disables_its_endpoint_in_the_end(pool: Pool):
    async with merchant_server() as server, notifying(pool):
        server.answers_challenges = False
        webhooks = await created(pool, server.url)
        await happen(pool)
        await server.arrived.get()
        await eventually(
            pool, "SELECT last_error IS NOT NULL FROM deliveries WHERE event_id = 'evt_challenge'"
        )
        await pool.execute("UPDATE deliveries SET created_at = now() - interval '72 hours'")
        await due(pool)
        await status(pool, "disabled")
        await eventually(pool, "SELECT count(due_at) = 0 FROM deliveries")
    [found] = await webhooks.endpoints(TENANT)
    assert "did not answer its challenge" in (found.disabled_reason or "")


async def test_a_new_url_has_to_be_verified_and_gets_nothing_before(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    async with merchant_server() as former, merchant_server() as server:
        server.answers_challenges = False
        await webhooks.add(endpoint(former.url))
        await happen(pool, 1)
        changed = await webhooks.change(TENANT, endpoint(server.url), CHALLENGE)
        assert changed is not None
        assert changed.status is PENDING
        await due(pool)
        async with notifying(pool):
            await server.arrived.get()
            await happen(pool, 2)
            await eventually(
                pool, "SELECT last_error IS NOT NULL FROM deliveries WHERE event_id = 'evt_challenge'"
            )
            assert (types(server), former.received) == (["endpoint.verification"], [])
            server.answers_challenges = True
            await due(pool)
            await status(pool, "enabled")
            await eventually(pool, "SELECT bool_and(delivered_at IS NOT NULL) FROM deliveries")
            assert types(server)[1:] == ["payment.created"] * 2


async def test_a_try_under_way_to_the_former_url_is_not_repeated_to_an_unverified_one(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    await webhooks.add(endpoint("https://example.com/hook"))
    await happen(pool)
    [under_way] = await webhooks.take(free=10, each=10, lease_s=30)
    await webhooks.change(TENANT, endpoint("https://other.example/hook"), CHALLENGE)
    assert not await webhooks.failed(under_way, status=None, error="too late", due_in_s=0)
    await due(pool)
    assert [taken.event.id for taken in await webhooks.take(free=10, each=10, lease_s=30)] == [
        CHALLENGE.event_id
    ]


async def test_an_answer_of_the_former_url_does_not_verify_the_new_one(pool: Pool):
    webhooks = await created(pool, "https://example.com/hook")
    [former] = await webhooks.take(free=10, each=10, lease_s=30)
    other = Challenge("evt_second", "another")
    await webhooks.change(TENANT, pending("https://other.example/hook"), other)
    assert not await webhooks.verified(former, 200)
    await due(pool)
    [now] = await webhooks.take(free=10, each=10, lease_s=30)
    assert now.event.id == other.event_id
    assert await webhooks.verified(now, 200)
    await status(pool, "enabled")
    assert await webhooks.take(free=10, each=10, lease_s=30) == []


async def test_a_change_that_read_the_endpoint_before_its_verification_does_not_undo_it(pool: Pool):
    webhooks = await created(pool, "https://example.com/hook")
    [challenge] = await webhooks.take(free=10, each=10, lease_s=30)
    [read] = await webhooks.endpoints(TENANT)
    assert await webhooks.verified(challenge, 200)
    written = await webhooks.change(TENANT, replace(read, types=("payment.failed",)))
    assert written is not None
    assert written.status is EndpointStatus.ENABLED


async def test_enabling_a_pending_endpoint_sends_a_new_challenge_at_once(pool: Pool):
    webhooks = await created(pool, "https://example.com/hook")
    [former] = await webhooks.take(free=10, each=10, lease_s=30)
    assert await webhooks.failed(former, status=500, error="HTTP 500", due_in_s=28_800)
    changed = await webhooks.change(TENANT, endpoint(former.endpoint.url), Challenge("evt_second", "another"))
    assert changed is not None
    assert changed.status is PENDING
    await eventually(
        pool, "SELECT due_at < now() + interval '2 s' FROM deliveries WHERE event_id = 'evt_second'"
    )
    assert await pool.fetchval("SELECT due_at FROM deliveries WHERE event_id = 'evt_challenge'") is None


async def test_a_repeated_statement_keeps_the_challenge_that_it_has_written(pool: Pool):
    webhooks = await created(pool, "https://example.com/hook")
    for _ in range(2):
        await webhooks.add(pending("https://example.com/hook"), CHALLENGE)
        await webhooks.change(TENANT, pending("https://other.example/hook"), CHALLENGE)
    await due(pool)
    assert len(await webhooks.take(free=10, each=10, lease_s=30)) == 1


async def test_an_event_whose_commit_ends_after_the_verification_is_delivered(pool: Pool):
    webhooks = await created(pool, "https://example.com/hook")
    await happen(pool)
    [challenge] = await webhooks.take(free=10, each=10, lease_s=30)
    await webhooks.verified(challenge, 200)
    # The commit read the endpoint while it was pending.
    await pool.execute("UPDATE deliveries SET due_at = 'infinity' WHERE event_id <> 'evt_challenge'")
    assert await webhooks.take(free=10, each=10, lease_s=30) == []
    await webhooks.heartbeat()
    assert len(await webhooks.take(free=10, each=10, lease_s=30)) == 1


async def test_a_challenge_is_not_redelivered_as_an_event(pool: Pool):
    webhooks = await created(pool, "https://example.com/hook")
    await webhooks.add(endpoint("https://example.com/other", id="we_2"))
    assert await webhooks.redeliver(TENANT, CHALLENGE.event_id) == 0


async def test_a_challenge_reaches_an_endpoint_that_subscribes_to_other_types(pool: Pool):
    async with merchant_server() as server, notifying(pool):
        await created(pool, server.url, types=("payment.failed",))
        await status(pool, "enabled")
        assert server.challenges == [CHALLENGE.text]


async def test_overdue_events_are_reported_only_while_no_process_delivers(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    await webhooks.add(endpoint("https://example.com"))
    await happen(pool)
    assert await webhooks.overdue_s(60.0, 60.0) is None
    await pool.execute("UPDATE deliveries SET due_at = now() - interval '2 minutes'")
    assert await webhooks.overdue_s(60.0, 60.0) == pytest.approx(120.0, abs=30.0)
    watch = UndeliveredWatch(webhooks, SystemClock())
    await watch.read()
    [(part, text)] = watch.warnings()
    assert (part, "`synccash webhooks`" in text) == ("webhooks", True)
    await webhooks.heartbeat()
    await watch.read()
    assert watch.warnings() == ()
    assert await webhooks.overdue_s(60.0, 60.0) is None
    await pool.execute("UPDATE webhook_heartbeat SET seen_at = now() - interval '2 minutes'")
    assert await webhooks.overdue_s(60.0, 60.0) is not None
    assert await webhooks.overdue_s(60.0, 180.0) is None, "a process has sent a heartbeat since"
    assert await webhooks.overdue_s(180.0, 60.0) is None, "nothing is due for so long"
    await pool.execute("UPDATE webhook_endpoints SET status = 'disabled'")
    assert await webhooks.overdue_s(60.0, 60.0) is None


async def test_a_failing_endpoint_is_named_with_its_merchant_and_the_reason_until_it_works(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    watch = UndeliveredWatch(webhooks, SystemClock())
    await webhooks.add(endpoint("http://127.0.0.1:9/hook"))
    await happen(pool)
    await watch.read()
    assert watch.notices() == []
    async with notifying(pool):
        await eventually(pool, "SELECT bool_or(failing_since IS NOT NULL) FROM webhook_endpoints")
    await watch.read()
    [notice] = watch.notices()
    assert (notice["what"], notice["state"]) == ("webhook_endpoint we_1", "failing")
    assert "The endpoint of m_1 (test)" in notice["detail"]
    assert "it accepts no connection. Events that wait for it: 1;" in notice["detail"]
    await pool.execute("UPDATE webhook_endpoints SET failing_since = NULL")
    await watch.read()
    assert watch.notices() == []


async def test_only_some_of_many_failing_endpoints_are_named(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    for number in range(FAILING_SHOWN + 2):
        await webhooks.add(endpoint("https://example.com/hook", id=f"we_{number}"))
    await pool.execute("UPDATE webhook_endpoints SET failing_since = now()")
    watch = UndeliveredWatch(webhooks, SystemClock())
    await watch.read()
    *named, more = watch.notices()
    assert len(named) == FAILING_SHOWN
    assert more["detail"] == "Deliveries to 2 more webhook endpoints fail."


async def test_the_migration_back_disables_pending_endpoints_and_forward_counts_existing_ones_as_verified(
    pool: Pool, database_url: str
):
    webhooks = await created(pool, "https://example.com/hook")
    await webhooks.add(endpoint("https://example.com/other", id="we_2"))
    await happen(pool)
    text = (files("synccash.stores.postgres") / "migrations" / "0019_endpoint_ownership.sql").read_text()
    up, down = text.split("-- migrate:down")
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(down)
        rows = await connection.fetch("SELECT status FROM webhook_endpoints ORDER BY id")
        assert [row["status"] for row in rows] == ["disabled", "enabled"]
        due = "SELECT DISTINCT endpoint_id FROM deliveries WHERE due_at IS NOT NULL"
        assert [row["endpoint_id"] for row in await connection.fetch(due)] == ["we_2"]
        await connection.execute(up)
        assert await connection.fetchval("SELECT bool_and(verified_at IS NOT NULL) FROM webhook_endpoints")
    finally:
        await connection.close()


def rows_read(plan: dict) -> float:
    """How many rows of `deliveries` a plan has read, those included that a filter removed."""
    own = 0.0
    if plan.get("Relation Name") == "deliveries":
        read = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        own = plan["Actual Loops"] * sum(plan.get(name, 0) for name in read)
    return own + sum(rows_read(part) for part in plan.get("Plans", ()))


@pytest.mark.parametrize("room", [8, 0])
async def test_the_cost_of_taking_deliveries_does_not_grow_with_a_backlog(pool: Pool, room: int):
    webhooks = PostgresWebhooks(Database(pool))
    ids = [f"we_{n}" for n in range(16)]
    for endpoint_id in ids:
        await webhooks.add(endpoint("https://example.com", id=endpoint_id))
    await webhooks.add(endpoint("https://example.com", id="we_other", merchant_id="m_2"))
    await backlog(pool, ids, 2_000, "now() - interval '1 minute'")
    await backlog(pool, ["we_other"], 10, "now()", merchant="m_2")
    arguments = (256, 8, 30.0, ids, [room] * 16, [], [], [], [], 32)
    plan = json.loads(await pool.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {_TAKE}", *arguments))
    assert rows_read(plan[0]["Plan"]) < 3_000
    limits = dict.fromkeys(ids, room)
    found = await webhooks.take(free=256, each=8, lease_s=30.0, room=limits, merchant_each=32)
    # EXPLAIN ANALYZE has taken the first 8.
    assert sum(one.event.merchant_id == "m_2" for one in found) == 2


async def test_the_cost_of_ending_deliveries_does_not_grow_with_those_of_other_endpoints(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    await webhooks.add(endpoint("https://example.com"))
    await webhooks.add(endpoint("https://example.com", id="we_2"))
    await backlog(pool, ["we_1", "we_2"], 2_000, "now()")
    assert await webhooks.remove(TENANT, "we_2")
    assert await webhooks.end_useless() == 2_000
    await pool.execute("VACUUM ANALYZE deliveries")
    plan = json.loads(await pool.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {_END}"))
    assert rows_read(plan[0]["Plan"]) < 10


async def test_what_waited_for_the_verification_is_as_young_as_the_verification(pool: Pool):
    """Also what was due before the URL changed, beyond the number that one statement keeps."""
    webhooks = PostgresWebhooks(Database(pool))
    await webhooks.add(pending("https://example.com/hook"), CHALLENGE)
    await happen(pool, 1)
    await pool.execute(
        "UPDATE deliveries SET due_at = now() - interval '1 minute', created_at = now() - interval '80 hours'"
    )
    [challenge] = await webhooks.take(free=10, each=10, lease_s=30.0)
    assert challenge.age_s > 79 * 3_600
    assert await webhooks.verified(challenge, 200)
    [delivery] = await webhooks.take(free=10, each=10, lease_s=30.0)
    assert delivery.age_s < 3_600


async def test_an_endpoint_with_many_kept_events_is_verified_at_once_and_gets_them_in_parts(pool: Pool):
    webhooks = await created(pool, "https://shop.example/hook")
    await backlog(pool, ["we_1"], 1_000, "'infinity'")
    [challenge] = await webhooks.take(free=10, each=10, lease_s=30.0)
    assert await webhooks.verified(challenge, 200)
    released = []
    while (now := await webhooks.heartbeat()) > 0:
        released.append(now)
    assert len(released) > 1
    assert await pool.fetchval("SELECT count(*) FROM deliveries WHERE due_at <= now()") == 1_000


async def test_events_beyond_the_kept_ones_wait_for_the_verification_of_a_new_url_too(pool: Pool):
    webhooks = PostgresWebhooks(Database(pool))
    await webhooks.add(endpoint("https://former.example/hook"))
    await backlog(pool, ["we_1"], 10_500, "now() - interval '1 hour'")
    [under_way] = await webhooks.take(free=1, each=1, lease_s=30.0)
    await webhooks.change(TENANT, pending("https://new.example/hook"), CHALLENGE)
    assert not await webhooks.failed(under_way, status=410, error="HTTP 410", due_in_s=5.0)
    await pool.execute("UPDATE deliveries SET due_at = now() WHERE event_id = 'evt_challenge'")
    [challenge] = await webhooks.take(free=100, each=100, lease_s=30.0)
    assert challenge.event.id == "evt_challenge"
    assert await webhooks.verified(challenge, 200)
    while await webhooks.heartbeat():
        pass
    assert await pool.fetchval("SELECT count(*) FROM deliveries WHERE due_at <= now()") == 10_500


async def test_a_merchant_cannot_flood_an_address_with_challenges(pool: Pool):
    """By creating endpoints for it, or enabling them again, as often as it may call."""
    webhooks = PostgresWebhooks(Database(pool))
    at_once = CHALLENGE_LIMIT.quota + CHALLENGE_LIMIT.burst
    async with merchant_server() as victim, merchant_server() as quick:
        victim.answers_challenges = False
        async with notifying(pool, clock=Frozen()):
            for number in range(at_once + 8):
                challenge = Challenge(f"evt_{number}", "a-random-text")
                await webhooks.add(pending(victim.url, id=f"we_{number}"), challenge)
                await due(pool)
                await eventually(
                    pool,
                    f"SELECT fence >= 1 AND due_at > now() FROM deliveries WHERE event_id = 'evt_{number}'",
                )
                await eventually(pool, "SELECT bool_and(tries = 0 OR last_error IS NOT NULL) FROM deliveries")
                await webhooks.remove(TENANT, f"we_{number}")
            assert len(victim.received) == at_once
            await webhooks.add(pending(quick.url, id="we_other", merchant_id="m_2"), CHALLENGE)
            await due(pool)
            await eventually(pool, "SELECT status = 'enabled' FROM webhook_endpoints WHERE id = 'we_other'")
            assert len(victim.received) == at_once


class Frozen(SystemClock):
    """Its monotonic time stands still, so that no limit is replenished."""

    def monotonic(self) -> float:
        return 1_000.0
