"""Limits, stored answers and the operator's calls, in one process with PostgreSQL and Valkey but no rail."""

import asyncio
import contextlib
import json
import re
from datetime import UTC, datetime
from functools import partial
from math import inf
from uuid import uuid4

import httpx
import pytest
from structlog.testing import capture_logs

from synccash.local.preparing import register
from synccash.payments.references import ReferenceKey
from synccash.payments.request import Tenant
from synccash.processes.api import application
from synccash.processes.assembly import sharing
from synccash.processes.assembly.service import assembled
from synccash.resilience.claims import ClaimAnswer
from synccash.resilience.idempotency import fingerprint, read_json
from synccash.resilience.stored_answers import encode_answer
from synccash.settings.loader import Settings
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.valkey.limits.rate_limiter import ValkeyLimiter

TEST_KEY, ADMIN_KEY = "sk_test_" + "1" * 48, "sk_admin_" + "2" * 48


@contextlib.asynccontextmanager
async def served(database_url, **settings):
    await register(database_url, {"test": TEST_KEY, "admin": ADMIN_KEY})
    chosen = Settings(
        database_url=database_url,
        installation_key="5c" * 32,
        encryption_keys="1:" + "e1" * 32,
        lookup_key="e2" * 32,
        **settings,
    )
    async with assembled(chosen, database_url) as service:
        transport = httpx.ASGITransport(application(service, chosen), client=("192.0.2.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            yield Api(client, service)


class Api:
    def __init__(self, client, service):
        self.client, self.service = client, service

    async def pay(self, *, key=None, reference=None, msisdn="0241234567", **headers):
        body = {
            "amount": 100,
            "currency": "GHS",
            "payer": {"msisdn": msisdn},
            "reference": reference or uuid4().hex,
        }
        return await self.client.post(
            "/api/v1/payments",
            json=body,
            headers={"Authorization": f"Bearer {TEST_KEY}", "Idempotency-Key": key or uuid4().hex, **headers},
        )

    async def ask(self, method, path, key=ADMIN_KEY, **more):
        return await self.client.request(
            method, f"/api/v1{path}", headers={"Authorization": f"Bearer {key}"}, **more
        )

    async def series(self, name):
        text = (await self.client.get("/metrics")).text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return None if found is None else float(found[1])


@pytest.fixture
async def api(database_url, valkey_url, monkeypatch):
    # A process counts by itself when Valkey has not answered in 50 ms, as may happen on a loaded machine.
    monkeypatch.setattr(sharing, "ValkeyLimiter", partial(ValkeyLimiter, deadline_s=60.0))
    async with served(database_url, valkey_url=valkey_url) as api:
        yield api


async def test_a_payer_can_start_thirteen_payments_at_once_then_one_every_six_seconds(api):
    answers = [await api.pay() for _ in range(14)]
    assert [answer.status_code for answer in answers] == [201] * 13 + [429]
    refused = answers[-1]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 6
    assert '"payment_initiation";q=10;w=60' in answers[0].headers["ratelimit-policy"]
    assert '"payment_initiation";r=12' in answers[0].headers["ratelimit"]
    assert (await api.pay(msisdn="+233 24 123 4567")).status_code == 429, "however the number is written"
    assert (await api.pay(msisdn="0201234567")).status_code == 201
    assert await api.series('rate_limit_allowed_total{endpoint="payment_initiation"}') == 14
    assert await api.series('rate_limit_blocked_total{endpoint="payment_initiation"}') == 2
    assert await api.series('rate_limit_allowed_total{endpoint="refund_request"}') == 0


SPELLINGS = ("0241234567", "+233241234567", "233241234567", "024 123 4567", "+233 24 123 4567")


async def test_a_payers_wallet_is_limited_whatever_user_the_merchant_names(api):
    answers = [
        await api.pay(msisdn=SPELLINGS[n % len(SPELLINGS)], **{"X-User-Id": f"user-{n}"}) for n in range(60)
    ]
    assert [answer.status_code for answer in answers] == [201] * 13 + [429] * 47
    assert answers[12].headers["ratelimit"].count('"payment_initiation"') == 1
    assert '"payment_initiation";r=0' in answers[12].headers["ratelimit"], "the wallet's, not the user's"


async def test_a_named_user_is_limited_over_all_wallets(api):
    answers = [await api.pay(msisdn=f"02412345{n:02}", **{"X-User-Id": "ama"}) for n in range(14)]
    assert [answer.status_code for answer in answers] == [201] * 13 + [429]


async def test_a_refused_user_costs_the_wallet_nothing(api):
    for n in range(14):
        await api.pay(msisdn=f"02012345{n:02}", **{"X-User-Id": "ama"})
    assert (await api.pay(msisdn="0241234567", **{"X-User-Id": "ama"})).status_code == 429
    assert [(await api.pay(msisdn="0241234567")).status_code for _ in range(14)] == [201] * 13 + [429]


async def test_a_wallet_named_as_the_user_is_counted_once(api):
    answers = [await api.pay(**{"X-User-Id": "233241234567"}) for _ in range(14)]
    assert [answer.status_code for answer in answers] == [201] * 13 + [429]


async def test_repeats_that_join_one_request_cost_one_quota(api):
    at_once = await asyncio.gather(*(api.pay(key="k", reference="r") for _ in range(30)))
    assert {answer.status_code for answer in at_once} == {201}
    # Of 13; one comes back in 6 seconds, so fourteen payments in turn would tell less on a busy machine.
    assert '"payment_initiation";r=11' in (await api.pay()).headers["ratelimit"]


async def test_a_repeat_is_answered_from_the_cache_and_costs_no_quota(api):
    first = await api.pay(key="k", reference="r")
    await asyncio.sleep(0)
    repeats = [await api.pay(key="k", reference="r") for _ in range(20)]
    assert {(one.status_code, one.content) for one in repeats} == {(first.status_code, first.content)}
    assert all(one.headers["idempotent-replayed"] == "true" for one in repeats)
    assert await api.series("idempotency_new_request_total") == 1
    assert (
        await api.series("idempotency_cache_hit_total") + await api.series("idempotency_store_hit_total")
        == 20
    )
    assert (await api.pay()).status_code == 201


@pytest.mark.parametrize("at_once", [False, True], ids=["stored answers", "joined requests"])
@pytest.mark.parametrize("limit", ["api_key", "ip", "endpoint", "global"])
async def test_repeats_are_no_way_around_the_limits_that_protect_the_service(
    database_url, valkey_url, limit, at_once
):
    async with served(database_url, valkey_url=valkey_url, rate_limits=f"{limit}=5/3600") as api:
        tries = [lambda: api.pay(key="k", reference="r")] * 8
        answers = (
            await asyncio.gather(*(one() for one in tries)) if at_once else [await one() for one in tries]
        )
        # The look-up of the key counts for the address, too.
        assert [answer.status_code for answer in answers].count(201) in (4, 5)
        refused = [answer.json() for answer in answers if answer.status_code == 429]
        assert len(refused) in (3, 4)
        assert all(one["violated_policies"] == [limit] for one in refused)


async def test_another_payload_under_a_used_key_is_refused(api):
    await api.pay(key="k", reference="r")
    other = await api.pay(key="k", reference="another")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_an_emptied_valkey_changes_no_response(api, valkey_url):
    import redis

    first = await api.pay(key="k", reference="r")
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    again = await api.pay(key="k", reference="r")
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")


async def test_whoever_writes_to_valkey_forges_no_answer(api, valkey_url):
    import redis

    answers = [await api.pay(key=key, reference=key) for key in ("one", "two")]
    fresh = httpx.Request("POST", "http://service/api/v1/payments").url.path
    with redis.Redis.from_url(valkey_url) as client:
        await api.service.guard.answers.aclose()
        names = [name for name in client.scan_iter() if b":answer:" in name]
        assert len(names) == 2
        values = [client.get(name) for name in names]
        assert not any(b"one" in name or b"two" in name for name in names), "keys may hold phone numbers"
        # The answer of one request under the name of another: each was written by the service itself.
        client.mset({names[0]: values[1], names[1]: values[0]})
        repeats = [await api.pay(key=key, reference=key) for key in ("one", "two")]
        assert [one.content for one in repeats] == [one.content for one in answers]
        await api.service.guard.answers.aclose()
        # An answer in the format of the cache that the service did not write, under a true name.
        body = {"amount": 100, "currency": "GHS", "payer": {"msisdn": "0241234567"}, "reference": "one"}
        forged = ClaimAnswer(201, (("content-type", "application/json"),), b'{"id": "pay_forged"}')
        for name in names:
            client.set(name, encode_answer(fingerprint(fresh, read_json(json.dumps(body).encode())), forged))
        again = await api.pay(key="one", reference="one")
    assert (again.content, again.headers["idempotent-replayed"]) == (answers[0].content, "true")
    assert await api.series("idempotency_cache_hit_total") == 0
    assert await api.series("idempotency_store_hit_total") == 3


async def test_without_valkey_a_process_limits_and_replays_locally(database_url):
    async with served(database_url) as api:
        first = await api.pay(key="k", reference="r")
        again = await api.pay(key="k", reference="r")
        assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
        # Without a cache a repeat is counted like any other request.
        assert [(await api.pay()).status_code for _ in range(12)] == [201] * 11 + [429]


async def test_a_stopped_valkey_causes_no_refusal_within_the_limits(database_url, stoppable_valkey):
    async with served(database_url, valkey_url=stoppable_valkey.url) as api:
        first = await api.pay(key="k", reference="r")
        stoppable_valkey.kill()
        again = await api.pay(key="k", reference="r")
        assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
        assert (await api.pay()).status_code == 201
        assert await api.series("limiter_degraded_total") >= 1


async def _by_operators(api):
    """The latest actions of people: `synccash up` notes its own beside them."""
    return [entry for entry in await api.service.audit.latest(20) if entry.actor != "synccash up"]


async def test_the_operator_blocks_and_unblocks_a_key_with_a_reason(api):
    path = "/resilience/rate-limits/user:0241234567/payment_initiation"
    shut = await api.ask("POST", f"{path}/block", json={"duration": 3600, "reason": "a stolen phone"})
    assert shut.status_code == 200
    standing = next(one for one in shut.json()["data"] if ":test:" in one["key"])
    until = datetime.fromisoformat(standing["blocked_until"])
    refused = await api.pay()
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limit_blocked")
    left_s = int(refused.headers["retry-after"])
    assert abs((until - datetime.now(UTC)).total_seconds() - left_s) < 60, "told until when"
    assert (await api.pay(msisdn="0201234567")).status_code == 201
    assert (await api.ask("DELETE", f"{path}?reason=found%20again")).status_code == 200
    assert (await api.pay()).status_code == 201
    deeds = [(deed.action, deed.reason) for deed in await _by_operators(api)]
    assert deeds == [("rate_limit_unblock", "found again"), ("rate_limit_block", "a stolen phone")]
    for wrong in ({"duration": 0, "reason": "x"}, {"duration": 60}, {"duration": 60, "reason": "\0"}):
        assert (await api.ask("POST", f"{path}/block", json=wrong)).status_code == 422
    assert (await api.ask("DELETE", f"{path}?reason=%00")).status_code == 422


async def test_every_spelling_of_an_address_names_the_same_limit(api):
    for spelling in ("2001:db8::1", "2001:0db8:0:0:ffff::"):
        path = f"/resilience/rate-limits/ip:{spelling}/payment_list"
        (standing,) = (await api.ask("GET", path)).json()["data"]
        assert standing["key"] == "ip:2001:db8::/64"


async def test_the_operator_reads_and_lifts_the_limit_of_a_key(api):
    for _ in range(14):
        await api.pay()
    path = "/resilience/rate-limits/user:0241234567/payment_initiation"
    seen = await api.ask("GET", path)
    standing = next(one for one in seen.json()["data"] if ":test:" in one["key"])
    assert (standing["limit"], standing["remaining"], standing["blocked_until"]) == (13, 0, None)
    assert re.fullmatch(r"user:mer_local:test:~[\w-]{22}", standing["key"]), "no limit has the number itself"
    again = await api.ask("GET", f"/resilience/rate-limits/{standing['key']}/payment_initiation")
    assert [one["remaining"] for one in again.json()["data"]] == [0], "the shown key names the same limit"
    lifted = await api.ask("DELETE", path)
    assert lifted.status_code == 200
    assert (await api.pay()).status_code == 201
    (deed,) = await _by_operators(api)
    hashed = standing["key"].rpartition(":")[2]
    assert (deed.action, deed.target) == ("rate_limit_unblock", f"user:*:*:{hashed}/payment_initiation")
    assert deed.actor.startswith("key_")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/resilience/rate-limits/user:x/nowhere", 404),
        ("/resilience/rate-limits/user/payment_initiation", 422),
        ("/resilience/rate-limits/planet:mars/payment_initiation", 422),
        ("/resilience/circuit-breakers/nobody", 404),
        ("/resilience/circuit-breakers", 200),
        ("/resilience/idempotency/stats", 200),
        ("/resilience/health", 200),
    ],
)
async def test_management_calls_are_answered_for_an_admin_key_only(api, path, status):
    assert (await api.ask("GET", path)).status_code == status
    assert (await api.ask("GET", path, key=TEST_KEY)).status_code == 403


