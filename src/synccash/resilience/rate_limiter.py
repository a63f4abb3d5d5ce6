"""Rate limits in memory: n limits decided at once, all or nothing.

    limiter = MemoryLimiter()
    per_user = Limit(name="login", scope="user", quota=10, period_s=60, burst=3)
    decision = limiter.check([Demand(per_user, "ama")])
    if not decision.allowed: ...   # decision.retry_after_s, decision.binding

Synchronous and without a lock: one event loop, no await in between.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from synccash.resilience._core.fast_tuple import made
from synccash.resilience.limits import (
    Algorithm,
    Block,
    FailPolicy,
    Limit,
    LimitDecision,
    Penalty,
    Scope,
    State,
    full_at,
    weigh,
)

__all__ = [
    "Algorithm",
    "Block",
    "Decision",
    "Demand",
    "FailPolicy",
    "Limit",
    "LimitStatus",
    "MemoryLimiter",
    "Scope",
    "units",
    "wall_clock_us",
]

_MOST_KEYS = 100_000
_SWEPT = 2
# The bucket that all new keys share while there is no room for one of their own.
_SHARED = ""


def wall_clock_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1_000


class Wanted(NamedTuple):
    """What a Demand is made of."""

    limit: Limit
    id: str
    cost: int


class Demand(Wanted):
    """`cost` units of one limit for one id; a cost of 0 looks and takes nothing.

    Raises ValueError for a cost that can never be granted.
    """

    __slots__ = ()

    def __new__(cls, limit: Limit, id: str, cost: int = 1) -> "Demand":  # noqa: A002 - the field's word
        # One unit always fits.
        return made(cls, (limit, id, cost if cost == 1 else limit.weighed(cost)))


class LimitStatus(NamedTuple):
    """How a demand stands after a decision. Times from now on in microseconds, `blocked_until_us` since the
    epoch (0: not blocked). `refuses`: this limit had no room, or its key is blocked.
    """

    demand: Demand
    refuses: bool
    remaining: int
    retry_us: int
    reset_us: int
    blocked_until_us: int = 0


class Decision(NamedTuple):
    """All demands granted, or none. `answer`: what was stored under the answer key that was asked for.

    `degraded`: decided without the store. `newly_blocked`: keys that this refusal shut out.
    """

    allowed: bool
    standings: tuple[LimitStatus, ...]
    answer: bytes | None = None
    degraded: bool = False
    newly_blocked: int = 0

    @property
    def binding(self) -> LimitStatus | None:
        """The limit that holds longest if refused, else the one with the least left; shadows apart."""
        real = [standing for standing in self.standings if not standing.demand.limit.shadow]
        if not self.allowed:
            return max((one for one in real if one.refuses), key=lambda one: one.retry_us, default=None)
        return min(real, key=lambda one: one.remaining, default=None)

    @property
    def retry_after_s(self) -> float:
        """Seconds until the same request may be granted; 0 if it was."""
        binding = self.binding
        return 0.0 if self.allowed or binding is None else binding.retry_us / 1_000_000

    @property
    def shadowed(self) -> bool:
        """Whether a limit in shadow mode would have refused."""
        refusing = [one for one in self.standings if one.refuses]
        return any(one.demand.limit.shadow for one in refusing)


def units(limits: Sequence[tuple[Limit, int]], ids: Sequence[str | None]) -> Sequence[Demand]:
    """One unit of each limit whose id is known; the number beside it says where its id is among `ids`."""
    demands: list[Demand] = []
    for limit, at in limits:
        id = ids[at]  # noqa: A001 - the field's word
        if id is not None:
            demands.append(made(Demand, (limit, id, 1)))
    return demands


@dataclass(slots=True)
class MemoryLimiter:
    """Live: the limits of one process. `clock_us` in microseconds since the epoch.

    Holds at most `most_keys` keys. Full ones are swept away as new ones come, which changes no decision; one
    in use is never evicted: while there is no room, new keys share one bucket of their limit.
    """

    clock_us: Callable[[], int] = wall_clock_us
    most_keys: int = _MOST_KEYS
    _states: dict[str, dict[str, State]] = field(default_factory=dict[str, dict[str, State]])
    _penalties: dict[tuple[str, str], Penalty] = field(default_factory=dict[tuple[str, str], Penalty])
    _queue: deque[tuple[Limit, str]] = field(default_factory=deque[tuple[Limit, str]])

    def hit(self, limit: Limit, id: str, cost: int = 1) -> int:  # noqa: A002 - the field's word
        """Take `cost` units of one limit: 0 if granted, else the wait in microseconds. Without blocks."""
        now = self.clock_us()
        states = self._states.get(limit.key)
        state = states.get(id) if states is not None else None
        if state is None or limit.algorithm != "token_bucket":
            weighed = weigh(limit, self._state(limit, id), now, limit.weighed(cost))
            if weighed.fits and cost:
                self._keep(limit, id, weighed.state, now)
            return weighed.retry_us
        full = state[0]
        after = (full if full > now else now) + cost * limit.unit_us
        short = after - now - limit.full_us
        if short > 0:
            limit.weighed(cost)
            return short
        assert states is not None
        states[id] = (after, 0, 0)
        return 0

    def check(self, demands: Sequence[Demand]) -> Decision:
        """Grant all demands or none. A refusal is a violation of each limit that refused."""
        now = self.clock_us()
        if self._penalties:
            return self._weighed(demands, now)
        # The common way: known keys of token buckets that all have room. What is not goes the long one.
        known = self._states
        standings: list[LimitStatus] = []
        takes: list[tuple[dict[str, State], str, State]] = []
        for one in demands:
            limit, id, cost = one  # noqa: A001 - the field's word
            states = known.get(limit.key)
            if states is None or limit.algorithm != "token_bucket":
                return self._weighed(demands, now)
            state = states.get(id)
            if state is None:
                return self._weighed(demands, now)
            left = state[0] - now
            if left < 0:
                left = 0
            if cost:
                left += limit.unit_us if cost == 1 else cost * limit.unit_us
                if left > limit.full_us:
                    return self._weighed(demands, now)
                takes.append((states, id, (now + left, 0, 0)))
            room = (limit.full_us - left) // limit.unit_us
            standings.append(made(LimitStatus, (one, False, room if room > 0 else 0, 0, left, 0)))
        for states, id, state in takes:  # noqa: A001
            states[id] = state
        return made(Decision, (True, tuple(standings), None, False, 0))

    def _weighed(self, demands: Sequence[Demand], now: int) -> Decision:
        weighed = [weigh(one.limit, self._state(one.limit, one.id), now, one.cost) for one in demands]
        ends = [self._blocked_until(one, now) for one in demands]
        allowed = not any(
            (end or not result.fits) and not one.limit.shadow
            for one, result, end in zip(demands, weighed, ends, strict=True)
        )
        newly = 0
        if allowed:
            for one, result in zip(demands, weighed, strict=True):
                if one.cost and result.fits:
                    self._keep(one.limit, one.id, result.state, now)
        elif not any(ends):
            for index, (one, result) in enumerate(zip(demands, weighed, strict=True)):
                if not result.fits and self._violate(one, now):
                    newly += 1
                    ends[index] = self._blocked_until(one, now)
        return Decision(
            allowed,
            tuple(
                self._standing(one, result, end, now, allowed=allowed)
                for one, result, end in zip(demands, weighed, ends, strict=True)
            ),
            newly_blocked=newly,
        )

    def note(self, demand: Demand) -> None:
        """Count what was granted elsewhere, as far as it fits: then this limiter is warm."""
        self.hit(demand.limit, demand.id, demand.cost)

    def block(self, limit: Limit, id: str, duration_s: float) -> None:  # noqa: A002
        """Shut a key out by hand."""
        penalty = self._penalties.setdefault((limit.key, id), Penalty())
        penalty.until = self.clock_us() + round(duration_s * 1_000_000)
        self._queue.append((limit, id))

    def unblock(self, limit: Limit, id: str) -> None:  # noqa: A002
        """Forget a key's block, its record and what it has used."""
        self._penalties.pop((limit.key, id), None)
        self._states.get(limit.key, {}).pop(id, None)

    def __len__(self) -> int:
        return len(self._penalties) + sum(map(len, self._states.values()))

    def _state(self, limit: Limit, id: str) -> State | None:  # noqa: A002
        states = self._states.get(limit.key)
        if states is None:
            return None
        state = states.get(id)
        if state is None and len(self._queue) >= self.most_keys:
            self._sweep(self.clock_us())
            return None if len(self._queue) < self.most_keys else states.get(_SHARED)
        return state

    def _keep(self, limit: Limit, id: str, state: State, now: int) -> None:  # noqa: A002
        states = self._states.setdefault(limit.key, {})
        if id not in states:
            self._sweep(now)
            if len(self._queue) >= self.most_keys:
                id = _SHARED  # noqa: A001
            else:
                self._queue.append((limit, id))
        states[id] = state

    def _sweep(self, now: int) -> None:
        """Look at the keys that waited longest, a few at a time."""
        if len(self._queue) < self.most_keys // 2:
            return
        for _ in range(min(_SWEPT, len(self._queue))):
            limit, id = self._queue.popleft()  # noqa: A001
            states = self._states.get(limit.key, {})
            state, penalty = states.get(id), self._penalties.get((limit.key, id))
            if state is not None and full_at(limit, state) <= now:
                del states[id]
                state = None
            if penalty is not None and penalty.forgotten_at(limit.block) <= now:
                del self._penalties[limit.key, id]
                penalty = None
            if state is not None or penalty is not None:
                self._queue.append((limit, id))

    def _blocked_until(self, demand: Demand, now: int) -> int:
        penalty = self._penalties.get((demand.limit.key, demand.id)) if self._penalties else None
        return penalty.until if penalty is not None and penalty.until > now else 0

    def _violate(self, demand: Demand, now: int) -> bool:
        limit = demand.limit
        if limit.block is None or limit.shadow:
            return False
        penalty = self._penalties.get((limit.key, demand.id))
        if penalty is None:
            if len(self._queue) >= self.most_keys:
                return False
            penalty = self._penalties[limit.key, demand.id] = Penalty()
            self._queue.append((limit, demand.id))
        return penalty.violate(limit.block, now)

    def _standing(
        self, demand: Demand, weighed: LimitDecision, end: int, now: int, *, allowed: bool
    ) -> LimitStatus:
        refuses = bool(end) or not weighed.fits
        retry = max(end - now if end else 0, weighed.retry_us)
        if weighed.fits and not allowed and demand.cost:
            # It had room, but nothing was taken.
            weighed = weigh(demand.limit, self._state(demand.limit, demand.id), now, 0)
        return LimitStatus(demand, refuses, weighed.remaining, retry, weighed.reset_us, end)
