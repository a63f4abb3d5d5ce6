"""Limits inquiries to the rate that a rail allows, over all processes together."""

import itertools
from bisect import insort
from collections.abc import Callable
from enum import Enum
from typing import Protocol, runtime_checkable

from synccash.payments.rail import InquiryPriority


class Clock(Protocol):
    """Monotonic time, and waiting. Seconds."""

    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class Turn(Enum):
    """The result of waiting for a turn."""

    GRANTED = "granted"
    TOO_LATE = "status_cap"
    """The turn would come after the caller's time-out; no turn is used."""
    SHED = "shed"
    """A recheck after the end: its share is used up, or other inquiries wait."""


@runtime_checkable
class Paced(Protocol):
    """A connector that limits the rate of its inquiries."""

    @property
    def inquiries_shed(self) -> int:
        """How many rechecks after the end were shed since the start."""
        ...


# The rail counts calls on arrival: the slack absorbs network jitter.
_SLACK = 1.05
# A turn that comes late because the process was busy does not delay the next ones: without this, a process
# grants one turn in each round of its event loop, however high the rate is. The slack of a second is longer,
# so the rail's limit holds in each second.
_CATCH_UP_S = 0.04
# Rechecks after the end get one turn in five.
_RECHECK_SHARE = 0.2
# A turn comes earlier than computed when other callers give up or processes stop.
_RECHECK_AFTER_S = 1.0
# Those before a caller whose turn has come wake in the same round of the event loop.
_YIELD_S = 0.001
_Waiting = tuple[InquiryPriority, int]


def one_process() -> int:
    """Return 1: only this process inquires."""
    return 1


class Pacer:
    """Hands out turns at even distances: the lowest priority number first, then first come.

    `per_s` is the rate of the whole account; `processes` tells how many processes inquire now, this one among
    them, and each takes its share of the rate. Rechecks after the end take at most a fifth of that share, and
    never a turn that another inquiry waits for.
    """

    def __init__(self, per_s: float, clock: Clock, processes: Callable[[], int] = one_process) -> None:
        self._alone_s = _SLACK / per_s
        self._clock = clock
        self._processes = processes
        self._last = float("-inf")
        self._last_recheck = float("-inf")
        self._numbers = itertools.count()
        self._waiting: list[_Waiting] = []
        self.shed = 0

    @property
    def _distance_s(self) -> float:
        return self._alone_s * max(1, self._processes())

    async def turn(self, *, timeout_s: float, priority: InquiryPriority = InquiryPriority.SCHEDULED) -> Turn:
        """Wait for a turn, at most `timeout_s`. Returns TOO_LATE at once when no turn fits.

        Inquiries of higher priority may overtake a waiting caller, which may then be too late.
        """
        came_at = self._clock.monotonic()
        entry = (priority, next(self._numbers))
        insort(self._waiting, entry)
        try:
            return await self._wait(entry, came_at, came_at + timeout_s)
        finally:
            self._waiting.remove(entry)

    async def _wait(self, entry: _Waiting, came_at: float, ends_at: float) -> Turn:
        is_recheck = entry[0] is InquiryPriority.AFTER_END
        while True:
            now, distance_s = self._clock.monotonic(), self._distance_s
            if is_recheck and self._is_shed(entry, now, distance_s):
                self.shed += 1
                return Turn.SHED
            # Every waiter sleeps until its turn as computed now, or for a while, and computes it again.
            place = self._waiting.index(entry)
            own = max(came_at, self._last + distance_s, now - _CATCH_UP_S)
            moment = own + place * distance_s
            if moment > ends_at:
                return Turn.TOO_LATE
            if place == 0 and moment <= now:
                self._last = own
                if is_recheck:
                    self._last_recheck = now
                return Turn.GRANTED
            await self._clock.sleep(min(max(moment - now, _YIELD_S), _RECHECK_AFTER_S))

    def _is_shed(self, entry: _Waiting, now: float, distance_s: float) -> bool:
        is_used_up = now < self._last_recheck + distance_s / _RECHECK_SHARE
        return is_used_up or self._waiting[0] != entry
