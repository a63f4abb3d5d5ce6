"""A circuit breaker: after trouble it refuses calls for a while, then lets a few probes find out.

Decisions are made from integers and a clock, without waiting and without tasks. Every result names the era it
began in, so that what started before a change of state proves nothing after it.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from random import random as uniform
from typing import Literal

from synccash.resilience.errors import CircuitOpenError
from synccash.resilience.verdict import Outcome

_SOON_S = 1.0


class BreakerState(Enum):
    """Whether calls are let in."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When to open, and how to come back. Times in seconds, rates from 0 to 1; None switches a rule off.

    `failures`: so many in a row open it, whatever the window holds. `failure_rate` and `slow_rate` (calls of
    `slow_s` and more; a time-out is slow) look at the last `window` calls, once `min_calls` are in it.
    `open_s` grows by `open_growth` with every failed round up to `open_max_s`; chance adds up to a tenth.
    `probes` successes close it again; `probes_at_once` may run together; one that takes longer than
    `probe_hold_s` is given up. `mode`: "shadow" counts and reports but refuses nothing, "disabled" does
    nothing.
    """

    failures: int | None = 5
    failure_rate: float | None = None
    slow_rate: float | None = None
    slow_s: float = 5.0
    window: int = 100
    min_calls: int = 10
    open_s: float = 30.0
    open_growth: float = 2.0
    open_max_s: float = 300.0
    probes: int = 1
    probes_at_once: int = 1
    probe_hold_s: float = 30.0
    mode: Literal["normal", "shadow", "disabled"] = "normal"

    def __post_init__(self) -> None:
        for name in ("failure_rate", "slow_rate"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1")
        if self.failures is not None and self.failures < 1:
            raise ValueError("failures must be at least 1, or None")
        if not 1 <= self.min_calls <= self.window:
            raise ValueError("expected 1 <= min_calls <= window")
        if not 0 < self.open_s <= self.open_max_s or self.open_growth < 1:
            raise ValueError("expected 0 < open_s <= open_max_s, and open_growth of at least 1")
        if self.probes < 1 or not 1 <= self.probes_at_once <= self.probes:
            raise ValueError("expected 1 <= probes_at_once <= probes")


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a breaker has seen. Counts since its birth; `window_*` is what its rates look at."""

    successes: int
    failures: int
    ignored: int
    blocked: int
    in_a_row: int
    window_calls: int
    window_failures: int
    window_slow: int
    opened: int
    last_failure: str | None


Listener = Callable[["CircuitBreaker", BreakerState, BreakerState, str], None]


