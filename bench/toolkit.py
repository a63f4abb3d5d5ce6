"""What a call costs under the resilience toolkit: overhead over a bare await, against floors and peers."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial

from bench import toolkit_peers
from bench.measure import Measured, overhead, overhead_sync
from bench.report import Report
from bench.toolkit_floors import (
    OPEN,
    FloorBreaker,
    FloorOpenError,
    FloorRetryBreaker,
    FloorTellingRetryBreaker,
)
from synccash.resilience import BreakerSettings, CircuitBreaker, CircuitOpenError, Policy, Retry

SETTINGS = BreakerSettings(failures=5, failure_rate=0.5, slow_rate=0.5, slow_s=5.0, window=100, min_calls=10)
Async = dict[str, Callable[[], Awaitable[object]]]
OTHER_VARIABLES = [ContextVar[str](f"other_{number}") for number in range(5)]
"""As frameworks, loggers and tracers set them in the context of a request."""


async def nothing() -> None:
    """The bare call."""


def nothing_sync() -> None:
    """The bare plain call."""


def run(report: Report) -> None:
    """Measure and judge: closed breaker, all in one policy, time-outs, rejections, memory."""
    _closed(report)
    _beside_other_variables(report)
    _decorated(report)
    _interrupting(report)
    _rejected(report)
    _sync(report)
    _memory(report)


def _closed(report: Report) -> None:
    retry = Retry(attempts=3, on=OSError)
    retrying = Policy("retry", retry=retry)
    breaker = Policy("breaker", breaker=SETTINGS)
    in_time = Policy("time", breaker=BreakerSettings(failure_rate=0.5, slow_rate=0.5, window_s=10.0))
    policy = Policy("policy", retry=retry, breaker=SETTINGS, total_timeout=30.0, interrupt=False)
    floor, fused, telling = FloorBreaker(), FloorRetryBreaker(), FloorTellingRetryBreaker()
    contenders: Async = {
        "floor: breaker": partial(floor.call, nothing),
        "floor: retry + breaker + deadline": partial(fused.call, nothing),
        "floor: the same, and the callee is told": partial(telling.call, nothing),
        "synccash: breaker": partial(breaker.call, nothing),
        "synccash: breaker, time window": partial(in_time.call, nothing),
        "synccash: retry": partial(retrying.call, nothing),
        "synccash: retry + breaker + deadline": partial(policy.call, nothing),
        **toolkit_peers.async_peers(nothing, every=os.environ.get("PEERS") == "all"),
    }
    found = asyncio.run(overhead(contenders, bare=nothing))
    ns = {name: one.ns for name, one in found.items()}
    _table(report, "Happy path, async: ns a call over a bare await", found)
    report.bars("happy-path", "Overhead of one good call", ns, "ns over a bare await (logarithmic)")
    ours, base = ns["synccash: breaker"], ns["floor: breaker"]
    whole, fused_ns = ns["synccash: retry + breaker + deadline"], ns["floor: retry + breaker + deadline"]
    report.add("breaker", ours, "ns", floor=base)
    report.add("breaker_time_window", ns["synccash: breaker, time window"], "ns", floor=base)
    report.add("policy", whole, "ns", floor=fused_ns)
    bars = [
        _bar("closed breaker / floor", ours / base, 1.3),
        _bar("retry + breaker + deadline / fused floor", whole / fused_ns, 1.5),
    ]
    for name, mine, peer, least in (
        ("breaker_vs_interlock", ours, "interlock-cb", 10),
        ("policy_vs_stamina_aiobreaker", whole, "stamina + aiobreaker", 30),
        ("policy_vs_pyresilience", whole, "pyresilience: retry + breaker with window", 5),
    ):
        if peer in ns:
            report.add(name, ns[peer], "ns", floor=mine)
            bars.append(_bar(f"{peer} / ours", ns[peer] / mine, least, at_least=True))
    report.table("Bars", ("", "ratio", "wanted", "held"), bars)


def _beside_other_variables(report: Report) -> None:
    policy = Policy(
        "request",
        retry=Retry(attempts=3, on=OSError),
        breaker=SETTINGS,
        total_timeout=30.0,
        interrupt=False,
    )
    contenders: Async = {
        "floor that sets a deadline": partial(FloorTellingRetryBreaker().call, nothing),
        "synccash: retry + breaker + deadline": partial(policy.call, nothing),
    }

    async def measure() -> dict[str, Measured]:
        for variable in OTHER_VARIABLES:
            variable.set("set")
        return await overhead(contenders, bare=nothing)

    found = asyncio.run(measure())
    base, ours = (one.ns for one in found.values())
    _table(report, f"In a context with {len(OTHER_VARIABLES)} other variables", found)
    report.add("policy_beside_other_variables", ours, "ns", floor=base)
    report.table(
        "Bars", ("", "ratio", "wanted", "held"), [_bar("policy / floor that sets it", ours / base, 1.3)]
    )


def _decorated(report: Report) -> None:
    policy = Policy(
        "decorated",
        retry=Retry(attempts=3, on=OSError),
        breaker=SETTINGS,
        total_timeout=30.0,
        interrupt=False,
    )
    contenders: Async = {
        "synccash: policy.call": partial(policy.call, nothing),
        "synccash: @policy": policy(nothing),
    }
    found = asyncio.run(overhead(contenders, bare=nothing))
    base, ours = (one.ns for one in found.values())
    _table(report, "Decorated", found)
    report.add("decorated", ours, "ns", floor=base)
    report.table("Bars", ("", "ratio", "wanted", "held"), [_bar("@policy / policy.call", ours / base, 1.4)])


def _interrupting(report: Report) -> None:
    policy = Policy(
        "interrupting",
        retry=Retry(attempts=3, on=OSError),
        breaker=SETTINGS,
        attempt_timeout=5.0,
        total_timeout=30.0,
    )

    async def armed() -> None:
        async with asyncio.timeout(5.0):
            await nothing()

    contenders: Async = {
        "one asyncio.timeout": armed,
        "synccash: retry + breaker + both time-outs": partial(policy.call, nothing),
    }
    found = asyncio.run(overhead(contenders, bare=nothing))
    base, ours = (one.ns for one in found.values())
    _table(report, "Interrupting", found)
    report.add("policy_interrupting", ours, "ns", floor=base)
    report.table(
        "Bars", ("", "ratio", "wanted", "held"), [_bar("interrupting / asyncio.timeout", ours / base, 1.3)]
    )


def _rejected(report: Report) -> None:
    breaker = CircuitBreaker("open", SETTINGS)
    breaker.adopt(3600.0, "bench")
    policy, floor = Policy("open", breaker=breaker), FloorBreaker()
    floor.state, floor.open_until = OPEN, time.monotonic() + 3600.0

    async def ours() -> None:
        with contextlib.suppress(CircuitOpenError):
            await policy.call(nothing)

    async def theirs() -> None:
        with contextlib.suppress(FloorOpenError):
            await floor.call(nothing)

    async def bare() -> None:
        with contextlib.suppress(FloorOpenError):
            await nothing()

    found = asyncio.run(overhead({"floor": theirs, "synccash": ours}, bare=bare))
    _table(report, "Rejected while open", found)
    report.add("rejection", found["synccash"].ns, "ns", floor=found["floor"].ns)
    ratio = found["synccash"].ns / found["floor"].ns
    report.table("Bars", ("", "ratio", "wanted", "held"), [_bar("rejection / floor", ratio, 1.5)])


def _sync(report: Report) -> None:
    retry = Retry(attempts=3, on=OSError)
    retrying = Policy("retry", retry=retry)
    breaker = Policy("breaker", breaker=SETTINGS)
    policy = Policy("policy", retry=retry, breaker=SETTINGS, total_timeout=30.0, interrupt=False)
    contenders: dict[str, Callable[[], object]] = {
        "synccash: breaker": partial(breaker.call_sync, nothing_sync),
        "synccash: retry": partial(retrying.call_sync, nothing_sync),
        "synccash: retry + breaker + deadline": partial(policy.call_sync, nothing_sync),
        **toolkit_peers.sync_peers(nothing_sync, every=os.environ.get("PEERS") == "all"),
    }
    found = overhead_sync(contenders, bare=nothing_sync)
    _table(report, "Happy path, sync and safe between threads: ns a call over a bare call", found)
    report.add("sync_breaker", found["synccash: breaker"].ns, "ns")
    report.add("sync_policy", found["synccash: retry + breaker + deadline"].ns, "ns")


def _memory(report: Report) -> None:
    size = idle_bytes(CircuitBreaker("mtn_momo:collect", SETTINGS))
    report.add("idle_breaker", size, "bytes", floor=600)
    report.table(
        "Bars",
        ("", "bytes", "wanted", "held"),
        [("idle breaker", size, "<= 600", "yes" if size <= 600 else "NO")],
    )


def idle_bytes(breaker: CircuitBreaker) -> int:
    """All that a breaker alone keeps alive: not its settings, its clock or what Python shares anyway."""
    seen: set[int] = {id(breaker.settings)}
    total = sys.getsizeof(breaker)
    for slot in CircuitBreaker.__slots__:
        value = getattr(breaker, slot)
        shared = (
            callable(value) or isinstance(value, bool | int | type(breaker.state)) or value in (None, "", ())
        )
        if not shared and id(value) not in seen:
            seen.add(id(value))
            total += sys.getsizeof(value)
    return total


def _bar(name: str, ratio: float, bar: float, *, at_least: bool = False) -> tuple[str, float, str, str]:
    held = ratio >= bar if at_least else ratio <= bar
    return name, ratio, f"{'>=' if at_least else '<='} {bar}", "yes" if held else "NO"


def _table(report: Report, title: str, found: dict[str, Measured]) -> None:
    rows = [
        (name, one.ns, one.low, one.high) for name, one in sorted(found.items(), key=lambda item: item[1].ns)
    ]
    report.table(title, ("", "ns", "quartile", "quartile"), rows)
