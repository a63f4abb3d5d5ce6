"""Policy: calls a function with retries, circuit breaker, time-outs, bulkhead and budget, in a fixed order.

Order, from the outside: deadline, attempts, budget, breaker, rate, bulkhead, attempt time-out, the call. The
breaker is inside the retry loop, so it records every attempt. The attempt time-out is inside the breaker,
so that time-outs count as failures. A call that waits too long for its turn or a slot says nothing about the
dependency, so the breaker ignores it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import random as uniform
from threading import RLock
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast
from weakref import WeakSet

from synccash.resilience._core.attempt_loop import build_async_call, build_sync_call
from synccash.resilience._core.deadline_cell import Clock
from synccash.resilience._core.decorating import decorate, follow
from synccash.resilience._core.live_parts import track
from synccash.resilience._core.policy_settings import PolicySettings, waits_of
from synccash.resilience._core.wiring import AsyncCall, PolicyParts, build_parts
from synccash.resilience.attempts import Attempts, build_block_call, build_thread_call
from synccash.resilience.budget import UNLIMITED, Budget, RetryBudget
from synccash.resilience.bulkhead import Bulkhead
from synccash.resilience.circuit_breaker import BreakerSettings, CircuitBreaker
from synccash.resilience.events import EventHook
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
_wrapping = RLock()


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
        "_wrappers": None,
        "__weakref__": None,
        "name": "The name, for errors, logs and statistics.",
        **_FORMS,
    }

    if TYPE_CHECKING:
        name: str
        _block_call: AsyncCall
        _thread_call: AsyncCall
        _parts: PolicyParts
        _wrappers: WeakSet[Callable[..., object]] | None

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
        settings = PolicySettings(
            name=name,
            retry=retry,
            breaker=breaker,
            attempt_timeout=attempt_timeout,
            total_timeout=total_timeout,
            interrupt=interrupt,
            bulkhead=bulkhead,
            rate=rate,
            budget=budget,
            gated=gated,
            idempotent=idempotent,
            classify=classify,
            on_event=on_event,
            clock=clock,
            sleep=sleep,
            sleep_sync=sleep_sync,
            random=random,
        )
        object.__setattr__(self, "_wrappers", None)
        _install(self, build_parts(settings))
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
        wrapper = decorate(self, fn, interrupts=self._parts.interrupt)
        with _wrapping:
            if self._wrappers is None:
                object.__setattr__(self, "_wrappers", WeakSet())
            cast("WeakSet[Callable[..., object]]", self._wrappers).add(wrapper)
        return wrapper

    def attempts(self) -> Attempts:
        """Return attempts at a block: `async for attempt in policy.attempts(): async with attempt: …`.

        In a thread the same without `async`. Raises TypeError there if the policy interrupts.
        """
        return Attempts(self._parts, self._block_call, self._thread_call)


def _install(policy: Policy, parts: PolicyParts) -> None:
    forms = {"call": build_async_call(parts), "call_sync": build_sync_call(parts)}
    for form, function in forms.items():
        function.__name__, function.__qualname__ = form, f"Policy.{form}"
        function.__doc__ = _FORMS[form]
    block_calls = {"_block_call": build_block_call(parts), "_thread_call": build_thread_call(parts)}
    for slot, value in {"name": parts.name, "_parts": parts, **forms, **block_calls}.items():
        object.__setattr__(policy, slot, value)
    with _wrapping:
        for wrapper in list(policy._wrappers or ()):  # pyright: ignore[reportPrivateUsage]
            follow(wrapper)


def settings_of(policy: Policy) -> PolicySettings:
    """Return what the policy was built from, with its live parts."""
    return policy._parts.settings  # pyright: ignore[reportPrivateUsage]


def build_changed(policy: Policy, **changes: Any) -> PolicyParts:
    """Return parts for `policy` with some other settings, and the same live parts. For `replace_parts`.

    Raises ValueError or TypeError as Policy does.
    """
    return build_parts(replace(policy._parts.settings, **changes))  # pyright: ignore[reportPrivateUsage]


def replace_parts(policy: Policy, parts: "PolicyParts | Policy") -> None:
    """Let `policy` have these parts, or those of another one, from its next call on.

    Functions that it decorates follow. For the registry, when its profiles change, and for tests.
    """
    _install(policy, parts._parts if isinstance(parts, Policy) else parts)  # pyright: ignore[reportPrivateUsage]


def use_clock(policy: Policy, clock: Clock) -> Callable[[], None]:
    """Let the policy's next calls read this clock, and wait by it, until the returned function is called.

    Its breaker, budget and rate keep theirs. For tests.
    """
    former = settings_of(policy)
    replace_parts(policy, build_changed(policy, clock=clock, **waits_of(clock)))

    def end() -> None:
        waits = {"sleep": former.sleep, "sleep_sync": former.sleep_sync}
        replace_parts(policy, build_changed(policy, clock=former.clock, **waits))

    return end
