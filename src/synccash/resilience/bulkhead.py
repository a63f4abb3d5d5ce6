"""So many calls at once and no more: a slow far side must not take every connection and thread of ours."""

import asyncio
import threading
from collections import deque
from dataclasses import dataclass

from synccash.resilience._core.numbers import number, whole
from synccash.resilience.errors import BulkheadFullError


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulkhead:
    """`limit` calls at once; `queue` more wait their turn, for `wait_s` seconds at most (None: no limit)."""

    limit: int
    queue: int = 0
    wait_s: float | None = None

    def __post_init__(self) -> None:
        whole(limit=self.limit, queue=self.queue)
        number(wait_s=self.wait_s)
        if self.limit < 1 or self.queue < 0 or (self.wait_s is not None and self.wait_s < 0):
            raise ValueError("expected limit >= 1, queue >= 0 and wait_s >= 0")


class AsyncBulkhead:
    """Live: the places of one event loop. First come, first served."""

    __slots__ = ("_name", "_settings", "_waiting", "busy")

    def __init__(self, name: str, settings: Bulkhead) -> None:
        self._name = name
        self._settings = settings
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.busy = 0

    async def acquire(self, within_s: float | None) -> None:
        """Take a place. Raises BulkheadFullError."""
        settings = self._settings
        if self.busy < settings.limit and not self._waiting:
            self.busy += 1
            return
        if len(self._waiting) >= settings.queue:
            raise BulkheadFullError(self._name, settings.limit, len(self._waiting))
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        limits = [limit for limit in (settings.wait_s, within_s) if limit is not None]
        try:
            async with asyncio.timeout(min(limits, default=None)):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # The place was handed over in the same turn of the loop: pass it on.
                self.release()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise BulkheadFullError(self._name, settings.limit, len(self._waiting)) from None
            raise

    def release(self) -> None:
        """Give the place to who waits longest, or back."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.busy -= 1


class ThreadBulkhead:
    """Live: the same for threads."""

    __slots__ = ("_changed", "_name", "_queued", "_settings", "busy")

    def __init__(self, name: str, settings: Bulkhead) -> None:
        self._name = name
        self._settings = settings
        self._changed = threading.Condition()
        self._queued = 0
        self.busy = 0

    def acquire(self, within_s: float | None) -> None:
        """Take a place. Raises BulkheadFullError."""
        settings = self._settings
        limits = [limit for limit in (settings.wait_s, within_s) if limit is not None]
        with self._changed:
            if self.busy >= settings.limit or self._queued:
                if self._queued >= settings.queue:
                    raise BulkheadFullError(self._name, settings.limit, self._queued)
                self._queued += 1
                try:
                    free = self._changed.wait_for(
                        lambda: self.busy < settings.limit, min(limits, default=None)
                    )
                finally:
                    self._queued -= 1
                if not free:
                    raise BulkheadFullError(self._name, settings.limit, self._queued)
            self.busy += 1

    def release(self) -> None:
        """Give the place back."""
        with self._changed:
            self.busy -= 1
            self._changed.notify()
