"""The arguments of a policy as one checked value, from which its parts are built, and built anew."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypedDict, cast

from synccash.resilience._core.deadline_cell import Clock
from synccash.resilience._core.numbers import require_number
from synccash.resilience.budget import UNLIMITED, Budget, RetryBudget
from synccash.resilience.bulkhead import Bulkhead, LiveBulkhead
from synccash.resilience.circuit_breaker import BreakerSettings, CircuitBreaker
from synccash.resilience.events import EventHook, checked_hook
from synccash.resilience.rate import Rate, RateGate
from synccash.resilience.retry import Retry
from synccash.resilience.verdict import Classifier

_PART_TYPES: dict[str, tuple[type, ...]] = {
    "retry": (Retry,),
    "breaker": (CircuitBreaker, BreakerSettings),
    "bulkhead": (Bulkhead, LiveBulkhead),
    "budget": (Budget, RetryBudget),
    "rate": (Rate, RateGate),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """The arguments of a Policy. Raises ValueError or TypeError for invalid ones."""

    name: str
    retry: Retry | None
    breaker: CircuitBreaker | BreakerSettings | None
    attempt_timeout: float | None
    total_timeout: float | None
    interrupt: bool
    bulkhead: Bulkhead | LiveBulkhead | None
    rate: Rate | RateGate | None
    budget: Budget | RetryBudget | None
    gated: bool
    idempotent: bool
    classify: Classifier | None
    on_event: EventHook | None
    clock: Clock
    sleep: Callable[[float], Awaitable[None]]
    sleep_sync: Callable[[float], None]
    random: Callable[[], float]

    def __post_init__(self) -> None:
        self._check_types()
        self._check_values()

    def _check_types(self) -> None:
        name = self.name
        if not isinstance(cast(object, name), str) or not name:
            raise TypeError(f"a policy's first argument is its name, not {name!r}")
        for part, types in _PART_TYPES.items():
            given = getattr(self, part)
            if given is not None and not isinstance(given, types):
                expected = " or ".join(kind.__name__ for kind in types if kind is not LiveBulkhead)
                raise TypeError(f"{name}: {part} must be {expected}, or None, not {given!r}")
        if self.classify is not None and not callable(self.classify):
            raise TypeError(f"{name}: classify must be a function, or None, not {self.classify!r}")
        checked_hook(self.on_event)

    def _check_values(self) -> None:
        if self.retry is not None and self.retry.on is None and self.classify is None:
            raise ValueError(
                f"{self.name}: Retry needs on=… or the policy needs classify=…: what is retryable?"
            )
        if self.retry is not None and self.retry.on is not None and self.classify is not None:
            raise ValueError(
                f"{self.name}: classify=… decides what is retryable, so Retry takes no on=… beside it"
            )
        require_number(attempt_timeout=self.attempt_timeout, total_timeout=self.total_timeout)
        for limit in (self.attempt_timeout, self.total_timeout):
            if limit is not None and limit <= 0:
                raise ValueError(f"{self.name}: a time-out must be above 0 seconds, or None")

    @property
    def first_limit_s(self) -> float | None:
        """The time limit of a first attempt in seconds; None: no limit."""
        limits = [one for one in (self.total_timeout, self.attempt_timeout) if one is not None]
        return min(limits, default=None)

    def live_breaker(self) -> CircuitBreaker | None:
        """Return the breaker, which is created if only its settings are given."""
        if not isinstance(self.breaker, BreakerSettings):
            return self.breaker
        breaker = CircuitBreaker(self.name, self.breaker, clock=self.clock, random=self.random)
        if self.on_event is not None:
            breaker.listen(self.on_event)
        return breaker

    def live_budget(self) -> RetryBudget:
        """Return the budget, which is created if only its settings are given."""
        if isinstance(self.budget, RetryBudget):
            return self.budget
        return RetryBudget(self.name, self.budget or UNLIMITED, clock=self.clock)

    def live_bulkhead(self) -> LiveBulkhead | None:
        """Return the bulkhead, which is created if only its settings are given."""
        return (
            LiveBulkhead(self.name, self.bulkhead) if isinstance(self.bulkhead, Bulkhead) else self.bulkhead
        )

    def live_rate(self) -> RateGate | None:
        """Return the rate, which is created if only its settings are given."""
        return RateGate(self.name, self.rate, clock=self.clock) if isinstance(self.rate, Rate) else self.rate


class Waits(TypedDict):
    """How a policy waits."""

    sleep: Callable[[float], Awaitable[None]]
    sleep_sync: Callable[[float], None]


def waits_of(clock: Clock) -> Waits:
    """Return how to wait by this clock: its own methods, as FakeClock has them, or those of real time."""
    return {
        "sleep": getattr(clock, "sleep", asyncio.sleep),
        "sleep_sync": getattr(clock, "sleep_sync", time.sleep),
    }
