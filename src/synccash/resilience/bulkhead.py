"""Bulkhead: limits concurrent calls, so that a slow dependency cannot use up all connections and threads."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
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


class _Waiter:
    """One call in the queue. `wake` is called without a lock when it has got a slot."""

    __slots__ = ("has_slot", "wake")

    def __init__(self, wake: Callable[[], object]) -> None:
        self.wake = wake
        self.has_slot = False


class LiveBulkhead:
    """The slots of one bulkhead, for the tasks of any event loops and for threads together.

    Waiting calls get slots in the order in which they came, wherever they run.
    """

    __slots__ = ("_lock", "_name", "_waiters", "in_use", "settings")

    def __init__(self, name: str, settings: Bulkhead) -> None:
        self._name = name
        self.settings = settings
        # An RLock: the garbage collector may close a waiting coroutine while this thread holds it.
        self._lock = threading.RLock()
        self._waiters: deque[_Waiter] = deque()
        self.in_use = 0

    async def acquire(self, timeout_s: float | None) -> None:
        """Acquire a slot, waiting at most `timeout_s` seconds. Raises BulkheadFullError."""
        if self._try_acquire():
            return
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        waiter = self._enqueue(lambda: loop.call_soon_threadsafe(wake))
        if waiter is None:
            return
        try:
            async with asyncio.timeout(self._wait_s(timeout_s)):
                await woken
        except BaseException as error:
            self._leave_queue(waiter)
            if isinstance(error, TimeoutError):
                raise self._full() from None
            raise

    def acquire_sync(self, timeout_s: float | None) -> None:
        """Acquire a slot in a thread, waiting at most `timeout_s` seconds. Raises BulkheadFullError."""
        if self._try_acquire():
            return
        woken = threading.Event()
        waiter = self._enqueue(woken.set)
        if waiter is None:
            return
        try:
            if woken.wait(self._wait_s(timeout_s)):
                return
        except BaseException:
            self._leave_queue(waiter)
            raise
        self._leave_queue(waiter)
        raise self._full()

    def release(self) -> None:
        """Release a slot. The call that has waited longest gets it."""
        while True:
            with self._lock:
                if not self._waiters:
                    self.in_use -= 1
                    return
                waiter = self._waiters.popleft()
                waiter.has_slot = True
            try:
                waiter.wake()
            except RuntimeError:
                # The event loop of the waiting call is closed: the slot goes to the next one.
                waiter.has_slot = False
                continue
            return

    def _try_acquire(self) -> bool:
        with self._lock:
            if self.in_use < self.settings.limit and not self._waiters:
                self.in_use += 1
                return True
            return False

    def _enqueue(self, wake: Callable[[], object]) -> _Waiter | None:
        """Return an entry of the queue; None if a slot became free meanwhile. Raises BulkheadFullError."""
        with self._lock:
            if self.in_use < self.settings.limit and not self._waiters:
                self.in_use += 1
                return None
            if len(self._waiters) < self.settings.queue:
                waiter = _Waiter(wake)
                self._waiters.append(waiter)
                return waiter
        raise self._full()

    def _leave_queue(self, waiter: _Waiter) -> None:
        """Give up waiting. A slot that was assigned at the same moment goes to the next call."""
        with self._lock:
            if not waiter.has_slot:
                with suppress(ValueError):
                    self._waiters.remove(waiter)
                return
        self.release()

    def _wait_s(self, timeout_s: float | None) -> float | None:
        return min((s for s in (self.settings.wait_s, timeout_s) if s is not None), default=None)

    def _full(self) -> BulkheadFullError:
        return BulkheadFullError(self._name, self.settings.limit, len(self._waiters))


class AsyncBulkhead(LiveBulkhead):
    """Earlier name of LiveBulkhead."""

    __slots__ = ()


class ThreadBulkhead:
    """The slots of a bulkhead for threads. Earlier name of LiveBulkhead, whose method is `acquire_sync`."""

    __slots__ = ("_slots", "acquire", "release")

    def __init__(self, name: str, settings: Bulkhead) -> None:
        self._slots = LiveBulkhead(name, settings)
        self.acquire = self._slots.acquire_sync
        self.release = self._slots.release

    @property
    def in_use(self) -> int:
        """Slots in use."""
        return self._slots.in_use
