"""Floors: what a careful programmer would write by hand for one call site, without settings or names."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

SIZE, SLOW_S, MIN_CALLS, RATE = 100, 5.0, 10, 0.5
CLOSED, OPEN, HALF_OPEN = 0, 1, 2


class FloorOpenError(Exception):
    """Refused."""

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(name)
        self.name = name
        self.retry_after = retry_after


class FloorBreaker:
    """Count window, slow calls, eras, one probe, safe when cancelled: all of it in one frame."""

    __slots__ = ("at", "calls", "era", "failed", "open_until", "probing", "ring", "slow", "state")

    def __init__(self) -> None:
        self.state = CLOSED
        self.era = 0
        self.ring = bytearray(SIZE)
        self.at = self.calls = self.failed = self.slow = 0
        self.open_until = 0.0
        self.probing = False

    async def call(self, fn: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Call under the breaker."""
        began = monotonic()
        if self.state or self.open_until:
            self.ask(began)
        era = self.era
        try:
            result = await fn(*args, **kwargs)
        except Exception:
            self.done(era, 1, monotonic() - began)
            raise
        except BaseException:
            self.probing = False
            raise
        took = monotonic() - began
        if era == self.era:
            ring, at = self.ring, self.at
            old, new = ring[at], 2 if took >= SLOW_S else 0
            if old or new:
                self.done(era, 0, took)
            else:
                self.at = at + 1 if at + 1 < SIZE else 0
                if self.calls < SIZE:
                    self.calls += 1
                if self.state:
                    self.state = CLOSED
        return result

    def ask(self, now: float) -> None:
        """Refuse, or become the probe."""
        if now < self.open_until or self.probing:
            raise FloorOpenError("floor", self.open_until - now)
        self.probing, self.state, self.era = True, HALF_OPEN, self.era + 1

    def done(self, era: int, failed: int, took: float) -> None:
        """Count a bad call."""
        if era != self.era:
            return
        old, new = self.ring[self.at], failed | (2 if took >= SLOW_S else 0)
        self.failed += (new & 1) - (old & 1)
        self.slow += (new >> 1) - (old >> 1)
        self.ring[self.at] = new
        self.at = (self.at + 1) % SIZE
        self.calls = min(SIZE, self.calls + 1)
        if self.calls >= MIN_CALLS and max(self.failed, self.slow) >= RATE * self.calls:
            self.state, self.era, self.open_until = OPEN, self.era + 1, monotonic() + 30.0


class FloorRetryBreaker(FloorBreaker):
    """The same, with attempts and a total deadline in the same frame."""

    __slots__ = ()

    async def call(self, fn: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Call up to three times within 30 s."""
        began = monotonic()
        until, attempts = began + 30.0, 0
        while True:
            if self.state or self.open_until:
                self.ask(began)
            era = self.era
            try:
                result = await fn(*args, **kwargs)
            except OSError:
                now = monotonic()
                self.done(era, 1, now - began)
                attempts += 1
                if attempts == 3 or now >= until:
                    raise
                began = now
                continue
            except BaseException:
                self.probing = False
                raise
            took = monotonic() - began
            if era == self.era:
                ring, at = self.ring, self.at
                old, new = ring[at], 2 if took >= SLOW_S else 0
                if old or new:
                    self.done(era, 0, took)
                else:
                    self.at = at + 1 if at + 1 < SIZE else 0
                    if self.calls < SIZE:
                        self.calls += 1
                    if self.state:
                        self.state = CLOSED
            return result
