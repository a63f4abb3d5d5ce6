"""One policy round one call: deadline, attempts, breaker, in one loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import random as uniform
from typing import Any, Generic, ParamSpec, TypeVar

from synccash.resilience import deadline as _deadline
from synccash.resilience.circuit_breaker import BreakerSettings, CircuitBreaker
from synccash.resilience.errors import (
    AttemptTimeoutError,
    CircuitOpenError,
    DeadlineExceededError,
    ResilienceError,
)
from synccash.resilience.evidence import Evidence
from synccash.resilience.retry import Retry
from synccash.resilience.verdict import Outcome, Verdict

P = ParamSpec("P")
T = TypeVar("T")
Classify = Callable[[Any], Verdict]


class Policy:
    """Immutable wiring over live parts. Times in seconds.

    `classify(result_or_exception)` judges every result, returned ones too; `Retry(on=…)` is the shorthand,
    and with a retry one of the two is needed. `attempt_timeout` and `total_timeout` interrupt; with
    `interrupt=False` time is only looked at between attempts, and the callee is told what is left by
    `synccash.resilience.deadline.remaining()`. `gated=False`: the breaker counts and never refuses.
    `idempotent`: an AMBIGUOUS result may be repeated.
    """

    __slots__ = (
        "_breaker",
        "_classify",
        "_clock",
        "_gated",
        "_idempotent",
        "_interrupt",
        "_random",
        "_retry",
        "_sleep",
        "attempt_timeout",
        "name",
        "total_timeout",
    )

    def __init__(
        self,
        name: str,
        /,
        *,
        retry: Retry | None = None,
        breaker: CircuitBreaker | BreakerSettings | None = None,
        attempt_timeout: float | None = None,
        total_timeout: float | None = None,
        interrupt: bool = True,
        gated: bool = True,
        idempotent: bool = False,
        classify: Classify | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = uniform,
    ) -> None:
        if retry is not None and retry.on is None and classify is None:
            raise ValueError(f"{name}: say what may be tried again, with Retry(on=…) or classify=…")
        self.name = name
        self._retry = retry
        self._breaker = (
            CircuitBreaker(name, breaker, clock=clock, random=random)
            if isinstance(breaker, BreakerSettings)
            else breaker
        )
        self._classify = classify
        self._interrupt = interrupt
        self._gated = gated
        self._idempotent = idempotent
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self.attempt_timeout = attempt_timeout
        self.total_timeout = total_timeout

    @property
    def breaker(self) -> CircuitBreaker | None:
        """The live breaker."""
        return self._breaker

    async def call(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn` under the policy and return its result, or raise what it raised last.

        Raises CircuitOpenError or DeadlineExceededError where not even a first attempt was allowed.
        """
        with _deadline.deadline(self.total_timeout, clock=self._clock):
            tried: _Tried[T] = _Tried(self._clock())
            while True:
                try:
                    self._has_time(tried.attempts)
                    ticket = self._enter()
                except (CircuitOpenError, DeadlineExceededError) as refusal:
                    if tried.attempts == 0:
                        raise
                    return tried.ended(self.name, str(refusal), self._clock())
                tried.attempts += 1
                verdict = await self._attempt(tried, ticket, fn, *args, **kwargs)
                if tried.error is None and not verdict.retry:
                    return tried.value
                wait_s, why = self._wait(verdict, tried.attempts)
                if wait_s is None:
                    return tried.ended(self.name, why, self._clock())
                if wait_s > 0:
                    await self._sleep(wait_s)

    def _has_time(self, attempts: int) -> None:
        if _deadline.remaining() == 0.0:
            raise DeadlineExceededError(self.name, attempts)

    def _enter(self) -> int | None:
        return self._breaker.enter() if self._breaker is not None and self._gated else None

    async def _attempt(
        self,
        tried: "_Tried[T]",
        ticket: int | None,
        fn: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Verdict:
        began = self._clock()
        try:
            tried.value, tried.error = await self._timed(fn, *args, **kwargs), None
            verdict = self._judge(tried.value)
        except Exception as error:
            tried.error = error
            verdict = self._judge(error)
        except BaseException:
            # Cancelled from outside: it proves nothing, and its place must not stay taken.
            if ticket is not None and self._breaker is not None:
                self._breaker.drop(ticket)
            raise
        if self._breaker is not None:
            why = "" if tried.error is None else type(tried.error).__name__
            arguments = (verdict.outcome, self._clock() - began)
            if ticket is None:
                self._breaker.note(*arguments, retry_after=verdict.retry_after, why=why)
            else:
                self._breaker.leave(ticket, *arguments, retry_after=verdict.retry_after, why=why)
        return verdict

    async def _timed(self, fn: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        left_s = _deadline.remaining() if self._interrupt else None
        if not self._interrupt or (self.attempt_timeout is None and left_s is None):
            with _deadline.deadline(self.attempt_timeout, clock=self._clock):
                return await fn(*args, **kwargs)
        limits = [limit for limit in (self.attempt_timeout, left_s) if limit is not None]
        scope = asyncio.timeout(min(limits))
        try:
            async with scope:
                return await fn(*args, **kwargs)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise AttemptTimeoutError(self.name, min(limits)) from error

    def _judge(self, result: object) -> Verdict:
        if self._classify is not None:
            return self._classify(result)
        if not isinstance(result, BaseException):
            return _FINE
        if isinstance(result, ResilienceError) and not isinstance(result, TimeoutError):
            return Verdict(Outcome.IGNORED)
        return Verdict(Outcome.FAILED, retry=self._retry is not None and self._retry.wants(result))

    def _wait(self, verdict: Verdict, attempts: int) -> tuple[float | None, str]:
        """How long to wait before the next attempt, or None and why there is none."""
        retry = self._retry
        if retry is None or not verdict.retry:
            return None, "not to be repeated"
        if verdict.evidence is Evidence.AMBIGUOUS and not self._idempotent:
            return None, "what it did is not known, and the call is not idempotent"
        if attempts >= retry.attempts:
            return None, f"{attempts} attempts are all there are"
        wait_s = max(retry.delay(attempts, self._random()), verdict.retry_after or 0.0)
        left_s = _deadline.remaining()
        if left_s is not None and wait_s >= left_s:
            return None, f"the next attempt in {wait_s:.1f} s would be too late"
        return wait_s, ""


_FINE = Verdict(Outcome.OK)


class _Tried(Generic[T]):
    """What the attempts of one call have come to."""

    __slots__ = ("attempts", "began", "error", "value")

    value: T
    error: Exception | None

    def __init__(self, began: float) -> None:
        self.attempts = 0
        self.began = began

    def ended(self, name: str, why: str, now: float) -> T:
        """Return the last result, or raise the last error with a note on how it came to this."""
        if self.error is None:
            return self.value
        if self.attempts > 1:
            self.error.add_note(
                f"{name}: gave up after {self.attempts} attempts in {now - self.began:.2f} s: {why}"
            )
        raise self.error
