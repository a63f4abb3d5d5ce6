"""Rail events: one when a rail degrades, whichever process detects it, and one when it recovers."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest_asyncio

from engine.scripted import ScriptedRail
from synccash.engine.dispatch.rail_health import RailHealth
from synccash.engine.dispatch.rail_watch import RailWatch
from synccash.engine.system import SystemIdentities
from synccash.payments.health import HealthAspect, HealthSettings
from synccash.payments.rail import Operation
from synccash.payments.request import Role
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.merchants import PostgresKeys
from synccash.stores.postgres.orders.rail_status import PostgresRailStatus
from synccash.stores.postgres.pool import Pool, connect

HOLD_S = HealthSettings().hold_s
KEY = ("mtn_momo", "mtn", "collect")


@dataclass
class Hand:
    """A clock that the test moves."""

    at: float = 1_000.0
    late_s: float = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds + self.late_s


@dataclass
class NoBreaker:
    shut: set[str] = field(default_factory=set)

    def open_for_s(self, rail: str, operation: Operation) -> float | None:
        return 20.0 if f"{rail}:{operation.value}" in self.shut else None


@dataclass
class Fleet:
    """Processes that know the same, over one database with two merchants."""

    pool: Pool
    clock: Hand
    breakers: NoBreaker
    health: RailHealth
    watches: list[RailWatch]

    async def look(self) -> None:
        await asyncio.gather(*(watch.look() for watch in self.watches))

    async def pass_(self, seconds: float) -> None:
        self.clock.at += seconds
        await self.look()

    def record(self, *, good: int = 0, bad: int = 0) -> None:
        for _ in range(good):
            self.health.record(KEY, HealthAspect.SEND, good=1.0)
        for _ in range(bad):
            self.health.record(KEY, HealthAspect.SEND, bad=1.0)

    async def told(self) -> list[tuple[str, str]]:
        rows = await self.pool.fetch("SELECT type, merchant_id FROM events ORDER BY position, merchant_id")
        return [(row["type"], row["merchant_id"]) for row in rows]


@pytest_asyncio.fixture
async def fleet(database_url: str) -> AsyncGenerator[Fleet]:
    pool = await connect(database_url, min_size=1, max_size=4)
    keys = PostgresKeys(Database(pool))
    for merchant in ("mer_1", "mer_2"):
        await keys.ensure_merchant(merchant, merchant)
        await keys.ensure_key(
            merchant.encode().ljust(32), Role.MERCHANT, merchant_id=merchant, livemode=False
        )
    clock, breakers = Hand(), NoBreaker()
    health = RailHealth(HealthSettings(), clock.monotonic)
    rails = {"mtn_momo": ScriptedRail("mtn_momo")}
    watches = [
        RailWatch(rails, health, breakers, PostgresRailStatus(Database(pool)), clock, SystemIdentities())
        for _ in range(3)
    ]
    yield Fleet(pool, clock, breakers, health, watches)
    await pool.close()


EVERYBODY_DEGRADED = [("rail.degraded", "mer_1"), ("rail.degraded", "mer_2")]
EVERYBODY_RECOVERED = [("rail.recovered", "mer_1"), ("rail.recovered", "mer_2")]


async def test_each_merchant_gets_one_event_per_rail_degradation_and_one_per_recovery(fleet: Fleet):
    await fleet.look()
    fleet.record(good=50, bad=50)
    await fleet.pass_(1.0)
    assert await fleet.told() == []
    await fleet.pass_(HOLD_S)
    await fleet.pass_(1.0)
    assert await fleet.told() == EVERYBODY_DEGRADED
    fleet.record(good=200)
    await fleet.pass_(1.0)
    await fleet.pass_(HOLD_S)
    await fleet.pass_(1.0)
    assert await fleet.told() == EVERYBODY_DEGRADED + EVERYBODY_RECOVERED


async def test_the_event_names_rail_operation_reason_and_health_by_network(fleet: Fleet):
    fleet.record(bad=100)
    await fleet.pass_(1.0)
    await fleet.pass_(HOLD_S)
    row = await fleet.pool.fetchrow("SELECT * FROM events WHERE merchant_id = 'mer_1'")
    document = json.loads(row["data"])
    assert (row["object_id"], row["object_version"]) == (document["id"], document["version"])
    assert document["id"] == "mtn_momo:collect"
    assert (document["object"], document["status"], document["reason"]) == ("rail", "degraded", "health")
    assert document["networks"] == {"at": 1.0, "mtn": document["networks"]["mtn"], "telecel": 1.0}
    assert document["networks"]["mtn"] < 0.4
    assert datetime.fromisoformat(document["since"]).tzinfo is not None


async def test_an_open_breaker_degrades_the_rail_for_its_operation(fleet: Fleet):
    fleet.breakers.shut.add("mtn_momo:payout")
    await fleet.pass_(1.0)
    await fleet.pass_(HOLD_S)
    rows = await fleet.pool.fetch("SELECT data->>'id' AS id, data->>'reason' AS why FROM events")
    assert {(row["id"], row["why"]) for row in rows} == {("mtn_momo:payout", "breaker_open")}


async def test_a_brief_drop_in_health_emits_no_event(fleet: Fleet):
    for _ in range(6):
        fleet.record(good=50, bad=50)
        await fleet.pass_(HOLD_S / 2)
        fleet.record(good=300)
        await fleet.pass_(HOLD_S / 2)
    assert await fleet.told() == []


async def test_a_process_without_samples_of_a_rail_does_not_report_its_recovery(fleet: Fleet):
    fleet.record(bad=100)
    await fleet.pass_(1.0)
    await fleet.pass_(HOLD_S)
    assert await fleet.told() == EVERYBODY_DEGRADED
    fleet.health.__init__(fleet.health.settings, fleet.clock.monotonic)
    await fleet.pass_(1.0)
    await fleet.pass_(HOLD_S)
    assert await fleet.told() == EVERYBODY_DEGRADED
    fleet.record(good=5)
    await fleet.pass_(1.0)
    await fleet.pass_(HOLD_S)
    assert await fleet.told() == EVERYBODY_DEGRADED + EVERYBODY_RECOVERED


async def test_a_process_with_a_delayed_event_loop_reports_no_rail(fleet: Fleet):
    (watch, *_) = fleet.watches
    fleet.clock.late_s = 0.8
    for _ in range(20):
        fleet.record(bad=20)
        await watch.round()
    assert await fleet.told() == []
    fleet.clock.late_s = 0.0
    for _ in range(12):
        fleet.record(bad=20)
        await watch.round()
    assert await fleet.told() == EVERYBODY_DEGRADED
