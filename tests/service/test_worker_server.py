"""A worker serves its metrics on its own port."""

import asyncio
import contextlib
import re
import socket
from uuid import uuid4

import asyncpg
import httpx
import pytest

from synccash.local.preparing import register
from synccash.processes.api import application
from synccash.processes.assembly.service import assembled
from synccash.processes.housekeeping import Housekeeping
from synccash.processes.worker import worker_server
from synccash.settings.loader import Settings, SettingsError

KEY = "sk_test_" + "1" * 48
UNREACHABLE = "http://127.0.0.1:9"
MOMO = {
    f"mtn_momo_{product}_{name}": "x"
    for product in ("collection", "disbursement")
    for name in ("user", "key", "subscription_key")
}


@contextlib.asynccontextmanager
async def working(service, server, loops):
    async with asyncio.TaskGroup() as group:
        group.create_task(server.answer())
        for loop in loops:
            group.create_task(loop.run())
        try:
            yield
        finally:
            for loop in (server, *loops):
                loop.stop()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def test_a_worker_serves_the_counts_of_its_loops_and_stops_with_them(database_url):
    await register(database_url, {"test": KEY, "admin": "sk_admin_" + "2" * 48})
    settings = Settings(
        database_url=database_url,
        installation_key="5c" * 32,
        encryption_keys="1:" + "e1" * 32,
        lookup_key="e2" * 32,
        mtn_momo_environment="test",
        mtn_momo_base_url=UNREACHABLE,
        request_deadline_s=0.2,
        queue_retry_s=0.1,
        **MOMO,
    )
    async with assembled(settings, database_url) as service, httpx.AsyncClient() as client:
        keeping = Housekeeping(service.claims, 1e6)
        port = free_port()
        server = worker_server(service, keeping, "127.0.0.1", port)
        loops = (service.engine.worker, keeping)
        await paid(service, settings)
        await left_by_a_dead_process(database_url)

        async def series(name):
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)[1])

        async with working(service, server, loops), asyncio.timeout(30):
            for name in (
                "idempotency_swept_total",
                "worker_orders_interrupted_total",
            ):
                assert await series(name) == 0
            assert await series('inquiries_shed_total{rail="mtn_momo"}') == 0
            assert await series('circuit_breaker_opened_total{service="MTN_MOMO"}') == 0
            assert await series('loop_restarts_total{loop="rail_watch"}') == 0
            while await series("worker_orders_taken_over_total") < 1:  # noqa: ASYNC110 - another loop counts
                await asyncio.sleep(0.05)
            assert await series("worker_orders_taken_total") >= 1
            assert await series("orders_lost_total") is not None
            assert (await client.get(f"http://127.0.0.1:{port}/health/live")).json() == {"status": "ok"}
            elsewhere = await client.get(f"http://127.0.0.1:{port}/api/v1/payments")
            assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, "not_found")
            with pytest.raises(SettingsError, match="worker_port"):
                worker_server(service, keeping, "127.0.0.1", port)
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{port}/metrics")


async def paid(service, settings):
    """A payment that no rail can take now: it is queued, and the worker takes it up."""
    transport = httpx.ASGITransport(application(service, settings))
    body = {"amount": 100, "currency": "GHS", "payer": {"msisdn": "0241234567"}, "reference": "r"}
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": uuid4().hex}
        answer = await client.post("/api/v1/payments", json=body, headers=headers)
    assert answer.status_code == 202


async def left_by_a_dead_process(database_url):
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE payments SET due_at = now(), lease_until = now() - interval '1 second'")
    await connection.close()
