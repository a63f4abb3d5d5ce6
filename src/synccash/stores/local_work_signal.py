"""Wakes idle tasks within one process when there is new work."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary


@dataclass(slots=True)
class LocalWorkSignal:
    """Wakes the tasks of one event loop.

    Every signal wakes every task once: a signal while a task is busy ends that task's next wait at once. Only
    a task's first wait ignores earlier signals.
    """

    _notifications: int = 0
    _next: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: WeakKeyDictionary[asyncio.Task[Any], int] = field(
        default_factory=WeakKeyDictionary[asyncio.Task[Any], int]
    )

    def notify(self) -> None:
        """Wake all waiting tasks. Never raises."""
        self._notifications += 1
        current, self._next = self._next, asyncio.Event()
        current.set()

    async def wait(self, timeout_s: float) -> None:
        """Return at the next signal, at the latest after `timeout_s` seconds.

        Raises RuntimeError outside of a task.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("wait() must run in a task, because each task has its own signals")
        if self._seen.get(task, self._notifications) == self._notifications:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._next.wait()
        self._seen[task] = self._notifications
