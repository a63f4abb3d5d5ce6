"""The parts of a policy (breaker, budget, bulkheads, time limits, clock) and what is computed from them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from synccash.resilience._core.attempt_timeout import AttemptTimer
from synccash.resilience._core.deadline_cell import Clock, DeadlineCell, live_cell, on_clock
from synccash.resilience._core.retry_decision import RetryDecider
from synccash.resilience.budget import RetryBudget
from synccash.resilience.bulkhead import LiveBulkhead
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.errors import DeadlineExceededError

AsyncCall = Callable[..., Awaitable[Any]]
"""`await call(fn, *args, **kwargs)` calls a coroutine function under a policy."""
SyncCall = Callable[..., Any]
"""`call(fn, *args, **kwargs)` calls a plain function under a policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyParts:
    """The parts of one policy. Times in seconds.

    `gated`: whether the breaker may refuse calls. `classifies`: results are classified too. `timer`: what
    interrupts attempts, if anything does. `sleeps_always`: `sleep` is called before every further attempt,
    also for 0 seconds.
    """

    name: str
    decider: RetryDecider
    budget: RetryBudget
    breaker: CircuitBreaker | None
    gated: bool
    bulkhead: LiveBulkhead | None
    attempt_timeout: float | None
    total_timeout: float | None
    interrupt: bool
    classifies: bool
    clock: Clock
    sleep: Callable[[float], Awaitable[None]]
    sleep_sync: Callable[[float], None]
    timer: AttemptTimer | None
    sleeps_always: bool = False

    @property
    def is_plain(self) -> bool:
        """True if an attempt needs neither a slot nor a time limit of its own."""
        return self.bulkhead is None and self.attempt_timeout is None and self.timer is None

    def acquire_permit(self) -> int:
        """Return a permit of the breaker; 0 without a breaker. Raises CircuitOpenError."""
        breaker = self.breaker
        if breaker is None:
            return 0
        return breaker.closed_permit or (breaker.acquire() if self.gated else 0)

    def nest(
        self, outer: DeadlineCell, now: float, own_at: float | None
    ) -> tuple[DeadlineCell | None, float | None]:
        """Return the outer deadline's cell if it is in force, and the earlier of both deadlines.

        `own_at`: the deadline by the policy's total time-out. Raises DeadlineExceededError if the outer
        deadline has passed.
        """
        live = live_cell(outer)
        at = None if live is None else on_clock(live, self.clock, now)
        if at is None or (own_at is not None and own_at <= at):
            return live, own_at
        if at <= now:
            raise DeadlineExceededError(self.name, 0)
        return live, at

    def left_s(self, now: float, deadline_at: float | None) -> float | None:
        """Return the seconds until the deadline of a call; None without one."""
        return None if deadline_at is None else deadline_at - now

    def due_at(self, now: float, deadline_at: float | None) -> float | None:
        """Return the time at which an attempt that starts now must have ended; None for no limit."""
        limit_s = self.attempt_timeout
        if limit_s is None or (deadline_at is not None and deadline_at - now < limit_s):
            return deadline_at
        return now + limit_s
