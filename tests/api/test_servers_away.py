"""All routes of the service, without PostgreSQL and without Valkey."""

import asyncio
import contextlib
import re
import uuid

import pytest

from api.served import PROBLEM, Served, payment, served
from postgres_proxy import postgres_proxy

# What needs no PostgreSQL, and what it answers without one.
NEEDS_NONE = {
    "GET /health/live": 200,
    "HEAD /health/live": 200,
    "GET /metrics": 200,
    "GET /openapi.json": 200,
    "GET /docs": 200,
    "GET /api/v1/resilience/circuit-breakers": 200,
    "GET /api/v1/resilience/circuit-breakers/{name}": 200,
    "GET /api/v1/resilience/rate-limits/{key}/{endpoint}": 200,
    "GET /api/v1/resilience/floats": 200,
    "GET /api/v1/resilience/health": 200,
    "GET /api/v1/resilience/routes": 200,
}
DECISION, RESOLUTION = {"reason": "known"}, {"outcome": "failed", "evidence": "statement"}
BODIES = {
    "POST /api/v1/resilience/circuit-breakers/{name}/reset": lambda: DECISION,
    "DELETE /api/v1/resilience/rate-limits/{key}/{endpoint}": lambda: DECISION,
    "POST /api/v1/payments": payment,
    "POST /api/v1/payouts": lambda: {
        **{k: v for k, v in payment().items() if k != "payer"},
        "payee": {"msisdn": "0241234567", "name": "Ama"},
    },
    "POST /api/v1/payments/{payment_id}/refunds": lambda: {"amount": 1},
    "POST /api/v1/payments/{payment_id}/otp": lambda: {"otp": "123456"},
    "POST /api/v1/webhook-endpoints": lambda: {"url": "https://example.com/hook"},
    "PATCH /api/v1/webhook-endpoints/{endpoint_id}": lambda: {"status": "disabled"},
    "POST /api/v1/resilience/circuit-breakers/{name}/force-open": lambda: DECISION,
    "POST /api/v1/resilience/rate-limits/{key}/{endpoint}/block": lambda: {"duration": 1, **DECISION},
}
for order in ("payments/{payment_id}", "refunds/{refund_id}", "payouts/{payout_id}"):
    BODIES[f"POST /api/v1/{order}/resolve"] = lambda: RESOLUTION
for decision in ("approve", "decline", "return-surplus"):
    BODIES[f"POST /api/v1/payments/{{payment_id}}/{decision}"] = lambda: DECISION
for decision in ("approve", "decline"):
    BODIES[f"POST /api/v1/payouts/{{payout_id}}/{decision}"] = lambda: DECISION


async def routes(api: Served) -> list[str]:
    """Each method of each route: those have their series from the start."""
    text = (await api.client.get("/metrics")).text
    found = re.findall(r'^http_requests_total\{method="(\w+)",route="(/[^"]*)",status="2xx"', text, re.M)
    assert len(found) > 30
    return [f"{method} {route}" for method, route in found]


class Asking:
    """Calls a route with valid authorization and all required parts."""

    def __init__(self, api: Served, document, **parts):
        self.api, self.document = api, document
        self.parts = {"name": "mtn_momo:collect", "key": "ip:192.0.2.9", "endpoint": "payment_list"} | parts

    async def __call__(self, route):
        method, _, template = route.partition(" ")
        path = re.sub(r"\{(\w+)\}", lambda m: self.parts.get(m[1], f"zz_{m[1]}"), template)
        body = BODIES[route]() if route in BODIES else None
        operation = self.document["paths"].get(template, {}).get(method.lower(), {})
        assert body is not None or "requestBody" not in operation, f"say in BODIES what {route} takes"
        return await self.api.client.request(
            method,
            path,
            json=body,
            headers={
                "Authorization": f"Bearer {self.key(operation, template)}",
                "Idempotency-Key": uuid.uuid4().hex,
                "X-User-Id": uuid.uuid4().hex,
            },
        )

    def key(self, operation, template):
        operators = "Operator" in operation.get("description", "") or "/resilience/" in template
        return self.api.admin_key if operators else self.api.key


async def asking(api: Served, **parts) -> Asking:
    return Asking(api, (await api.client.get("/openapi.json")).json(), **parts)


async def known(api: Served) -> None:
    """Caches the API key in this process, so that the routes themselves reach PostgreSQL."""
    assert (await api.send("GET", "/payments")).status_code == 200
    assert (await api.send("GET", "/resilience/health", key=api.admin_key)).status_code == 200


@contextlib.asynccontextmanager
async def behind_a_cut(database_url):
    async with postgres_proxy(database_url) as between, served(between.url) as api:
        yield api, between


@pytest.mark.parametrize("who", ["known", "unknown"])
async def test_without_postgresql_every_route_answers_503_and_none_fails(database_url, who):
    async with behind_a_cut(database_url) as (api, between):
        ask, every = await asking(api), await routes(api)
        if who == "known":
            await known(api)
        await between.cut()
        async with asyncio.timeout(60):
            told = dict(zip(every, await asyncio.gather(*map(ask, every)), strict=True))
        await between.restore()
        assert (await api.send("GET", "/payments")).status_code == 200, "and all is well again"
    assert_each_said_so(told, who)


async def test_an_unresponsive_postgresql_does_not_block_requests_indefinitely(database_url, monkeypatch):
    monkeypatch.setattr("synccash.stores.postgres.pool.COMMAND_TIMEOUT_S", 0.2)
    async with behind_a_cut(database_url) as (api, between):
        ask, every = await asking(api), await routes(api)
        await known(api)
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
        every = await routes(api)

        async def statuses():
            for operation in ("collect", "payout"):  # an open breaker queues the orders, so no rail is called
                path = f"/resilience/circuit-breakers/mtn_momo:{operation}/force-open"
                assert (await api.send("POST", path, DECISION, key=api.admin_key)).status_code == 200
            paid = (await api.pay()).json()["id"]
            endpoint = await api.send("POST", "/webhook-endpoints", {"url": "https://example.com/hook"})
            ask = await asking(api, payment_id=paid, endpoint_id=endpoint.json()["id"], rail="mtn_momo")
            # One after the other, so that each finds what the one before has left.
            return {route: (await ask(route)).status_code for route in every}

        before = await statuses()
        stoppable_valkey.kill()
        without = await statuses()
    assert without == before
    assert max(before.values()) < 500
