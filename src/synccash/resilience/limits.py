"""Rate limits as values, and the pure arithmetic of token buckets and windows, in integer microseconds.

A state is what is stored for one key: the time at which a token bucket is full again, or the two counters of
a window. `stores/valkey/limits/limits.lua` implements the same arithmetic; a property test compares both with
a naive reference.
"""

import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, assert_never, get_args

Algorithm = Literal["token_bucket", "sliding_window", "fixed_window"]
FailPolicy = Literal["local", "open", "closed"]
State = tuple[int, int, int]
Scope = str
"""What a limit counts by: a lower-case word of the application's choice, such as "ip", "tenant" or "device".

Letters, digits and underscores, at most 32 characters. Limits of the scopes "endpoint" and "global" are
shared by all clients, so `limit_headers` shows them only where they refuse.
"""

_US = 1_000_000
# Lua numbers are doubles, which hold integers exactly only below this.
_EXACT = 2**53
_SCOPE = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Blocks a key for `duration_s` seconds after `violations` refusals within `window_s` seconds.

    Each further block is twice as long, up to `cap_s`. A key that stays unblocked for `cap_s` seconds
    after a block starts again with `duration_s`.
    """

    violations: int = 20
    window_s: float = 60.0
    duration_s: float = 60.0
    cap_s: float = 3_600.0
    window_us: int = field(init=False, repr=False)
    duration_us: int = field(init=False, repr=False)
    cap_us: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.violations < 1 or not 0 < self.duration_s <= self.cap_s or self.window_s <= 0:
            raise ValueError("a block needs violations >= 1, window_s > 0 and 0 < duration_s <= cap_s")
        for name in ("window", "duration", "cap"):
            object.__setattr__(self, f"{name}_us", round(getattr(self, f"{name}_s") * _US))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Allows `quota` units in `period_s` seconds for each id of `scope`, and `burst` more at once.

    token_bucket: `quota + burst` units at once, then one every `period_s / quota` seconds. sliding_window:
    estimates the last period from two counters. fixed_window: for daily quotas; around the boundary of two
    windows it allows twice the quota. For both windows the burst is added to the quota.

    `shadow`: the limit is counted and reported but never refuses. `fail_policy`: how to decide while the
    shared store is unavailable: "local" limits in this process, "open" allows, "closed" refuses. Raises
    ValueError for numbers that cannot be counted exactly, an unknown algorithm, and a scope that is not a
    lower-case word.
    """

    name: str
    scope: Scope
    quota: int
    period_s: float
    burst: int = 0
    algorithm: Algorithm = "token_bucket"
    shadow: bool = False
    fail_policy: FailPolicy = "local"
    block: Block | None = None
    key: str = field(init=False, repr=False)
    capacity: int = field(init=False, repr=False)
    period_us: int = field(init=False, repr=False)
    unit_us: int = field(init=False, repr=False)
    full_us: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.algorithm not in get_args(Algorithm):
            raise ValueError(
                f"{self.name}: unknown algorithm {self.algorithm!r}; expected one of "
                f"{', '.join(get_args(Algorithm))}"
            )
        if _SCOPE.fullmatch(self.scope) is None:
            raise ValueError(
                f"{self.name}: a scope is a lower-case word of at most 32 letters, digits and underscores, "
                f"not {self.scope!r}"
            )
        period_us = round(self.period_s * _US)
        if self.quota < 1 or self.burst < 0 or period_us < self.quota:
            raise ValueError(
                f"{self.name}: expected quota >= 1, burst >= 0 and at most one unit a microsecond"
            )
        capacity = self.quota + self.burst
        if capacity * period_us >= _EXACT:
            raise ValueError(f"{self.name}: (quota + burst) * period is too large to be counted exactly")
        unit_us = period_us // self.quota
        for name, value in (
            ("key", f"{self.scope}:{self.name}"),
            ("capacity", capacity),
            ("period_us", period_us),
            ("unit_us", unit_us),
            ("full_us", capacity * unit_us),
        ):
            object.__setattr__(self, name, value)

    def checked_cost(self, cost: int) -> int:
        """Return `cost`. Raises ValueError if the limit could never grant it."""
        if not 0 <= cost <= self.capacity:
            raise ValueError(f"{self.name}: a cost of {cost} can never fit into {self.capacity}")
        return cost


