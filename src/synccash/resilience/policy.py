"""Policy: calls a function with retries, circuit breaker, time-outs, bulkhead and budget, in a fixed order.

Order, from the outside: deadline, attempts, budget, breaker, rate, bulkhead, attempt time-out, the call. The
breaker is inside the retry loop, so it records every attempt. The attempt time-out is inside the breaker,
so that time-outs count as failures. A call that waits too long for its turn or a slot says nothing about the
dependency, so the breaker ignores it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import random as uniform
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from synccash.resilience._core.attempt_loop import build_async_call, build_sync_call
from synccash.resilience._core.attempt_timeout import AttemptTimer
from synccash.resilience._core.decorating import decorate
from synccash.resilience._core.live_parts import track
from synccash.resilience._core.numbers import require_number
from synccash.resilience._core.retry_decision import RetryDecider
from synccash.resilience._core.wiring import AsyncCall, PolicyParts, build_starts
from synccash.resilience.attempts import Attempts, build_block_call, build_thread_call
from synccash.resilience.budget import UNLIMITED, Budget, RetryBudget
from synccash.resilience.bulkhead import Bulkhead, LiveBulkhead
from synccash.resilience.circuit_breaker import BreakerSettings, CircuitBreaker
from synccash.resilience.events import EventHook, checked_hook
from synccash.resilience.rate import Rate, RateGate
from synccash.resilience.retry import Retry
from synccash.resilience.verdict import Classifier

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
_FORMS = {
    "call": """Call the coroutine function `fn(*args, **kwargs)` under the policy.

Returns its result or raises its last exception. Raises CircuitOpenError, RateExceededError, BulkheadFullError
or DeadlineExceededError if the first attempt was not allowed, AttemptTimeoutError if the last attempt was
interrupted, and RuntimeError if no asyncio event loop runs.
""",
    "call_sync": """Call the plain function `fn(*args, **kwargs)` under the policy, in any thread.

