"""Bulkhead: limits concurrent calls, so that a slow dependency cannot use up all connections and threads."""

import asyncio
import threading
from collections import deque
from dataclasses import dataclass

from synccash.resilience._core.numbers import require_int, require_number
from synccash.resilience.errors import BulkheadFullError


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulkhead:
    """`limit` slots for concurrent calls; `queue` more calls wait up to `wait_s` seconds (None: no limit)."""

    limit: int
    queue: int = 0
    wait_s: float | None = None

    def __post_init__(self) -> None:
        require_int(limit=self.limit, queue=self.queue)
        require_number(wait_s=self.wait_s)
        if self.limit < 1 or self.queue < 0 or (self.wait_s is not None and self.wait_s < 0):
            raise ValueError("expected limit >= 1, queue >= 0 and wait_s >= 0")


class AsyncBulkhead:
    """The slots of a bulkhead on one event loop. Waiting calls get slots in the order in which they came."""

    __slots__ = ("_name", "_settings", "_waiters", "in_use")

    def __init__(self, name: str, settings: Bulkhead) -> None:
        self._name = name
        self._settings = settings
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.in_use = 0

    async def acquire(self, timeout_s: float | None) -> None:
        """Acquire a slot, waiting at most `timeout_s` seconds. Raises BulkheadFullError."""
        settings = self._settings
        if self.in_use < settings.limit and not self._waiters:
            self.in_use += 1
            return
        if len(self._waiters) >= settings.queue:
            raise BulkheadFullError(self._name, settings.limit, len(self._waiters))
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        limits = [limit for limit in (settings.wait_s, timeout_s) if limit is not None]
        try:
            async with asyncio.timeout(min(limits, default=None)):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                # The slot was assigned in the same iteration of the event loop: give it to the next call.
                self.release()
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            if isinstance(error, TimeoutError):
                raise BulkheadFullError(self._name, settings.limit, len(self._waiters)) from None
            raise

    def release(self) -> None:
        """Release a slot. The call that has waited longest gets it."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.in_use -= 1


class ThreadBulkhead:
    """The slots of a bulkhead for threads."""

    __slots__ = ("_condition", "_name", "_settings", "_waiting", "in_use")

    def __init__(self, name: str, settings: Bulkhead) -> None:
        self._name = name
        self._settings = settings
        self._condition = threading.Condition()
        self._waiting = 0
        self.in_use = 0

    def acquire(self, timeout_s: float | None) -> None:
        """Acquire a slot, waiting at most `timeout_s` seconds. Raises BulkheadFullError."""
        settings = self._settings
        limits = [limit for limit in (settings.wait_s, timeout_s) if limit is not None]
        with self._condition:
            if self.in_use >= settings.limit or self._waiting:
                if self._waiting >= settings.queue:
                    raise BulkheadFullError(self._name, settings.limit, self._waiting)
                self._waiting += 1
                try:
                    free = self._condition.wait_for(
                        lambda: self.in_use < settings.limit, min(limits, default=None)
                    )
                finally:
                    self._waiting -= 1
                if not free:
                    raise BulkheadFullError(self._name, settings.limit, self._waiting)
            self.in_use += 1

    def release(self) -> None:
        """Release a slot."""
        with self._condition:
            self.in_use -= 1
            self._condition.notify()
