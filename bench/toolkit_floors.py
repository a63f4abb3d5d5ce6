"""Floors: what a careful programmer would write by hand for one call site, without settings or names.

Each does what its rival here has to, and that alone: a count window with failures and slow calls, eras, one
probe, safe when cancelled; the fused one also attempts and a total time, which it tells nobody. Closed, a
good call touches the window in its own frame; all else is in `ask` and `done`.
"""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from synccash.resilience.deadline import current_deadline

SIZE, SLOW_S, MIN_CALLS, RATE, OPEN_S, TOTAL_S = 100, 5.0, 10, 0.5, 30.0, 30.0
CLOSED, OPEN, HALF_OPEN = 0, 1, 2
FAILED, SLOW = 1, 2
_hand_on, _take_back = current_deadline.set, current_deadline.reset


class FloorOpenError(Exception):
    """Refused."""

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(name)
        self.name = name
        self.retry_after = retry_after


class FloorBreaker:
    """A breaker in one frame."""

    __slots__ = ("at", "calls", "era", "failed", "open_until", "probing", "ring", "slow", "state")

    def __init__(self) -> None:
        self.era = 0
        self.open_until = 0.0
        self.close()

    async def call(self, fn: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        """Call under the breaker."""
        began = monotonic()
        if self.state:
            self.ask(began)
        era = self.era
        try:
            result = await (fn(*args, **kwargs) if kwargs else fn(*args))
        except Exception:
            self.done(era, FAILED, monotonic() - began)
            raise
        except BaseException:
            self.drop(era)
            raise
        took = monotonic() - began
        at = self.at
        if era == self.era and took < SLOW_S and not self.ring[at] and not self.state:
            self.at = at + 1 if at + 1 < SIZE else 0
            if self.calls < SIZE:
                self.calls += 1
        else:
            self.done(era, 0, took)
        return result

    def ask(self, now: float) -> None:
        """Refuse, or become the probe."""
        if now < self.open_until or self.probing:
            raise FloorOpenError("floor", self.open_until - now)
        self.probing, self.state = True, HALF_OPEN
        self.era += 1

    def drop(self, era: int) -> None:
        """A cancelled call proves nothing."""
        if era == self.era:
            self.probing = False

    def done(self, era: int, failed: int, took: float) -> None:
        """Count a bad call, a probe, or what takes a bad call's place in the window."""
        if era != self.era:
            return
        new = failed | (SLOW if took >= SLOW_S else 0)
        if self.state:
            if new:
                self.open()
            else:
                self.close()
            return
        old = self.ring[self.at]
        self.failed += (new & FAILED) - (old & FAILED)
        self.slow += (new >> 1) - (old >> 1)
        self.ring[self.at] = new
        self.at = (self.at + 1) % SIZE
        self.calls = min(SIZE, self.calls + 1)
        if self.calls >= MIN_CALLS and max(self.failed, self.slow) >= RATE * self.calls:
            self.open()

    def open(self) -> None:
        """Refuse for a while."""
        self.state, self.probing, self.open_until = OPEN, False, monotonic() + OPEN_S
        self.era += 1

    def close(self) -> None:
        """Begin with an empty window."""
        self.state, self.probing, self.ring = CLOSED, False, bytearray(SIZE)
        self.at = self.calls = self.failed = self.slow = 0
        self.era += 1


class FloorRetryBreaker(FloorBreaker):
    """The same, with attempts and a total time in the same frame."""

    __slots__ = ()

    async def call(self, fn: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        """Call up to three times within 30 s."""
        began = monotonic()
        until, attempts = began + TOTAL_S, 1
        while True:
            if self.state:
                self.ask(began)
            era = self.era
            try:
                result = await (fn(*args, **kwargs) if kwargs else fn(*args))
            except Exception as error:
                now = monotonic()
                self.done(era, FAILED, now - began)
                if attempts == 3 or now >= until or not isinstance(error, OSError):
                    raise
                began = now
                attempts += 1
                continue
            except BaseException:
                self.drop(era)
                raise
            took = monotonic() - began
            at = self.at
            if era == self.era and took < SLOW_S and not self.ring[at] and not self.state:
                self.at = at + 1 if at + 1 < SIZE else 0
                if self.calls < SIZE:
                    self.calls += 1
            else:
                self.done(era, 0, took)
            return result


class FloorTellingRetryBreaker(FloorRetryBreaker):
    """The fused one, if it also told its callee when time is up: what that alone costs. No bar is on it."""

    __slots__ = ()

    async def call(self, fn: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        """Call up to three times within 30 s."""
        began = monotonic()
        until, attempts = began + TOTAL_S, 1
        token = _hand_on(until)
        try:
            while True:
                if self.state:
                    self.ask(began)
                era = self.era
                try:
                    result = await (fn(*args, **kwargs) if kwargs else fn(*args))
                except Exception as error:
                    now = monotonic()
                    self.done(era, FAILED, now - began)
                    if attempts == 3 or now >= until or not isinstance(error, OSError):
                        raise
                    began = now
                    attempts += 1
                    continue
                except BaseException:
                    self.drop(era)
                    raise
                took = monotonic() - began
                at = self.at
                if era == self.era and took < SLOW_S and not self.ring[at] and not self.state:
                    self.at = at + 1 if at + 1 < SIZE else 0
                    if self.calls < SIZE:
                        self.calls += 1
                else:
                    self.done(era, 0, took)
                return result
        finally:
            _take_back(token)
