"""The parts of a policy (breaker, budget, bulkheads, time limits, clock) and what is computed from them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from synccash.resilience._core.attempt_timeout import AttemptTimer
from synccash.resilience._core.deadline_cell import Clock, DeadlineCell, live_cell, on_clock
from synccash.resilience._core.misuse import require_asyncio
from synccash.resilience._core.policy_settings import PolicySettings
from synccash.resilience._core.retry_decision import RetryDecider
from synccash.resilience.budget import RetryBudget
from synccash.resilience.bulkhead import LiveBulkhead
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.errors import CircuitOpenError, DeadlineExceededError
from synccash.resilience.events import CallRefused, DeadlinePassed, EventHook, emit
from synccash.resilience.rate import RateGate

Start = Callable[[float, float | None], Awaitable[None]]
"""`await start(now, deadline_at)` waits until an attempt may start: for its turn, then for a slot."""
AsyncCall = Callable[..., Awaitable[Any]]
"""`await call(fn, *args, **kwargs)` calls a coroutine function under a policy."""
SyncCall = Callable[..., Any]
"""`call(fn, *args, **kwargs)` calls a plain function under a policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyParts:
    """The parts of one policy. Times in seconds.

    `settings`: what they were built from, with the live parts.
    `gated`: whether the breaker may refuse calls. `classifies`: results are classified too. `timer`: what
    interrupts attempts, if anything does. `start`, `start_sync`: what an attempt waits for, if there is a
    rate or a bulkhead; with a bulkhead the attempt then has a slot. `sleeps_always`: `sleep` is called before
    every further attempt, also for 0 seconds. `in_thread`: no event loop runs; nothing that is awaited waits.
    """

    settings: PolicySettings
    name: str
    decider: RetryDecider
    budget: RetryBudget
    breaker: CircuitBreaker | None
    gated: bool
    bulkhead: LiveBulkhead | None
    rate: RateGate | None
    attempt_timeout: float | None
    total_timeout: float | None
    interrupt: bool
    classifies: bool
    clock: Clock
    sleep: Callable[[float], Awaitable[None]]
    sleep_sync: Callable[[float], None]
    timer: AttemptTimer | None
    on_event: EventHook | None
    start: Start | None = None
    start_sync: Callable[[float, float | None], None] | None = None
    sleeps_always: bool = False
    in_thread: bool = False

    @property
    def is_plain(self) -> bool:
        """True if an attempt waits for nothing before it starts, and has no time limit of its own."""
        return self.start is None and self.attempt_timeout is None and self.timer is None

    def acquire_permit(self) -> int:
        """Return a permit of the breaker; 0 without a breaker. Raises CircuitOpenError."""
        breaker = self.breaker
        if breaker is None:
            return 0
        try:
            return breaker.closed_permit or (breaker.acquire() if self.gated else breaker.try_acquire())
        except CircuitOpenError as error:
            if self.on_event is not None:
                reason, retry_after = error.reason, error.retry_after
                emit(self.on_event, CallRefused(name=self.name, reason=reason, retry_after=retry_after))
            raise

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
            if self.on_event is not None:
                emit(self.on_event, DeadlinePassed(name=self.name))
            raise DeadlineExceededError(self.name, 0)
        return live, at

    def due_at(self, now: float, deadline_at: float | None) -> float | None:
        """Return the time at which an attempt that starts now must have ended; None for no limit."""
        limit_s = self.attempt_timeout
        if limit_s is None or (deadline_at is not None and deadline_at - now < limit_s):
            return deadline_at
        return now + limit_s


def left_s(now: float, deadline_at: float | None) -> float | None:
    """Return the seconds until a deadline, at least 0; None without one."""
    return None if deadline_at is None else max(0.0, deadline_at - now)


def build_parts(settings: PolicySettings) -> PolicyParts:
    """Return the parts of a policy. Live parts in `settings` are used; the others are created."""
    breaker, budget = settings.live_breaker(), settings.live_budget()
    bulkhead, rate = settings.live_bulkhead(), settings.live_rate()
    settings = replace(settings, breaker=breaker, budget=budget, bulkhead=bulkhead, rate=rate)
    start, start_sync = _build_starts(settings, rate, bulkhead)
    timer = _build_timer(settings)
    return PolicyParts(
        settings=settings,
        name=settings.name,
        decider=RetryDecider(settings, breaker, budget),
        budget=budget,
        breaker=breaker,
        gated=settings.gated,
        bulkhead=bulkhead,
        rate=rate,
        attempt_timeout=settings.attempt_timeout,
        total_timeout=settings.total_timeout,
        interrupt=timer is not None,
        classifies=settings.classify is not None,
        clock=settings.clock,
        sleep=settings.sleep,
        sleep_sync=settings.sleep_sync,
        timer=timer,
        on_event=settings.on_event,
        start=start,
        start_sync=start_sync,
    )


def _build_timer(settings: PolicySettings) -> AttemptTimer | None:
    limit_s = settings.first_limit_s
    if limit_s is None or not settings.interrupt:
        return None
    return AttemptTimer(settings.name, limit_s, getattr(settings.clock, "call_later", None))


def _build_starts(
    settings: PolicySettings, rate: RateGate | None, bulkhead: LiveBulkhead | None
) -> tuple[Start | None, Callable[[float, float | None], None] | None]:
    """Return what an attempt waits for before it starts, for coroutines and for plain functions."""
    if rate is None and bulkhead is None:
        return None, None
    name, clock, sleep, sleep_sync = settings.name, settings.clock, settings.sleep, settings.sleep_sync

    async def start(now: float, deadline_at: float | None) -> None:
        require_asyncio(name)
        if rate is not None:
            await rate.acquire(left_s(now, deadline_at), sleep=sleep)
            now = clock()
        if bulkhead is not None:
            await bulkhead.acquire(left_s(now, deadline_at))

    def start_sync(now: float, deadline_at: float | None) -> None:
        if rate is not None:
            rate.acquire_sync(left_s(now, deadline_at), sleep=sleep_sync)
            now = clock()
        if bulkhead is not None:
            bulkhead.acquire_sync(left_s(now, deadline_at))

    return start, start_sync
