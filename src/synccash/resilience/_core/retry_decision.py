"""What follows one attempt: the breaker hears of it, and another one is decided on. Nothing here waits."""

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
from synccash.resilience.verdict import Outcome, Verdict

Classify = Callable[[Any], Verdict]

_FINE = Verdict(Outcome.OK)
_NOT_TO_BE_REPEATED = "it is not to be repeated"
_NOT_SAFE_TO_REPEAT = "what it did is not known, and the call is not idempotent"
_ONE = "one attempt is all there is"
_SHUT = "the circuit breaker is open"
_FINAL = (_NOT_TO_BE_REPEATED, _NOT_SAFE_TO_REPEAT)


class Judge:
    """One policy's rules. Frozen; the breaker and the budget behind it are live.

    `attempts` counts those made so far; `began` is when the first began, `now` when the last one did.
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
        classify: Classify | None,
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

    def raised(
        self,
        error: Exception,
        ticket: int,
        now: float,
        ended: float,
        attempts: int,
        began: float,
        until: float | None,
    ) -> float | None:
        """The attempt raised. Return the seconds to wait before the next one, or None: raise the error."""
        verdict = self._asked(self._verdict_of, error, ticket)
        timed_out = isinstance(error, TimeoutError)
        self._report(verdict, ticket, ended - now, error, slow=timed_out)
        wait, why = self._next(verdict, ended, attempts, until, timed_out=timed_out)
        if wait is None:
            self._ended(error, why, ended - began, attempts)
        else:
            log_events.again(self._name, attempts, error, wait)
        return wait

    def returned(
        self,
        result: object,
        ticket: int,
        now: float,
        ended: float,
        attempts: int,
        began: float,
        until: float | None,
    ) -> float | None:
        """The attempt returned. Return the seconds to wait before the next, or None: return the result."""
        verdict = _FINE if self._classify is None else self._asked(self._classify, result, ticket)
        self._report(verdict, ticket, ended - now, "a returned failure", slow=False)
        if not verdict.retry and verdict.outcome is not Outcome.FAILED:
            self._succeeded(attempts, ended - began)
            return None
        wait, why = self._next(verdict, ended, attempts, until, timed_out=False)
        if wait is None:
            self._ended(None, why, ended - began, attempts)
        else:
            log_events.again(self._name, attempts, None, wait)
        return wait

    def ran_through(self, ticket: int, now: float, ended: float, attempts: int, began: float) -> None:
        """The block of the attempt came to its end. It has no result that could be judged."""
        self._report(_FINE, ticket, ended - now, "", slow=False)
        self._succeeded(attempts, ended - began)

    def _succeeded(self, attempts: int, seconds: float) -> None:
        self._budget.successes += 1
        self._budget.ended(attempts)
        if attempts > 1:
            log_events.succeeded(self._name, attempts, seconds)

    def ends(
        self, last: Exception | None, now: float, attempts: int, began: float, until: float | None
    ) -> bool:
        """After the wait: True when there is no next attempt after all."""
        if until is not None and now >= until:
            why = "no time is left"
        elif self._shut():
            why = _SHUT
        else:
            return False
        self._ended(last, why, now - began, attempts)
        return True

    def refused(self, last: Exception | None, now: float, attempts: int, began: float) -> None:
        """After the wait, when the breaker still let others in and has no place for this one."""
        self._ended(last, _SHUT, now - began, attempts)

    def _shut(self) -> bool:
        return self._gated and self._breaker is not None and self._breaker.retry_after() is not None

    def _wants(self, error: Exception) -> bool:
        return self._retry is not None and self._retry.wants(error)

    def _verdict_of(self, error: Exception) -> Verdict:
        if isinstance(error, BulkheadFullError | CircuitOpenError):
            # Ours, or that of a policy further in: it says nothing about the far side.
            return Verdict(Outcome.IGNORED, retry=self._wants(error), evidence=Evidence.NOT_SENT)
        if self._classify is not None:
            return self._classify(error)
        return Verdict(Outcome.FAILED, retry=self._wants(error))

    def _asked(self, judge: Callable[[Any], object], result: Any, ticket: int) -> Verdict:
        try:
            verdict = judge(result)
            if not isinstance(verdict, Verdict):
                kind = type(verdict).__name__
                raise TypeError(
                    f"{self._name}: classify must return a Verdict for whatever it is given, not {kind}"
                )
            return verdict
        except BaseException:
            if self._breaker is not None:
                self._breaker.drop(ticket)
            raise

    def _report(
        self, verdict: Verdict, ticket: int, took: float, error: Exception | str, *, slow: bool
    ) -> None:
        breaker = self._breaker
        if breaker is None:
            return
        good = verdict.outcome is Outcome.OK
        if good and ticket == breaker.ticket and took < breaker.quick_s and breaker.untimed:
            breaker.quick += 1
            breaker.seconds += took
            return
        breaker.leave(ticket, verdict.outcome, took, slow=slow, retry_after=verdict.retry_after, error=error)

    def _next(
        self, verdict: Verdict, now: float, attempts: int, until: float | None, *, timed_out: bool
    ) -> tuple[float | None, str]:
        retry = self._retry
        if retry is None or not verdict.retry:
            return None, _NOT_TO_BE_REPEATED
        if verdict.evidence is Evidence.AMBIGUOUS and not self._idempotent:
            return None, _NOT_SAFE_TO_REPEAT
        most = retry.attempts if overrides.attempts is None else min(retry.attempts, overrides.attempts)
        if attempts >= most:
            return None, _ONE if attempts == 1 else f"{attempts} attempts are all there are"
        if self._shut():
            return None, _SHUT
        wait = max(retry.delay(attempts, self._random()), verdict.retry_after or 0.0)
        if wait == inf or (until is not None and now + wait >= until):
            return None, f"the next attempt in {wait:.1f} s would be too late"
        if not self._budget.take(timed_out=timed_out):
            return None, "the retry budget is used up"
        return wait if overrides.waiting else 0.0, ""

    def _ended(self, error: Exception | None, why: str, seconds: float, attempts: int) -> None:
        budget = self._budget
        if why in _FINAL:
            budget.failures += 1
            tell = log_events.failed
        else:
            budget.exhausted += 1
            tell = log_events.exhausted
        budget.ended(attempts)
        if self._retry is not None:
            tell(self._name, attempts, seconds, error, why)
        if error is not None and (attempts > 1 or why is not _NOT_TO_BE_REPEATED):
            plural = "attempt" if attempts == 1 else "attempts"
            told = f"{self._name}: gave up after"
            # An error may refuse to be written on, as a frozen one does; it comes out all the same.
            with suppress(Exception):
                if notes := getattr(error, "__notes__", None):
                    # Some raise one and the same object again and again.
                    notes[:] = [note for note in notes if not note.startswith(told)]
                error.add_note(f"{told} {attempts} {plural} in {seconds:.2f} s: {why}")