async def test_breakers_are_listed_forced_open_and_reset_under_any_spelling_of_their_name(
    database_url, valkey_url
):
    momo = {
        f"mtn_momo_{product}_{key}": "x"
        for product in ("collection", "disbursement")
        for key in ("user", "key", "subscription_key")
    }
    async with served(
        database_url,
        valkey_url=valkey_url,
        mtn_momo_environment="test",
        mtn_momo_base_url="http://127.0.0.1:1",
        **momo,
    ) as api:
        names = {one["name"] for one in (await api.ask("GET", "/resilience/circuit-breakers")).json()["data"]}
        assert {"mtn_momo:collect", "mtn_momo:payout", "mtn_momo:refund", "mtn_momo:status"} <= names
        forced = await api.ask(
            "POST",
            "/resilience/circuit-breakers/MTN_MOMO/force-open",
            json={"reason": "fire in the data centre"},
        )
        assert (forced.json()["name"], forced.json()["state"]) == ("mtn_momo:collect", "forced_open")
        assert forced.json()["retry_after"] is None, "it lasts until a reset"
        assert await api.series('circuit_breaker_open_seconds{service="MTN_MOMO"}') == inf
        health = (await api.ask("GET", "/resilience/health")).json()
        assert (health["status"], health["troubles"][0]["what"]) == ("degraded", "mtn_momo:collect")
        held = await api.pay()
        assert (held.status_code, held.json()["status_detail"]) == (202, "queued")
        reset = await api.ask(
            "POST", "/resilience/circuit-breakers/mtn_momo/reset", json={"reason": "the fire is out"}
        )
        assert (reset.status_code, reset.json()["state"]) == (200, "closed")
        assert await api.series('circuit_breaker_success_total{service="MTN_MOMO"}') == 0
        assert await api.series('circuit_breaker_blocked_total{service="MTN_MOMO"}') is not None
        assert await api.series('retry_success_total{service="MTN_MOMO:REFUND"}') == 0
        assert await api.series('retry_success_total{service="DATABASE"}') > 0, "the payment's statements"
        assert await api.series('circuit_breaker_call_duration_count{service="MTN_MOMO:STATUS"}') == 0
        deeds = [(deed.action, deed.reason) for deed in await _by_operators(api)]
        assert deeds == [
            ("breaker_reset", "the fire is out"),
            ("breaker_force_open", "fire in the data centre"),
        ]
        bodyless = await api.ask("POST", "/resilience/circuit-breakers/mtn_momo/force-open")
        assert bodyless.status_code == 415


