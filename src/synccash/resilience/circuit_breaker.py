"""Circuit breaker: refuses calls to a failing dependency for a while, then tests its recovery with probes.

Each change of state starts a new generation, and each permit names the generation in which it was acquired.
A result counts towards the state only if its permit is of the current generation, so a call that started
before the breaker opened can neither close it nor open it again.

The breaker decides from counters and a clock: it has no tasks and never waits. A fast success costs two
comparisons and one count, which a policy does in its own frame without the lock. Everything else takes the
lock, so that threads and an event loop may share one breaker. Listeners, log handlers and guards run without
the lock.
"""

import time
import warnings
from collections.abc import Callable
from itertools import count
from math import inf
from random import random as uniform
from threading import RLock
from typing import Any

from synccash.resilience import log_events
from synccash.resilience._core.deadline_cell import Clock
from synccash.resilience._core.live_parts import adopt_state
from synccash.resilience._core.window import FAILED, SLOW, CountWindow, TimeWindow, Window
from synccash.resilience.breaker_settings import BreakerSettings, BreakerState
from synccash.resilience.breaker_statistics import (
    BOUNDS_S,
    LastFailure,
    Statistics,
    Transition,
    duration_bucket,
)
from synccash.resilience.errors import CircuitOpenError
from synccash.resilience.verdict import FailureCause, Outcome

__all__ = ["BreakerSettings", "BreakerState", "CircuitBreaker", "Listener", "Statistics", "Transition"]

_RETRY_SOON_S = 1.0
_CLOSED, _OPEN = BreakerState.CLOSED, BreakerState.OPEN
_HALF_OPEN, _FORCED = BreakerState.HALF_OPEN, BreakerState.FORCED_OPEN

Listener = Callable[[Transition], None]


def _warn_renamed(before: str, now: str) -> None:
    message = f"CircuitBreaker.{before} is now CircuitBreaker.{now}"
    warnings.warn(message, DeprecationWarning, stacklevel=3)


def _window_of(settings: BreakerSettings) -> tuple[bool, int, float | None]:
    return settings.rated, settings.window, settings.window_s


