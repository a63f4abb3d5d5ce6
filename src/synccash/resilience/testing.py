"""Test helpers: a fake clock, policies that do not wait or retry, and a replaced default registry.

clock = FakeClock()
policy = Policy("rail", retry=…, clock=clock, sleep=clock.sleep)

with no_wait(): ...            # every policy of the process retries at once
with attempts(1): ...          # every policy of the process makes at most 1 attempt
with replaced_registry(): ...  # get_provider_circuit_breaker uses a new registry
"""

import asyncio
import heapq
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import RLock
from typing import TypeVar

from synccash.resilience import overrides
from synccash.resilience.providers import default_registry
from synccash.resilience.registry import Registry

__all__ = ["FakeClock", "attempts", "no_wait", "replaced_registry"]


class FakeClock:
    """A monotonic clock in seconds that moves without waiting. Call it to read it.

    `sleep` waits in fake time: when all tasks of the event loop wait, the clock moves to the earliest end of
    a sleep, so that sleeps at the same time overlap. Waiting for a socket or a thread is waiting too.
    `sleep_sync` moves the clock and returns at once. `slept` lists the times of both, in seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.slept: list[float] = []
        self._sleeps: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self._watched: asyncio.AbstractEventLoop | None = None

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        """Move the clock forward and end the sleeps that are over. Raises ValueError for negative seconds."""
        if seconds < 0:
            raise ValueError("a monotonic clock never goes back")
        self.now += seconds
        while self._sleeps and self._sleeps[0][0] <= self.now:
            _, _, over = heapq.heappop(self._sleeps)
            if not over.done():
                over.get_loop().call_soon_threadsafe(_end, over)

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
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        self._count += 1
        heapq.heappush(self._sleeps, (self.now + seconds, self._count, over))
        if self._watched is not loop:
            self._watched = loop
            loop.call_soon(self._watch, loop, 0)
        await over

    def _watch(self, loop: asyncio.AbstractEventLoop, quiet_turns: int) -> None:
        """Move the clock when nothing else happens in the loop."""
        while self._sleeps and self._sleeps[0][2].done():  # cancelled
            heapq.heappop(self._sleeps)
        if not self._sleeps or self._watched is not loop:
            self._watched = None if self._watched is loop else self._watched
            return
        quiet_turns = quiet_turns + 1 if all(map(_is_waiting, asyncio.all_tasks(loop))) else 0
        # A callback may be on its way that wakes a task.
        if quiet_turns > _QUIET_TURNS:
            quiet_turns = 0
            self.move(max(0.0, self._sleeps[0][0] - self.now))
        loop.call_soon(self._watch, loop, quiet_turns)


_QUIET_TURNS = 3


def _end(sleep: asyncio.Future[None]) -> None:
    if not sleep.done():
        sleep.set_result(None)


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
    replacement = Registry() if registry is None else registry
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
