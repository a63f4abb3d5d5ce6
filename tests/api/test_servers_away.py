"""All routes of the service, without PostgreSQL and without Valkey."""

import asyncio
import contextlib
import re
import uuid
from hashlib import sha256

import pytest

from api.served import INSTALLATION_KEY, PROBLEM, Served, payment, served, settings
from postgres_proxy import postgres_proxy
from service.operators import token_of
from synccash.administration.maintenance.recovery import start_recovery
from synccash.payments.references import ReferenceKey

# What needs no PostgreSQL, and what it answers without one.
NEEDS_NONE = {
    "GET /health/live": 200,
    "HEAD /health/live": 200,
    "GET /metrics": 200,
    "GET /openapi.json": 200,
    "GET /docs": 200,
    "GET /docs/scalar.js": 200,
    "GET /docs/problems": 200,
    "GET /api/v1/resilience/circuit-breakers": 200,
    "GET /api/v1/resilience/circuit-breakers/{name}": 200,
    "GET /api/v1/resilience/rate-limits": 200,
    "GET /api/v1/resilience/rate-limits/{key}/{endpoint}": 200,
    "GET /api/v1/resilience/floats": 200,
    "GET /api/v1/resilience/health": 200,
    "GET /api/v1/resilience/routes": 200,
}
DECISION = {"reason": "known"}
BODIES = {
    "POST /api/v1/payments": payment,
    "POST /api/v1/payouts": lambda: {
        **{k: v for k, v in payment().items() if k != "payer"},
        "payee": {"msisdn": "0241234567", "name": "Ama"},
    },
    "POST /api/v1/payments/{payment_id}/refunds": lambda: {"amount": 1},
    "POST /api/v1/webhook-endpoints": lambda: {"url": "https://example.com/hook"},
    "PATCH /api/v1/webhook-endpoints/{endpoint_id}": lambda: {"status": "disabled"},
    "POST /api/v1/operators": lambda: {"name": f"kofi-{uuid.uuid4().hex}", "role": "viewer", **DECISION},
}
"""The bodies of routes that accept the example of the document only once, or not here."""


async def routes(api: Served) -> list[str]:
    """Each method of each route: those have their series from the start."""
    text = (await api.client.get("/metrics")).text
    found = re.findall(r'^http_requests_total\{method="(\w+)",route="(/[^"]*)",status="2xx"', text, re.M)
    assert len(found) > 30
    return [f"{method} {route}" for method, route in found]


class Asking:
    """Calls a route with valid authorization and all required parts."""

    def __init__(self, api: Served, document, operator, **parts):
        self.api, self.document, self.operator = api, document, operator
        self.parts = {
            "name": "mtn_momo:collect",
            "key": "ip:192.0.2.9",
            "endpoint": "payment_list",
            "token": ReferenceKey.of(INSTALLATION_KEY).sign_token("0123456789abcdef"),
        } | parts

    async def __call__(self, route):
        method, _, template = route.partition(" ")
        path = re.sub(r"\{(\w+)\}", lambda m: self.parts.get(m[1], f"zz_{m[1]}"), template)
        operation = self.document["paths"].get(template, {}).get(method.lower(), {})
        secret = self.api.secret_for(method, template, operation, self.operator)
        body = BODIES[route]() if route in BODIES else self.example(operation)
        return await self.api.client.request(
            method,
            path,
            json=body,
            headers={
                "Authorization": f"Bearer {secret}",
                "Idempotency-Key": uuid.uuid4().hex,
                "X-User-Id": uuid.uuid4().hex,
            },
        )

    def example(self, operation):
        """The example of the request's body; None for a route without one."""
        if "requestBody" not in operation:
            return None
        (example,) = operation["requestBody"]["content"]["application/json"]["examples"].values()
        return self.document["components"]["examples"][example["$ref"].rpartition("/")[2]]["value"]


async def asking(api: Served, operator: str, **parts) -> Asking:
    return Asking(api, (await api.client.get("/openapi.json")).json(), operator, **parts)


async def known(api: Served, operator: str) -> None:
    """Caches the keys and the token in this process, so that the routes themselves reach PostgreSQL."""
    assert (await api.send("GET", "/payments")).status_code == 200
    assert (await api.send("GET", "/resilience/health", key=api.admin_key)).status_code == 200
    assert (await api.send("GET", "/operators/tokens", key=operator)).status_code == 200


@contextlib.asynccontextmanager
async def behind_a_cut(database_url, **settings):
    async with postgres_proxy(database_url) as between, served(between.url, **settings) as api:
        yield api, between


@pytest.mark.parametrize("who", ["known", "unknown"])
async def test_without_postgresql_every_route_answers_503_and_none_fails(database_url, who):
    async with behind_a_cut(database_url) as (api, between):
        operator = await token_of(api.operators, "ama", "admin")
        ask, every = await asking(api, operator), await routes(api)
        if who == "known":
            await known(api, operator)
        await between.cut()
        async with asyncio.timeout(60):
            told = dict(zip(every, await asyncio.gather(*map(ask, every)), strict=True))
        await between.restore()
        assert (await api.send("GET", "/payments")).status_code == 200, "and all is well again"
    assert_each_said_so(told, who)


