"""One policy round one call: deadline, attempts, breaker, bulkhead and budget, in one loop.

Order, from the outside: deadline, attempts, budget, breaker, bulkhead, time-out of an attempt, the call. The
breaker stands inside the retry, so it sees every attempt; the time-out inside the breaker, so it sees those
too; a full bulkhead says nothing about the far side and is ignored by the breaker.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import random as uniform
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from synccash.resilience._core.decorating import decorated
from synccash.resilience._core.fast_path import async_call, sync_call
from synccash.resilience._core.numbers import number
from synccash.resilience._core.retry_decision import Classify, Judge
from synccash.resilience._core.wiring import Parts
from synccash.resilience.attempts import Attempts
from synccash.resilience.budget import UNLIMITED, Budget, RetryBudget
from synccash.resilience.bulkhead import AsyncBulkhead, Bulkhead, ThreadBulkhead
from synccash.resilience.circuit_breaker import BreakerSettings, CircuitBreaker
from synccash.resilience.retry import Retry

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
_FORMS = ("call", "call_sync")
_KINDS: dict[str, tuple[type, ...]] = {
    "retry": (Retry,),
    "breaker": (CircuitBreaker, BreakerSettings),
    "bulkhead": (Bulkhead,),
    "budget": (Budget, RetryBudget),
}


class Policy:
    """Immutable wiring over live parts. Times in seconds.

    `classify(result_or_exception)` judges every result, returned ones too; `Retry(on=…)` is the shorthand,
    and with a retry one of the two is needed. `idempotent`: an AMBIGUOUS result may be repeated.
    `attempt_timeout` and `total_timeout` interrupt; with `interrupt=False` time is only looked at between
    attempts, and the callee is told what is left by `synccash.resilience.deadline.remaining()`.
    `breaker`, `budget`: settings make a live part of this policy's own; a live part is shared.
    `gated=False`: the breaker counts and never refuses. `budget=None`: repeats are not limited.

    Calls of one policy may run in one event loop and, through `call_sync`, in any number of threads.
    Raises ValueError or TypeError for what makes no sense.
    """

    __slots__ = ("_parts", "name", *_FORMS)

    if TYPE_CHECKING:
        name: str
        _parts: Parts

        # At run time each is the frame that fits the parts: no method stands between it and the caller.
        async def call(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
            """Call `fn` under the policy and return its result, or raise what it raised last.

            Raises CircuitOpenError, BulkheadFullError or DeadlineExceededError where not even a first attempt
            was allowed, AttemptTimeoutError for one that was interrupted last.
            """
            raise NotImplementedError

        def call_sync(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
            """The same for a plain function, in any thread. Raises TypeError where a time-out interrupts."""
            raise NotImplementedError

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
        _check_kinds(name, retry=retry, breaker=breaker, bulkhead=bulkhead, budget=budget, classify=classify)
        if retry is not None and retry.on is None and classify is None:
            raise ValueError(f"{name}: say what may be tried again, with Retry(on=…) or classify=…")
        number(attempt_timeout=attempt_timeout, total_timeout=total_timeout)
        for limit in (attempt_timeout, total_timeout):
            if limit is not None and limit <= 0:
                raise ValueError(f"{name}: a time-out must be above 0 seconds, or None")
        if isinstance(breaker, BreakerSettings):
            breaker = CircuitBreaker(name, breaker, clock=clock, random=random)
        object.__setattr__(self, "name", name)
        budget = (
            budget if isinstance(budget, RetryBudget) else RetryBudget(name, budget or UNLIMITED, clock=clock)
        )
        judge = Judge(
            name=name,
            retry=retry,
            breaker=breaker,
            gated=gated,
            budget=budget,
            idempotent=idempotent,
            classify=classify,
            random=random,
        )
        parts = Parts(
            name=name,
            judge=judge,
            budget=budget,
            breaker=breaker,
            gated=gated,
            bulkhead=AsyncBulkhead(name, bulkhead) if bulkhead else None,
            thread_bulkhead=ThreadBulkhead(name, bulkhead) if bulkhead else None,
            attempt_timeout=attempt_timeout,
            total_timeout=total_timeout,
            interrupt=interrupt and (attempt_timeout is not None or total_timeout is not None),
            judged=classify is not None,
            clock=clock,
            sleep=sleep,
            sleep_sync=sleep_sync,
        )
        object.__setattr__(self, "_parts", parts)
        for form, frame in zip(_FORMS, (async_call(parts), sync_call(parts)), strict=True):
            object.__setattr__(self, form, frame)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a policy is immutable: make another one instead of setting {name!r}")

    def __repr__(self) -> str:
        parts = self._parts
        told = f"attempt_timeout={parts.attempt_timeout}, total_timeout={parts.total_timeout}"
        return f"Policy({parts.name!r}, breaker={parts.breaker}, {told}, interrupt={parts.interrupt})"

    @property
    def breaker(self) -> CircuitBreaker | None:
        """The live breaker."""
        return self._parts.breaker

    @property
    def budget(self) -> RetryBudget:
        """The live budget, and how the calls ended."""
        return self._parts.budget

    @property
    def attempt_timeout(self) -> float | None:
        """Seconds for one attempt."""
        return self._parts.attempt_timeout

    @property
    def total_timeout(self) -> float | None:
        """Seconds for all attempts and the waits between them."""
        return self._parts.total_timeout

    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]:
        """Decorate a `def` or `async def`. Raises TypeError for what can't be repeated or interrupted."""
        return decorated(self, fn, interrupts=self._parts.interrupt)

    def attempts(self) -> Attempts:
        """For a block: `async for attempt in policy.attempts(): async with attempt: …`."""
        return Attempts(self._parts)


def _check_kinds(name: object, **given: object) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"a policy's first argument is its name, not {name!r}")
    for part, kinds in _KINDS.items():
        if given[part] is not None and not isinstance(given[part], kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise TypeError(f"{name}: {part} must be {expected}, or None, not {given[part]!r}")
    if given["classify"] is not None and not callable(given["classify"]):
        raise TypeError(f"{name}: classify must be a function, or None, not {given['classify']!r}")
