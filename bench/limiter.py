"""One rate-limit decision: in memory, and over Valkey for one caller and for 64 at once."""

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import redis.asyncio
import uvloop

from bench.report import Report
from synccash.resilience.rate_limiter import Demand, Limit, MemoryLimiter, Scope
from synccash.servers.bundle import start_servers
from synccash.stores.valkey.limits.rate_limiter import ValkeyLimiter
from synccash.stores.valkey.limits.script import DIGEST, SOURCE, encode_requests

ROUNDS = 5
SYNC_CALLS = 20_000
CALLS = 2_560
QUOTA = 1_000_000
SCOPES: tuple[Scope, ...] = ("user", "api_key", "ip", "global")
LIMITS = tuple(Limit(name=scope, scope=scope, quota=QUOTA, period_s=60) for scope in SCOPES)
Ask = Callable[[], Awaitable[object]]


def run(report: Report) -> None:
    """Decisions a second; a thousand keys in turn. Peers: limits and throttled-py."""
    _memory(report)
    folder = Path(tempfile.mkdtemp(prefix="synccash-bench-"))
    folder.chmod(0o711)
    with start_servers(folder, postgres=False) as servers:
        assert servers.valkey_url is not None
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_valkey(report, servers.valkey_url))


def _memory(report: Report) -> None:
    limiter, limit = MemoryLimiter(), LIMITS[0]
    ids = itertools.cycle([f"user-{number}" for number in range(1_000)])
    four = [Demand(limit, "x") for limit in LIMITS]
    contenders: dict[str, Callable[[], object]] = {
        "ours: one limit": lambda: limiter.hit(limit, next(ids)),
        "ours: four scopes at once": lambda: limiter.check(four),
    }
    try:
        import limits
    except ImportError:
        print("limiter: limits is not installed: skipped")
    else:
        fixed = limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage())
        item = limits.RateLimitItemPerMinute(QUOTA)
        contenders["limits: fixed window"] = lambda: fixed.hit(item, next(ids))
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _, (name, ask) in itertools.product(range(ROUNDS), contenders.items()):
        began = time.perf_counter()
        for _ in range(SYNC_CALLS):
            ask()
        found[name].append(SYNC_CALLS / (time.perf_counter() - began))
    _tell(report, "memory", "In memory", {name: statistics.median(rates) for name, rates in found.items()})


async def _valkey(report: Report, url: str) -> None:
    client = redis.asyncio.Redis.from_url(url)
    await client.script_load(SOURCE.decode())
    # A crowded machine may be slower than the service's deadline; its speed is what is asked here.
    ours = ValkeyLimiter(url, deadline_s=1.0)
    contenders = {**_ours(ours), "redis-py: EVALSHA of our script": _evalsha(client), **_peers(url)}
    for callers in (64, 1):
        rates = await _rates(contenders, callers)
        degraded = ours.counts.degraded
        assert degraded == 0, f"{degraded} decisions were made without Valkey: nothing was measured"
        _tell(report, f"valkey_{callers}", f"Over Valkey, {callers} at once", rates)
    await ours.aclose()
    await client.aclose()


def _ours(limiter: ValkeyLimiter) -> dict[str, Ask]:
    ids = itertools.cycle([f"user-{number}" for number in range(1_000)])

    async def one() -> None:
        await limiter.check("e", (Demand(LIMITS[0], next(ids)),))

    async def four() -> None:
        await limiter.check("e", tuple(Demand(limit, next(ids)) for limit in LIMITS))

    return {"ours: one limit": one, "ours: four scopes at once": four}


def _evalsha(client: redis.asyncio.Redis) -> Ask:
    ids = itertools.cycle([f"user-{number}" for number in range(1_000)])

    async def evalsha() -> None:
        asked: list[Any] = encode_requests([((Demand(LIMITS[0], next(ids)),), None)])
        await client.evalsha(DIGEST.decode(), *asked)

    return evalsha


def _peers(url: str) -> dict[str, Ask]:
    ids = itertools.cycle([f"user-{number}" for number in range(1_000)])
    peers: dict[str, Ask] = {}
    try:
        import limits
        import limits.aio

        storage = limits.aio.storage.RedisStorage(f"async+{url}", implementation="redispy")
        fixed = limits.aio.strategies.FixedWindowRateLimiter(storage)
        item = limits.RateLimitItemPerMinute(QUOTA)

        async def in_turn() -> None:
            for scope in SCOPES:
                await fixed.hit(item, scope, next(ids))

        peers["limits: four scopes in turn"] = in_turn
    except ImportError:
        print("limiter: limits is not installed: skipped")
    try:
        import throttled.asyncio as throttled

        gcra = throttled.Throttled(
            using="gcra", quota=throttled.rate_limiter.per_min(QUOTA), store=throttled.RedisStore(server=url)
        )

        async def throttle() -> None:
            await gcra.limit(next(ids))

        peers["throttled-py: GCRA"] = throttle
    except ImportError:
        print("limiter: throttled-py is not installed: skipped")
    return peers


async def _rates(contenders: Mapping[str, Ask], callers: int) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for ask in contenders.values():
        await _together(ask, callers, callers * 2)
    for _, (name, ask) in itertools.product(range(ROUNDS), contenders.items()):
        found[name].append(await _together(ask, callers, CALLS))
    return {name: statistics.median(rates) for name, rates in found.items()}


async def _together(ask: Ask, callers: int, count: int) -> float:
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            await ask()

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return count / (time.perf_counter() - began)


def _tell(report: Report, part: str, title: str, rates: Mapping[str, float]) -> None:
    """Against the first peer's rate, if one is installed."""
    one = rates["ours: one limit"]
    report.table(
        title,
        ("", "per second", "ours: one limit is x", "ours: four at once is x"),
        [
            (name, f"{rate:,.0f}", f"{one / rate:.2f}", f"{rates['ours: four scopes at once'] / rate:.2f}")
            for name, rate in rates.items()
        ],
    )
    for name, rate in rates.items():
        report.add(f"{part}.{_slug(name)}", rate, "1/s")


def _slug(name: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in name).split())
