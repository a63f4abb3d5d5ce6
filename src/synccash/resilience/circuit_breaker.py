"""A circuit breaker: after trouble it refuses calls for a while, then lets a few probes find out.

Decisions are made from integers and a clock, without waiting and without tasks. Every result comes back with
the ticket of the era it began in, so that what started before a change of state proves nothing after it.

A good, quick call is two integers compared and one counted; a policy does that in its own frame. Everything
else takes the lock, so that threads and an event loop may share one breaker.
"""

import time
from collections.abc import Callable
from math import inf
from random import random as uniform
from threading import RLock

from synccash.resilience import log_events
from synccash.resilience._core.window import FAILED, SLOW, CountWindow, TimeWindow, Window
from synccash.resilience.breaker_settings import BreakerSettings, BreakerState
from synccash.resilience.breaker_statistics import BOUNDS_S, LastFailure, Statistics, Transition, bucket
from synccash.resilience.errors import CircuitOpenError
from synccash.resilience.verdict import Outcome

__all__ = ["BreakerSettings", "BreakerState", "CircuitBreaker", "Listener", "Statistics", "Transition"]

_SOON_S = 1.0
_CLOSED, _OPEN = BreakerState.CLOSED, BreakerState.OPEN
_HALF_OPEN, _FORCED = BreakerState.HALF_OPEN, BreakerState.FORCED_OPEN

Listener = Callable[[Transition], None]


