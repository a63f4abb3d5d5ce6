"""For tests of code that calls under policies: time that a test moves, and policies that do not wait.

clock = FakeClock()
policy = Policy("rail", retry=…, clock=clock, sleep=clock.sleep)

with no_wait(): ...      # every policy of the process repeats at once
with attempts(1): ...    # and this many times at most
with replaced_registry(): ...  # get_provider_circuit_breaker and its like begin anew
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
    """A monotonic clock that stands until somebody moves it. Seconds; call it to read it.

    `sleep` and `sleep_sync` move it: whoever waits has waited at once.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        """Let time pass. Raises ValueError for a step back."""
        if seconds < 0:
            raise ValueError("a monotonic clock never goes back")
        self.now += seconds

    def sleep_sync(self, seconds: float) -> None:
        """Wait `seconds` at once."""
        self.slept.append(seconds)
        self.move(seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` at once, and let others run."""
        self.sleep_sync(seconds)
        await asyncio.sleep(0)


# Blocks of several threads or tasks need not end in the order they began in.
_NOT_WAITING: list[object] = []
_ATTEMPTS: list[int] = []
_STANDING_IN: list[Registry] = []
_ENDS: list[Callable[[], None]] = []
_lock = RLock()
T = TypeVar("T")


@contextmanager
def _inside(blocks: list[T], block: T) -> Generator[None]:
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
    overrides.waiting = not _NOT_WAITING
    overrides.attempts = min(_ATTEMPTS, default=None)


@contextmanager
def no_wait() -> Generator[None]:
    """Inside, no policy of this process waits before it repeats a call."""
    with _inside(_NOT_WAITING, object()):
        yield


@contextmanager
def attempts(most: int) -> Generator[None]:
    """Inside, no policy of this process makes more than `most` attempts at a call. Nested: the fewest."""
    if most < 1:
        raise ValueError("most must be at least 1")
    with _inside(_ATTEMPTS, most):
        yield


@contextmanager
def replaced_registry(registry: Registry | None = None) -> Generator[Registry]:
    """Inside, `registry` is the default one for the whole process; without one, a registry as new.

    It holds for all that look there, however they imported it: `default_registry`, `enhanced_retry_service`,
    `retry_payment_provider_call`, `get_provider_circuit_breaker`. Breakers that code keeps are not replaced.
    """
    standing_in = Registry() if registry is None else registry
    with _lock:
        end = default_registry.stand_in(standing_in)
        if not _STANDING_IN:
            _ENDS.append(end)
        _STANDING_IN.append(standing_in)
    try:
        yield standing_in
    finally:
        with _lock:
            _STANDING_IN.remove(standing_in)
            if _STANDING_IN:
                default_registry.stand_in(_STANDING_IN[-1])
            else:
                _ENDS.pop()()
