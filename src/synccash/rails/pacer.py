"""Keeps inquiries to a rail under the rate that the rail has set, over all processes together."""

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
    """What became of a wish to inquire."""

    GRANTED = "granted"
    TOO_LATE = "status_cap"
    """The turn would come after the caller's time is over; none is used up."""
    SHED = "shed"
    """A look back: its share is used up, or others wait."""


@runtime_checkable
class Paced(Protocol):
    """A connector that keeps its inquiries under a rate."""

    @property
    def inquiries_shed(self) -> int:
        """How many looks back were given up since the start."""
        ...


# The far side counts when calls arrive: a little slack keeps an uneven way from making one second too full.
_SLACK = 1.05
# Looks back get one turn in five.
_LOOK_BACK_SHARE = 0.2
# A turn comes earlier than it seemed when others give up, or when processes leave.
_LOOK_AGAIN_S = 1.0
_Waiting = tuple[InquiryPriority, int]


def alone() -> int:
    """One process inquires."""
    return 1


class Pacer:
    """Live: hands out turns at even distances: the lowest priority number first, then first come.

    `per_s` is the rate of the whole account; `processes` tells how many processes inquire now, this one among
    them, and each takes its share of the rate. Looks back take at most a fifth of that share, and never a
    turn that another inquiry waits for.
    """

    def __init__(self, per_s: float, clock: Clock, processes: Callable[[], int] = alone) -> None:
        self._alone_s = _SLACK / per_s
        self._clock = clock
        self._processes = processes
        self._last = float("-inf")
        self._last_look_back = float("-inf")
        self._numbers = itertools.count()
        self._waiting: list[_Waiting] = []
        self.shed = 0

    @property
    def _distance_s(self) -> float:
        return self._alone_s * max(1, self._processes())

    async def turn(self, *, timeout_s: float, priority: InquiryPriority = InquiryPriority.SCHEDULED) -> Turn:
        """Wait for a turn, at most `timeout_s`. What cannot have one in that time is told so at once.

        A caller who waits may be passed by others of a higher priority, and may then be too late after all.
        """
        ends_at = self._clock.monotonic() + timeout_s
        place = (priority, next(self._numbers))
        insort(self._waiting, place)
        try:
            return await self._wait(place, ends_at)
        finally:
            self._waiting.remove(place)

    async def _wait(self, place: _Waiting, ends_at: float) -> Turn:
        is_look_back = place[0] is InquiryPriority.AFTER_END
        while True:
            now, distance_s = self._clock.monotonic(), self._distance_s
            if is_look_back and self._is_shed(place, now, distance_s):
                self.shed += 1
                return Turn.SHED
            # Every waiter sleeps until its own turn as it stands now, or for a while, and looks again.
            moment = max(now, self._last + distance_s) + self._waiting.index(place) * distance_s
            if moment > ends_at:
                return Turn.TOO_LATE
            if moment <= now:
                self._last = now
                if is_look_back:
                    self._last_look_back = now
                return Turn.GRANTED
            await self._clock.sleep(min(moment - now, _LOOK_AGAIN_S))

    def _is_shed(self, place: _Waiting, now: float, distance_s: float) -> bool:
        is_used_up = now < self._last_look_back + distance_s / _LOOK_BACK_SHARE
        return is_used_up or self._waiting[0] != place
