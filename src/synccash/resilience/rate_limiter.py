"""In-memory rate limiter: checks all limits of a request together and grants all or none.

    limiter = MemoryLimiter()
    per_user = Limit(name="login", scope="user", quota=10, period_s=60, burst=3)
    decision = limiter.check([Demand(per_user, "ama")])
    if not decision.allowed: ...   # decision.retry_after_s, decision.binding

Synchronous. Threads and event loops may share one limiter.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import nlargest
from threading import RLock
from typing import Any, NamedTuple

from synccash.resilience._core.deadline_cell import Clock
from synccash.resilience._core.live_parts import adopt_state, track
from synccash.resilience.fast_tuple import make_namedtuple
from synccash.resilience.limits import (
    Algorithm,
    Block,
    FailPolicy,
    Limit,
    LimitDecision,
    Penalty,
    Scope,
    State,
    decide_limit,
    relevant_until,
)

__all__ = [
    "Algorithm",
    "Block",
    "BlockedKey",
    "Decision",
    "Demand",
    "FailPolicy",
    "Limit",
    "LimitStatus",
    "MemoryLimiter",
    "Scope",
    "unit_demands",
    "units",
    "wall_clock_us",
]

_MAX_KEYS = 100_000
_KEYS_PER_SWEEP = 2
# The id of the bucket that new keys share while the limiter is full.
_OVERFLOW_ID = ""


def wall_clock_us() -> int:
    """Return microseconds since the epoch."""
    return time.time_ns() // 1_000


def _read_us(clock: Clock) -> int:
    return int(clock() * 1e6)


class _DemandFields(NamedTuple):
    """The fields of a Demand; a NamedTuple cannot define `__new__` itself."""

    limit: Limit
    id: str
    cost: int


class Demand(_DemandFields):
    """A request for `cost` units of one limit for one id. A cost of 0 reads the status and takes nothing.

    Raises ValueError for a cost that the limit could never grant.
    """

    __slots__ = ()

    def __new__(cls, limit: Limit, id: str, cost: int = 1) -> "Demand":  # noqa: A002 - the field's word
        # A check of one demand takes 9 % less time than with super().__new__.
        return make_namedtuple(cls, (limit, id, limit.checked_cost(cost)))


class LimitStatus(NamedTuple):
    """The status of one limit after a decision.

    `refuses`: the limit is used up or the key is blocked. `remaining`: units left. `retry_us`: microseconds
    until the demand may be granted. `reset_us`: microseconds until the limit is completely free again.
    `blocked_until_us`: microseconds since the epoch; 0: the key is not blocked.
    """

    demand: Demand
    refuses: bool
    remaining: int
    retry_us: int
    reset_us: int
    blocked_until_us: int = 0


class BlockedKey(NamedTuple):
    """A key that is blocked: the key of its limit, its id, and until when (microseconds since the epoch)."""

    limit_key: str
    id: str
    until_us: int


class Decision(NamedTuple):
    """The decision on all demands of a request: all are granted or none.

    `answer`: the stored answer of the request's answer key, or None. `degraded`: decided without the shared
    store. `newly_blocked`: number of keys that this refusal blocked.
    """

    allowed: bool
    statuses: tuple[LimitStatus, ...]
    answer: bytes | None = None
    degraded: bool = False
    newly_blocked: int = 0

    @property
    def binding(self) -> LimitStatus | None:
        """The limit that matters most: after a refusal the one with the longest wait, else the one with the
        fewest units left. Limits in shadow mode are left out.
        """
        enforced = [status for status in self.statuses if not status.demand.limit.shadow]
        if not self.allowed:
            return max((one for one in enforced if one.refuses), key=lambda one: one.retry_us, default=None)
        return min(enforced, key=lambda one: one.remaining, default=None)

    @property
    def standings(self) -> tuple[LimitStatus, ...]:
        """Earlier name of `statuses`."""
        return self.statuses

    @property
    def retry_after_s(self) -> float:
        """Seconds until the same request may be granted; 0 if it was granted."""
        binding = self.binding
        return 0.0 if self.allowed or binding is None else binding.retry_us / 1_000_000

    @property
    def shadowed(self) -> bool:
        """True if a limit in shadow mode would have refused the request."""
        refusing = [one for one in self.statuses if one.refuses]
        return any(one.demand.limit.shadow for one in refusing)


def unit_demands(
    limits: Sequence[tuple[Limit, str | None]], ids: Mapping[str, str | None]
) -> Sequence[Demand]:
    """Return a demand of one unit for each limit that has an id.

    `limits`: each limit with the id that it has if `ids`, by scope, has none for it. An id of None leaves the
    limit out.
    """
    demands: list[Demand] = []
    for limit, default in limits:
        id = ids.get(limit.scope, default)  # noqa: A001 - the field's word
        if id is not None:
            # With Demand(), five demands take about half as long again.
            demands.append(make_namedtuple(Demand, (limit, id, 1)))
    return demands


units = unit_demands
"""Earlier name of `unit_demands`."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class MemoryLimiter:
    """Decides rate limits in one process. `clock_us` returns microseconds since the epoch.

    Holds at most `most_keys` keys. Keys whose limit is completely free again are removed as new ones come,
    which changes no decision. A key in use is never removed: while the limiter is full, the new keys of a
    limit share one bucket.
    """

    clock_us: Callable[[], int] = wall_clock_us
    most_keys: int = _MAX_KEYS
    _states: dict[str, dict[str, State]] = field(default_factory=dict[str, dict[str, State]])
    _penalties: dict[tuple[str, str], Penalty] = field(default_factory=dict[tuple[str, str], Penalty])
    _queue: deque[tuple[Limit, str]] = field(default_factory=deque[tuple[Limit, str]])
    # An RLock, because a signal handler or the garbage collector may run code that uses the limiter again.
    _lock: Any = field(default_factory=RLock, repr=False, compare=False)

    def __post_init__(self) -> None:
        track(self)

    def forget(self, clock: Clock | None = None) -> Callable[[], None]:
        """Have the state of a new one, and `clock` if given, until the returned function is called. For
        `synccash.resilience.testing.fresh`."""
        clock_us = self.clock_us if clock is None else partial(_read_us, clock)
        new = MemoryLimiter(clock_us)
        return adopt_state(self, new, ("clock_us", "_states", "_penalties", "_queue"), self._lock)

    def hit(self, limit: Limit, id: str, cost: int = 1) -> int:  # noqa: A002 - the field's word
        """Take `cost` units of one limit. Returns 0 if granted, else microseconds to wait. Ignores blocks."""
        with self._lock:
            now = self.clock_us()
            states = self._states.get(limit.key)
            state = states.get(id) if states is not None else None
            if (
                states is None
                or state is None
                or limit.algorithm != "token_bucket"
                or state[0] - now > 2 * limit.full_us
            ):
                decided = decide_limit(limit, self._state(limit, id), now, limit.checked_cost(cost))
                if decided.fits and cost:
                    self._store_state(limit, id, decided.state, now)
                return decided.retry_us
            # The token bucket's arithmetic in place takes 0.55 µs, through decide_limit 1.9 µs.
            full = state[0]
            after = (full if full > now else now) + cost * limit.unit_us
            shortfall = after - now - limit.full_us
            if shortfall > 0:
                limit.checked_cost(cost)
                return shortfall
            states[id] = (after, 0, 0)
            return 0

    def check(self, demands: Sequence[Demand]) -> Decision:
        """Grant all demands or none. A refusal counts as a violation of each limit that refused."""
        with self._lock:
            now = self.clock_us()
            if self._penalties:
                return self._check_fully(demands, now)
            # Fast path for known keys of token buckets that all have room; the rest is checked in full.
            # Five demands take 3.8 µs instead of 17 µs, and 5.0 µs with the constructors of the named tuples.
            statuses: list[LimitStatus] = []
            updates: list[tuple[dict[str, State], str, State]] = []
            for demand in demands:
                limit, id, cost = demand  # noqa: A001 - the field's word
                states = self._states.get(limit.key)
                if states is None or limit.algorithm != "token_bucket":
                    return self._check_fully(demands, now)
                state = states.get(id)
                if state is None:
                    return self._check_fully(demands, now)
                left = state[0] - now
                if left < 0:
                    left = 0
                if cost:
                    left += limit.unit_us if cost == 1 else cost * limit.unit_us
                if left > limit.full_us:
                    return self._check_fully(demands, now)
                if cost:
                    updates.append((states, id, (now + left, 0, 0)))
                room = (limit.full_us - left) // limit.unit_us
                statuses.append(
                    make_namedtuple(LimitStatus, (demand, False, room if room > 0 else 0, 0, left, 0))
                )
            for states, id, state in updates:  # noqa: A001
                states[id] = state
            return make_namedtuple(Decision, (True, tuple(statuses), None, False, 0))

    def _check_fully(self, demands: Sequence[Demand], now: int) -> Decision:
        decided = [
            decide_limit(demand.limit, self._state(demand.limit, demand.id), now, demand.cost)
            for demand in demands
        ]
        block_ends = [self._blocked_until(demand, now) for demand in demands]
        allowed = not any(
            (block_end or not result.fits) and not demand.limit.shadow
            for demand, result, block_end in zip(demands, decided, block_ends, strict=True)
        )
        newly_blocked = 0
        if allowed:
            for demand, result in zip(demands, decided, strict=True):
                if demand.cost and result.fits:
                    self._store_state(demand.limit, demand.id, result.state, now)
        elif not any(block_ends):
            for index, (demand, result) in enumerate(zip(demands, decided, strict=True)):
                if not result.fits and self._record_violation(demand, now):
                    newly_blocked += 1
                    block_ends[index] = self._blocked_until(demand, now)
        return Decision(
            allowed,
            tuple(
                self._status(demand, result, block_end, now, allowed=allowed)
                for demand, result, block_end in zip(demands, decided, block_ends, strict=True)
            ),
            newly_blocked=newly_blocked,
        )

    def block(self, limit: Limit, id: str, duration_s: float) -> None:  # noqa: A002
        """Block a key for `duration_s` seconds, for an operator."""
        with self._lock:
            penalty = self._penalties.setdefault((limit.key, id), Penalty())
            penalty.until = self.clock_us() + round(duration_s * 1_000_000)
            self._queue.append((limit, id))

    def unblock(self, limit: Limit, id: str) -> None:  # noqa: A002
        """Remove a key's block, its violations and its used units."""
        with self._lock:
            self._penalties.pop((limit.key, id), None)
            self._states.get(limit.key, {}).pop(id, None)

    def blocked(self, most: int) -> list[BlockedKey]:
        """Return the keys that are blocked now, at most `most`, those blocked longest first."""
        with self._lock:
            now = self.clock_us()
            found = [
                BlockedKey(limit_key, name, one.until)
                for (limit_key, name), one in self._penalties.items()
                if one.until > now
            ]
        return nlargest(most, found, key=lambda one: one.until_us)

    def __len__(self) -> int:
        with self._lock:
            return len(self._penalties) + sum(map(len, self._states.values()))

    def _state(self, limit: Limit, id: str) -> State | None:  # noqa: A002
        states = self._states.get(limit.key)
        if states is None:
            return None
        state = states.get(id)
        if state is None and len(self._queue) >= self.most_keys:
            self._sweep(self.clock_us())
            return None if len(self._queue) < self.most_keys else states.get(_OVERFLOW_ID)
        return state

    def _store_state(self, limit: Limit, id: str, state: State, now: int) -> None:  # noqa: A002
        states = self._states.setdefault(limit.key, {})
        if id not in states:
            self._sweep(now)
            if len(self._queue) >= self.most_keys:
                id = _OVERFLOW_ID  # noqa: A001
            else:
                self._queue.append((limit, id))
        states[id] = state

    def _sweep(self, now: int) -> None:
        """Check the keys that were checked longest ago, a few at a time, and remove expired ones."""
        if len(self._queue) < self.most_keys // 2:
            return
        for _ in range(min(_KEYS_PER_SWEEP, len(self._queue))):
            limit, id = self._queue.popleft()  # noqa: A001
            states = self._states.get(limit.key, {})
            state, penalty = states.get(id), self._penalties.get((limit.key, id))
            if state is not None and relevant_until(limit, state) <= now:
                del states[id]
                state = None
            if penalty is not None and penalty.expires_at(limit.block) <= now:
                del self._penalties[limit.key, id]
                penalty = None
            if state is not None or penalty is not None:
                self._queue.append((limit, id))

    def _blocked_until(self, demand: Demand, now: int) -> int:
        penalty = self._penalties.get((demand.limit.key, demand.id)) if self._penalties else None
        return penalty.until if penalty is not None and penalty.until > now else 0

    def _record_violation(self, demand: Demand, now: int) -> bool:
        limit = demand.limit
        if limit.block is None or limit.shadow:
            return False
        penalty = self._penalties.get((limit.key, demand.id))
        if penalty is None:
            if len(self._queue) >= self.most_keys:
                return False
            penalty = self._penalties[limit.key, demand.id] = Penalty()
            self._queue.append((limit, demand.id))
        return penalty.record_violation(limit.block, now)

    def _status(
        self, demand: Demand, decided: LimitDecision, block_end: int, now: int, *, allowed: bool
    ) -> LimitStatus:
        refuses = bool(block_end) or not decided.fits
        retry = max(block_end - now if block_end else 0, decided.retry_us)
        if decided.fits and not allowed and demand.cost:
            # This limit had room but another refused, so nothing was taken: report the present state.
            decided = decide_limit(demand.limit, self._state(demand.limit, demand.id), now, 0)
        return LimitStatus(demand, refuses, decided.remaining, retry, decided.reset_us, block_end)
