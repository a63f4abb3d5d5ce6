"""Retry budget: limits retries to a share of the calls, so that they do not overload a failing dependency."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from threading import RLock
from time import monotonic

from synccash.resilience._core.deadline_cell import Clock
from synccash.resilience._core.live_parts import adopt_state
from synccash.resilience._core.numbers import require_number


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Settings of a token bucket: each call adds `share` tokens, each second adds `per_second`.

    The bucket holds at most `most` tokens. It starts with those of 10 seconds, and always with enough for one
    retry unless both incomes are 0. A retry costs 1 token, or `timeout_cost` after a time-out, but never more
    than a full bucket. The share is that of Finagle, Envoy and failsafe-go; the cost of a time-out is that of
    the AWS SDKs.
    """

    share: float = 0.2
    per_second: float = 3.0
    most: float = 50.0
    timeout_cost: float = 2.0

    def __post_init__(self) -> None:
        require_number(share=self.share, per_second=self.per_second)
        require_number(most=self.most, timeout_cost=self.timeout_cost)
        if self.share < 0 or self.per_second < 0 or self.timeout_cost < 0 or self.most < 1:
            raise ValueError(
                "expected share, per_second and timeout_cost of at least 0, and most of at least 1"
            )

    @property
    def first_tokens(self) -> float:
        """The tokens that the bucket starts with."""
        if self.share == 0 and self.per_second == 0:
            return 0.0
        return min(self.most, max(10 * self.per_second, self.timeout_cost, 1.0))


_STATE = (
    "_clock",
    "_calls_at_refill",
    "_last_counted_attempts",
    "_last_counted_call",
    "_refilled_at",
    "_tokens",
    "exhausted",
    "failures",
    "refused",
    "retries",
    "successes",
)
UNLIMITED = Budget(share=0.0, per_second=inf, most=inf)


@dataclass(frozen=True, slots=True)
class RetryStatistics:
    """Counts of one service since the process started. `refused`: retries that the budget did not allow.

    `last_attempts`: attempts of the call that ended last. `tokens`: retries that the budget allows now. The
    other counts are explained at RetryBudget.
    """

    successes: int
    failures: int
    exhausted: int
    retries: int
    refused: int
    last_attempts: int
    tokens: float


class RetryBudget:
    """The retry budget of one service, and counts of its calls by how they ended. Shared by all its callers.

    `successes`: calls that succeeded. `failures`: calls whose error was not retryable. `exhausted`: calls
    whose error was retryable, but attempts, deadline, budget or breaker did not allow another attempt.
    """

    __slots__ = (
        "_calls_at_refill",
        "_clock",
        "_last_counted_attempts",
        "_last_counted_call",
        "_refilled_at",
        "_tokens",
        "exhausted",
        "failures",
        "lock",
        "name",
        "refused",
        "retries",
        "settings",
        "successes",
    )

    def __init__(
        self, name: str, settings: Budget | None = None, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self.name = name
        self.settings = settings or Budget()
        self._clock = clock
        self.lock = RLock()
        self._tokens = self.settings.first_tokens
        self._calls_at_refill = 0
        self._refilled_at = clock()
        self.successes = 0
        self.failures = 0
        self.exhausted = 0
        self.retries = 0
        self.refused = 0
        # Fast successes do not write these. If a call has ended since, the last call made one attempt.
        self._last_counted_call = self._last_counted_attempts = 0

    @property
    def last_attempts(self) -> int:
        """Attempts of the call that ended last; 0 before the first call."""
        return self._last_counted_attempts if self._last_counted_call == self._calls() else 1

    def count_success(self, attempts: int) -> None:
        """Count a call that succeeded after `attempts` attempts."""
        with self.lock:
            self.successes += 1
            self._last_counted_call, self._last_counted_attempts = self._calls(), attempts

    def count_failure(self, attempts: int, *, retryable: bool) -> None:
        """Count a call that failed after `attempts` attempts, in `exhausted` or in `failures`."""
        with self.lock:
            if retryable:
                self.exhausted += 1
            else:
                self.failures += 1
            self._last_counted_call, self._last_counted_attempts = self._calls(), attempts

    def spend(self, *, timed_out: bool) -> bool:
        """Spend the tokens of one retry. False: the budget does not allow it."""
        cost = min(self.settings.most, self.settings.timeout_cost) if timed_out else 1.0
        with self.lock:
            self._tokens = self.tokens()
            self._calls_at_refill, self._refilled_at = self._calls(), self._clock()
            if self._tokens < cost:
                self.refused += 1
                return False
            self._tokens -= cost
            self.retries += 1
            return True

    def tokens(self) -> float:
        """Return how many retries the budget allows now."""
        settings = self.settings
        if settings.most == inf:
            return inf
        income = settings.share * (self._calls() - self._calls_at_refill)
        income += settings.per_second * (self._clock() - self._refilled_at)
        return min(settings.most, self._tokens + income)

    def statistics(self) -> RetryStatistics:
        """Return the counts so far."""
        return RetryStatistics(
            successes=self.successes,
            failures=self.failures,
            exhausted=self.exhausted,
            retries=self.retries,
            refused=self.refused,
            last_attempts=self.last_attempts,
            tokens=self.tokens(),
        )

    def forget(self, clock: Clock | None = None) -> Callable[[], None]:
        """Have the state of a new one, and `clock` if given, until the returned function is called. For
        `synccash.resilience.testing.fresh`."""
        new = RetryBudget(self.name, self.settings, clock=clock or self._clock)
        return adopt_state(self, new, _STATE, self.lock)

    def _calls(self) -> int:
        return self.successes + self.failures + self.exhausted