class CircuitBreaker:
    """The circuit breaker of one dependency. Shared by all its callers; not a value.

    `acquire()` returns a permit or raises. Every permit must be given back once: with `record`, which takes
    the outcome of the call, or with `release` if the call has no outcome because it was cancelled. `observe`
    records a call that was made without a permit.

    A permit is an integer: positive is the generation of a closed breaker, negative a probe, and 0 a call
    whose outcome is counted but does not change the state.
    """

    __slots__ = (
        "_blocked",
        "_clock",
        "_delivering",
        "_durations",
        "_failures",
        "_fast_seen",
        "_generation",
        "_hinted_until",
        "_ignored",
        "_in_a_row",
        "_last_failure",
        "_listeners",
        "_open_until",
        "_opened",
        "_opened_by_peer",
        "_other_failures",
        "_other_successes",
        "_pending",
        "_probe_gate",
        "_probe_successes",
        "_probes",
        "_random",
        "_reason",
        "_rounds",
        "_state",
        "_successes",
        "_wall_clock",
        "_window",
        "_window_base",
        "closed_permit",
        "fast_below_s",
        "fast_successes",
        "lock",
        "name",
        "seconds",
        "settings",
        "version",
        "window_ignores_time",
        "window_step_at",
    )

    def __init__(
        self,
        name: str,
        settings: BreakerSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = uniform,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.settings = settings = settings or BreakerSettings()
        self._clock = clock
        self._random = random
        self._wall_clock = wall_clock
        self.lock = RLock()
        # A policy reads and writes the next five in its own frame, to save calls. `closed_permit`: the permit
        # of a closed breaker; 0 means that `acquire` must be called. A success that took less than
        # `fast_below_s` and ended before `window_step_at` only adds to `fast_successes` and `seconds`.
        self.closed_permit = 1
        self.fast_successes = 0
        self.seconds = 0.0
        self._apply_fast_limits(settings)
        self._state = _CLOSED
        self._generation = 1
        self._reason = ""
        self._successes = self._failures = self._ignored = self._other_successes = self._other_failures = 0
        self._blocked = self._opened = self._rounds = 0
        self._window_base = self._in_a_row = 0
        self._fast_seen: int = 0
        self._window: Window | None = None
        self._durations: list[int] | None = None
        self._open_until = self._hinted_until = 0.0
        self._last_failure: LastFailure | None = None
        self._probes: dict[int, float] | None = None
        self._probe_successes = 0
        self._listeners: tuple[Listener, ...] = ()
        self._pending: tuple[Transition, ...] = ()
        self._delivering = False
        self._opened_by_peer = False
        self._probe_gate: Callable[[], bool] | None = None
        self.version = 0

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self.state.value}>"

    def _apply_fast_limits(self, settings: BreakerSettings) -> None:
        self.fast_below_s = min(BOUNDS_S[0], settings.slow_s if settings.slow_rate is not None else inf)
        self.window_step_at = 0.0 if settings.rated and settings.window_s is not None else inf
        self.window_ignores_time = self.window_step_at == inf

    def reconfigure(self, settings: BreakerSettings) -> None:
        """Replace the settings, from the next call on. State, counts and a running open time stay.

        The window starts again if it changes its kind or size. An open breaker that becomes "disabled"
        closes, and so does a half-open one of which fewer successful probes are required than it has.
        """
        with self.lock:
            before, self.settings = self.settings, settings
            self._apply_fast_limits(settings)
            if _window_of(before) != _window_of(settings):
                self._window, self._window_base = None, self._call_count()
            recovered = self._state is _HALF_OPEN and self._probe_successes >= settings.probes
            if recovered or (settings.mode == "disabled" and self._state in (_OPEN, _HALF_OPEN)):
                self._change_state(_CLOSED, "recovered" if recovered else "disabled by its new settings")
        self._deliver()

    @property
    def state(self) -> BreakerState:
        """The state that the next call finds: an open breaker is half-open once its open time has passed."""
        if self._state is _OPEN and self._clock() >= self._open_until:
            return _HALF_OPEN
        return self._state

    @property
    def reason(self) -> str:
        """Why the breaker is not closed; empty while it is closed."""
        return self._reason

    def retry_after(self) -> float | None:
        """Return the seconds until the breaker may allow calls; None if it would allow one now.

        Does not change the state. A breaker that is forced open has no such time: it returns `open_s`, after
        which a caller may check again.
        """
        if self._state is _CLOSED or (self.settings.mode == "shadow" and self._state is not _FORCED):
            return None
        with self.lock:
            return self._refusal_s(self._clock())

    def _refusal_s(self, now: float) -> float | None:
        settings = self.settings
        if self._state is _FORCED:
            return settings.open_s
        if self._state is _OPEN:
            return self._open_until - now if now < self._open_until else None
        held = [began for began in (self._probes or {}).values() if now - began < settings.probe_hold_s]
        if self._state is _CLOSED or self._has_probe_slot(len(held)):
            return None
        return min(_RETRY_SOON_S, min(held) + settings.probe_hold_s - now)

    def _has_probe_slot(self, running: int) -> bool:
        settings = self.settings
        return running < min(settings.probes_at_once, settings.probes - self._probe_successes)

    def acquire(self) -> int:
        """Return a permit for one call. Raises CircuitOpenError."""
        if self._state is _OPEN and self.settings.mode == "normal":
            left_s = self._open_until - self._clock()
            if left_s > 0:
                self._blocked += 1
                raise CircuitOpenError(self.name, left_s, self._reason)
        if self.closed_permit:
            return self.closed_permit
        try:
            with self.lock:
                now = self._clock()
                if self._state is _OPEN and now >= self._open_until:
                    self._change_state(_HALF_OPEN, "testing recovery")
                probe = self._acquire_probe(now) if self._state is _HALF_OPEN else 0
                if not probe:
                    return self._generation if self._state is _CLOSED else self._refuse(now)
        finally:
            self._deliver()
        gate = self._probe_gate
        try:
            if gate is None or gate():
                return probe
        except BaseException:
            self.release(probe)
            raise
        with self.lock:
            self.release(probe)
            return self._refuse(self._clock())

    def try_acquire(self) -> int:
        """Return a permit, or 0 if the breaker allows no call: for a call that is made all the same.

        A call that is never refused so becomes a probe of a half-open breaker, which may close it.
        """
        if self._state is _FORCED or (self._state is _OPEN and self._clock() < self._open_until):
            return 0
        try:
            return self.acquire()
        except CircuitOpenError:
            with self.lock:
                self._blocked -= 1  # nothing was refused
            return 0

    def _refuse(self, now: float) -> int:
        """Count a refused call. Returns the permit 0 in shadow mode, else raises CircuitOpenError."""
        self._blocked += 1
        if self.settings.mode == "shadow" and self._state is not _FORCED:
            return 0
        soon_s = None if self._state is _FORCED else self._refusal_s(now) or _RETRY_SOON_S
        raise CircuitOpenError(self.name, soon_s, self._reason)

    def _acquire_probe(self, now: float) -> int:
        probes = self._probes
        if probes is None:
            probes = self._probes = {}
        for permit in [one for one, began in probes.items() if now - began >= self.settings.probe_hold_s]:
            del probes[permit]
        if not self._has_probe_slot(len(probes)):
            return 0
        self._generation += 1
        probes[-self._generation] = now
        return -self._generation

    def release(self, permit: int) -> None:
        """Give a permit back without an outcome, because the call was cancelled."""
        if permit < 0:
            with self.lock:
                if self._probes is not None:
                    self._probes.pop(permit, None)

    def record(
        self,
        permit: int,
        outcome: Outcome,
        seconds: float,
        *,
        slow: bool = False,
        retry_after: float | None = None,
        error: BaseException | FailureCause | str = "",
    ) -> None:
        """Record the outcome of a call and give its permit back. `seconds`: the duration of the call.

        An outcome whose permit is of an earlier generation is counted but does not change the state. `slow`:
        count the call as slow whatever its duration, as for time-outs. `retry_after`: seconds for which the
        dependency asked not to be called; a breaker that opens stays open at least as long.
        """
        failure = None
        if (
            outcome is Outcome.FAILED
        ):  # before the lock is taken, because the error's text is code of the user
            failure = LastFailure.from_error(error, self._wall_clock())
        with self.lock:
            now = self._clock()
            if outcome is not Outcome.IGNORED:
                self._record_duration(seconds)
            slow = slow or seconds >= self.settings.slow_s
            if permit and permit == self.closed_permit:
                self._after_call(outcome, now, slow=slow, retry_after=retry_after, failure=failure)
            elif permit < 0 and self._probes is not None and self._probes.pop(permit, None) is not None:
                self._after_probe(outcome, now, slow=slow, retry_after=retry_after, failure=failure)
            else:
                self._count_total(outcome)
        if self._pending:
            self._deliver()

    def observe(
        self,
        outcome: Outcome,
        seconds: float,
        *,
        slow: bool = False,
        retry_after: float | None = None,
        error: BaseException | FailureCause | str = "",
    ) -> None:
        """Record a call that was made without a permit. It can open a closed breaker but never close one."""
        self.record(self.closed_permit, outcome, seconds, slow=slow, retry_after=retry_after, error=error)

    def enter(self) -> int:
        """Deprecated: `acquire`."""
        _warn_renamed("enter", "acquire")
        return self.acquire()

    def drop(self, permit: int) -> None:
        """Deprecated: `release`."""
        _warn_renamed("drop", "release")
        self.release(permit)

    def leave(self, permit: int, outcome: Outcome, seconds: float, **details: Any) -> None:
        """Deprecated: `record`."""
        _warn_renamed("leave", "record")
        self.record(permit, outcome, seconds, **details)

    def note(self, outcome: Outcome, seconds: float, **details: Any) -> None:
        """Deprecated: `observe`."""
        _warn_renamed("note", "observe")
        self.observe(outcome, seconds, **details)

    def _record_duration(self, seconds: float) -> None:
        self.seconds += seconds
        index = duration_bucket(seconds)
        if index:
            if self._durations is None:
                self._durations = [0] * len(BOUNDS_S)
            self._durations[index - 1] += 1

    def _count_total(self, outcome: Outcome) -> None:
        if outcome is Outcome.OK:
            self._other_successes += 1
        elif outcome is Outcome.FAILED:
            self._other_failures += 1
        else:
            self._ignored += 1

    def _call_count(self) -> int:
        return self.fast_successes + self._successes + self._failures

    def _after_call(
        self,
        outcome: Outcome,
        now: float,
        *,
        slow: bool,
        retry_after: float | None,
        failure: LastFailure | None,
    ) -> None:
        settings = self.settings
        if outcome is Outcome.IGNORED:
            self._ignored += 1
            return
        failed = outcome is Outcome.FAILED
        if now >= self.window_step_at:
            self._advance_window(now)
        if failed:
            if self.fast_successes != self._fast_seen:
                self._in_a_row = 0
                self._fast_seen = self.fast_successes
            self._in_a_row += 1
            self._failures += 1
            self._last_failure = failure
        else:
            self._in_a_row = 0
            self._successes += 1
        if settings.mode == "disabled" or not (failed or slow):
            return
        window = (0, 0, 0)
        if settings.rated:
            live, calls = self._get_window(), self._call_count()
            live.add(calls, now, failed * FAILED | slow * SLOW)
            window = live.counts(calls, now)
        reason = settings.verdict(self._in_a_row, window, hinted=now < self._hinted_until)
        if reason is not None:
            last = f"; last: {failure}" if failure is not None and str(failure) else ""
            self._open(reason + last, now, retry_after)

    def _get_window(self) -> Window:
        if self._window is None:
            settings = self.settings
            if settings.window_s is None:
                self._window = CountWindow(settings.window, self._window_base)
            else:
                self._window = TimeWindow(settings.window_s)
        return self._window

    def _advance_window(self, now: float) -> None:
        self.window_step_at = self._get_window().advance(self._call_count(), now)

    def _after_probe(
        self,
        outcome: Outcome,
        now: float,
        *,
        slow: bool,
        retry_after: float | None,
        failure: LastFailure | None,
    ) -> None:
        self._count_total(outcome)
        if outcome is Outcome.FAILED:
            self._last_failure = failure
            failure_text = "" if failure is None else str(failure)
            self._open(
                f"a probe failed: {failure_text}" if failure_text else "a probe failed", now, retry_after
            )
        elif outcome is Outcome.OK and slow and self.settings.slow_rate is not None:
            self._open(f"a probe took {self.settings.slow_s:g} s or more", now, retry_after)
        elif outcome is Outcome.OK:
            self._probe_successes += 1
            if self._probe_successes >= self.settings.probes:
                self._change_state(_CLOSED, "recovered")

    def _open(self, reason: str, now: float, retry_after_s: float | None) -> None:
        asked_s = min(retry_after_s or 0.0, self.settings.open_max_s)
        open_s = max(self.settings.open_time(self._rounds, self._random()), asked_s)
        self._rounds += 1
        self._open_until = now + open_s
        self._change_state(_OPEN, reason, open_s=open_s)

    def reset(self, reason: str = "reset by hand", *, version: int | None = None) -> None:
        """Close the breaker and clear its window and counters of failures in a row.

        `version`: number of an operator action in another process; it is ignored unless it is newer than
        the last one here. None: an operator acts in this process.
        """
        with self.lock:
            if self._accept_version(version):
                self._hinted_until = 0.0
                self._change_state(_CLOSED, reason, by="person" if version is None else "peer")
        self._deliver()

    def force_open(self, reason: str, *, version: int | None = None) -> None:
        """Refuse every call until `reset`. `version`: see `reset`."""
        with self.lock:
            if self._accept_version(version):
                self._change_state(_FORCED, reason, by="person" if version is None else "peer")
        self._deliver()

    def _accept_version(self, version: int | None) -> bool:
        if version is not None and version <= self.version:
            return False
        self.version = self.version + 1 if version is None else version
        return True

    def adopt(self, open_s: float, reason: str, *, rounds: int = 0) -> None:
        """Open for `open_s` seconds because another process did. Does nothing if the breaker is open already.

        `rounds`: how often that process opened since it was last closed, so that open times grow in all.
        """
        with self.lock:
            now = self._clock()
            already_open = self._state is _FORCED or (self._state is _OPEN and now < self._open_until)
            if self.settings.mode != "disabled" and not already_open and open_s > 0:
                self._rounds = max(self._rounds, rounds)
                self._open_until = now + open_s
                self._change_state(_OPEN, reason, by="peer", open_s=open_s)
                self._opened_by_peer = True
        self._deliver()

    def recover(self, reason: str) -> None:
        """Close because a probe of another process succeeded.

        Does nothing during an open time that failures in this process started.
        """
        with self.lock:
            opened_by_itself = (
                self._state is _OPEN and not self._opened_by_peer and self._clock() < self._open_until
            )
            if self._state in (_OPEN, _HALF_OPEN) and not opened_by_itself:
                self._change_state(_CLOSED, reason, by="peer")
        self._deliver()

    def guard(self, gate: Callable[[], bool] | None) -> None:
        """Set a function that allows or denies each probe; None removes it.

        It is called in the thread of the call while the probe slot is taken, so it must return at once.
        """
        with self.lock:
            self._probe_gate = gate

    def hint(self, open_s: float) -> None:
        """Open after half of `failures` for the next `open_s` seconds, because another process has opened."""
        with self.lock:
            self._hinted_until = self._clock() + open_s

    def listen(self, listener: Listener) -> None:
        """Call `listener(transition)` at each change of state.

        Transitions are delivered one at a time, in their order, without a lock. It usually runs in the thread
        of the change, but while another thread delivers, that thread goes on with the next one. It must not
        block, because it delays a call. What it raises is logged.
        """
        with self.lock:
            self._listeners = (*self._listeners, listener)

    def unlisten(self, listener: Listener) -> None:
        """Stop calling `listener`."""
        with self.lock:
            self._listeners = tuple(one for one in self._listeners if one != listener)

    def _change_state(
        self, state: BreakerState, reason: str, *, by: str = "breaker", open_s: float | None = None
    ) -> None:
        before, self._state = self._state, state
        self._opened_by_peer = False
        closed = state is _CLOSED
        self._generation += 1
        self.closed_permit = self._generation if closed else 0
        self._reason = "" if closed else reason
        self._rounds = 0 if closed else self._rounds
        self._opened += state is _OPEN
        self._in_a_row = self._probe_successes = 0
        self._fast_seen = self.fast_successes
        self._window_base = self._call_count()
        self._window = self._probes = None
        if not self.window_ignores_time:
            self.window_step_at = 0.0
        if before is not state:
            transition = Transition(
                name=self.name,
                before=before,
                after=state,
                reason=reason,
                by=by,
                open_s=open_s,
                version=self.version,
            )
            self._pending = (*self._pending, transition)

    def _deliver(self) -> None:
        """Log the pending transitions and call the listeners. Must be called without the lock.

        One thread at a time does so, which keeps the order.
        """
        while self._pending:
            with self.lock:
                if self._delivering or not self._pending:
                    return
                self._delivering = True
                transition, self._pending = self._pending[0], self._pending[1:]
            try:
                self._notify_listeners(transition)
            finally:
                self._delivering = False

    def _notify_listeners(self, transition: Transition) -> None:
        log_events.log_transition(transition)
        for listener in self._listeners:
            try:
                listener(transition)
            except Exception:
                log_events.log_hook_error(f"circuit breaker {self.name}", "a listener")

    def forget(self, clock: Clock | None = None) -> Callable[[], None]:
        """Have the state of a new one, and `clock` if given, until the returned function is called. For
        `synccash.resilience.testing.fresh`."""
        with self.lock:
            new = CircuitBreaker(
                self.name,
                self.settings,
                clock=clock or self._clock,
                random=self._random,
                wall_clock=self._wall_clock,
            )
            # A permit of another state must never be valid in this one, nor one of this state in another.
            new.closed_permit = new._generation = next(_first_generations)
            restore = adopt_state(self, new, _STATE, self.lock)

        def end() -> None:
            settings = self.settings
            restore()
            if settings != self.settings:
                self.reconfigure(settings)

        return end

    def statistics(self) -> Statistics:
        """Return a snapshot of the breaker's state and counts."""
        with self.lock:
            now, calls = self._clock(), self._call_count()
            window = (0, 0, 0)
            if self.settings.rated and self._state is _CLOSED:
                window = self._get_window().counts(calls, now)
            slower = tuple(self._durations or [0] * len(BOUNDS_S))
            failures = self._failures + self._other_failures
            successes = self.fast_successes + self._successes + self._other_successes
            return Statistics(
                name=self.name,
                state=self.state,
                reason=self._reason,
                retry_after=None if self._state is _FORCED else self.retry_after(),
                successes=successes,
                failures=failures,
                ignored=self._ignored,
                blocked=self._blocked,
                in_a_row=self._in_a_row if self.fast_successes == self._fast_seen else 0,
                window_calls=window[0],
                window_failures=window[1],
                window_slow=window[2],
                opened=self._opened,
                rounds=self._rounds,
                probes_running=len(self._probes or ()),
                probes_succeeded=self._probe_successes,
                durations=(successes + failures - sum(slower), *slower),
                seconds=self.seconds,
                last_failure=self._last_failure,
                version=self.version,
            )


_LASTING = (
    "_delivering",
    "_listeners",
    "_pending",
    "_probe_gate",
    "_random",
    "_wall_clock",
    "lock",
    "name",
)
_first_generations = count(1 << 32, 1 << 32)
_STATE = tuple(name for name in CircuitBreaker.__slots__ if name not in _LASTING)
