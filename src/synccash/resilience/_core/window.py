"""What a breaker's rates look at. Good calls are only counted, by the breaker; a window keeps the bad ones.

A call is known by its number, which counts all calls of the breaker. So a good call costs a window nothing,
and a breaker that never saw trouble has no window at all.
"""

from collections import deque
from math import inf
from typing import Protocol

FAILED, SLOW = 1, 2


class Window(Protocol):
    """The last calls. `number`: how many calls there have been, this one included."""

    def land(self, number: int, now: float, kind: int) -> None:
        """Remember a bad call: FAILED, SLOW, or both."""
        ...

    def look(self, number: int, now: float) -> tuple[int, int, int]:
        """Return how many calls are in it, how many of them failed, how many were slow."""
        ...

    def mark(self, number: int, now: float) -> float:
        """Take note of the time; return when that has to be done again at the earliest call."""
        ...


class CountWindow:
    """The last `size` calls since number `base`."""

    __slots__ = ("_bad", "_base", "_failed", "_size", "_slow")

    def __init__(self, size: int, base: int) -> None:
        self._size = size
        self._base = base
        self._bad: deque[tuple[int, int]] = deque()
        self._failed = 0
        self._slow = 0

    def land(self, number: int, now: float, kind: int) -> None:  # noqa: ARG002 - counts, not time
        """Remember a bad call."""
        self._bad.append((number, kind))
        self._failed += kind & FAILED
        self._slow += kind >> 1
        self._forget(number)

    def look(self, number: int, now: float) -> tuple[int, int, int]:  # noqa: ARG002
        """Return calls, failed, slow."""
        self._forget(number)
        return min(number - self._base, self._size), self._failed, self._slow

    def mark(self, number: int, now: float) -> float:  # noqa: ARG002
        """Time means nothing here."""
        return inf

    def _forget(self, number: int) -> None:
        bad, last = self._bad, number - self._size
        while bad and bad[0][0] <= last:
            kind = bad.popleft()[1]
            self._failed -= kind & FAILED
            self._slow -= kind >> 1


class TimeWindow:
    """The calls of the last `seconds`, in ten steps: at least nine tenths of them, at most all."""

    STEPS = 10
    __slots__ = ("_bad", "_failed", "_marks", "_slow", "_step_s")

    def __init__(self, seconds: float) -> None:
        self._step_s = seconds / self.STEPS
        self._marks: deque[tuple[int, int]] = deque()
        self._bad: deque[tuple[int, int]] = deque()
        self._failed = 0
        self._slow = 0

    def land(self, number: int, now: float, kind: int) -> None:
        """Remember a bad call."""
        self.mark(number - 1, now)
        self._bad.append((int(now // self._step_s), kind))
        self._failed += kind & FAILED
        self._slow += kind >> 1

    def look(self, number: int, now: float) -> tuple[int, int, int]:
        """Return calls, failed, slow."""
        self.mark(number, now)
        return number - self._marks[0][1], self._failed, self._slow

    def mark(self, number: int, now: float) -> float:
        """Begin a new step where one is due: the calls after `number` belong to it."""
        step = int(now // self._step_s)
        marks, bad, last = self._marks, self._bad, step - self.STEPS
        if not marks or marks[-1][0] < step:
            marks.append((step, number))
        while marks[0][0] <= last:
            marks.popleft()
        while bad and bad[0][0] <= last:
            kind = bad.popleft()[1]
            self._failed -= kind & FAILED
            self._slow -= kind >> 1
        return (step + 1) * self._step_s
