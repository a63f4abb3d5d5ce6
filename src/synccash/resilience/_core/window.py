"""The sliding windows over which a breaker computes its failure rate and slow-call rate.

A window stores failed and slow calls only. Each call has a number, the count of all calls so far, from which
the window derives how many calls it covers. So a fast success costs a window nothing, and a breaker creates
its window with the first failed or slow call.
"""

from collections import deque
from math import inf
from typing import Protocol

FAILED, SLOW = 1, 2


class Window(Protocol):
    """A window over the last calls. `call_number`: the number of calls so far, including this one."""

    def add(self, call_number: int, now: float, flags: int) -> None:
        """Add a failed or slow call. `flags`: FAILED, SLOW, or both."""
        ...

    def counts(self, call_number: int, now: float) -> tuple[int, int, int]:
        """Return the number of calls in the window, of failed ones and of slow ones."""
        ...

    def advance(self, call_number: int, now: float) -> float:
        """Move the window to `now`. Returns the time from which the next call must advance it again."""
        ...


class CountWindow:
    """A window over the last `size` calls, of those after call number `base`."""

    __slots__ = ("_bad", "_base", "_failed", "_size", "_slow")

    def __init__(self, size: int, base: int) -> None:
        self._size = size
        self._base = base
        self._bad: deque[tuple[int, int]] = deque()
        self._failed = 0
        self._slow = 0

    def add(self, call_number: int, now: float, flags: int) -> None:  # noqa: ARG002 - counts, not time
        """Add a failed or slow call."""
        self._bad.append((call_number, flags))
        self._failed += flags & FAILED
        self._slow += flags >> 1
        self._remove_expired(call_number)

    def counts(self, call_number: int, now: float) -> tuple[int, int, int]:  # noqa: ARG002
        """Return the number of calls, of failed ones and of slow ones."""
        self._remove_expired(call_number)
        return min(call_number - self._base, self._size), self._failed, self._slow

    def advance(self, call_number: int, now: float) -> float:  # noqa: ARG002
        """Return infinity: this window does not depend on time."""
        return inf

    def _remove_expired(self, call_number: int) -> None:
        bad, last = self._bad, call_number - self._size
        while bad and bad[0][0] <= last:
            flags = bad.popleft()[1]
            self._failed -= flags & FAILED
            self._slow -= flags >> 1


class TimeWindow:
    """A window over the last `seconds`, in ten steps: it covers between nine tenths and all of that time."""

    STEPS = 10
    __slots__ = ("_bad", "_failed", "_slow", "_step_s", "_steps")

    def __init__(self, seconds: float) -> None:
        self._step_s = seconds / self.STEPS
        self._steps: deque[tuple[int, int]] = deque()
        self._bad: deque[tuple[int, int]] = deque()
        self._failed = 0
        self._slow = 0

    def add(self, call_number: int, now: float, flags: int) -> None:
        """Add a failed or slow call."""
        self.advance(call_number - 1, now)
        self._bad.append((int(now // self._step_s), flags))
        self._failed += flags & FAILED
        self._slow += flags >> 1

    def counts(self, call_number: int, now: float) -> tuple[int, int, int]:
        """Return the number of calls, of failed ones and of slow ones."""
        self.advance(call_number, now)
        return call_number - self._steps[0][1], self._failed, self._slow

    def advance(self, call_number: int, now: float) -> float:
        """Start a new step if one is due: the calls after `call_number` belong to it."""
        step = int(now // self._step_s)
        steps, bad, last = self._steps, self._bad, step - self.STEPS
        if not steps or steps[-1][0] < step:
            steps.append((step, call_number))
        while steps[0][0] <= last:
            steps.popleft()
        while bad and bad[0][0] <= last:
            flags = bad.popleft()[1]
            self._failed -= flags & FAILED
            self._slow -= flags >> 1
        return (step + 1) * self._step_s