@pytest.mark.parametrize(("trouble", "state"), [("cut", "away"), ("silence", "silent")])
async def test_health_says_whether_postgresql_is_away_or_hangs(database_url, trouble, state):
    async with behind_a_cut(database_url) as (api, between):
        await known(api, await token_of(api.operators, "ama", "admin"))
        if trouble == "cut":
            await between.cut()
        else:
            between.silence()
        async with asyncio.timeout(12):
            answer, ready = await asyncio.gather(
                api.send("GET", "/resilience/health", key=api.admin_key), api.client.get("/health/ready")
            )
    shown = answer.json()
    assert ready.json()["warnings"]["postgresql"] == shown["troubles"][0]["detail"]
    assert (answer.status_code, shown["status"]) == (200, "unavailable")
    assert (shown["troubles"][0]["what"], shown["troubles"][0]["state"]) == ("postgresql", state)


@pytest.mark.parametrize(("trouble", "state"), [("kill", "away"), ("freeze", "silent")])
async def test_health_says_whether_valkey_is_away_or_hangs(database_url, stoppable_valkey, trouble, state):
    async with served(database_url, valkey_url=stoppable_valkey.url) as api:
        assert "valkey" not in (await api.client.get("/health/ready")).json()["degraded"]
        getattr(stoppable_valkey, trouble)()
        async with asyncio.timeout(12):
            answer, ready = await asyncio.gather(
                api.send("GET", "/resilience/health", key=api.admin_key), api.client.get("/health/ready")
            )
    shown = [one for one in answer.json()["troubles"] if one["what"] == "valkey"]
    assert [one["state"] for one in shown] == [state]
    assert (ready.status_code, ready.json()["warnings"]["valkey"]) == (200, shown[0]["detail"])


async def test_readiness_and_health_say_why_sends_are_held(database_url):
    given = settings(database_url)
    await asyncio.to_thread(start_recovery, given, "disk lost")
    async with served(database_url) as api:
        ready = await api.client.get("/health/ready")
        shown = (await api.send("GET", "/resilience/health", key=api.admin_key)).json()
    assert (ready.status_code, ready.json()["degraded"][0]) == (200, "recovery")
    assert ready.json()["warnings"]["recovery"] == shown["troubles"][0]["detail"]
    assert "`synccash recovery release`" in shown["troubles"][0]["detail"]


async def test_an_unresponsive_postgresql_does_not_block_requests_indefinitely(database_url):
    async with behind_a_cut(database_url, database_statement_timeout_s=0.2) as (api, between):
        operator = await token_of(api.operators, "ama", "admin")
        ask, every = await asking(api, operator), await routes(api)
        await known(api, operator)
        between.silence()
        async with asyncio.timeout(60):
            told = dict(zip(every, await asyncio.gather(*map(ask, every)), strict=True))
    assert_each_said_so(told, "known")


def assert_each_said_so(told, who):
    for route, answer in told.items():
        if route in NEEDS_NONE and (who == "known" or "/api/v1/" not in route):
            assert answer.status_code == NEEDS_NONE[route], (route, answer.text)
            continue
        assert answer.status_code == 503, (route, answer.text)
        assert int(answer.headers["retry-after"]) >= 1, route
        if not route.endswith(" /health/ready"):
            assert answer.headers["content-type"] == PROBLEM, route
            problem = answer.json()
            assert (problem["code"], problem["retryable"]) == ("service_unavailable", True), route


async def test_without_valkey_every_route_answers_as_with_it(database_url, stoppable_valkey):
    async with served(database_url, valkey_url=stoppable_valkey.url) as api:
        every = sorted(await routes(api), key=lambda route: route.endswith("/sign-out"))
        session = sha256((await token_of(api.operators, "ama", "admin")).encode()).digest()

        async def statuses():
            for operation in ("collect", "payout"):  # an open breaker queues the orders, so no rail is called
                path = f"/resilience/circuit-breakers/mtn_momo:{operation}/force-open"
                assert (await api.send("POST", path, DECISION, key=api.admin_key)).status_code == 200
            paid = (await api.pay()).json()["id"]
            endpoint = await api.send("POST", "/webhook-endpoints", {"url": "https://example.com/hook"})
            operator = (await api.operators.create_token("ama", "tests", 1, token=session)).secret
            ask = await asking(
                api, operator, payment_id=paid, endpoint_id=endpoint.json()["id"], rail="mtn_momo"
            )
            # One after the other, so that each finds what the one before has left.
            return {route: (await ask(route)).status_code for route in every}

        before = await statuses()
        stoppable_valkey.kill()
        without = await statuses()
    assert without == before
    assert max(before.values()) < 500
