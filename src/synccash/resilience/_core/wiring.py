"""What a policy is made of, and what follows from the parts alone."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from types import CoroutineType
from typing import Any

from synccash.resilience._core.retry_decision import Judge
from synccash.resilience.budget import RetryBudget
from synccash.resilience.bulkhead import AsyncBulkhead, ThreadBulkhead
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.deadline import Clock, current, moment
from synccash.resilience.errors import DeadlineExceededError

AsyncCall = Callable[..., Awaitable[Any]]
"""`await call(fn, *args, **kwargs)`: the call of `fn` under a policy."""
SyncCall = Callable[..., Any]
"""`call(fn, *args, **kwargs)`: the same for a plain function."""
COROUTINE: type = CoroutineType
"""What a coroutine function gives who calls it as a plain one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Wiring over live parts. Times in seconds. `judged`: results are looked at too, not only exceptions."""

    name: str
    judge: Judge
    budget: RetryBudget
    breaker: CircuitBreaker | None
    gated: bool
    bulkhead: AsyncBulkhead | None
    thread_bulkhead: ThreadBulkhead | None
    attempt_timeout: float | None
    total_timeout: float | None
    interrupt: bool
    judged: bool
    clock: Clock
    sleep: Callable[[float], Awaitable[None]]
    sleep_sync: Callable[[float], None]

    def enter(self) -> int:
        """Ask the breaker, where there is one; return the ticket. Raises CircuitOpenError."""
        breaker = self.breaker
        if breaker is None:
            return 0
        return breaker.ticket or (breaker.enter() if self.gated else 0)

    def not_made(self, coroutine: Any, ticket: int) -> TypeError:
        """A plain call gave a coroutine, which has done nothing yet: it proves nothing, and is to be told."""
        coroutine.close()
        if self.breaker is not None:
            self.breaker.drop(ticket)
        return TypeError(
            f"{self.name}: {coroutine.__qualname__} is a coroutine function: use `await policy.call(…)`"
        )

    def until(self, now: float) -> float | None:
        """When a call that begins now is over: by its own total, or by a deadline further out; None: never.

        Raises DeadlineExceededError.
        """
        own = None if self.total_timeout is None else now + self.total_timeout
        outer = current.get()
        if outer is None:
            return own
        at = moment(outer, self.clock, now)
        if own is not None and own <= at:
            return own
        if at <= now:
            raise DeadlineExceededError(self.name, 0)
        return at

    @property
    def shortest(self) -> float:
        """How long a first attempt may take, with no deadline further out."""
        return min(self.total_timeout or inf, self.attempt_timeout or inf)

    def limit(self, now: float, until: float | None) -> float | None:
        """How long an attempt that begins now may take."""
        limit = self.attempt_timeout
        if until is not None and (limit is None or until - now < limit):
            return until - now
        return limit