class LimitDecision(NamedTuple):
    """The decision of one limit on one request. `state`: what to store if all limits grant the request."""

    fits: bool
    state: State
    remaining: int
    retry_us: int
    reset_us: int


def decide_limit(limit: Limit, state: State | None, now: int, cost: int) -> LimitDecision:
    """Decide on `cost` units at `now`. `remaining` and `reset_us` are those after a grant, or the present
    ones after a refusal.
    """
    match limit.algorithm:
        case "token_bucket":
            return _token_bucket(limit, state[0] if state else 0, now, cost)
        case "sliding_window":
            return _sliding_window(limit, _rolled_window(state, now // limit.period_us), now, cost)
        case "fixed_window":
            window, _, current = _rolled_window(state, now // limit.period_us)
            return _fixed_window(limit, window, current, now, cost)
        case _:
            assert_never(limit.algorithm)


def relevant_until(limit: Limit, state: State) -> int:
    """Return the time from which the state no longer matters, so that it may be deleted."""
    match limit.algorithm:
        case "token_bucket":
            return state[0]
        case "sliding_window":
            return (state[0] + 2) * limit.period_us
        case "fixed_window":
            return (state[0] + 1) * limit.period_us
        case _:
            assert_never(limit.algorithm)


def _token_bucket(limit: Limit, full: int, now: int, cost: int) -> LimitDecision:
    # No bucket needs so long: the clock was set back, and the bucket would stay closed until it catches up.
    full = now if full - now > 2 * limit.full_us else max(full, now)
    after = full + cost * limit.unit_us
    shortfall = after - now - limit.full_us
    fits = cost == 0 or shortfall <= 0
    if fits:
        full = after
    remaining = max(0, (limit.full_us - (full - now)) // limit.unit_us)
    return LimitDecision(fits, (full, 0, 0), remaining, 0 if fits else shortfall, full - now)


def _rolled_window(state: State | None, window: int) -> State:
    if state is None or state[0] < window - 1:
        return window, 0, 0
    if state[0] == window - 1:
        return window, state[2], 0
    # A window further ahead: the clock was set back, and the limit would stay used up until it catches up.
    return state if state[0] <= window + 1 else (window, 0, 0)


def _fixed_window(limit: Limit, window: int, current: int, now: int, cost: int) -> LimitDecision:
    fits = cost == 0 or current + cost <= limit.capacity
    if fits:
        current += cost
    left = (window + 1) * limit.period_us - now
    return LimitDecision(
        fits,
        (window, 0, current),
        max(0, limit.capacity - current),
        0 if fits else left,
        left if current else 0,
    )


def _sliding_window(limit: Limit, state: State, now: int, cost: int) -> LimitDecision:
    window, previous, current = state
    period = limit.period_us
    left = (window + 1) * period - now
    fits = cost == 0 or previous * left + (current + cost) * period <= limit.capacity * period
    retry = 0
    if fits:
        current += cost
    elif current + cost <= limit.capacity:
        # The previous window's share shrinks with time; the cost fits once the share is small enough.
        retry = left - (limit.capacity - current - cost) * period // previous
    else:
        retry = left + max(0, period - (limit.capacity - cost) * period // current)
    used = -(-(previous * left + current * period) // period)
    reset = left + period if current else left if previous else 0
    return LimitDecision(fits, (window, previous, current), max(0, limit.capacity - used), retry, reset)


@dataclass(slots=True)
class Penalty:
    """The violations of one key: refusals in the current window, end of its block, number of blocks in a row.

    Times are microseconds since the epoch; 0 means none.
    """

    until: int = 0
    level: int = 0
    count: int = 0
    window_end: int = 0

    def record_violation(self, block: Block, now: int) -> bool:
        """Count one refusal at `now`. True if it blocked the key."""
        if now >= self.window_end:
            self.count, self.window_end = 0, now + block.window_us
        self.count += 1
        if self.count < block.violations:
            return False
        if now >= self.until + block.cap_us:
            self.level = 0
        self.until = now + min(block.duration_us * 2 ** min(self.level, 30), block.cap_us)
        self.level += 1
        self.count = self.window_end = 0
        return True

    def expires_at(self, block: Block | None) -> int:
        """Return the time from which the penalty no longer matters, so that it may be deleted."""
        return max(self.window_end, self.until + (block.cap_us if block is not None and self.level else 0))
