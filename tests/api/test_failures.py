"""For any exception of a handler the response is a problem; readiness answers 200 or 503 only."""

import asyncio
import contextlib
from dataclasses import replace

import httpx
import pytest
from structlog.testing import capture_logs

from api.served import PROBLEM, payment, settings
from synccash.engine.engine import Engine
from synccash.local.preparing import register
from synccash.processes.api import application
from synccash.processes.assembly.service import assembled
from synccash.processes.metrics_server import metrics_app

KEY = "sk_test_" + "1" * 48
each_error = pytest.mark.parametrize(
    "error", [RuntimeError, LookupError, asyncio.CancelledError, TimeoutError]
)


@pytest.fixture(autouse=True)
def told():
    """Tracebacks are kept and not drawn: with all values of a whole service that takes minutes."""
    with capture_logs() as told:
        yield told


@contextlib.asynccontextmanager
async def asking(database_url, **parts):
    await register(database_url, {"test": KEY, "admin": "sk_admin_" + "2" * 48})
    chosen = settings(database_url)
    async with assembled(chosen, database_url) as service:
        transport = httpx.ASGITransport(application(replace(service, **parts), chosen))
        headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": "k"}
        async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client:
            yield client


def is_internal_error(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert (answer.json()["code"], "canary" in answer.text) == ("internal_error", False)
    assert answer.json()["request_id"] == answer.headers["request-id"]


class Failing:
    """A component of the service in which every method raises an error."""

    def __init__(self, error, *, good=()):
        self.error, self.good = error, good

    async def _raise(self, *_given, **_named):
        raise self.error("canary")

    async def _ok(self):
        return "ok"

    payment = refund = payout = payments = timeline = events = _raise

    @property
    def database_state(self):
        return self._ok if "database" in self.good else self._raise

    @property
    def valkey_state(self):
        return self._ok if "valkey" in self.good else self._raise

    async def schema(self):
        return None

    def draining(self):
        return False

    def sends_held(self):
        return False

    async def durability(self):
        return None

    def rails(self):
        if "rails" in self.good:
            return {"mtn_momo": "ok"}
        raise RuntimeError("canary")

    def silent_rails(self):
        return ()

    def notices(self):
        return ()

    def warnings(self):
        raise RuntimeError("canary")


@each_error
async def test_an_error_of_a_handler_is_a_problem(database_url, error):
    async with asking(database_url, reading=Failing(error)) as client:
        is_internal_error(await client.get("/api/v1/payments/pay_x"))
        is_internal_error(await client.get("/api/v1/payments"))


@each_error
async def test_an_error_of_the_engine_is_a_problem_under_a_key_too(database_url, error, monkeypatch):
    async def broken(*_given, **_named):
        raise error("canary")

    for name in ("initiate_payment", "submit_otp"):
        monkeypatch.setattr(Engine, name, broken)
    async with asking(database_url) as client:
        for _ in range(2):
            is_internal_error(await client.post("/api/v1/payments", json=payment()))
            is_internal_error(await client.post("/api/v1/payments/pay_x/otp", json={"otp": "123456"}))


async def test_a_request_that_is_cancelled_itself_ends_without_an_answer(database_url, monkeypatch):
    begun = asyncio.Event()

    async def waiting(*_given, **_named):
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Engine, "submit_otp", waiting)
    async with asking(database_url) as client:
        asked = asyncio.create_task(client.post("/api/v1/payments/pay_x/otp", json={"otp": "123456"}))
        await begun.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked


@each_error
@pytest.mark.parametrize(
    ("good", "status", "told", "degraded"),
    [
        ((), 503, "unavailable", ["postgresql", "valkey", "rails"]),
        (("valkey", "rails"), 503, "unavailable", ["postgresql"]),
        (("database", "rails"), 200, "degraded", ["valkey"]),
        (("database", "valkey"), 200, "degraded", ["rails"]),
    ],
)
async def test_readiness_answers_whatever_a_check_raises(database_url, error, good, status, told, degraded):
    async with asking(database_url, health=Failing(error, good=good)) as client:
        answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"], answer.json()["degraded"]) == (
        status,
        told,
        degraded,
    )


async def test_a_worker_whose_collectors_fail_answers_a_problem(monkeypatch):
    class Failing:
        def __init__(self, collectors):
            pass

        def text(self):
            raise RuntimeError("canary")

    monkeypatch.setattr("synccash.processes.metrics_server.Metrics", Failing)
    transport = httpx.ASGITransport(metrics_app(()))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
        answer = await client.get("/metrics")
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
