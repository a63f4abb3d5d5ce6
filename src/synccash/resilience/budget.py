"""How much of the traffic may be repeats, so that retries never become the outage."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from threading import RLock
from time import monotonic

from synccash.resilience._core.numbers import number


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Repeats are paid from what calls bring in: `share` of a repeat each, and `per_second` in any case.

    `most` can be saved up. A repeat costs 1, after a time-out `timeout_cost`. The numbers are those that
    Finagle, Envoy and failsafe-go agree on; the price of a time-out is the AWS SDKs'.
    """

    share: float = 0.2
    per_second: float = 3.0
    most: float = 50.0
    timeout_cost: float = 2.0

    def __post_init__(self) -> None:
        number(share=self.share, per_second=self.per_second)
        number(most=self.most, timeout_cost=self.timeout_cost)
        if self.share < 0 or self.per_second < 0 or self.timeout_cost < 0 or self.most < 1:
            raise ValueError(
                "expected share, per_second and timeout_cost of at least 0, and most of at least 1"
            )


UNLIMITED = Budget(share=0.0, per_second=inf, most=inf)


@dataclass(frozen=True, slots=True)
class RetryStatistics:
    """How the calls of one service ended, and what their repeats cost. Counts since the start."""

    successes: int
    failures: int
    exhausted: int
    retries: int
    refused: int
    last_attempts: int
    tokens: float


class RetryBudget:
    """Live and shared: the budget of one service, and how its calls ended.

    `successes`: calls that ended well. `failures`: those whose error was not to be repeated. `exhausted`:
    those that could have been repeated once more, but attempts, time, budget or breaker said no.
    """

    __slots__ = (
        "_clock",
        "_counted",
        "_counted_attempts",
        "_seen",
        "_since",
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
        self._tokens = min(self.settings.most, 10 * self.settings.per_second)
        self._seen = 0
        self._since = clock()
        self.successes = 0
        self.failures = 0
        self.exhausted = 0
        self.retries = 0
        self.refused = 0
        # What a good call did not have to write: after any of them the last one made one attempt.
        self._counted = self._counted_attempts = 0

    @property
    def last_attempts(self) -> int:
        """How many attempts the call made that ended last; 0 before the first."""
        return self._counted_attempts if self._counted == self._calls() else 1

    def ended(self, attempts: int) -> None:
        """The call that was just counted made so many."""
        self._counted, self._counted_attempts = self._calls(), attempts

    def take(self, *, timed_out: bool) -> bool:
        """Pay for one repeat; False when there is not enough."""
        price = self.settings.timeout_cost if timed_out else 1.0
        with self.lock:
            self._tokens = self.tokens()
            self._seen, self._since = self._calls(), self._clock()
            if self._tokens < price:
                self.refused += 1
                return False
            self._tokens -= price
            self.retries += 1
            return True

    def tokens(self) -> float:
        """How many repeats could be paid now."""
        settings = self.settings
        if settings.most == inf:
            return inf
        income = settings.share * (self._calls() - self._seen)
        income += settings.per_second * (self._clock() - self._since)
        return min(settings.most, self._tokens + income)

    def statistics(self) -> RetryStatistics:
        """What there has been so far."""
        return RetryStatistics(
            successes=self.successes,
            failures=self.failures,
            exhausted=self.exhausted,
            retries=self.retries,
            refused=self.refused,
            last_attempts=self.last_attempts,
            tokens=self.tokens(),
        )

    def _calls(self) -> int:
        return self.successes + self.failures + self.exhausted
