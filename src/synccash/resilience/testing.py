"""For tests of code that calls under policies: time that a test moves, and policies that do not wait.

clock = FakeClock()
policy = Policy("rail", retry=…, clock=clock, sleep=clock.sleep)

with no_wait(): ...      # every policy of the process repeats at once
with attempts(1): ...    # and this many times at most
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from synccash.resilience import overrides

__all__ = ["FakeClock", "attempts", "no_wait"]


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
