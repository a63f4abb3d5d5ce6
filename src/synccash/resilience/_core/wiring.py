"""The parts of a policy (breaker, budget, bulkheads, time limits, clock) and what is computed from them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from types import CoroutineType
from typing import Any

from synccash.resilience._core.retry_decision import RetryDecider
from synccash.resilience.budget import RetryBudget
from synccash.resilience.bulkhead import AsyncBulkhead, ThreadBulkhead
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.deadline import Clock, current_deadline, on_clock
from synccash.resilience.errors import DeadlineExceededError

AsyncCall = Callable[..., Awaitable[Any]]
"""`await call(fn, *args, **kwargs)` calls a coroutine function under a policy."""
SyncCall = Callable[..., Any]
"""`call(fn, *args, **kwargs)` calls a plain function under a policy."""
COROUTINE_TYPE: type = CoroutineType
"""The type that a coroutine function returns when it is called like a plain function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyParts:
    """The parts of one policy. Times in seconds.

    `gated`: whether the breaker may refuse calls. `classifies`: the policy has a classifier, which also
    judges returned results.
    """

    name: str
    decider: RetryDecider
    budget: RetryBudget
    breaker: CircuitBreaker | None
    gated: bool
    bulkhead: AsyncBulkhead | None
    thread_bulkhead: ThreadBulkhead | None
    attempt_timeout: float | None
    total_timeout: float | None
    interrupt: bool
    classifies: bool
    clock: Clock
    sleep: Callable[[float], Awaitable[None]]
    sleep_sync: Callable[[float], None]

    def acquire_permit(self) -> int:
        """Return a permit of the breaker; 0 without a breaker. Raises CircuitOpenError."""
        breaker = self.breaker
        if breaker is None:
            return 0
        return breaker.closed_permit or (breaker.acquire() if self.gated else 0)

    def coroutine_error(self, coroutine: Any, permit: int) -> TypeError:
        """Return the error for a coroutine function that was called as a plain one. Releases the permit."""
        coroutine.close()
        if self.breaker is not None:
            self.breaker.release(permit)
        return TypeError(
            f"{self.name}: {coroutine.__qualname__} is a coroutine function: use `await policy.call(…)`"
        )

    def deadline_at(self, now: float) -> float | None:
        """Return the deadline of a call that starts now: the earlier of its total time-out and the outer
        deadline; None without either. Raises DeadlineExceededError if the outer deadline has passed.
        """
        own = None if self.total_timeout is None else now + self.total_timeout
        outer = current_deadline.get()
        if outer is None:
            return own
        at = on_clock(outer, self.clock, now)
        if own is not None and own <= at:
            return own
        if at <= now:
            raise DeadlineExceededError(self.name, 0)
        return at

    @property
    def first_attempt_limit(self) -> float:
        """Seconds that a first attempt may take without an outer deadline."""
        return min(self.total_timeout or inf, self.attempt_timeout or inf)

    def attempt_limit(self, now: float, deadline_at: float | None) -> float | None:
        """Return the seconds that an attempt may take if it starts now; None for no limit."""
        limit_s = self.attempt_timeout
        if deadline_at is not None and (limit_s is None or deadline_at - now < limit_s):
            return deadline_at - now
        return limit_s
