"""For tests of code that calls under policies: time that a test moves, and policies that do not wait.

clock = FakeClock()
policy = Policy("rail", retry=…, clock=clock, sleep=clock.sleep)

with no_wait(): ...      # every policy of the process repeats at once
with attempts(1): ...    # and this many times at most
with replaced_registry(): ...  # get_provider_circuit_breaker and its like begin anew
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

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


@contextmanager
def no_wait() -> Generator[None]:
    """Inside, no policy of this process waits before it repeats a call."""
    before, overrides.waiting = overrides.waiting, False
    try:
        yield
    finally:
        overrides.waiting = before


@contextmanager
def attempts(most: int) -> Generator[None]:
    """Inside, no policy of this process makes more than `most` attempts at a call."""
    if most < 1:
        raise ValueError("most must be at least 1")
    before, overrides.attempts = overrides.attempts, most
    try:
        yield
    finally:
        overrides.attempts = before


@contextmanager
def replaced_registry(registry: Registry | None = None) -> Generator[Registry]:
    """Inside, `registry` is the default one for the whole process; without one, a registry as new.

    It holds for all that look there, however they imported it: `default_registry`, `enhanced_retry_service`,
    `retry_payment_provider_call`, `get_provider_circuit_breaker`. Breakers that code keeps are not replaced.
    """
    standing_in = Registry() if registry is None else registry
    end = default_registry.stand_in(standing_in)
    try:
        yield standing_in
    finally:
        end()
