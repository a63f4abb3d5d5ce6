"""One deadline for everything below: nested policies and callees only ever see it shrink."""

import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType

Clock = Callable[[], float]
Instant = float | tuple[float, Clock]
current: ContextVar[Instant | None] = ContextVar("synccash_deadline", default=None)
"""When it is over, by `time.monotonic` unless it says by which. For this package; others use `remaining`
and `deadline`. Bare because every call of a policy sets it, and nearly none has a clock of its own."""


def remaining() -> float | None:
    """Return the seconds that are left, never below 0; None where there is no deadline."""
    instant = current.get()
    if instant is None:
        return None
    at, clock = instant if isinstance(instant, tuple) else (instant, time.monotonic)
    return max(0.0, at - clock())


def instant_of(at: float, clock: Clock) -> Instant:
    """What `current` holds for that moment by that clock."""
    return at if clock is time.monotonic else (at, clock)


def moment(instant: Instant, clock: Clock, now: float) -> float:
    """When that is by `clock`, where it is `now`. Between two clocks, what is left by the one is left."""
    at, its = instant if isinstance(instant, tuple) else (instant, time.monotonic)
    return at if its == clock else now + at - its()


class deadline:  # noqa: N801 - used like a function
    """Nothing inside may begin later than `seconds` from now; None changes nothing.

    Inside another deadline the earlier of both holds.
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
        outer = current.get()
        if outer is None or at < moment(outer, self._clock, now):
            self._token = current.set(instant_of(at, self._clock))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            current.reset(self._token)
            self._token = None