async def test_statistics_count_claims_and_new_requests(api):
    await api.pay(key="k", reference="r")
    await api.pay(key="k", reference="r")
    told = (await api.ask("GET", "/resilience/idempotency/stats")).json()
    assert told["claims"]["completed"] == 1
    assert told["claims"]["processing"] == 0
    assert told["process"]["new_request"] == 1
    assert told["window_s"] == 3_600


async def test_statistics_look_back_for_as_long_as_asked(api):
    await api.pay(key="k", reference="r")
    await api.service.database.repeat("UPDATE idempotency SET created_at = now() - interval '2 minutes'")
    for window_s, completed in ((60, 0), (600, 1)):
        told = (await api.ask("GET", f"/resilience/idempotency/stats?window_s={window_s}")).json()
        assert (told["window_s"], told["claims"]["completed"]) == (window_s, completed)
    assert (await api.ask("GET", "/resilience/idempotency/stats?window_s=3601")).status_code == 422


async def test_a_reused_key_is_counted_when_postgresql_finds_it(database_url):
    async with served(database_url) as api:  # without a cache, PostgreSQL does
        await api.pay(key="k", reference="r")
        assert (await api.pay(key="k", reference="another")).status_code == 422
        assert await api.series("idempotency_key_conflict_total") == 1


