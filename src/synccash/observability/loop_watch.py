"""Measures the lag of the event loop, and logs what blocked it and for which route.

A block is what a synchronous stretch of code does to all other requests of the process: while it runs, no
payment goes on. A thread beside the loop sees a block while it lasts, so it can tell which code is running.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric

from synccash.api.request_context import InFlight

log = structlog.get_logger("synccash.loop")

BLOCKED_FROM_S = 0.25
_TICK_S = 0.1
_WINDOW_S = 60.0
_STACK_FRAMES = 8
_ROUTES_MAX = 5


@dataclass(frozen=True, slots=True)
class _Sample:
    """What the loop's thread did while it was blocked."""

    route: str | None
    routes_in_flight: list[str]
    stack: list[str]


@dataclass(slots=True, eq=False)
class LoopWatch:
    """Live: one per process, of the loop that `start` is called in.

    `in_flight` has the requests that are being served. A timer on the loop ticks every 0.1 s; how late it is,
    is the lag. When a tick is more than 0.25 s late, a thread samples the
    frames of the loop's thread. Costs two short wake-ups in 0.1 s and nothing for a request. The timer starts
    the thread again if it has ended.
    """

    in_flight: InFlight = field(default_factory=InFlight)
    monotonic: Callable[[], float] = time.monotonic
    _thread_id: int = 0
    _due: float = 0.0
    _sample: _Sample | None = None
    _window_began: float = 0.0
    _max_s: float = 0.0
    _max_before_s: float = 0.0
    _timer: asyncio.TimerHandle | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch the running loop."""
        self.begin()
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._on_timer)
        self._start_thread()

    def close(self) -> None:
        """Stop the timer and the thread."""
        self._stopping.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.join()

    def begin(self) -> None:
        """Take the calling thread for the loop's, and expect its next tick; forget what blocked it before."""
        self._thread_id = threading.get_ident()
        self._window_began = now = self.monotonic()
        self._due = now + _TICK_S

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name="loop watch", daemon=True)
        self._thread.start()

    def _on_timer(self) -> None:
        try:
            self.tick()
            if self._thread is not None and not self._thread.is_alive() and not self._stopping.is_set():
                log.error("loop_watch_restarted")
                self._start_thread()
        except Exception:
            log.exception("loop_watch_failed")
        finally:
            self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._on_timer)

    def tick(self) -> None:
        """Note that the loop runs, and log the block that has just ended."""
        now = self.monotonic()
        lag_s, sample = max(0.0, now - self._due), self._sample
        self._due, self._sample = now + _TICK_S, None
        self._turn_window(now)
        self._max_s = max(self._max_s, lag_s)
        if lag_s >= BLOCKED_FROM_S:
            found = sample or _Sample(None, self._routes(), [])
            log.warning(
                "loop_blocked",
                blocked_ms=round(lag_s * 1000),
                route=found.route,
                routes_in_flight=found.routes_in_flight,
                stack="\n".join(found.stack),
            )

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_S):
            try:
                self.check()
            except Exception:
                self._sample = _Sample(None, [], [])  # one line for each block, not ten in a second
                log.exception("loop_watch_failed")

    def check(self) -> None:
        """Sample the loop's thread if its tick is late. Called by another thread than the loop's."""
        if self._sample is not None or self.monotonic() - self._due < BLOCKED_FROM_S:
            return
        # The frames go on while they are read: what is read may be a few calls old, and is only logged.
        frame = sys._current_frames().get(self._thread_id)  # pyright: ignore[reportPrivateUsage]
        route, stack = None, list[str]()
        while frame is not None:
            if len(stack) < _STACK_FRAMES:
                stack.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
            if route is None:
                route = self._route_in(frame)
            frame = frame.f_back
        self._sample = _Sample(route, self._routes(), stack)

    def _route_in(self, frame: FrameType) -> str | None:
        """Return the route of the ASGI scope that the frame works on, if it has one."""
        if "scope" not in frame.f_code.co_varnames:
            return None
        scope = frame.f_locals.get("scope")
        return self.in_flight.name(scope) if isinstance(scope, dict) else None  # pyright: ignore[reportUnknownArgumentType]

    def _routes(self) -> list[str]:
        return self.in_flight.names()[:_ROUTES_MAX]

    def _turn_window(self, now: float) -> None:
        passed_s = now - self._window_began
        if passed_s >= _WINDOW_S:
            self._max_before_s = self._max_s if passed_s < 2 * _WINDOW_S else 0.0
            self._max_s, self._window_began = 0.0, now

    def collect(self) -> Iterator[Metric]:
        """Return `synccash_loop_lag_seconds`, as a Prometheus collector."""
        yield GaugeMetricFamily(
            "synccash_loop_lag_seconds",
            "The longest delay of the event loop in the last one to two minutes",
            value=max(self._max_s, self._max_before_s),
        )