Like `call`. Raises TypeError if the policy has a time-out that interrupts, or if `fn` returns an awaitable or
a generator, which has not run yet.
""",
}
"""The two functions that each policy builds for its parts, with their documentation."""
_PART_TYPES: dict[str, tuple[type, ...]] = {
    "retry": (Retry,),
    "breaker": (CircuitBreaker, BreakerSettings),
    "bulkhead": (Bulkhead,),
    "budget": (Budget, RetryBudget),
    "rate": (Rate, RateGate),
}


class Policy:
    """Calls functions under one set of rules. Immutable; its breaker, budget and bulkhead are live.

    Times in seconds. `classify(result_or_exception)` judges every result, returned ones too; `Retry(on=…)` is
    the short form, and a policy with a retry needs one of the two. `idempotent`: an attempt with an AMBIGUOUS
    effect may be repeated. `attempt_timeout` and `total_timeout` cancel the call; with `interrupt=False` the
    time is only checked between attempts, and the function reads the time that is left from
    `synccash.resilience.deadline.remaining()`. `rate`: every attempt waits for its turn. `breaker`, `budget`
    and `rate`: settings create a part that only this policy uses; a live part is shared. `gated=False`: the
    breaker counts calls but never refuses them. `budget=None`: no budget limits the number of retries.

    `on_event(event)` is called for each event of `synccash.resilience.events`: retries, failures, refusals,
    time-outs, and transitions of a breaker that only this policy uses (a shared one has `listen`).

    Calls of one policy may run in one event loop and, with `call_sync`, in any number of threads. Raises
    ValueError or TypeError for invalid arguments.
    """

    __slots__ = {
        "_block_call": None,
        "_thread_call": None,
        "_parts": None,
        "__weakref__": None,
        "name": "The name, for errors, logs and statistics.",
        **_FORMS,
    }

    if TYPE_CHECKING:
        name: str
        _block_call: AsyncCall
        _thread_call: AsyncCall
        _parts: PolicyParts

        # At run time these are attributes that hold functions built for the parts: a method around them would
        # add 25 to 30 % to a call that succeeds.
        async def call(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

        def call_sync(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

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
        rate: Rate | RateGate | None = None,
        budget: Budget | RetryBudget | None = Budget(),  # noqa: B008 - a frozen value
        gated: bool = True,
        idempotent: bool = False,
        classify: Classifier | None = None,
        on_event: EventHook | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        sleep_sync: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = uniform,
    ) -> None:
        _check_types(
            name,
            retry=retry,
            breaker=breaker,
            bulkhead=bulkhead,
            rate=rate,
            budget=budget,
            classify=classify,
        )
        if retry is not None and retry.on is None and classify is None:
            raise ValueError(f"{name}: Retry needs on=… or the policy needs classify=…: what is retryable?")
        if retry is not None and retry.on is not None and classify is not None:
            raise ValueError(
                f"{name}: classify=… decides what is retryable, so Retry takes no on=… beside it"
            )
        checked_hook(on_event)
        require_number(attempt_timeout=attempt_timeout, total_timeout=total_timeout)
        for limit in (attempt_timeout, total_timeout):
            if limit is not None and limit <= 0:
                raise ValueError(f"{name}: a time-out must be above 0 seconds, or None")
        if isinstance(breaker, BreakerSettings):
            breaker = CircuitBreaker(name, breaker, clock=clock, random=random)
            if on_event is not None:
                breaker.listen(on_event)
        object.__setattr__(self, "name", name)
        budget = (
            budget if isinstance(budget, RetryBudget) else RetryBudget(name, budget or UNLIMITED, clock=clock)
        )
        limits = [one for one in (total_timeout, attempt_timeout) if one is not None]
        first_limit_s = min(limits, default=None)
        interrupt = interrupt and first_limit_s is not None
        decider = RetryDecider(
            name=name,
            retry=retry,
            breaker=breaker,
            gated=gated,
            budget=budget,
            idempotent=idempotent,
            classify=classify,
            clock=clock,
            random=random,
            first_limit_s=first_limit_s,
            on_event=on_event,
        )
        slots = LiveBulkhead(name, bulkhead) if bulkhead else None
        gate = RateGate(name, rate, clock=clock) if isinstance(rate, Rate) else rate
        start, start_sync = build_starts(name, gate, slots, clock, sleep, sleep_sync)
        parts = PolicyParts(
            name=name,
            decider=decider,
            budget=budget,
            breaker=breaker,
            gated=gated,
            bulkhead=slots,
            rate=gate,
            attempt_timeout=attempt_timeout,
            total_timeout=total_timeout,
            interrupt=interrupt,
            classifies=classify is not None,
            clock=clock,
            sleep=sleep,
            sleep_sync=sleep_sync,
            timer=(
                AttemptTimer(name, first_limit_s, getattr(clock, "call_later", None))
                if interrupt and first_limit_s is not None
                else None
            ),
            on_event=on_event,
            start=start,
            start_sync=start_sync,
        )
        object.__setattr__(self, "_parts", parts)
        for form, function in (("call", build_async_call(parts)), ("call_sync", build_sync_call(parts))):
            function.__name__, function.__qualname__ = form, f"Policy.{form}"
            function.__doc__ = _FORMS[form]
            object.__setattr__(self, form, function)
        object.__setattr__(self, "_block_call", build_block_call(parts))
        object.__setattr__(self, "_thread_call", build_thread_call(parts))
        track(self)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a policy is immutable: create another one instead of setting {name!r}")

    def __delattr__(self, name: str) -> None:
        # `mock.patch.object` deletes what it could not replace.
        raise AttributeError(f"a policy is immutable: {name!r} cannot be deleted")

    def __repr__(self) -> str:
        parts = self._parts
        bulkhead, retry, classify = parts.bulkhead, parts.decider.retry, parts.decider.classify
        limited = parts.attempt_timeout is not None or parts.total_timeout is not None
        shown = {
            "retry": retry,
            "breaker": parts.breaker,
            "attempt_timeout": parts.attempt_timeout,
            "total_timeout": parts.total_timeout,
            "interrupt": parts.interrupt if limited else None,
            "bulkhead": None if bulkhead is None else bulkhead.settings,
            "rate": None if parts.rate is None else parts.rate.rate,
            "budget": None if parts.budget.settings is UNLIMITED else parts.budget.settings,
            "gated": None if parts.gated else False,
            "idempotent": parts.decider.idempotent or None,
        }
        texts = [f"{name}={value!r}" for name, value in shown.items() if value is not None]
        if classify is not None:
            texts.append(f"classify={getattr(classify, '__qualname__', repr(classify))}")
        return f"Policy({', '.join([repr(parts.name), *texts])})"

    @property
    def breaker(self) -> CircuitBreaker | None:
        """The circuit breaker, or None."""
        return self._parts.breaker

    @property
    def rate(self) -> RateGate | None:
        """The rate that calls wait for, or None."""
        return self._parts.rate

    @property
    def budget(self) -> RetryBudget:
        """The retry budget, which also counts calls by how they ended."""
        return self._parts.budget

    @property
    def attempt_timeout(self) -> float | None:
        """Seconds that one attempt may take; None: no limit."""
        return self._parts.attempt_timeout

    @property
    def total_timeout(self) -> float | None:
        """Seconds that all attempts and the waits between them may take; None: no limit."""
        return self._parts.total_timeout

    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]:
        """Decorate a `def` or `async def`. Raises TypeError for functions that cannot be repeated, and for a
        plain function if the policy interrupts.
        """
        return decorate(self, fn, interrupts=self._parts.interrupt)

    def attempts(self) -> Attempts:
        """Return attempts at a block: `async for attempt in policy.attempts(): async with attempt: …`.

        In a thread the same without `async`. Raises TypeError there if the policy interrupts.
        """
        return Attempts(self._parts, self._block_call, self._thread_call)


def replace_parts(policy: Policy, other: Policy) -> None:
    """Let `policy` behave as `other` from the next call on. For the registry, when its profiles change."""
    for slot in ("_parts", "_block_call", "_thread_call", *_FORMS):
        object.__setattr__(policy, slot, getattr(other, slot))


def _check_types(name: object, **given: object) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"a policy's first argument is its name, not {name!r}")
    for part, types in _PART_TYPES.items():
        if given[part] is not None and not isinstance(given[part], types):
            expected = " or ".join(kind.__name__ for kind in types)
            raise TypeError(f"{name}: {part} must be {expected}, or None, not {given[part]!r}")
    if given["classify"] is not None and not callable(given["classify"]):
        raise TypeError(f"{name}: classify must be a function, or None, not {given['classify']!r}")
