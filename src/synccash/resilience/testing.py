"""Test helpers: a fake clock, policies that do not wait or retry, and a replaced default registry.

clock = FakeClock()
policy = Policy("rates", retry=…, clock=clock, sleep=clock.sleep)

with fresh(): ...              # every breaker, budget, rate and limiter of the process begins anew
with fresh(clock=clock): ...   # and every policy reads and waits by this FakeClock
with no_wait(): ...            # every policy of the process retries at once
with attempts(1): ...          # every policy of the process makes at most 1 attempt
with replaced_registry(): ...  # get_provider_circuit_breaker uses a new registry
"""

import asyncio
import heapq
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import RLock
from typing import Protocol, TypeVar, cast

from synccash.resilience import overrides
from synccash.resilience._core.live_parts import tracked
from synccash.resilience.policy import Policy, use_clock
from synccash.resilience.providers import DEFAULT_OPERATION, default_registry
from synccash.resilience.registry import Registry

__all__ = ["FakeClock", "attempts", "fresh", "no_wait", "replaced_registry"]


class FakeClock:
    """A monotonic clock in seconds that moves without waiting. Call it to read it.

    `sleep` and the time-outs of policies with this clock wait in fake time: when all tasks of the event loop
    wait, the clock moves to the next end of a sleep or time-out, so that sleeps at the same time overlap.
    Waiting for a socket or a thread is waiting too: a policy that interrupts then times out at once.
    `sleep_sync` moves the clock and returns at once. `slept` lists the times of both, in seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.slept: list[float] = []
        self._timers: list[tuple[float, int, _Timer]] = []
        self._count = 0
        self._watched: asyncio.AbstractEventLoop | None = None

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        """Move the clock forward; ends sleeps and time-outs. Raises ValueError for negative seconds."""
        if seconds < 0:
            raise ValueError("a monotonic clock never goes back")
        self.now += seconds
        while self._timers and self._timers[0][0] <= self.now:
            heapq.heappop(self._timers)[2].ring()

    def sleep_sync(self, seconds: float) -> None:
        """Move the clock by `seconds` instead of waiting."""
        self.slept.append(seconds)
        self.move(max(0.0, seconds))

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` of fake time."""
        self.slept.append(seconds)
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, partial(_end, over))
        try:
            await over
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> "_Timer":
        """Call `callback` in the running event loop after `seconds` of fake time, unless it is cancelled."""
        loop = asyncio.get_running_loop()
        timer = _Timer(loop, callback)
        self._count += 1
        heapq.heappush(self._timers, (self.now + seconds, self._count, timer))
        if self._watched is not loop:
            self._watched = loop
            loop.call_soon(self._watch, loop, 0)
        return timer

    def _watch(self, loop: asyncio.AbstractEventLoop, quiet_turns: int) -> None:
        """Move the clock when nothing else happens in the loop."""
        while self._timers and self._timers[0][2].is_cancelled:
            heapq.heappop(self._timers)
        if self._watched is not loop:
            return
        if not self._timers:
            self._watched = None
            return
        quiet_turns = quiet_turns + 1 if all(map(_is_waiting, asyncio.all_tasks(loop))) else 0
        # A callback may be on its way that wakes a task.
        if quiet_turns > _QUIET_TURNS:
            quiet_turns = 0
            self.move(max(0.0, self._timers[0][0] - self.now))
        loop.call_soon(self._watch, loop, quiet_turns)


_QUIET_TURNS = 3


def _end(sleep: asyncio.Future[None]) -> None:
    if not sleep.done():
        sleep.set_result(None)


class _Timer:
    """A callback at a time of a FakeClock."""

    __slots__ = ("_callback", "_loop", "is_cancelled")

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        self._loop = loop
        self._callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        """Do not call it any more."""
        self.is_cancelled = True

    def ring(self) -> None:
        """The time has come."""
        if not self.is_cancelled and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._call)

    def _call(self) -> None:
        if not self.is_cancelled:
            self._callback()


def _is_waiting(task: asyncio.Task[object]) -> bool:
    # As anyio's wait_all_tasks_blocked does it; asyncio has no public way.
    waits_for: asyncio.Future[object] | None = getattr(task, "_fut_waiter", None)
    return waits_for is not None and not waits_for.done()


# Lists, because blocks of several threads or tasks may end in any order.
_NO_WAIT_BLOCKS: list[object] = []
_ATTEMPT_LIMITS: list[int] = []
_REPLACEMENTS: list[Registry] = []
_RESTORE: list[Callable[[], None]] = []
_lock = RLock()
T = TypeVar("T")


@contextmanager
def _active(blocks: list[T], block: T) -> Generator[None]:
    with _lock:
        blocks.append(block)
        _apply()
    try:
        yield
    finally:
        with _lock:
            blocks.remove(block)
            _apply()


def _apply() -> None:
    overrides.waiting = not _NO_WAIT_BLOCKS
    overrides.attempts = min(_ATTEMPT_LIMITS, default=None)


