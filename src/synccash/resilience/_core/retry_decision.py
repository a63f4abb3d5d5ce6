"""Decides after each attempt whether another follows, and records the result in breaker, budget and log."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Any

from synccash.resilience import log_events, overrides
from synccash.resilience._core.failure_kinds import is_timeout, outcome_of
from synccash.resilience._core.misuse import explain, is_misuse
from synccash.resilience._core.policy_settings import PolicySettings
from synccash.resilience.budget import RetryBudget
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.errors import (
    BulkheadFullError,
    CircuitOpenError,
    RateExceededError,
    ResilienceError,
)
from synccash.resilience.events import (
    AttemptTimedOut,
    BulkheadFull,
    CallFailed,
    CallRecovered,
    Event,
    EventHook,
    RateExceeded,
    RetryScheduled,
    emit,
)
from synccash.resilience.evidence import Evidence
from synccash.resilience.retry import matches
from synccash.resilience.verdict import FailureCause, Outcome, Verdict

_OK = Verdict(Outcome.OK)
_RETURNED_FAILURE = "a returned failure"
_NOT_TO_BE_REPEATED = "the failure is not retryable"
_NOT_SAFE_TO_REPEAT = "the effect of the attempt is unknown and the call is not idempotent"
_ONE_ATTEMPT = "the limit is 1 attempt"
_BREAKER_OPEN = "the circuit breaker is open"
_MISUSE = "the call is written wrongly"
_NOT_RETRYABLE = (_NOT_TO_BE_REPEATED, _NOT_SAFE_TO_REPEAT, _MISUSE)


class CallProgress:
    """What is known of a call whose first attempt did not end it. Times are seconds of the policy's clock.

    `attempts`: how many were made. `wait_s`: how long to wait before the next one. `last_error`: what the
    last one raised; None: it returned `result`. `permit`: the breaker's, for the next one.
    """

    __slots__ = ("attempts", "call_start", "last_error", "permit", "result", "wait_s")

    def __init__(self, call_start: float) -> None:
        self.call_start = call_start
        self.attempts = 1
        self.wait_s = 0.0
        self.permit = 0
        self.last_error: Exception | None = None
        self.result: Any = None

    def end(self) -> Any:
        """Return the last result or raise the last error, because no further attempt is allowed."""
        if self.last_error is None:
            return self.result
        try:
            raise self.last_error
        finally:
            self.last_error = None  # breaks the reference cycle between the error's traceback and this object


class RetryDecider:
    """The retry rules of one policy. Never waits; its breaker and budget are live.

    Any thread may call it at any time. It holds no lock while it runs the user's functions. `progress` is
    None for a first attempt, which began at `attempt_start`; `deadline_at` is the deadline or None.
    """

    __slots__ = (
        "_breaker",
        "_budget",
        "_clock",
        "_first_limit_s",
        "_gated",
        "_name",
        "_on_event",
        "_random",
        "classify",
        "idempotent",
        "retry",
    )

    def __init__(self, settings: PolicySettings, breaker: CircuitBreaker | None, budget: RetryBudget) -> None:
        self._name = settings.name
        self._on_event = settings.on_event
        self.retry = settings.retry
        self._breaker = breaker
        self._gated = settings.gated
        self._budget = budget
        self.idempotent = settings.idempotent
        self.classify = settings.classify
        self._clock = settings.clock
        self._random = settings.random
        self._first_limit_s = settings.first_limit_s

    def after_error(
        self,
        progress: CallProgress | None,
        error: Exception,
        permit: int,
        attempt_start: float,
        deadline_at: float | None,
        fn: Callable[..., object],
    ) -> CallProgress | None:
        """Record an attempt that raised. Returns the progress if another attempt follows after its `wait_s`;
        None: the error is final. `fn`: what was called.
        """
        now = self._clock()
        progress = progress or CallProgress(attempt_start)
        if is_misuse(error):
            explain(error, self._name, fn)
            self._release(permit)
            self._record_end(progress, error, _MISUSE, now)
            return None
        verdict = self._checked_verdict(self._classify_error, error, permit)
        timed_out = is_timeout(error)
        if timed_out and verdict.outcome is Outcome.FAILED and not self._was_fair(attempt_start, deadline_at):
            verdict = replace(verdict, outcome=Outcome.IGNORED)
        self._record_in_breaker(verdict, permit, now - attempt_start, verdict.cause or error, slow=timed_out)
        if self._on_event is not None:
            self._emit_cause(self._on_event, error, progress.attempts, now - attempt_start)
        return self._next(progress, verdict, error, now, deadline_at, timed_out=timed_out)

    def after_result(
        self,
        progress: CallProgress | None,
        result: object,
        permit: int,
        attempt_start: float,
        deadline_at: float | None,
        *,
        classifies: bool,
    ) -> CallProgress | None:
        """Record an attempt that returned. Returns the progress if another attempt follows after its
        `wait_s`; None: the result is final.

        `classifies`: False for a block of `Policy.attempts()`, which has no result to classify.
        """
        now = self._clock()
        verdict = _OK
        if classifies and self.classify is not None:
            verdict = self._checked_verdict(self.classify, result, permit)
        error = verdict.cause or _RETURNED_FAILURE
        self._record_in_breaker(verdict, permit, now - attempt_start, error, slow=False)
        if verdict.retry or verdict.outcome is Outcome.FAILED:
            progress = progress or CallProgress(attempt_start)
            progress.result = result
            return self._next(progress, verdict, None, now, deadline_at, timed_out=False)
        attempts = 1 if progress is None else progress.attempts
        self._budget.count_success(attempts)
        if progress is not None and attempts > 1:
            seconds = now - progress.call_start
            log_events.log_success(self._name, attempts, seconds)
            if self._on_event is not None:
                emit(self._on_event, CallRecovered(name=self._name, attempts=attempts, seconds=seconds))
        return None

    def starts_next(self, progress: CallProgress, now: float, deadline_at: float | None) -> bool:
        """After the wait: acquire a permit for the next attempt. False if no further attempt may start,
        because of the deadline or the breaker.
        """
        breaker = self._breaker
        reason = _BREAKER_OPEN
        if deadline_at is not None and now >= deadline_at:
            reason = "the deadline has passed"
        elif not self._breaker_refuses():
            try:
                if breaker is not None:
                    progress.permit = breaker.closed_permit or (
                        breaker.acquire() if self._gated else breaker.try_acquire()
                    )
            except CircuitOpenError:
                pass  # other calls use the probe slots
            else:
                progress.attempts += 1
                return True
        self._record_end(progress, progress.last_error, reason, now)
        return False

    def _next(
        self,
        progress: CallProgress,
        verdict: Verdict,
        error: Exception | None,
        now: float,
        deadline_at: float | None,
        *,
        timed_out: bool,
    ) -> CallProgress | None:
        wait_s, reason = self._next_wait(verdict, now, progress.attempts, deadline_at, timed_out=timed_out)
        if wait_s is None:
            self._record_end(progress, error, reason, now)
            return None
        log_events.log_retry(self._name, progress.attempts, error, wait_s)
        if self._on_event is not None:
            kind, attempt = _error_type(error), progress.attempts
            emit(self._on_event, RetryScheduled(name=self._name, attempt=attempt, error=kind, wait_s=wait_s))
        progress.wait_s, progress.last_error = wait_s, error
        return progress

    def _emit_cause(self, hook: EventHook, error: Exception, attempt: int, seconds: float) -> None:
        if isinstance(error, BulkheadFullError):
            if error.name != self._name or _was_told(error):
                return
            event: Event = BulkheadFull(
                name=self._name, attempt=attempt, limit=error.limit, queue=error.queue
            )
        elif isinstance(error, RateExceededError):
            if _was_told(error):
                return
            event = RateExceeded(
                name=self._name, attempt=attempt, retry_after=error.retry_after, queue=error.queue
            )
        elif is_timeout(error):
            kind = type(error).__name__
            event = AttemptTimedOut(name=self._name, attempt=attempt, error=kind, seconds=seconds)
        else:
            return
        emit(hook, event)

    def _was_fair(self, attempt_start: float, deadline_at: float | None) -> bool:
        """True if an attempt had enough time to say something about the dependency: `slow_s` of the breaker
        or half of the policy's own limit. A caller's deadline may leave less.
        """
        if deadline_at is None:
            return True
        slow_s = inf if self._breaker is None else self._breaker.settings.slow_s
        fair_s = slow_s if self._first_limit_s is None else min(slow_s, self._first_limit_s / 2)
        return deadline_at - attempt_start >= fair_s

    def _release(self, permit: int) -> None:
        if self._breaker is not None:
            self._breaker.release(permit)

    def _breaker_refuses(self) -> bool:
        return self._gated and self._breaker is not None and self._breaker.retry_after() is not None

    def _is_retryable(self, error: Exception) -> bool:
        return self.retry is not None and self.retry.wants(error)

    def _classify_error(self, error: Exception) -> Verdict:
        if isinstance(error, BulkheadFullError | CircuitOpenError | RateExceededError):
            # Raised by this policy or by a nested one: it says nothing about the dependency.
            return Verdict(Outcome.IGNORED, retry=self._is_retryable(error), evidence=Evidence.NOT_SENT)
        count = None if self._breaker is None else self._breaker.settings.count
        if self.classify is not None:
            verdict = self.classify(error)
            # What is no Verdict is refused by _checked_verdict.
            failed = getattr(verdict, "outcome", None) is Outcome.FAILED
            if count is None or not failed or matches(count, error):
                return verdict
            return replace(verdict, outcome=Outcome.IGNORED)
        if self._breaker is None:
            outcome = Outcome.FAILED
        elif count is None:
            outcome = outcome_of(error)
        else:
            outcome = Outcome.FAILED if matches(count, error) else Outcome.IGNORED
        return Verdict(outcome, retry=self._is_retryable(error))

    def _checked_verdict(self, classify: Callable[[Any], object], result: Any, permit: int) -> Verdict:
        try:
            verdict = classify(result)
            if not isinstance(verdict, Verdict):
                kind = type(verdict).__name__
                raise TypeError(
                    f"{self._name}: classify must return a Verdict for whatever it is given, not {kind}"
                )
            return verdict
        except BaseException:
            self._release(permit)
            raise

    def _record_in_breaker(
        self,
        verdict: Verdict,
        permit: int,
        duration_s: float,
        error: Exception | FailureCause | str,
        *,
        slow: bool,
    ) -> None:
        breaker = self._breaker
        if breaker is None:
            return
        succeeded = verdict.outcome is Outcome.OK
        if (
            succeeded
            and permit == breaker.closed_permit
            and duration_s < breaker.fast_below_s
            and breaker.window_ignores_time
        ):
            breaker.fast_successes += 1
            breaker.seconds += duration_s
            return
        breaker.record(
            permit, verdict.outcome, duration_s, slow=slow, retry_after=verdict.retry_after, error=error
        )

    def _next_wait(
        self,
        verdict: Verdict,
        now: float,
        attempts: int,
        deadline_at: float | None,
        *,
        timed_out: bool,
    ) -> tuple[float | None, str]:
        retry = self.retry
        if retry is None or not verdict.retry:
            return None, _NOT_TO_BE_REPEATED
        if verdict.evidence is Evidence.AMBIGUOUS and not self.idempotent:
            return None, _NOT_SAFE_TO_REPEAT
        max_attempts = (
            retry.attempts if overrides.attempts is None else min(retry.attempts, overrides.attempts)
        )
        if attempts >= max_attempts:
            return None, _ONE_ATTEMPT if attempts == 1 else f"the limit is {attempts} attempts"
        if self._breaker_refuses():
            return None, _BREAKER_OPEN
        asked_s = verdict.retry_after or 0.0
        if asked_s > retry.retry_after_cap:
            return None, f"the dependency asked to wait {asked_s:.1f} s, more than retry_after_cap"
        wait_s = max(retry.delay(attempts, self._random()), asked_s)
        if wait_s == inf or (deadline_at is not None and now + wait_s >= deadline_at):
            return None, f"the next attempt in {wait_s:.1f} s would start after the deadline"
        if not self._budget.spend(timed_out=timed_out):
            return None, "the retry budget is used up"
        return wait_s if overrides.waiting else 0.0, ""

    def _record_end(self, progress: CallProgress, error: Exception | None, reason: str, now: float) -> None:
        attempts, seconds = progress.attempts, now - progress.call_start
        retryable = reason not in _NOT_RETRYABLE
        self._budget.count_failure(attempts, retryable=retryable)
        if self.retry is not None:
            log_end = log_events.log_exhausted if retryable else log_events.log_failure
            log_end(self._name, attempts, seconds, error, reason)
        if self._on_event is not None:
            event = CallFailed(
                name=self._name,
                attempts=attempts,
                seconds=seconds,
                error=_error_type(error),
                reason=reason,
                retryable=retryable,
            )
            emit(self._on_event, event)
        if error is not None and (attempts > 1 or reason not in (_NOT_TO_BE_REPEATED, _MISUSE)):
            plural = "attempt" if attempts == 1 else "attempts"
            prefix = f"{self._name}: gave up after"
            # A frozen exception class raises when a note is added; the error must be raised all the same.
            with suppress(Exception):
                if notes := getattr(error, "__notes__", None):
                    # Code may raise the same exception object in every call, which would collect old notes.
                    notes[:] = [note for note in notes if not note.startswith(prefix)]
                error.add_note(f"{prefix} {attempts} {plural} in {seconds:.2f} s: {reason}")


def _error_type(error: Exception | None) -> str | None:
    return None if error is None else type(error).__name__


_TOLD = "_told"


def _was_told(error: ResilienceError) -> bool:
    """Tell whether a policy inside this one has told its hook of the refusal; note that it is told now."""
    if _TOLD in error.__dict__:
        return True
    error.__dict__[_TOLD] = True
    return False
