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


def moment(instant: Instant) -> float:
    """When that is, by its clock."""
    return instant[0] if isinstance(instant, tuple) else instant


class deadline:  # noqa: N801 - used like a function
    """Nothing inside may begin later than `seconds` from now; None changes nothing.

    Inside another deadline the earlier of both holds. Both have to tell their time by the same clock.
    """

    __slots__ = ("_clock", "_seconds", "_token")

    def __init__(self, seconds: float | None, *, clock: Clock = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._token: Token[Instant | None] | None = None

    def __enter__(self) -> None:
        if self._seconds is None:
            return
        at = self._clock() + self._seconds
        outer = current.get()
        if outer is None or at < moment(outer):
            self._token = current.set(instant_of(at, self._clock))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            current.reset(self._token)
            self._token = None
