"""One policy round one call: deadline, attempts, breaker, bulkhead and budget, in one loop.

Order, from the outside: deadline, attempts, budget, breaker, bulkhead, time-out of an attempt, the call. The
breaker stands inside the retry, so it sees every attempt; the time-out inside the breaker, so it sees those
too; a full bulkhead says nothing about the far side and is ignored by the breaker.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import random as uniform
from typing import ParamSpec, TypeVar

from synccash.resilience.attempts import Attempts
from synccash.resilience.budget import UNLIMITED, Budget, RetryBudget
from synccash.resilience.bulkhead import AsyncBulkhead, Bulkhead, ThreadBulkhead
from synccash.resilience.circuit_breaker import BreakerSettings, CircuitBreaker
from synccash.resilience.deadline import current
from synccash.resilience.decorating import NO_INTERRUPT, decorated
from synccash.resilience.errors import AttemptTimeoutError, DeadlineExceededError
from synccash.resilience.judging import Classify, Judge
from synccash.resilience.retry import Retry
from synccash.resilience.verdict import Outcome

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
_OK = Outcome.OK
_outer, _hand_on, _take_back = current.get, current.set, current.reset


class Policy:
    """Immutable wiring over live parts. Times in seconds.

    `classify(result_or_exception)` judges every result, returned ones too; `Retry(on=…)` is the shorthand,
    and with a retry one of the two is needed. `idempotent`: an AMBIGUOUS result may be repeated.
    `attempt_timeout` and `total_timeout` interrupt; with `interrupt=False` time is only looked at between
    attempts, and the callee is told what is left by `synccash.resilience.deadline.remaining()`.
    `breaker`, `budget`: settings make a live part of this policy's own; a live part is shared.
    `gated=False`: the breaker counts and never refuses. `budget=None`: repeats are not limited.

    Calls of one policy may run in one event loop and, through `call_sync`, in any number of threads.
    Raises ValueError for what makes no sense.
    """

    __slots__ = (
        "_attempt_timeout",
        "_breaker",
        "_budget",
        "_bulkhead",
        "_classify",
        "_clock",
        "_gated",
        "_interrupt",
        "_judge",
        "_plain",
        "_sleep",
        "_sleep_sync",
        "_thread_bulkhead",
        "_total_timeout",
        "name",
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
        bulkhead: Bulkhead | None = None,
        budget: Budget | RetryBudget | None = Budget(),  # noqa: B008 - a frozen value
        gated: bool = True,
        idempotent: bool = False,
        classify: Classify | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        sleep_sync: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = uniform,
    ) -> None:
        if retry is not None and retry.on is None and classify is None:
            raise ValueError(f"{name}: say what may be tried again, with Retry(on=…) or classify=…")
        for limit in (attempt_timeout, total_timeout):
            if limit is not None and limit <= 0:
                raise ValueError(f"{name}: a time-out must be above 0 seconds, or None")
        if isinstance(breaker, BreakerSettings):
            breaker = CircuitBreaker(name, breaker, clock=clock, random=random)
        self.name = name
        self._breaker = breaker
        self._budget = (
            budget if isinstance(budget, RetryBudget) else RetryBudget(name, budget or UNLIMITED, clock=clock)
        )
        self._bulkhead = AsyncBulkhead(name, bulkhead) if bulkhead else None
        self._thread_bulkhead = ThreadBulkhead(name, bulkhead) if bulkhead else None
        self._attempt_timeout = attempt_timeout
        self._total_timeout = total_timeout
        self._interrupt = interrupt and (attempt_timeout is not None or total_timeout is not None)
        self._plain = bulkhead is None and not self._interrupt and attempt_timeout is None
        self._gated = gated
        self._classify = classify
        self._clock = clock
        self._sleep = sleep
        self._sleep_sync = sleep_sync
        self._judge = Judge(
            name=name,
            retry=retry,
            breaker=breaker,
            gated=gated,
            budget=self._budget,
            idempotent=idempotent,
            classify=classify,
            random=random,
        )

    @property
    def breaker(self) -> CircuitBreaker | None:
        """The live breaker."""
        return self._breaker

    @property
    def budget(self) -> RetryBudget:
        """The live budget, and how the calls ended."""
        return self._budget

    @property
    def attempt_timeout(self) -> float | None:
        """Seconds for one attempt."""
        return self._attempt_timeout

    @property
    def total_timeout(self) -> float | None:
        """Seconds for all attempts and the waits between them."""
        return self._total_timeout

    async def call(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn` under the policy and return its result, or raise what it raised last.

        Raises CircuitOpenError, BulkheadFullError or DeadlineExceededError where not even a first attempt was
        allowed, AttemptTimeoutError for one that was interrupted last.
        """
        # The happy path stays in this frame; what follows trouble is in Judge.
        clock, breaker = self._clock, self._breaker
        began = now = clock()
        until, token = self._total_timeout, None
        if until is not None:
            until += now
        if _outer() is not None:
            until = self._until(now, until)
        ticket = 0 if breaker is None else breaker.ticket or (breaker.enter() if self._gated else 0)
        if until is not None:
            token = _hand_on((until, clock))
        attempts, last = 1, None
        try:
            while True:
                try:
                    if self._plain:
                        result = await fn(*args, **kwargs)
                    else:
                        if self._bulkhead is not None:
                            await self._bulkhead.acquire(None if until is None else until - now)
                            now = clock()
                        result = await self._attempt(now, until, fn, *args, **kwargs)
                except Exception as error:
                    wait = self._judge.raised(error, ticket, now, clock(), attempts, began, until)
                    if wait is None:
                        raise
                    last = error
                except BaseException:
                    # Cancelled from outside: it proves nothing, and its place must not stay taken.
                    if breaker is not None:
                        breaker.drop(ticket)
                    raise
                else:
                    if self._classify is not None:
                        wait = self._judge.returned(result, ticket, now, clock(), attempts, began, until)
                        if wait is None:
                            return result
                        last = None
                    else:
                        if breaker is not None:
                            ended = clock()
                            took = ended - now
                            if (
                                ticket == breaker.ticket
                                and took < breaker.quick_s
                                and ended < breaker.mark_at
                            ):
                                breaker.quick += 1
                                breaker.seconds += took
                            else:
                                breaker.leave(ticket, _OK, took)
                        budget = self._budget
                        budget.successes += 1
                        budget.last_attempts = attempts
                        return result
                if wait > 0:
                    await self._sleep(wait)
                now = clock()
                if self._judge.ends(last, now, attempts, began, until):
                    if last is not None:
                        raise last
                    return result  # pyright: ignore
                ticket = 0 if breaker is None else breaker.ticket or (breaker.enter() if self._gated else 0)
                attempts += 1
        finally:
            last = None  # an error that is kept here would keep this frame alive
            if token is not None:
                _take_back(token)

    def _until(self, now: float, own: float | None) -> float | None:
        """When the whole call is over: by its own total, or by a deadline further out."""
        outer = _outer()
        if outer is None or (own is not None and own <= outer[0]):
            return own
        if outer[0] <= now:
            raise DeadlineExceededError(self.name, 0)
        return outer[0]

    def _whole_time(self, now: float) -> float | None:
        return self._until(now, None if self._total_timeout is None else now + self._total_timeout)

    async def _attempt(
        self,
        now: float,
        until: float | None,
        fn: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """One attempt with a limit of its own, in a place of the bulkhead that is taken already."""
        limit = self._limit(now, until)
        try:
            if limit is None:
                return await fn(*args, **kwargs)
            if not self._interrupt:
                token = current.set((now + limit, self._clock))
                try:
                    return await fn(*args, **kwargs)
                finally:
                    current.reset(token)
            scope = asyncio.timeout(limit)
            try:
                async with scope:
                    return await fn(*args, **kwargs)
            except TimeoutError as error:
                if not scope.expired():
                    raise
                raise AttemptTimeoutError(self.name, limit) from error
        finally:
            if self._bulkhead is not None:
                self._bulkhead.release()

    def _limit(self, now: float, until: float | None) -> float | None:
        limit = self._attempt_timeout
        if until is not None and (limit is None or until - now < limit):
            return until - now
        return limit

    def call_sync(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same for a plain function, in any thread. Raises TypeError where a time-out would interrupt."""
        if self._interrupt:
            raise TypeError(f"{self.name}: {NO_INTERRUPT}")
        clock, breaker = self._clock, self._breaker
        began = now = clock()
        until, token = self._total_timeout, None
        if until is not None:
            until += now
        if _outer() is not None:
            until = self._until(now, until)
        ticket = 0 if breaker is None else breaker.ticket or (breaker.enter() if self._gated else 0)
        if until is not None:
            token = _hand_on((until, clock))
        attempts, last = 1, None
        try:
            while True:
                try:
                    if self._plain:
                        result = fn(*args, **kwargs)
                    else:
                        if self._thread_bulkhead is not None:
                            self._thread_bulkhead.acquire(None if until is None else until - now)
                            now = clock()
                        result = self._attempt_sync(now, until, fn, *args, **kwargs)
                except Exception as error:
                    with self._budget.lock:
                        wait = self._judge.raised(error, ticket, now, clock(), attempts, began, until)
                    if wait is None:
                        raise
                    last = error
                except BaseException:
                    if breaker is not None:
                        breaker.drop(ticket)
                    raise
                else:
                    with self._budget.lock:
                        wait = self._judge.returned(result, ticket, now, clock(), attempts, began, until)
                    if wait is None:
                        return result
                    last = None
                if wait > 0:
                    self._sleep_sync(wait)
                now = clock()
                if self._judge.ends(last, now, attempts, began, until):
                    if last is not None:
                        raise last
                    return result  # pyright: ignore
                ticket = 0 if breaker is None else breaker.ticket or (breaker.enter() if self._gated else 0)
                attempts += 1
        finally:
            last = None
            if token is not None:
                current.reset(token)

    def _attempt_sync(
        self, now: float, until: float | None, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        limit = self._limit(now, until)
        token = None if limit is None else current.set((now + limit, self._clock))
        try:
            return fn(*args, **kwargs)
        finally:
            if token is not None:
                current.reset(token)
            if self._thread_bulkhead is not None:
                self._thread_bulkhead.release()

    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]:
        """Decorate a `def` or `async def`. Raises TypeError for what can't be repeated or interrupted."""
        return decorated(self, fn, interrupts=self._interrupt)

    def attempts(self) -> Attempts:
        """For a block: `async for attempt in policy.attempts(): async with attempt: …`."""
        return Attempts(
            name=self.name,
            judge=self._judge,
            breaker=self._breaker if self._gated else None,
            bulkhead=self._bulkhead,
            until=self._whole_time,
            limit=self._limit,
            interrupt=self._interrupt,
            clock=self._clock,
            sleep=self._sleep,
        )
