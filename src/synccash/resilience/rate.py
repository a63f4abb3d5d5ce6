"""Rate: how many calls may start in a time. Calls above it wait for their turn, first come, first served.

>>> gate = RateGate("rates", Rate("10/s", burst=5))
>>> await gate.acquire()      # in asyncio
>>> gate.acquire_sync()       # in a thread; both share one queue
"""

import asyncio
import re
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from synccash.resilience._core.deadline_cell import Clock
from synccash.resilience._core.live_parts import adopt_state
from synccash.resilience._core.numbers import require_int, require_number
from synccash.resilience.errors import RateExceededError
from synccash.resilience.ports import SharedRate

_SPEC = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?/ ?(\d{0,9}) ?([a-z]+)")
_UNITS = {
    1.0: ("s", "sec", "second", "seconds"),
    60.0: ("m", "min", "minute", "minutes"),
    3_600.0: ("h", "hour", "hours"),
    86_400.0: ("d", "day", "days"),
}
_UNIT_S = {name: seconds for seconds, names in _UNITS.items() for name in names}
# Below the resolution of a clock that has run for years; without it a rounded wait of nearly 0 never ends.
_RESOLUTION_S = 1e-6


@dataclass(frozen=True, slots=True)
class Rate:
    """`Rate("10/s", burst=5)`: 10 calls a second, evenly spaced; after a pause 5 may start at once.

    `spec`: calls / time, such as "10/s", "100/min", "5000/hour", "1/2s". `queue`: calls that may wait at the
    same time. `wait_s`: the longest wait in seconds; None: as long as the deadline allows. A call whose turn
    would come too late is refused at once. Raises ValueError or TypeError for invalid arguments.
    """

    spec: str
    burst: int = field(default=1, kw_only=True)
    queue: int = field(default=1_000, kw_only=True)
    wait_s: float | None = field(default=None, kw_only=True)
    interval_s: float = field(init=False, repr=False, compare=False)
    """Seconds between two calls."""

    def __post_init__(self) -> None:
        require_int(burst=self.burst, queue=self.queue)
        require_number(wait_s=self.wait_s)
        if self.burst < 1 or self.queue < 0 or (self.wait_s is not None and self.wait_s < 0):
            raise ValueError("expected burst >= 1, queue >= 0 and wait_s >= 0")
        object.__setattr__(self, "interval_s", _parse(self.spec))


def _parse(spec: object) -> float:
    if not isinstance(spec, str):
        raise TypeError(f"a rate is a text such as '10/s', not {spec!r}")
    found = _SPEC.fullmatch(spec.strip().lower())
    if found is None or found[3] not in _UNIT_S:
        raise ValueError(
            f"a rate is calls / time with a unit of s, min, h or d, such as '10/s', not {spec!r}"
        )
    calls, period_s = float(found[1]), float(found[2] or 1) * _UNIT_S[found[3]]
    if not calls or not period_s:
        raise ValueError(f"a rate needs calls and a time above 0, not {spec!r}")
    return period_s / calls


class _Waiter(Protocol):
    def wake(self) -> bool:
        """Say that it is the first of the queue now. False: it can't come any more."""
        ...


class _Task:
    """A waiting call in an event loop."""

    __slots__ = ("_loop", "turn")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.turn: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop was closed without cancelling its tasks
            return False
        return True

    def _wake(self) -> None:
        if not self.turn.done():
            self.turn.set_result(None)


class _Thread:
    """A waiting call in a thread."""

    __slots__ = ("turn",)

    def __init__(self) -> None:
        self.turn = threading.Event()

    def wake(self) -> bool:
        self.turn.set()
        return True


