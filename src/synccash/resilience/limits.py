"""Limits as values, and the arithmetic that decides: integer microseconds, no clock, no state of its own.

A state is what is kept for one key: the time at which a token bucket is full again, or the two counters of
a window. The same arithmetic is written in Lua beside the Valkey store; one property test holds both to a
naive reference.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Algorithm = Literal["token_bucket", "sliding_window", "fixed_window"]
Scope = Literal["user", "ip", "api_key", "endpoint", "global"]
FailPolicy = Literal["local", "open", "closed"]
State = tuple[int, int, int]

_US = 1_000_000
# What a double holds exactly: Lua has no other numbers.
_EXACT = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """`violations` refusals within `window_s` seconds shut a key out for `duration_s`, then twice and four
    times as long, up to `cap_s`. A key that kept quiet for `cap_s` after a block begins again.
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
    """`quota` units in `period_s` seconds for each id of `scope`, and `burst` more at once.

    token_bucket: `quota + burst` at once, then one every `period_s / quota`. sliding_window: the last period
    is estimated from two counters. fixed_window: for quotas per day; round a boundary it lets twice the
    quota through. For windows the burst simply adds to the quota.
    `shadow`: counted and told, never refused. `fail_policy`: what happens while the store is away.
    Raises ValueError for numbers that cannot be counted exactly.
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

    def weighed(self, cost: int) -> int:
        """`cost`, if it can ever be granted. Raises ValueError otherwise."""
        if not 0 <= cost <= self.capacity:
            raise ValueError(f"{self.name}: a cost of {cost} can never fit into {self.capacity}")
        return cost


class LimitDecision(NamedTuple):
    """What a limit says of one request. `state` is what to keep if it is granted."""

    fits: bool
    state: State
    remaining: int
    retry_us: int
    reset_us: int


def weigh(limit: Limit, state: State | None, now: int, cost: int) -> LimitDecision:
    """Judge `cost` units at `now`. Remaining and reset are those after a grant, or as they are if refused."""
    if limit.algorithm == "token_bucket":
        return _token_bucket(limit, state[0] if state else 0, now, cost)
    window, previous, current = _rolled(state, now // limit.period_us)
    if limit.algorithm == "fixed_window":
        return _fixed_window(limit, window, current, now, cost)
    return _sliding_window(limit, (window, previous, current), now, cost)


def full_at(limit: Limit, state: State) -> int:
    """When the state makes no difference any more: the end of its time to live."""
    if limit.algorithm == "token_bucket":
        return state[0]
    return (state[0] + (2 if limit.algorithm == "sliding_window" else 1)) * limit.period_us


def _token_bucket(limit: Limit, full: int, now: int, cost: int) -> LimitDecision:
    full = max(full, now)
    after = full + cost * limit.unit_us
    short = after - now - limit.full_us
    fits = cost == 0 or short <= 0
    if fits:
        full = after
    remaining = max(0, (limit.full_us - (full - now)) // limit.unit_us)
    return LimitDecision(fits, (full, 0, 0), remaining, 0 if fits else short, full - now)


def _rolled(state: State | None, window: int) -> State:
    if state is None or state[0] < window - 1:
        return window, 0, 0
    if state[0] == window - 1:
        return window, state[2], 0
    return state


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
        # Wait until enough of the previous window has slid out.
        retry = left - (limit.capacity - current - cost) * period // previous
    else:
        retry = left + max(0, period - (limit.capacity - cost) * period // current)
    used = -(-(previous * left + current * period) // period)
    reset = left + period if current else left if previous else 0
    return LimitDecision(fits, (window, previous, current), max(0, limit.capacity - used), retry, reset)


@dataclass(slots=True)
class Penalty:
    """What a key has on its record: refusals in a window, the end of its block, how often it was blocked."""

    until: int = 0
    level: int = 0
    count: int = 0
    window_end: int = 0

    def violate(self, block: Block, now: int) -> bool:
        """Count one refusal at `now`; True if it shut the key out."""
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

    def forgotten_at(self, block: Block | None) -> int:
        """When the record makes no difference any more."""
        return max(self.window_end, self.until + (block.cap_us if block is not None and self.level else 0))
