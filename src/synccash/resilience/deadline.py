"""A deadline for a block of code and everything it calls, held in a context variable.

A deadline ends with its call or block, also in the tasks and threads that were started inside and outlive it.
"""

import time
from contextlib import suppress
from contextvars import Token
from types import TracebackType

from synccash.resilience._core.deadline_cell import (
    Clock,
    DeadlineCell,
    current_deadline,
    end_deadline,
    live_cell,
    on_clock,
    remaining_s,
)

__all__ = ["Clock", "deadline", "detached", "remaining"]


def remaining() -> float | None:
    """Return the seconds until the deadline in force, at least 0; None without a deadline."""
    left_s = remaining_s()
    return None if left_s is None else max(0.0, left_s)


class deadline:  # noqa: N801 - used like a function
    """Context manager that sets a deadline `seconds` from now; None sets none.

    Policies inside start no attempt after the deadline. Nested deadlines can only shorten the outer one. The
    deadline ends with the block, also for tasks that were started inside and still run. Raises RuntimeError
    if one object is used for two blocks at the same time.
    """

    __slots__ = ("_cell", "_clock", "_entered", "_outer", "_seconds", "_token")

    def __init__(self, seconds: float | None, *, clock: Clock = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._cell: DeadlineCell | None = None
        self._outer: DeadlineCell | None = None
        self._entered = False

    def __enter__(self) -> None:
        if self._entered:
            raise RuntimeError("this deadline is in use by another block: call deadline(…) for each block")
        self._entered = True
        if self._seconds is None:
            return
        now = self._clock()
        at = now + self._seconds
        outer = live_cell(current_deadline.get())
        outer_at = None if outer is None else on_clock(outer, self._clock, now)
        if outer_at is None or at < outer_at:
            self._cell, self._outer = [at, self._clock], outer
            self._token = current_deadline.set(self._cell)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False
        if self._cell is not None:
            end_deadline(self._cell, self._outer, self._token)
            self._cell = self._outer = None


class detached:  # noqa: N801 - used like a function
    """Context manager without a deadline inside: for background work that a call starts but that is not part
    of it. Tasks that are started in the block stay without a deadline. Raises RuntimeError if one
    object is used for two blocks at the same time.
    """

    __slots__ = ("_token",)

    def __init__(self) -> None:
        self._token: Token[DeadlineCell | None] | None = None

    def __enter__(self) -> None:
        if self._token is not None:
            raise RuntimeError("this block is in use by another task: call detached() for each block")
        self._token = current_deadline.set(None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        token, self._token = self._token, None
        # ValueError: a generator with this block is closed in another context, which has its own deadline.
        with suppress(ValueError):
            if token is not None:
                current_deadline.reset(token)
