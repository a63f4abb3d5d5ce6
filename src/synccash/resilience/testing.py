"""Test helpers: a fake clock, policies that do not wait or retry, and a replaced default registry.

clock = FakeClock()
policy = Policy("rail", retry=…, clock=clock, sleep=clock.sleep)

with no_wait(): ...            # every policy of the process retries at once
with attempts(1): ...          # every policy of the process makes at most 1 attempt
with replaced_registry(): ...  # get_provider_circuit_breaker uses a new registry
"""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import RLock
from typing import TypeVar

from synccash.resilience import overrides
from synccash.resilience.providers import default_registry
from synccash.resilience.registry import Registry

__all__ = ["FakeClock", "attempts", "no_wait", "replaced_registry"]


class FakeClock:
    """A monotonic clock in seconds that only moves when it is told to. Call it to read it.

    `sleep` and `sleep_sync` move it by the time to sleep and return at once; `slept` lists those times.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        """Move the clock forward. Raises ValueError for negative seconds."""
        if seconds < 0:
            raise ValueError("a monotonic clock never goes back")
        self.now += seconds

    def sleep_sync(self, seconds: float) -> None:
        """Move the clock by `seconds` instead of waiting."""
        self.slept.append(seconds)
        self.move(seconds)

    async def sleep(self, seconds: float) -> None:
        """Move the clock by `seconds` instead of waiting, and let other tasks run once."""
        self.sleep_sync(seconds)
        await asyncio.sleep(0)


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