async def test_a_payer_gets_ten_payments_a_minute_and_a_burst_of_three(database_url):
    now = 1_800_000_000_000_000
    async with served(database_url) as api:
        api.service.guard.limiter.memory.clock_us = lambda: now
        assert [(await api.pay()).status_code for _ in range(15)] == [201] * 13 + [429] * 2
        for _ in range(10):
            now += 5_999_999
            early = await api.pay()
            assert (early.status_code, early.headers["retry-after"]) == (429, "1")
            now += 1
            assert [(await api.pay()).status_code for _ in range(2)] == [201, 429]


async def test_a_payer_far_above_the_limit_is_blocked_until_a_stated_time(api):
    told = [await api.pay() for _ in range(13 + 30)]
    codes = [one.json().get("code") for one in told[13:]]
    assert codes == ["rate_limit_exceeded"] * 29 + ["rate_limit_blocked"]
    left_s = int(told[-1].headers["retry-after"])
    assert 50 < left_s <= 60
    until = datetime.fromisoformat(told[-1].json()["blocked_until"])
    assert abs((until - datetime.now(UTC)).total_seconds() - left_s) < 10
    assert await api.series("rate_limit_key_blocked_total") == 1


async def test_forwarded_addresses_count_only_as_trusted_proxies_added_them(database_url, valkey_url):
    async with served(
        database_url, valkey_url=valkey_url, rate_limits="health_check=1/60", trusted_proxies="192.0.2.0/24"
    ) as api:

        async def asked(*forwarded):
            headers = [("X-Forwarded-For", value) for value in forwarded]
            return (await api.client.get("/health/live", headers=headers)).status_code

        assert await asked("203.0.113.7") == 200
        assert await asked("198.51.100.1, 203.0.113.7") == 429, "what a client writes to the left is his own"
        assert await asked("198.51.100.1", "203.0.113.7") == 429
        assert await asked("203.0.113.7, 192.0.2.9") == 429, "two proxies of ours"
        assert await asked("203.0.113.8") == 200
        assert await asked("2001:db8::1") == 200
        assert await asked("2001:db8::2") == 429, "one customer has a whole network of these"


