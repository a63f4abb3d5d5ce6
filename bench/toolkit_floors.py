"""Hand-written breakers and retry loops for one call site, without settings: the floor of the measurements.

Each does only what the toolkit does in that row: a count window with failed and slow calls, generations,
one probe, safe cancellation; the second one adds retries and a total time-out that the called function cannot
read. While it is closed, a successful call updates the window in its own frame; `ask` and `done` do the rest.
"""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from time import monotonic
from typing import Any

SIZE, SLOW_S, MIN_CALLS, RATE, OPEN_S, TOTAL_S = 100, 5.0, 10, 0.5, 30.0, 30.0
CLOSED, OPEN, HALF_OPEN = 0, 1, 2
FAILED, SLOW = 1, 2
_deadline: ContextVar[float | None] = ContextVar("floor_deadline", default=None)
_set_deadline, _reset_deadline = _deadline.set, _deadline.reset


class FloorOpenError(Exception):
    """The floor breaker refused the call."""

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(name)
        self.name = name
        self.retry_after = retry_after


class FloorBreaker:
    """A circuit breaker whose call runs in one frame."""

    __slots__ = ("at", "calls", "failed", "generation", "open_until", "probing", "ring", "slow", "state")

    def __init__(self) -> None:
        self.generation = 0
        self.open_until = 0.0
        self.close()

    async def call(self, fn: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        """Call under the breaker."""
        started_at = monotonic()
        if self.state:
            self.ask(started_at)
        generation = self.generation
        try:
            result = await (fn(*args, **kwargs) if kwargs else fn(*args))
        except Exception:
            self.done(generation, FAILED, monotonic() - started_at)
            raise
        except BaseException:
            self.drop(generation)
            raise
        duration_s = monotonic() - started_at
        at = self.at
        if generation == self.generation and duration_s < SLOW_S and not self.ring[at] and not self.state:
            self.at = at + 1 if at + 1 < SIZE else 0
            if self.calls < SIZE:
                self.calls += 1
        else:
            self.done(generation, 0, duration_s)
        return result

    def ask(self, now: float) -> None:
        """Refuse the call or make it the probe."""
        if now < self.open_until or self.probing:
            raise FloorOpenError("floor", self.open_until - now)
        self.probing, self.state = True, HALF_OPEN
        self.generation += 1

    def drop(self, generation: int) -> None:
        """Free the probe slot of a cancelled call, which does not count."""
        if generation == self.generation:
            self.probing = False

    def done(self, generation: int, failed: int, duration_s: float) -> None:
        """Count a failed or slow call, a probe, or a call that replaces one of those in the window."""
        if generation != self.generation:
            return
        new = failed | (SLOW if duration_s >= SLOW_S else 0)
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
        """Open the breaker."""
        self.state, self.probing, self.open_until = OPEN, False, monotonic() + OPEN_S
        self.generation += 1

    def close(self) -> None:
        """Close the breaker with an empty window."""
        self.state, self.probing, self.ring = CLOSED, False, bytearray(SIZE)
        self.at = self.calls = self.failed = self.slow = 0
        self.generation += 1


class FloorRetryBreaker(FloorBreaker):
    """The same breaker with retries and a total time-out in the same frame."""

    __slots__ = ()

    async def call(self, fn: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        """Call up to three times within 30 s."""
        started_at = monotonic()
        until, attempts = started_at + TOTAL_S, 1
        while True:
            if self.state:
                self.ask(started_at)
            generation = self.generation
            try:
                result = await (fn(*args, **kwargs) if kwargs else fn(*args))
            except Exception as error:
                now = monotonic()
                self.done(generation, FAILED, now - started_at)
                if attempts == 3 or now >= until or not isinstance(error, OSError):
                    raise
                started_at = now
                attempts += 1
                continue
            except BaseException:
                self.drop(generation)
                raise
            duration_s = monotonic() - started_at
            at = self.at
            if generation == self.generation and duration_s < SLOW_S and not self.ring[at] and not self.state:
                self.at = at + 1 if at + 1 < SIZE else 0
                if self.calls < SIZE:
                    self.calls += 1
            else:
                self.done(generation, 0, duration_s)
            return result


class FloorTellingRetryBreaker(FloorRetryBreaker):
    """The same, which also sets a deadline for the called function, to show its cost. It has no bar."""

    __slots__ = ()

    async def call(self, fn: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        """Call up to three times within 30 s."""
        started_at = monotonic()
        until, attempts = started_at + TOTAL_S, 1
        token = _set_deadline(until)
        try:
            while True:
                if self.state:
                    self.ask(started_at)
                generation = self.generation
                try:
                    result = await (fn(*args, **kwargs) if kwargs else fn(*args))
                except Exception as error:
                    now = monotonic()
                    self.done(generation, FAILED, now - started_at)
                    if attempts == 3 or now >= until or not isinstance(error, OSError):
                        raise
                    started_at = now
                    attempts += 1
                    continue
                except BaseException:
                    self.drop(generation)
                    raise
                duration_s = monotonic() - started_at
                at = self.at
                if (
                    generation == self.generation
                    and duration_s < SLOW_S
                    and not self.ring[at]
                    and not self.state
                ):
                    self.at = at + 1 if at + 1 < SIZE else 0
                    if self.calls < SIZE:
                        self.calls += 1
                else:
                    self.done(generation, 0, duration_s)
                return result
        finally:
            _reset_deadline(token)