class _Part(Protocol):
    """A circuit breaker, a retry budget, a rate, a MemoryLimiter or a MemoryClaims."""

    def forget(self, clock: FakeClock | None = None) -> Callable[[], None]: ...


@dataclass(eq=False)
class _FreshBlock:
    """What a block of `fresh` has to call at its end, for each part."""

    restore: dict[_Part | Policy | Registry, Callable[[], object]]


_FRESH_BLOCKS: list[_FreshBlock] = []


@contextmanager
def fresh(*parts: Policy | Registry | _Part, clock: FakeClock | None = None) -> Generator[None]:
    """Inside the block, these policies, registries and parts have no past; after it, they have it back.

    Without arguments: all policies and registries of the process, with their breakers, retry budgets and
    rates, all `MemoryLimiter` and all `MemoryClaims`. A breaker that belongs to none of them has to be named.
    What is created in the block, such as a breaker of a registry, has no past after it either. So a test that
    opens the breaker of a policy at module level does not fail the next test.

    With `clock`, all of these read this clock instead of their own, and policies wait by it, also in
    functions that they decorate. So does what a registry creates in the block. A policy's `call` that was
    read before the block, such as `functools.partial(policy.call, …)`, keeps its clock.

    The block applies to all threads. Blocks may overlap and end in any order. A call that is under way when a
    block begins or ends changes no breaker's state. Slots of a bulkhead stay in use, because calls hold them.
    What other processes share over Valkey is not replaced, and neither are the settings of a breaker and the
    profiles of a registry (see `replaced_registry`).
    """
    with _lock:
        owners = list(parts or tracked())
        block = _FreshBlock({part: part.forget(clock) for part in _parts_of(owners)})
        if clock is not None:
            block.restore.update(
                {owner: owner.use_clock(clock) for owner in owners if isinstance(owner, Registry)}
            )
            block.restore.update({one: use_clock(one, clock) for one in _policies_of(owners)})
        _FRESH_BLOCKS.append(block)
    try:
        yield
    finally:
        with _lock:
            new = (part for part in _parts_of(parts or tracked()) if part not in block.restore)
            block.restore.update({part: part.forget for part in new})
            _end_block(block)


def _end_block(block: _FreshBlock) -> None:
    began = _FRESH_BLOCKS.index(block)
    del _FRESH_BLOCKS[began]
    for part, restore in block.restore.items():
        # A block that began later has replaced the state of this one: it restores what this one would.
        later = next((one for one in _FRESH_BLOCKS[began:] if part in one.restore), None)
        if later is None:
            restore()
        else:
            later.restore[part] = restore


def _policies_of(owners: Iterable[object]) -> Iterable[Policy]:
    """Return each policy once, also those of registries."""
    found: dict[Policy, None] = {}
    for owner in owners:
        if isinstance(owner, Policy):
            found[owner] = None
        elif isinstance(owner, Registry):
            found.update(dict.fromkeys(owner.policies()))
    return found


def _parts_of(owners: Iterable[object]) -> Iterable[_Part]:
    """Return each part once."""
    return dict.fromkeys(_all_parts_of(owners))


def _all_parts_of(owners: Iterable[object]) -> Iterator[_Part]:
    for owner in owners:
        match owner:
            case Policy():
                yield owner.budget
                if owner.breaker is not None:
                    yield owner.breaker
                if owner.rate is not None:
                    yield owner.rate
            case Registry():
                yield from owner.breakers().values()
                yield from owner.budgets().values()
            case _ if callable(getattr(owner, "forget", None)):
                yield cast("_Part", owner)
            case _:
                raise TypeError(
                    f"fresh() takes policies, registries, breakers, budgets, rates, limiters, not {owner!r}"
                )


@contextmanager
def no_wait() -> Generator[None]:
    """Inside the block, no policy of this process waits before a retry."""
    with _active(_NO_WAIT_BLOCKS, object()):
        yield


@contextmanager
def attempts(most: int) -> Generator[None]:
    """Inside the block, no policy of this process makes more than `most` attempts per call.

    Of nested blocks the smallest `most` applies. Raises ValueError if it is below 1.
    """
    if most < 1:
        raise ValueError("most must be at least 1")
    with _active(_ATTEMPT_LIMITS, most):
        yield


@contextmanager
def replaced_registry(registry: Registry | None = None) -> Generator[Registry]:
    """Inside the block, `registry`, or a new one, is the default registry of the whole process.

    This applies to `default_registry`, `enhanced_retry_service`, `retry_payment_provider_call` and
    `get_provider_circuit_breaker`, however they were imported. Breakers that code already holds are not
    replaced.
    """
    replacement = Registry(default_operation=DEFAULT_OPERATION) if registry is None else registry
    with _lock:
        restore = default_registry.stand_in(replacement)
        if not _REPLACEMENTS:
            _RESTORE.append(restore)
        _REPLACEMENTS.append(replacement)
    try:
        yield replacement
    finally:
        with _lock:
            _REPLACEMENTS.remove(replacement)
            if _REPLACEMENTS:
                default_registry.stand_in(_REPLACEMENTS[-1])
            else:
                _RESTORE.pop()()
