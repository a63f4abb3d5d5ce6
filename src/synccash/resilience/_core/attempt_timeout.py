"""Interrupts calls that take too long, for a fraction of what `asyncio.timeout` costs each.

The calls of one policy have one and the same limit, so whoever began first is over first: one timer of the
event loop watches them all, and a call that ends in time only strikes its name off the list.
"""

import asyncio
from time import monotonic
from types import TracebackType

from synccash.resilience.errors import AttemptTimeoutError


class Watch:
    """Live: the limit of one policy, and the list of what runs under it."""

    __slots__ = ("_limit_s", "_list", "_name")

    def __init__(self, name: str, limit_s: float) -> None:
        self._name = name
        self._limit_s = limit_s
        self._list: _List | None = None

    def scope(self) -> "Scope":
        """For one `with` block in a task. What it holds is cancelled after the limit; nothing else is.

        Then it raises AttemptTimeoutError, unless the task was cancelled from elsewhere as well: who asks for
        that is to see a cancellation, as with `asyncio.timeout`.
        """
        loop = asyncio.get_running_loop()
        names = self._list
        if names is None or names.loop is not loop:
            names = self._list = _List(loop, self._limit_s)
        return Scope(self._name, names)


class Scope:
    """One block under a watch."""

    __slots__ = ("_cancelling", "_list", "_name", "_overdue", "_task")

    def __init__(self, name: str, names: "_List") -> None:
        self._name = name
        self._list = names

    def __enter__(self) -> None:
        names = self._list
        task = asyncio.current_task(names.loop)
        if task is None:
            raise RuntimeError(f"{self._name}: a time-out can only interrupt a task; use asyncio.create_task")
        self._task = task
        self._cancelling = task.cancelling()
        self._overdue = False
        names.running[self] = monotonic() + names.limit_s
        if not names.armed:
            names.arm(names.limit_s)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._overdue:
            del self._list.running[self]
        elif self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise AttemptTimeoutError(self._name, self._list.limit_s) from error

    def interrupt(self) -> None:
        """Its time is over."""
        self._overdue = True
        self._task.cancel()


class _List:
    """What runs in one event loop, by when it has to be done. The first to be late stands first."""

    __slots__ = ("armed", "limit_s", "loop", "running")

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
        self.loop = loop
        self.limit_s = limit_s
        self.running: dict[Scope, float] = {}
        self.armed = False

    def arm(self, seconds: float) -> None:
        self.armed = True
        self.loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        self.armed = False
        now = monotonic()
        for scope, due in list(self.running.items()):
            if due > now:
                self.arm(due - now)
                return
            del self.running[scope]
            scope.interrupt()