class CircuitBreaker:
    """Live and shared: the state of one far side.

    `enter` asks for leave and returns a ticket; every ticket comes back through `leave` with its outcome, or
    through `drop` when the call proved nothing (it was cancelled). `note` counts a call that never asked.
    Tickets: above 0 the closed era, below 0 a probe, 0 a call whose result is counted and proves nothing.
    """

    __slots__ = (
        "_adopted",
        "_base",
        "_blocked",
        "_clock",
        "_durations",
        "_era",
        "_failures",
        "_gate",
        "_good",
        "_hinted_until",
        "_ignored",
        "_in_a_row",
        "_last_failure",
        "_listeners",
        "_open_until",
        "_opened",
        "_other_failures",
        "_other_successes",
        "_probes",
        "_proven",
        "_quick_seen",
        "_random",
        "_reason",
        "_rounds",
        "_state",
        "_window",
        "lock",
        "mark_at",
        "name",
        "quick",
        "quick_s",
        "seconds",
        "settings",
        "ticket",
        "untimed",
        "version",
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
        self.settings = settings = settings or BreakerSettings()
        self._clock = clock
        self._random = random
        self.lock = RLock()
        # What a policy reads and counts in its own frame. `ticket`: what a call gets without asking, 0 while
        # it has to ask. A good call below `quick_s` that ends before `mark_at` is one more in `quick`.
        self.ticket = 1
        self.quick = 0
        self.seconds = 0.0
        self.quick_s = min(BOUNDS_S[0], settings.slow_s if settings.slow_rate is not None else inf)
        self.mark_at = 0.0 if settings.rated and settings.window_s is not None else inf
        self.untimed = self.mark_at == inf
        self._state = _CLOSED
        self._era = 1
        self._reason = ""
        self._good = self._failures = self._ignored = self._other_successes = self._other_failures = 0
        self._blocked = self._opened = self._rounds = 0
        self._base = self._in_a_row = 0
        self._quick_seen: int = 0
        self._window: Window | None = None
        self._durations: list[int] | None = None
        self._open_until = self._hinted_until = 0.0
        self._last_failure: LastFailure | None = None
        self._probes: dict[int, float] | None = None
        self._proven = 0
        self._listeners: tuple[Listener, ...] = ()
        self._adopted = False
        self._gate: Callable[[], bool] | None = None
        self.version = 0

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self.state.value}>"

    @property
    def state(self) -> BreakerState:
        """The state as the next caller would find it."""
        if self._state is _OPEN and self._clock() >= self._open_until:
            return _HALF_OPEN
        return self._state

    @property
    def reason(self) -> str:
        """Why it is not closed; empty while it is."""
        return self._reason

    def retry_after(self) -> float | None:
        """Seconds until calls may be let in; None when one would be let in now. Looking changes nothing.

        Forced open, nobody knows when it will be reset: then it is when to look again, `open_s`.
        """
        if self._state is _CLOSED or (self.settings.mode == "shadow" and self._state is not _FORCED):
            return None
        with self.lock:
            return self._refused_for(self._clock())

    def _refused_for(self, now: float) -> float | None:
        settings = self.settings
        if self._state is _FORCED:
            return settings.open_s
        if self._state is _OPEN:
            return self._open_until - now if now < self._open_until else None
        held = [began for began in (self._probes or {}).values() if now - began < settings.probe_hold_s]
        if self._state is _CLOSED or self._has_place(len(held)):
            return None
        return min(_SOON_S, min(held) + settings.probe_hold_s - now)

    def _has_place(self, running: int) -> bool:
        settings = self.settings
        return running < min(settings.probes_at_once, settings.probes - self._proven)

    def enter(self) -> int:
        """Ask for leave to call. Raises CircuitOpenError."""
        if self._state is _OPEN and self.settings.mode == "normal":
            left_s = self._open_until - self._clock()
            if left_s > 0:
                self._blocked += 1
                raise CircuitOpenError(self.name, left_s, self._reason)
        if self.ticket:
            return self.ticket
        with self.lock:
            now = self._clock()
            if self._state is _OPEN and now >= self._open_until:
                self._move(_HALF_OPEN, "testing recovery")
            if self._state is _HALF_OPEN and (probe := self._probe(now)):
                return probe
            if self._state is _CLOSED:
                return self._era
            self._blocked += 1
            if self.settings.mode == "shadow" and self._state is not _FORCED:
                return 0
            soon_s = None if self._state is _FORCED else self._refused_for(now) or _SOON_S
            raise CircuitOpenError(self.name, soon_s, self._reason)

    def _probe(self, now: float) -> int:
        probes = self._probes
        if probes is None:
            probes = self._probes = {}
        for ticket in [one for one, began in probes.items() if now - began >= self.settings.probe_hold_s]:
            del probes[ticket]
        if not self._has_place(len(probes)) or (self._gate is not None and not self._gate()):
            return 0
        self._era += 1
        probes[-self._era] = now
        return -self._era

    def drop(self, ticket: int) -> None:
        """The call proved nothing: give its place back."""
        if ticket < 0:
            with self.lock:
                if self._probes is not None:
                    self._probes.pop(ticket, None)

    def leave(
        self,
        ticket: int,
        outcome: Outcome,
        seconds: float,
        *,
        slow: bool = False,
        retry_after: float | None = None,
        error: BaseException | str = "",
    ) -> None:
        """The call of `ticket` took `seconds` and ended so. Results of a former era are counted, no more.

        `slow`: call it slow whatever it took, as time-outs are. `retry_after`: the far side's wish, seconds.
        """
        with self.lock:
            now = self._clock()
            if outcome is not Outcome.IGNORED:
                self._count(seconds)
            slow = slow or seconds >= self.settings.slow_s
            if ticket and ticket == self.ticket:
                self._after_call(outcome, now, slow=slow, retry_after=retry_after, error=error)
            elif ticket < 0 and self._probes is not None and self._probes.pop(ticket, None) is not None:
                self._after_probe(outcome, now, slow=slow, retry_after=retry_after, error=error)
            else:
                self._tally(outcome)

    def note(
        self,
        outcome: Outcome,
        seconds: float,
        *,
        slow: bool = False,
        retry_after: float | None = None,
        error: BaseException | str = "",
    ) -> None:
        """Count a call that did not ask for leave. It can open a closed breaker and never closes one."""
        self.leave(self.ticket, outcome, seconds, slow=slow, retry_after=retry_after, error=error)

    def _count(self, seconds: float) -> None:
        self.seconds += seconds
        place = bucket(seconds)
        if place:
            if self._durations is None:
                self._durations = [0] * len(BOUNDS_S)
            self._durations[place - 1] += 1

    def _tally(self, outcome: Outcome) -> None:
        if outcome is Outcome.OK:
            self._other_successes += 1
        elif outcome is Outcome.FAILED:
            self._other_failures += 1
        else:
            self._ignored += 1

    def _number(self) -> int:
        return self.quick + self._good + self._failures

    def _after_call(
        self,
        outcome: Outcome,
        now: float,
        *,
        slow: bool,
        retry_after: float | None,
        error: BaseException | str,
    ) -> None:
        settings = self.settings
        if outcome is Outcome.IGNORED:
            self._ignored += 1
            return
        failed = outcome is Outcome.FAILED
        if now >= self.mark_at:
            self._mark(now)
        if failed:
            if self.quick != self._quick_seen:
                self._in_a_row = 0
                self._quick_seen = self.quick
            self._in_a_row += 1
            self._failures += 1
            self._last_failure = LastFailure.of(error, now)
        else:
            self._in_a_row = 0
            self._good += 1
        if settings.mode == "disabled" or not (failed or slow):
            return
        window = (0, 0, 0)
        if settings.rated:
            live, number = self._live_window(), self._number()
            live.land(number, now, failed * FAILED | slow * SLOW)
            window = live.look(number, now)
        reason = settings.verdict(self._in_a_row, window, hinted=now < self._hinted_until)
        if reason is not None:
            last = f"; last: {self._last_failure}" if failed and str(self._last_failure) else ""
            self._open(reason + last, now, retry_after)

    def _live_window(self) -> Window:
        if self._window is None:
            settings = self.settings
            if settings.window_s is None:
                self._window = CountWindow(settings.window, self._base)
            else:
                self._window = TimeWindow(settings.window_s)
        return self._window

    def _mark(self, now: float) -> None:
        self.mark_at = self._live_window().mark(self._number(), now)

    def _after_probe(
        self,
        outcome: Outcome,
        now: float,
        *,
        slow: bool,
        retry_after: float | None,
        error: BaseException | str,
    ) -> None:
        self._tally(outcome)
        if outcome is Outcome.FAILED:
            self._last_failure = LastFailure.of(error, now)
            told = str(self._last_failure)
            self._open(f"a probe failed: {told}" if told else "a probe failed", now, retry_after)
        elif outcome is Outcome.OK and slow and self.settings.slow_rate is not None:
            self._open(f"a probe took {self.settings.slow_s:g} s or more", now, retry_after)
        elif outcome is Outcome.OK:
            self._proven += 1
            if self._proven >= self.settings.probes:
                self._move(_CLOSED, "recovered")

    def _open(self, reason: str, now: float, wish_s: float | None) -> None:
        open_s = max(self.settings.open_time(self._rounds, self._random()), wish_s or 0.0)
        self._rounds += 1
        self._open_until = now + open_s
        self._move(_OPEN, reason, open_s=open_s)

    def reset(self, reason: str = "reset by hand", *, version: int | None = None) -> None:
        """Close it and forget what it has seen lately. `version`: as another process did; older ones pass."""
        with self.lock:
            if self._newer(version):
                self._hinted_until = 0.0
                self._move(_CLOSED, reason, by="person" if version is None else "peer")

    def force_open(self, reason: str, *, version: int | None = None) -> None:
        """Refuse every call until `reset`. `version`: as another process did; older ones pass."""
        with self.lock:
            if self._newer(version):
                self._move(_FORCED, reason, by="person" if version is None else "peer")

    def _newer(self, version: int | None) -> bool:
        if version is not None and version <= self.version:
            return False
        self.version = self.version + 1 if version is None else version
        return True

    def adopt(self, open_s: float, reason: str, *, rounds: int = 0) -> None:
        """Another process found the far side down: be open for `open_s` too, unless that is so already.

        `rounds`: how many rounds of opening that process has seen, so that open times grow for all.
        """
        with self.lock:
            now = self._clock()
            taken = self._state is _FORCED or (self._state is _OPEN and now < self._open_until)
            if self.settings.mode != "disabled" and not taken and open_s > 0:
                self._rounds = max(self._rounds, rounds)
                self._open_until = now + open_s
                self._move(_OPEN, reason, by="peer", open_s=open_s)
                self._adopted = True

    def recover(self, reason: str) -> None:
        """Another process' probe succeeded: close, unless this one is open by what it saw itself."""
        with self.lock:
            own = self._state is _OPEN and not self._adopted and self._clock() < self._open_until
            if self._state in (_OPEN, _HALF_OPEN) and not own:
                self._move(_CLOSED, reason, by="peer")

    def guard(self, gate: Callable[[], bool] | None) -> None:
        """Ask `gate()` before each probe, under the lock: it must answer at once. None: ask nobody."""
        with self.lock:
            self._gate = gate

    def hint(self, open_s: float) -> None:
        """Another process found the far side down: for `open_s`, half of `failures` is enough here."""
        with self.lock:
            self._hinted_until = self._clock() + open_s

    def listen(self, listener: Listener) -> None:
        """Call `listener(transition)` at each change of state, at once; it must neither wait nor raise."""
        with self.lock:
            self._listeners = (*self._listeners, listener)

    def unlisten(self, listener: Listener) -> None:
        """Call it no more."""
        with self.lock:
            self._listeners = tuple(one for one in self._listeners if one != listener)

    def _move(
        self, state: BreakerState, reason: str, *, by: str = "breaker", open_s: float | None = None
    ) -> None:
        before, self._state = self._state, state
        self._adopted = False
        closed = state is _CLOSED
        self._era += 1
        self.ticket = self._era if closed else 0
        self._reason = "" if closed else reason
        self._rounds = 0 if closed else self._rounds
        self._opened += state is _OPEN
        self._in_a_row = self._proven = 0
        self._quick_seen = self.quick
        self._base = self._number()
        self._window = self._probes = None
        if not self.untimed:
            self.mark_at = 0.0
        if before is not state:
            self._tell(
                Transition(
                    name=self.name,
                    before=before,
                    after=state,
                    reason=reason,
                    by=by,
                    open_s=open_s,
                    version=self.version,
                )
            )

    def _tell(self, transition: Transition) -> None:
        log_events.changed(transition)
        for listener in self._listeners:
            try:
                listener(transition)
            except Exception:
                log_events.log.exception("a listener of circuit breaker %s failed", self.name)

    def statistics(self) -> Statistics:
        """What it has seen so far."""
        with self.lock:
            now, number = self._clock(), self._number()
            window = (0, 0, 0)
            if self.settings.rated and self._state is _CLOSED:
                window = self._live_window().look(number, now)
            slower = tuple(self._durations or [0] * len(BOUNDS_S))
            failures = self._failures + self._other_failures
            successes = self.quick + self._good + self._other_successes
            return Statistics(
                name=self.name,
                state=self.state,
                reason=self._reason,
                retry_after=None if self._state is _FORCED else self.retry_after(),
                successes=successes,
                failures=failures,
                ignored=self._ignored,
                blocked=self._blocked,
                in_a_row=self._in_a_row if self.quick == self._quick_seen else 0,
                window_calls=window[0],
                window_failures=window[1],
                window_slow=window[2],
                opened=self._opened,
                rounds=self._rounds,
                probes_running=len(self._probes or ()),
                probes_succeeded=self._proven,
                durations=(successes + failures - sum(slower), *slower),
                seconds=self.seconds,
                last_failure=self._last_failure,
                version=self.version,
            )
