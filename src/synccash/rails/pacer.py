"""Keeps calls to a rail under a rate that the rail has set."""

from typing import Protocol


class Clock(Protocol):
    """Monotonic time, and waiting. Seconds."""

    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


# The far side counts when calls arrive: a little slack keeps an uneven way from making one second too full.
_SLACK = 1.05


class Pacer:
    """Live: hands out turns, first come first served, at even distances. It paces one process."""

    def __init__(self, per_s: float, clock: Clock) -> None:
        self._distance_s = _SLACK / per_s
        self._clock = clock
        self._next = float("-inf")

    async def turn(self, *, timeout_s: float) -> bool:
        """Wait for a turn. False, at once, where it would come later than `timeout_s`; none is used up."""
        now = self._clock.monotonic()
        turn = max(now, self._next)
        if turn - now > timeout_s:
            return False
        self._next = turn + self._distance_s
        if turn > now:
            await self._clock.sleep(turn - now)
        return True
