"""A deadline for a block of code and everything it calls, held in a context variable."""

import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType

Clock = Callable[[], float]
Instant = float | tuple[float, Clock]
current_deadline: ContextVar[Instant | None] = ContextVar("synccash_deadline", default=None)
"""The deadline in force: seconds of `time.monotonic`, or such a number and its own clock.

Private to this package; other code uses `remaining` and `deadline`. The common case is a bare float, because
every call of a policy sets it.
"""


def remaining() -> float | None:
    """Return the seconds until the deadline in force, at least 0; None without a deadline."""
    instant = current_deadline.get()
    if instant is None:
        return None
    at, clock = instant if isinstance(instant, tuple) else (instant, time.monotonic)
    return max(0.0, at - clock())


def to_instant(at: float, clock: Clock) -> Instant:
    """Return the value that `current_deadline` holds for the time `at` of `clock`."""
    return at if clock is time.monotonic else (at, clock)


def on_clock(instant: Instant, clock: Clock, now: float) -> float:
    """Convert a deadline to the time of `clock`, which reads `now`. The remaining seconds are preserved."""
    at, instant_clock = instant if isinstance(instant, tuple) else (instant, time.monotonic)
    return at if instant_clock == clock else now + at - instant_clock()


class deadline:  # noqa: N801 - used like a function
    """Context manager that sets a deadline `seconds` from now; None sets none.

    Policies inside start no attempt after the deadline. Nested deadlines can only shorten the outer one.
    """

    __slots__ = ("_clock", "_seconds", "_token")

    def __init__(self, seconds: float | None, *, clock: Clock = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._token: Token[Instant | None] | None = None

    def __enter__(self) -> None:
        if self._seconds is None:
            return
        now = self._clock()
        at = now + self._seconds
        outer = current_deadline.get()
        if outer is None or at < on_clock(outer, self._clock, now):
            self._token = current_deadline.set(to_instant(at, self._clock))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            current_deadline.reset(self._token)
            self._token = None