async def test_a_forged_forwarded_address_changes_no_limit(database_url, valkey_url):
    async with served(database_url, valkey_url=valkey_url, rate_limits="health_check=1/60") as api:
        asked = [
            await api.client.get("/health/live", headers={"X-Forwarded-For": f"198.51.100.{n}"})
            for n in range(3)
        ]
        assert [one.status_code for one in asked] == [200, 429, 429]


async def test_guessed_keys_are_refused_before_postgresql_and_lock_out_no_valid_key(api, monkeypatch):
    from synccash.stores.postgres.operations.merchants import PostgresKeys

    asked, look = [], PostgresKeys.credential

    async def counted(self, secret_hash):
        asked.append(secret_hash)
        return await look(self, secret_hash)

    monkeypatch.setattr(PostgresKeys, "credential", counted)
    guesses = [await api.ask("GET", "/payments", key=f"sk_live_{n}") for n in range(100)]
    statuses = [one.status_code for one in guesses]
    # The limit is 60 at once; on a slow machine a few more are allowed meanwhile.
    assert statuses.index(429) >= 60
    # Where Valkey's answer is late, the process decides alone, and does not know of the block.
    alone = api.service.guard.limiter.counts.degraded
    assert statuses[statuses.index(429) :].count(401) <= alone
    looked = statuses.count(401)
    assert looked + statuses.count(429) == 100
    assert len(asked) == looked
    refused = guesses[-1]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "rate_limit_blocked"
    assert int(refused.headers["retry-after"]) > 2
    assert (await api.ask("GET", "/payments", key=TEST_KEY)).status_code == 200, "never seen here before"
    assert (await api.ask("GET", "/resilience/health")).status_code == 200
    refused_looks = 'rate_limit_blocked_total{endpoint="authentication"}'
    assert await api.series(refused_looks) == 100 - looked + 2, (
        "those two were held against all good keys instead"
    )
    assert await api.series("rate_limit_key_blocked_total") == 1
    counted_as = 'http_requests_total{method="GET",route="/api/v1/payments",status="4xx"}'
    assert await api.series(counted_as) == 100
    seen = (await api.ask("GET", "/resilience/rate-limits/ip:192.0.2.1/authentication")).json()
    assert next(one for one in seen["data"] if one["policy"] == "unknown_key")["blocked_until"]


