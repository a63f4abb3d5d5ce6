"""Times contenders in one interleaved run, so that whatever the machine does to one it does to all.

In each round every contender runs, in turn, a fixed number of calls. The bare call of the same round is taken
off before the median over the rounds: what is left is the overhead a contender adds. Time is that of this
thread on a processor, so that who else is busy on the machine matters less; a contender must not wait.
"""

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

R = TypeVar("R")
ROUNDS = 21
CALLS = 1_500


@dataclass(frozen=True, slots=True)
class Measured:
    """One contender's overhead over the bare call, in ns a call."""

    ns: float
    low: float
    high: float
    """Quartiles over the rounds: how far the median can be trusted."""


async def overhead(
    contenders: Mapping[str, Callable[[], Awaitable[object]]],
    *,
    bare: Callable[[], Awaitable[object]],
    rounds: int = ROUNDS,
    calls: int = CALLS,
) -> dict[str, Measured]:
    """Measure coroutines. A contender that raises ends the run."""
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    await _time(bare, calls)
    for one in contenders.values():
        await asyncio.create_task(_time(one, calls // 5))
    for _ in range(rounds):
        floor = await asyncio.create_task(_time(bare, calls))
        for name, one in contenders.items():
            # In a task of its own: what it leaves in its context is not for others to pay.
            spent[name].append(await asyncio.create_task(_time(one, calls)) - floor)
    return {name: _summary(times) for name, times in spent.items()}


def overhead_sync(
    contenders: Mapping[str, Callable[[], object]],
    *,
    bare: Callable[[], object],
    rounds: int = ROUNDS,
    calls: int = CALLS,
) -> dict[str, Measured]:
    """Measure plain functions in the same way."""
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    _time_sync(bare, calls)
    for one in contenders.values():
        _time_sync(one, calls // 5)
    for _ in range(rounds):
        floor = _time_sync(bare, calls)
        for name, one in contenders.items():
            spent[name].append(_time_sync(one, calls) - floor)
    return {name: _summary(times) for name, times in spent.items()}


async def _time(one: Callable[[], Awaitable[object]], calls: int) -> float:
    call, arguments = _parted(one)
    gc.collect()
    gc.disable()
    try:
        began = time.thread_time_ns()
        for _ in range(calls):
            await call(*arguments)
        return (time.thread_time_ns() - began) / calls
    finally:
        gc.enable()


def _time_sync(one: Callable[[], object], calls: int) -> float:
    call, arguments = _parted(one)
    gc.collect()
    gc.disable()
    try:
        began = time.thread_time_ns()
        for _ in range(calls):
            call(*arguments)
        return (time.thread_time_ns() - began) / calls
    finally:
        gc.enable()


def _parted(one: Callable[..., R]) -> tuple[Callable[..., R], tuple[object, ...]]:
    """What a partial calls, and with what: nobody who writes `policy.call(fn)` pays for a partial."""
    return (one.func, one.args) if isinstance(one, partial) else (one, ())


def _summary(times: list[float]) -> Measured:
    low, middle, high = statistics.quantiles(times, n=4)
    return Measured(ns=middle, low=low, high=high)
