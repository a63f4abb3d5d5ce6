"""Limits inquiries to the rate that a rail allows, over all processes together."""

from collections.abc import Callable
from enum import Enum
from typing import Protocol, runtime_checkable

from synccash.payments.rail import InquiryPriority
from synccash.rails.fair_turns import FairTurns, Waiting


class Clock(Protocol):
    """Monotonic time, and waiting. Seconds."""

    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class Turn(Enum):
    """The result of waiting for a turn."""

    GRANTED = "granted"
    TOO_LATE = "status_cap"
    """The turn would come after the caller's time-out, or too many of its merchant wait; no turn is used."""
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
# A caller that waits holds a slot of the worker. So few of one merchant's wait that others find free slots,
# and enough that no turn stays unused while those that were sent away come back.
_OWN_WAIT_S = 1.0
_OWN_LEAST = 8
_AGAIN_MAX_S = 60.0


def one_process() -> int:
    """Return 1: only this process inquires."""
    return 1


class Pacer:
    """Hands out turns at even distances, in the order of `FairTurns`: merchants in rounds.

    `per_s` is the rate of the whole account; `processes` tells how many processes inquire now, this one among
    them, and each takes its share of the rate. Rechecks after the end take at most a fifth of that share, and
    never a turn that another inquiry waits for.

    Of one merchant, as many callers wait as turns fit into a second, and at least 8. `again_in_s` tells the
    others when to come back.
    """

    def __init__(self, per_s: float, clock: Clock, processes: Callable[[], int] = one_process) -> None:
        self._alone_s = _SLACK / per_s
        self._clock = clock
        self._processes = processes
        self._last = float("-inf")
        self._last_recheck = float("-inf")
        self._turns = FairTurns()
        self._booked_until: dict[str, float] = {}
        self.shed = 0

    @property
    def _distance_s(self) -> float:
        return self._alone_s * max(1, self._processes())

    async def turn(
        self,
        *,
        timeout_s: float,
        priority: InquiryPriority = InquiryPriority.SCHEDULED,
        merchant_id: str = "",
        since: float = 0.0,
    ) -> Turn:
        """Wait for a turn, at most `timeout_s`. Returns TOO_LATE at once when no turn fits.

        `since` ranks the callers of one merchant: the earliest goes first. Inquiries of higher priority and
        of other merchants may overtake a waiting caller, which may then be too late.
        """
        came_at = self._clock.monotonic()
        caller = self._turns.join(merchant_id, priority, since)
        turn: Turn | None = None
        try:
            turn = await self._wait(caller, came_at, came_at + timeout_s)
            return turn
        finally:
            if turn is not Turn.GRANTED:
                self._turns.leave(caller)

    def again_in_s(self, merchant_id: str) -> float:
        """Return after how many seconds a caller that was too late should come again.

        Each call books the merchant's next turn, so those that were sent away do not come back all together,
        and the work of sending them away again is bounded.
        """
        now = self._clock.monotonic()
        distance_s = self._distance_s * (1 + self._turns.merchants_beside(merchant_id))
        # Those that wait now use the turns of half a second at least.
        free_from = max(now + _OWN_WAIT_S / 2, self._booked_until.get(merchant_id, now))
        booked = min(free_from + distance_s, now + _AGAIN_MAX_S)
        self._booked_until = {name: until for name, until in self._booked_until.items() if until > now}
        self._booked_until[merchant_id] = booked
        return booked - now

    async def _wait(self, caller: Waiting, came_at: float, ends_at: float) -> Turn:
        is_recheck = caller.priority is InquiryPriority.AFTER_END
        while True:
            now, distance_s = self._clock.monotonic(), self._distance_s
            # Every waiter sleeps until its turn as computed now, or for a while, and computes it again.
            place = self._turns.place(caller)
            if is_recheck and (place > 0 or now < self._last_recheck + distance_s / _RECHECK_SHARE):
                self.shed += 1
                return Turn.SHED
            own = max(came_at, self._last + distance_s, now - _CATCH_UP_S)
            moment = own + place * distance_s
            own_most = max(_OWN_LEAST, _OWN_WAIT_S / distance_s)
            if moment > ends_at or self._turns.ahead_of_own(caller) >= own_most:
                return Turn.TOO_LATE
            if place == 0 and moment <= now:
                self._last = own
                if is_recheck:
                    self._last_recheck = now
                self._turns.serve(caller)
                return Turn.GRANTED
            await self._clock.sleep(min(max(moment - now, _YIELD_S), _RECHECK_AFTER_S))