async def test_requests_without_a_key_use_up_only_the_limit_of_their_address(database_url, valkey_url):
    async with served(database_url, valkey_url=valkey_url, rate_limits="ip=2/60, global=3/60") as api:
        paths = ("/payments", "/resilience/health", "/payouts")
        asked = [await api.client.get(f"/api/v1{path}") for path in paths]
        assert [one.status_code for one in asked] == [401, 401, 429]
        assert asked[-1].headers["retry-after"] == "30"
        assert '"ip";r=0' in asked[-1].headers["ratelimit"]
        shared = (await api.ask("GET", "/resilience/rate-limits/global:all/payment_list")).json()
        assert shared["data"][0]["remaining"] == 3, "nobody else is kept out"


async def test_head_and_get_of_a_health_check_share_a_limit(database_url, valkey_url):
    async with served(database_url, valkey_url=valkey_url, rate_limits="health_check=3/60") as api:
        asked = [await api.client.head(f"/health/{name}") for name in ("live", "ready", "ready")]
        assert [(one.status_code, one.content) for one in asked] == [(200, b"")] * 3
        assert (await api.client.get("/health/live")).status_code == 429


class LookUps:
    """Counts the callbacks that reach PostgreSQL. `known` are tokens that it finds."""

    def __init__(self, monkeypatch):
        self.tokens, self.known = [], set()

        async def hint(store, token, failure=None):
            self.tokens.append(token)
            return token in self.known

        monkeypatch.setattr(PostgresOrderStore, "hint", hint)


@pytest.fixture
def look_ups(monkeypatch):
    return LookUps(monkeypatch)


UNSIGNED = "u" * 43
FOREIGN = 'callbacks_ignored_total{reason="foreign_token"}'
PACED = 'callbacks_ignored_total{reason="paced"}'


async def call_back(api, token, rail="mtn_momo", *, address="192.0.2.1"):
    headers = {"X-Forwarded-For": address}
    answer = await api.client.put(f"/api/v1/callbacks/{rail}/{token}", json={}, headers=headers)
    return answer.status_code