class RateGate:
    """Lets calls through at a rate, from any number of threads and event loops of one process.

    The first call of the queue waits for the time of the next turn, every other one for the call before it.
    So the order is that of arrival, and a cancelled call costs no turn. `shared`: the store in which several
    processes count together. Between processes there is no order; while the store is away each process has
    the whole rate. With a shared rate only asyncio can wait.
    """

    __slots__ = ("_clock", "_full_at", "_lock", "_shared", "_waiting", "name", "rate")

    def __init__(
        self,
        name: str,
        rate: Rate,
        *,
        shared: SharedRate | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.rate = rate
        self._shared = shared
        self._clock = clock
        self._full_at = -inf
        # An RLock: the garbage collector may close a waiting coroutine while this thread holds it.
        self._lock = threading.RLock()
        self._waiting: deque[_Waiter] = deque()

    def __repr__(self) -> str:
        return f"RateGate({self.name!r}, {self.rate}, waiting={self.waiting})"

    @property
    def waiting(self) -> int:
        """Number of calls that wait for their turn."""
        return len(self._waiting)

    async def acquire(
        self,
        timeout_s: float | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Wait for a turn, at most `timeout_s` seconds. Raises RateExceededError, then no turn is used."""
        shared = self._shared
        with self._lock:
            now = self._clock()
            ends_at = self._latest_end(now, timeout_s)
            if shared is None and not self._waiting and self._take(now) <= 0:
                return
            self._check_turn(now, ends_at)
            waiter = _Task()
            is_first = not self._waiting
            self._waiting.append(waiter)
        try:
            if not is_first:
                await self._reach_front(waiter, ends_at)
            while (wait_s := await self._next_wait(ends_at)) > 0:
                await sleep(wait_s)
        finally:
            self._leave(waiter)

    def acquire_sync(
        self, timeout_s: float | None = None, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Like `acquire`, for a thread. Raises TypeError for a shared rate."""
        if self._shared is not None:
            raise TypeError(f"{self.name}: only asyncio can wait for a shared rate: use `await acquire()`")
        with self._lock:
            now = self._clock()
            ends_at = self._latest_end(now, timeout_s)
            if not self._waiting and self._take(now) <= 0:
                return
            self._check_turn(now, ends_at)
            waiter = _Thread()
            is_first = not self._waiting
            self._waiting.append(waiter)
        try:
            if not is_first and not waiter.turn.wait(None if ends_at == inf else ends_at - now):
                raise RateExceededError(self.name, self.rate.interval_s, len(self._waiting) - 1)
            while (wait_s := self._next_local_wait(ends_at)) > 0:
                sleep(wait_s)
        finally:
            self._leave(waiter)

    def forget(self, clock: Clock | None = None) -> Callable[[], None]:
        """Have the state of a rate that no call has used, and `clock` if given, until the returned function
        is called. For `synccash.resilience.testing.fresh`."""
        new = RateGate(self.name, self.rate, shared=self._shared, clock=clock or self._clock)
        return adopt_state(self, new, ("_clock", "_full_at"), self._lock)

    async def _reach_front(self, waiter: _Task, ends_at: float) -> None:
        limit_s = None if ends_at == inf else ends_at - self._clock()
        try:
            async with asyncio.timeout(limit_s):
                await waiter.turn
        except TimeoutError:
            # Calls before this one waited longer than their turns took, in a loop or thread that hangs.
            raise RateExceededError(self.name, self.rate.interval_s, len(self._waiting) - 1) from None

    def _latest_end(self, now: float, timeout_s: float | None) -> float:
        limits = [limit for limit in (timeout_s, self.rate.wait_s) if limit is not None]
        return now + min(limits, default=inf)

    def _check_turn(self, now: float, ends_at: float) -> None:
        """Raise RateExceededError if the queue is full or the turn of a new call comes after `ends_at`."""
        turn_at = max(now, self._next_at()) + len(self._waiting) * self.rate.interval_s
        # Whoever asks the store has a place of its own: it may get its turn at once.
        places = self.rate.queue + (self._shared is not None)
        if len(self._waiting) >= places or turn_at > ends_at:
            raise RateExceededError(self.name, turn_at - now, len(self._waiting))

    def _next_at(self) -> float:
        return self._full_at - (self.rate.burst - 1) * self.rate.interval_s

    def _take(self, now: float) -> float:
        """Take a turn and return 0, or return the seconds until the next one. The lock is held."""
        wait_s = self._next_at() - now
        if wait_s > _RESOLUTION_S:
            return wait_s
        self._full_at = max(self._full_at, now) + self.rate.interval_s
        return 0.0

    def _next_local_wait(self, ends_at: float) -> float:
        with self._lock:
            now = self._clock()
            wait_s = self._take(now)
            self._check_end(now, wait_s, ends_at)
        return wait_s

    async def _next_wait(self, ends_at: float) -> float:
        if self._shared is None:
            return self._next_local_wait(ends_at)
        wait_s = await self._shared.take(self.name, self.rate.interval_s, self.rate.burst)
        if wait_s is None:
            return self._next_local_wait(ends_at)
        with self._lock:
            now = self._clock()
            if wait_s > 0:
                self._check_end(now, wait_s, ends_at)
            else:
                # What the store grants counts here too, so that this process can go on alone.
                self._full_at = max(self._full_at, now) + self.rate.interval_s
        return wait_s

    def _check_end(self, now: float, wait_s: float, ends_at: float) -> None:
        if now + wait_s > ends_at:
            raise RateExceededError(self.name, wait_s, len(self._waiting) - 1)

    def _leave(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter not in self._waiting:  # its loop was closed, and the call before it has removed it
                return
            was_first = self._waiting[0] is waiter
            self._waiting.remove(waiter)
            while was_first and self._waiting and not self._waiting[0].wake():
                self._waiting.popleft()
