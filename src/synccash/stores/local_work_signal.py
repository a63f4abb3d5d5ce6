"""A doorbell that rings in its own process alone."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary


@dataclass(slots=True)
class LocalWorkSignal:
    """Live: wakes the tasks of one event loop.

    Every ring wakes every task once: one that rings while a task is at work ends that task's next wait at
    once. Only a task's first wait hears nothing of what rang before.
    """

    _rings: int = 0
    _next: asyncio.Event = field(default_factory=asyncio.Event)
    _heard: WeakKeyDictionary[asyncio.Task[Any], int] = field(
        default_factory=WeakKeyDictionary[asyncio.Task[Any], int]
    )

    def ring(self) -> None:
        """Wake whoever waits. Never raises."""
        self._rings += 1
        rung, self._next = self._next, asyncio.Event()
        rung.set()

    async def wait(self, timeout_s: float) -> None:
        """Return at a ring, at the latest after `timeout_s` seconds."""
        task = asyncio.current_task()
        assert task is not None
        if self._heard.get(task, self._rings) == self._rings:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._next.wait()
        self._heard[task] = self._rings