async def test_callbacks_with_our_tokens_are_never_limited(database_url, valkey_url, look_ups):
    limits = "ip=1/60, endpoint=1/60, global=1/60"
    async with served(database_url, valkey_url=valkey_url, rate_limits=limits) as api:
        tokens = [api.service.engine.references.sign_token(f"{number:043}") for number in range(300)]
        assert [await call_back(api, token) for token in tokens] == [200] * 300
        assert look_ups.tokens == tokens


async def test_a_flood_of_one_token_is_answered_and_costs_few_look_ups(database_url, look_ups):
    async with served(database_url) as api:
        token = api.service.engine.references.sign_token("t" * 43)
        look_ups.known.add(token)
        assert [await call_back(api, token) for _ in range(300)] == [200] * 300
        assert api.service.engine.callback_hints.joined > 200
        look_ups.tokens.clear()
        await call_back(api, token)
    # The process has stopped: what was joined is written.
    assert look_ups.tokens[-1:] == [token]


WALLET = ("mer_test", "0241234567")


async def otp_refusals(*apis):
    """Which of 12 tries of one wallet, at the processes in turn, are refused."""
    tenant, wallet = Tenant(WALLET[0], livemode=False), WALLET[1]
    tries = [apis[number % len(apis)].service.guard for number in range(12 * len(apis))]
    return [await guard.check_otp(tenant, wallet) is not None for guard in tries]


async def test_a_wallets_passwords_are_limited_over_two_processes_together(database_url, valkey_url):
    async with (
        served(database_url, valkey_url=valkey_url) as one,
        served(database_url, valkey_url=valkey_url) as other,
    ):
        assert await otp_refusals(one, other) == [False] * 10 + [True] * 14


async def test_without_valkey_a_wallets_passwords_are_limited_in_each_process(database_url, stoppable_valkey):
    url = stoppable_valkey.url
    async with served(database_url, valkey_url=url) as one, served(database_url, valkey_url=url) as other:
        stoppable_valkey.kill()
        assert await otp_refusals(one, other) == [False] * 20 + [True] * 4


@pytest.mark.parametrize("rail", ["mtn_momo", "hubtel", "paystack", "nobody"])
async def test_a_token_that_we_cannot_have_made_reaches_no_store_and_no_log(database_url, look_ups, rail):
    async with served(database_url) as api:
        other = ReferenceKey.of("6d" * 32).sign_token("t" * 43)
        with capture_logs() as lines:
            for token in ("unknown", "x" * 64, other, "%20", "\u00e9"):
                assert await call_back(api, token, rail) == 200
        assert look_ups.tokens == []
        assert [line["event"] for line in lines] == ["callbacks_ignored"]
        assert await api.series(FOREIGN) == 5
        counted = 'http_requests_total{method="PUT",route="/api/v1/callbacks/{rail}/{token}",status="2xx"}'
        assert await api.series(counted) == 5
        for path in (f"/api/v1/callbacks//{rail}/x", f"/api/v1/callbacks/{rail}/x/"):
            await api.client.put(path, json={})
        assert look_ups.tokens == [], "however the path is spelled"


async def test_unsigned_tokens_of_no_attempt_are_paced_by_address(database_url, look_ups):
    async with served(database_url, trusted_proxies="192.0.2.0/24") as api:
        flood = [await call_back(api, UNSIGNED, address="198.51.100.1") for _ in range(100)]
        assert set(flood) == {200}
        assert 20 <= len(look_ups.tokens) < 60
        assert await api.series(PACED) == 100 - len(look_ups.tokens)
        look_ups.tokens.clear()
        await call_back(api, UNSIGNED, address="198.51.100.2")
        assert look_ups.tokens == [UNSIGNED], "another address has a pace of its own"