class CircuitBreaker:
    """Live and shared: the state of one far side. One event loop, or one thread at a time.

    `enter` asks for leave and returns a ticket; every ticket comes back through `leave` with its outcome, or
    through `drop` when the call proved nothing (it was cancelled). `note` counts a call that never asked.
    """

    __slots__ = (
        "_blocked",
        "_clock",
        "_counts",
        "_era",
        "_failed",
        "_in_a_row",
        "_last_failure",
        "_listeners",
        "_open_until",
        "_opened",
        "_probes",
        "_proven",
        "_random",
        "_reason",
        "_rounds",
        "_slow",
        "_state",
        "_tickets",
        "_window",
        "name",
        "settings",
    )

    def __init__(
        self,
        name: str,
        settings: BreakerSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = uniform,
    ) -> None:
        self.name = name
        self.settings = settings or BreakerSettings()
        self._clock = clock
        self._random = random
        self._state = BreakerState.CLOSED
        self._era = 0
        self._counts = dict.fromkeys(Outcome, 0)
        self._blocked = 0
        self._opened = 0
        self._in_a_row = 0
        self._window: deque[int] = deque(maxlen=self.settings.window)
        self._failed = 0
        self._slow = 0
        self._open_until = 0.0
        self._rounds = 0
        self._reason = ""
        self._last_failure: str | None = None
        self._probes: dict[int, float] = {}
        self._proven = 0
        self._tickets = 0
        self._listeners: tuple[Listener, ...] = ()

    @property
    def state(self) -> BreakerState:
        """The state as the next caller would find it."""
        if self._state is BreakerState.OPEN and self._clock() >= self._open_until:
            return BreakerState.HALF_OPEN
        return self._state

    @property
    def reason(self) -> str:
        """Why it is not closed; empty while it is."""
        return self._reason

    def retry_after(self) -> float | None:
        """Seconds until calls may be let in; None when one would be let in now. Looking changes nothing."""
        settings = self.settings
        if self._state is BreakerState.CLOSED or settings.mode != "normal":
            return None
        if self._state is BreakerState.FORCED_OPEN:
            return settings.open_s
        now = self._clock()
        if self._state is BreakerState.OPEN:
            return self._open_until - now if now < self._open_until else None
        held = [began for began in self._probes.values() if now - began < settings.probe_hold_s]
        if len(held) < settings.probes_at_once:
            return None
        return min(_SOON_S, min(held) + settings.probe_hold_s - now)

    def statistics(self) -> Statistics:
        """What it has seen so far."""
        return Statistics(
            successes=self._counts[Outcome.OK],
            failures=self._counts[Outcome.FAILED],
            ignored=self._counts[Outcome.IGNORED],
            blocked=self._blocked,
            in_a_row=self._in_a_row,
            window_calls=len(self._window),
            window_failures=self._failed,
            window_slow=self._slow,
            opened=self._opened,
            last_failure=self._last_failure,
        )

    def listen(self, listener: Listener) -> None:
        """Call `listener(breaker, before, after, reason)` at each change of state."""
        self._listeners = (*self._listeners, listener)

    def enter(self) -> int:
        """Ask for leave to call. Raises CircuitOpenError."""
        if self._state is BreakerState.CLOSED or self.settings.mode != "normal":
            return self._era
        if self._state is BreakerState.OPEN and self._clock() >= self._open_until:
            self._move(BreakerState.HALF_OPEN, "testing recovery")
        if self._state is BreakerState.HALF_OPEN:
            ticket = self._probe()
            if ticket is not None:
                return ticket
        self._blocked += 1
        raise CircuitOpenError(self.name, self.retry_after() or 0.0, self._reason)

    def _probe(self) -> int | None:
        now, hold_s = self._clock(), self.settings.probe_hold_s
        for ticket in [one for one, began in self._probes.items() if now - began >= hold_s]:
            del self._probes[ticket]
        if len(self._probes) >= self.settings.probes_at_once:
            return None
        self._tickets -= 1
        self._probes[self._tickets] = now
        return self._tickets

    def drop(self, ticket: int) -> None:
        """The call proved nothing: give its place back."""
        self._probes.pop(ticket, None)

    def leave(
        self,
        ticket: int,
        outcome: Outcome,
        seconds: float,
        *,
        retry_after: float | None = None,
        why: str = "",
    ) -> None:
        """The call of `ticket` took `seconds` and ended so. Results of a former era count for nothing."""
        self._counts[outcome] += 1
        if ticket < 0:
            if self._probes.pop(ticket, None) is not None:
                self._after_probe(outcome, retry_after, why)
        elif ticket == self._era and self._state is BreakerState.CLOSED:
            self._after_call(outcome, seconds, retry_after, why)

    def note(
        self, outcome: Outcome, seconds: float, *, retry_after: float | None = None, why: str = ""
    ) -> None:
        """Count a call that did not ask for leave. It can open a closed breaker and never closes one."""
        self.leave(
            self._era if self._state is BreakerState.CLOSED else -1,
            outcome,
            seconds,
            retry_after=retry_after,
            why=why,
        )

    def _after_probe(self, outcome: Outcome, retry_after: float | None, why: str) -> None:
        if outcome is Outcome.FAILED:
            self._last_failure = why or None
            self._open(f"a probe failed: {why}" if why else "a probe failed", retry_after)
        elif outcome is Outcome.OK:
            self._proven += 1
            if self._proven >= self.settings.probes:
                self._close("recovered")

    def _after_call(self, outcome: Outcome, seconds: float, retry_after: float | None, why: str) -> None:
        settings = self.settings
        if outcome is Outcome.IGNORED or settings.mode == "disabled":
            return
        failed, slow = outcome is Outcome.FAILED, seconds >= settings.slow_s
        if settings.failure_rate is not None or settings.slow_rate is not None:
            self._slide(failed=failed, slow=slow)
        if not failed:
            self._in_a_row = 0
            if not slow:
                return
        else:
            self._in_a_row += 1
            self._last_failure = why or None
        if (reason := self._too_much()) is not None:
            self._open(f"{reason}; last: {why}" if why else reason, retry_after)

    def _slide(self, *, failed: bool, slow: bool) -> None:
        window = self._window
        if len(window) == window.maxlen:
            oldest = window[0]
            self._failed -= oldest & 1
            self._slow -= oldest >> 1
        window.append(failed | slow << 1)
        self._failed += failed
        self._slow += slow

    def _too_much(self) -> str | None:
        settings, calls = self.settings, len(self._window)
        if settings.failures is not None and self._in_a_row >= settings.failures:
            return f"{self._in_a_row} failures in a row"
        if calls < settings.min_calls:
            return None
        if settings.failure_rate is not None and self._failed >= settings.failure_rate * calls:
            return f"{self._failed} of {calls} calls failed"
        if settings.slow_rate is not None and self._slow >= settings.slow_rate * calls:
            return f"{self._slow} of {calls} calls took {settings.slow_s:g} s or more"
        return None

    def _open(self, reason: str, wish_s: float | None) -> None:
        settings = self.settings
        open_s = min(settings.open_max_s, settings.open_s * settings.open_growth ** min(self._rounds, 64))
        open_s = max(open_s * (1 + 0.1 * self._random()), wish_s or 0.0)
        self._rounds += 1
        self._opened += 1
        self._open_until = self._clock() + open_s
        self._move(BreakerState.OPEN, reason)

    def _close(self, reason: str) -> None:
        self._rounds = 0
        self._move(BreakerState.CLOSED, reason)
        self._reason = ""

    def reset(self, reason: str = "reset by hand") -> None:
        """Close it and forget what it has seen lately."""
        self._close(reason)

    def force_open(self, reason: str) -> None:
        """Refuse every call until `reset`."""
        self._move(BreakerState.FORCED_OPEN, reason)

    def _move(self, state: BreakerState, reason: str) -> None:
        before, self._state, self._reason = self._state, state, reason
        self._era += 1
        self._in_a_row = self._failed = self._slow = self._proven = 0
        self._window.clear()
        self._probes.clear()
        if before is not state:
            for listener in self._listeners:
                listener(self, before, state, reason)
