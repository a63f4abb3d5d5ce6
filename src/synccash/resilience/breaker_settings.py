"""The settings of a circuit breaker and its states, as immutable values."""

from dataclasses import dataclass
from enum import Enum
from math import ceil
from typing import Literal

from synccash.resilience._core.numbers import require_int, require_number
from synccash.resilience.retry import Retryable, check_retryable


class BreakerState(Enum):
    """The states of a circuit breaker. FORCED_OPEN lasts until an operator resets the breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When a breaker opens and how it recovers. Times in seconds, rates from 0 to 1; None disables a rule.

    `failures`: this many failures in a row open the breaker, whatever is in the window. `failure_rate` and
    `slow_rate` apply to the last `window` calls, or to the calls of the last `window_s` seconds, as soon as
    the window has `min_calls` calls. A call is slow from `slow_s` on; a time-out is always slow.

    The breaker opens for `open_s`, times `open_growth` after each failed recovery, up to `open_max_s`; up to
    a tenth is added at random. If the dependency asked for a longer wait, the breaker stays open for that, up
    to `open_max_s` too. Then it is half-open: `probes` successful probes close it, of which
    `probes_at_once` may run at the same time; a probe that takes longer than `probe_hold_s` is given up.

    `count`: the exceptions that are failures of the dependency, as classes or as a function; a policy
    ignores the others. None: all but bugs of the caller's own code (TypeError, KeyError and the like), which
    are ignored, and answers with an HTTP status of 4xx, which are successes (408 and 429 are failures).
    If the policy has `classify`, an exception is a failure if both say so; `count=None` leaves it to
    `classify`.

    `mode`: "shadow" decides and reports but refuses nothing, "disabled" only counts. An operator's
    `force_open` holds in every mode.
    """

    failures: int | None = 5
    failure_rate: float | None = None
    slow_rate: float | None = None
    slow_s: float = 5.0
    window: int = 100
    window_s: float | None = None
    min_calls: int = 10
    open_s: float = 30.0
    open_growth: float = 2.0
    open_max_s: float = 300.0
    probes: int = 1
    probes_at_once: int = 1
    probe_hold_s: float = 30.0
    mode: Literal["normal", "shadow", "disabled"] = "normal"
    count: Retryable | None = None

    def __post_init__(self) -> None:
        self._check_types()
        check_retryable("count", self.count)
        for name in ("failure_rate", "slow_rate"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1")
        if self.failures is not None and self.failures < 1:
            raise ValueError("failures must be at least 1, or None")
        if self.min_calls < 1 or (self.window_s is None and self.min_calls > self.window):
            raise ValueError("expected 1 <= min_calls <= window")
        if self.slow_s <= 0 or self.probe_hold_s <= 0 or (self.window_s is not None and self.window_s <= 0):
            raise ValueError("slow_s, probe_hold_s and window_s must be above 0")
        if not 0 < self.open_s <= self.open_max_s or not 1 <= self.open_growth <= 1_000:
            raise ValueError("expected 0 < open_s <= open_max_s, and open_growth from 1 to 1,000")
        if self.probes < 1 or not 1 <= self.probes_at_once <= self.probes:
            raise ValueError("expected 1 <= probes_at_once <= probes")
        if self.mode not in ("normal", "shadow", "disabled"):
            raise ValueError('mode must be "normal", "shadow" or "disabled"')

    def _check_types(self) -> None:
        require_int(failures=self.failures, window=self.window, min_calls=self.min_calls)
        require_int(probes=self.probes, probes_at_once=self.probes_at_once)
        require_number(failure_rate=self.failure_rate, slow_rate=self.slow_rate, slow_s=self.slow_s)
        require_number(window_s=self.window_s, probe_hold_s=self.probe_hold_s, open_s=self.open_s)
        require_number(open_max_s=self.open_max_s, open_growth=self.open_growth)

    @property
    def rated(self) -> bool:
        """True if a rule uses a window of calls."""
        return self.failure_rate is not None or self.slow_rate is not None

    def open_time(self, rounds: int, chance: float) -> float:
        """Return the seconds to stay open after `rounds` failed recoveries; `chance` is uniform in [0, 1)."""
        grown_s = min(self.open_max_s, self.open_s * self.open_growth ** min(rounds, 64))
        return grown_s * (1 + 0.1 * chance)

    def verdict(self, in_a_row: int, window: tuple[int, int, int], *, hinted: bool = False) -> str | None:
        """Return the reason to open, or None.

        `in_a_row`: consecutive failures. `window`: calls, failed and slow ones in the window. `hinted`:
        another process reported trouble, so half of `failures` is enough.
        """
        calls, failed, slow = window
        if self.failures is not None and in_a_row >= (ceil(self.failures / 2) if hinted else self.failures):
            return f"{in_a_row} failures in a row"
        if calls < self.min_calls:
            return None
        if self.failure_rate is not None and failed >= self.failure_rate * calls:
            return f"{failed} of {calls} calls failed"
        if self.slow_rate is not None and slow >= self.slow_rate * calls:
            return f"{slow} of {calls} calls took {self.slow_s:g} s or more"
        return None