@pytest.mark.parametrize(
    "spelling", ["{rail}/{token}/", "/{rail}/{token}", "{rail}//{token}", "{rail}/{token}//"]
)
async def test_no_spelling_of_the_path_escapes_the_pace_and_the_log(database_url, look_ups, spelling):
    async with served(database_url) as api:
        with capture_logs() as lines:
            for token in (UNSIGNED, "foreign"):
                path = "/api/v1/callbacks/" + spelling.format(rail="mtn_momo", token=token)
                for _ in range(100):
                    assert (await api.client.put(path, json={})).status_code == 200
        assert 0 < len(look_ups.tokens) < 60
        assert sum(line["event"] == "request" for line in lines) == len(look_ups.tokens)
        assert await api.series(FOREIGN) == 100


async def test_unsigned_tokens_at_the_same_time_do_not_exceed_the_pace(database_url, look_ups):
    async with served(database_url) as api:
        assert set(await asyncio.gather(*(call_back(api, UNSIGNED) for _ in range(100)))) == {200}
        assert len(look_ups.tokens) <= 40


async def test_known_unsigned_tokens_cost_nothing_and_pass_a_flood_from_elsewhere(database_url, look_ups):
    known = [f"{n:043}" for n in range(200)]
    look_ups.known.update(known)
    async with served(database_url, trusted_proxies="192.0.2.0/24") as api:
        assert [await call_back(api, one, address="203.0.113.1") for one in known] == [200] * 200
        for n in range(300):
            await call_back(api, UNSIGNED, address=f"198.51.{n}.1" if n < 256 else f"198.52.{n - 256}.1")
        assert await api.series(PACED) > 0
        look_ups.tokens.clear()
        assert [await call_back(api, one, address="203.0.113.1") for one in known[:50]] == [200] * 50
        assert look_ups.tokens == known[:50]


async def test_an_unreachable_fraud_service_shows_in_its_series(database_url, valkey_url):
    away = {"fraud_url": "http://127.0.0.1:1/", "profiles": "fraud.retry.base=0.001"}
    async with served(database_url, valkey_url=valkey_url, **away) as api:

        async def seen(*names):
            return [await api.series(f'{name}{{service="FRAUD"}}') for name in names]

        calls = ("retry_success_total", "retry_failure_total", "retry_exhausted_total", "retry_attempts")
        results = [
            f"circuit_breaker_{name}"
            for name in ("success_total", "failure_total", "blocked_total", "call_duration_count", "state")
        ]
        assert await seen(*calls, *results) == [0] * 9, "they are there before anything happens"
        await api.pay()
        assert await seen(*calls) == [0, 0, 1, 2]
        assert await seen(*results) == [0, 2, 0, 2, 0]
        for _ in range(3):
            await api.pay()
        assert await seen(*results) == [0, 5, 1, 5, 2], "five failures in a row open it"
        events = ("retry_scheduled", "breaker_open", "call_refused")
        counted = [
            await api.series(f'resilience_events_total{{event="{one}",service="FRAUD"}}') for one in events
        ]
        assert counted == [2, 1, 1]


@pytest.mark.parametrize("with_valkey", [False, True])
async def test_a_stopping_process_finishes_requests_whose_clients_hung_up(
    database_url, valkey_url, monkeypatch, with_valkey
):
    from synccash.engine.engine import Engine

    ended, begun, may_end = [], asyncio.Event(), asyncio.Event()
    close, pay = Engine.close, Engine.initiate_payment

    async def slow_payment(*arguments):
        begun.set()
        await may_end.wait()
        reply = await pay(*arguments)
        ended.append("request")
        return reply

    async def noted_close(engine):
        ended.append("engine")
        await close(engine)

    monkeypatch.setattr(Engine, "close", noted_close)
    monkeypatch.setattr(Engine, "initiate_payment", slow_payment)
    async with served(database_url, **({"valkey_url": valkey_url} if with_valkey else {})) as api:
        request = asyncio.create_task(api.pay())
        await begun.wait()
        request.cancel()
        await asyncio.wait([request])
        asyncio.get_running_loop().call_later(0.2, may_end.set)
    assert ended == ["request", "engine"]
