"""Decides after each attempt whether another follows, and records the result in breaker, budget and log."""

from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any

from synccash.resilience import log_events, overrides
from synccash.resilience.budget import RetryBudget
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.errors import BulkheadFullError, CircuitOpenError
from synccash.resilience.evidence import Evidence
from synccash.resilience.retry import Retry
from synccash.resilience.verdict import Classifier, Outcome, Verdict

_OK = Verdict(Outcome.OK)
_NOT_TO_BE_REPEATED = "the failure is not retryable"
_NOT_SAFE_TO_REPEAT = "the effect of the attempt is unknown and the call is not idempotent"
_ONE_ATTEMPT = "the limit is 1 attempt"
_BREAKER_OPEN = "the circuit breaker is open"
_NOT_RETRYABLE = (_NOT_TO_BE_REPEATED, _NOT_SAFE_TO_REPEAT)


class RetryDecider:
    """The retry rules of one policy. Never waits; its breaker and budget are live.

    In all methods `attempts` is the number of attempts made so far, `call_start` and `attempt_start` are the
    start of the first and of the last attempt, and `deadline_at` is the deadline or None. Times are seconds
    of the policy's clock.
    """

    __slots__ = ("_breaker", "_budget", "_classify", "_gated", "_idempotent", "_name", "_random", "_retry")

    def __init__(
        self,
        *,
        name: str,
        retry: Retry | None,
        breaker: CircuitBreaker | None,
        gated: bool,
        budget: RetryBudget,
        idempotent: bool,
        classify: Classifier | None,
        random: Callable[[], float],
    ) -> None:
        self._name = name
        self._retry = retry
        self._breaker = breaker
        self._gated = gated
        self._budget = budget
        self._idempotent = idempotent
        self._classify = classify
        self._random = random

    def after_error(
        self,
        error: Exception,
        permit: int,
        attempt_start: float,
        attempt_end: float,
        attempts: int,
        call_start: float,
        deadline_at: float | None,
    ) -> float | None:
        """Record an attempt that raised. Returns the seconds to wait before the next attempt, or None: the
        error is final.
        """
        verdict = self._checked_verdict(self._classify_error, error, permit)
        timed_out = isinstance(error, TimeoutError)
        self._record_in_breaker(verdict, permit, attempt_end - attempt_start, error, slow=timed_out)
        wait_s, reason = self._next_wait(verdict, attempt_end, attempts, deadline_at, timed_out=timed_out)
        if wait_s is None:
            self._record_end(error, reason, attempt_end - call_start, attempts)
        else:
            log_events.log_retry(self._name, attempts, error, wait_s)
        return wait_s

    def after_result(
        self,
        result: object,
        permit: int,
        attempt_start: float,
        attempt_end: float,
        attempts: int,
        call_start: float,
        deadline_at: float | None,
    ) -> float | None:
        """Record an attempt that returned. Returns the seconds to wait before the next attempt, or None: the
        result is final.
        """
        verdict = _OK if self._classify is None else self._checked_verdict(self._classify, result, permit)
        self._record_in_breaker(
            verdict, permit, attempt_end - attempt_start, "a returned failure", slow=False
        )
        if not verdict.retry and verdict.outcome is not Outcome.FAILED:
            self._record_success(attempts, attempt_end - call_start)
            return None
        wait_s, reason = self._next_wait(verdict, attempt_end, attempts, deadline_at, timed_out=False)
        if wait_s is None:
            self._record_end(None, reason, attempt_end - call_start, attempts)
        else:
            log_events.log_retry(self._name, attempts, None, wait_s)
        return wait_s

    def after_block(
        self, permit: int, attempt_start: float, attempt_end: float, attempts: int, call_start: float
    ) -> None:
        """Record a block of `Policy.attempts()` that raised nothing; it has no result to classify."""
        self._record_in_breaker(_OK, permit, attempt_end - attempt_start, "", slow=False)
        self._record_success(attempts, attempt_end - call_start)

    def _record_success(self, attempts: int, seconds: float) -> None:
        self._budget.successes += 1
        self._budget.record_attempts(attempts)
        if attempts > 1:
            log_events.log_success(self._name, attempts, seconds)

    def stops_after_wait(
        self,
        last_error: Exception | None,
        now: float,
        attempts: int,
        call_start: float,
        deadline_at: float | None,
    ) -> bool:
        """After the wait: True if no further attempt may start, because of the deadline or the breaker."""
        if deadline_at is not None and now >= deadline_at:
            reason = "the deadline has passed"
        elif self._breaker_refuses():
            reason = _BREAKER_OPEN
        else:
            return False
        self._record_end(last_error, reason, now - call_start, attempts)
        return True

    def after_refusal(
        self, last_error: Exception | None, now: float, attempts: int, call_start: float
    ) -> None:
        """Record the end of a call whose next attempt got no permit: other calls use the probe slots."""
        self._record_end(last_error, _BREAKER_OPEN, now - call_start, attempts)

    def _breaker_refuses(self) -> bool:
        return self._gated and self._breaker is not None and self._breaker.retry_after() is not None

    def _is_retryable(self, error: Exception) -> bool:
        return self._retry is not None and self._retry.wants(error)

    def _classify_error(self, error: Exception) -> Verdict:
        if isinstance(error, BulkheadFullError | CircuitOpenError):
            # Raised by this policy or by a nested one: it says nothing about the dependency.
            return Verdict(Outcome.IGNORED, retry=self._is_retryable(error), evidence=Evidence.NOT_SENT)
        if self._classify is not None:
            return self._classify(error)
        return Verdict(Outcome.FAILED, retry=self._is_retryable(error))

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
            if self._breaker is not None:
                self._breaker.release(permit)
            raise

    def _record_in_breaker(
        self, verdict: Verdict, permit: int, duration_s: float, error: Exception | str, *, slow: bool
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
        retry = self._retry
        if retry is None or not verdict.retry:
            return None, _NOT_TO_BE_REPEATED
        if verdict.evidence is Evidence.AMBIGUOUS and not self._idempotent:
            return None, _NOT_SAFE_TO_REPEAT
        max_attempts = (
            retry.attempts if overrides.attempts is None else min(retry.attempts, overrides.attempts)
        )
        if attempts >= max_attempts:
            return None, _ONE_ATTEMPT if attempts == 1 else f"the limit is {attempts} attempts"
        if self._breaker_refuses():
            return None, _BREAKER_OPEN
        wait_s = max(retry.delay(attempts, self._random()), verdict.retry_after or 0.0)
        if wait_s == inf or (deadline_at is not None and now + wait_s >= deadline_at):
            return None, f"the next attempt in {wait_s:.1f} s would start after the deadline"
        if not self._budget.spend(timed_out=timed_out):
            return None, "the retry budget is used up"
        return wait_s if overrides.waiting else 0.0, ""

    def _record_end(self, error: Exception | None, reason: str, seconds: float, attempts: int) -> None:
        budget = self._budget
        if reason in _NOT_RETRYABLE:
            budget.failures += 1
            log_end = log_events.log_failure
        else:
            budget.exhausted += 1
            log_end = log_events.log_exhausted
        budget.record_attempts(attempts)
        if self._retry is not None:
            log_end(self._name, attempts, seconds, error, reason)
        if error is not None and (attempts > 1 or reason is not _NOT_TO_BE_REPEATED):
            plural = "attempt" if attempts == 1 else "attempts"
            prefix = f"{self._name}: gave up after"
            # A frozen exception class raises when a note is added; the error must be raised all the same.
            with suppress(Exception):
                if notes := getattr(error, "__notes__", None):
                    # Code may raise the same exception object in every call, which would collect old notes.
                    notes[:] = [note for note in notes if not note.startswith(prefix)]
                error.add_note(f"{prefix} {attempts} {plural} in {seconds:.2f} s: {reason}")
