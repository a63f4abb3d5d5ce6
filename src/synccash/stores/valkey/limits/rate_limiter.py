"""Rate limiter shared by all processes through Valkey, which falls back to local limits without Valkey.

limiter = ValkeyLimiter(url, instances=fleet.size)
decision = await limiter.check("payment_initiation", demands, answer=answer_key(scope, key))
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.profiles import VALKEY
from synccash.resilience.rate_limiter import BlockedKey, Decision, Demand, Limit, LimitStatus, MemoryLimiter
from synccash.settings.secret import Secret
from synccash.stores.valkey.client import UNREACHABLE
from synccash.stores.valkey.connection import ValkeyConnection
from synccash.stores.valkey.limits import script as script
from synccash.stores.valkey.limits.queue import LimitQueue

_DEADLINE_S = 0.05
# A known block is refused for this long without asking Valkey; short, so that an unblock takes effect soon.
_BLOCK_CACHE_S = 2.0
_MAX_CACHED_BLOCKS = 10_000
_CLOSED_RETRY_US = 1_000_000


@dataclass(slots=True)
class LimiterCounts:
    """Counts of decisions for metrics, by endpoint. `shadowed`: granted although a limit in shadow mode would
    have refused. `key_blocked`: keys that were blocked. `degraded`: decisions made without Valkey.
    """

    allowed: Counter[str] = field(default_factory=Counter[str])
    blocked: Counter[str] = field(default_factory=Counter[str])
    shadowed: Counter[str] = field(default_factory=Counter[str])
    key_blocked: int = 0
    degraded: int = 0


class ValkeyLimiter:
    """Decides rate limits in Valkey. Does not raise while Valkey is unavailable. One per process.

    `valkey` is a URL, or a connection that the process uses for other commands too: `aclose` does not close
    that one, and its own deadline holds instead of `deadline_s`. `instances` returns the number of processes
    that share the limits; without Valkey each process grants its share of them. The local limiter counts what
    Valkey grants, so that it can take over at any time.
    """

    __slots__ = (
        "_breaker",
        "_cached_blocks",
        "_connection",
        "_instances",
        "_is_shared",
        "_local",
        "_monotonic",
        "_queue",
        "_shares",
        "counts",
    )

    def __init__(
        self,
        valkey: Secret | str | ValkeyConnection,
        *,
        instances: Callable[[], int] = lambda: 1,
        local: MemoryLimiter | None = None,
        deadline_s: float = _DEADLINE_S,
        breaker: CircuitBreaker | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_shared = isinstance(valkey, ValkeyConnection)
        if not isinstance(valkey, ValkeyConnection):
            valkey = ValkeyConnection(valkey, deadline_s=deadline_s)
        self._connection = valkey
        self._local = local or MemoryLimiter()
        self._breaker = breaker or CircuitBreaker("valkey:limits", VALKEY.breaker)
        self._queue = LimitQueue(self._connection, self._breaker, monotonic, self._on_decisions)
        self._instances = instances
        self._monotonic = monotonic
        self._shares: dict[int, tuple[int, Limit, Limit]] = {}
        self._cached_blocks: dict[tuple[str, str], tuple[float, LimitStatus]] = {}
        self.counts = LimiterCounts()

    async def check(self, endpoint: str, demands: Sequence[Demand], *, answer: str | None = None) -> Decision:
        """Grant all demands or none, and return the answer stored under the key `answer`, if there is one.

        A request with a stored answer costs no user quota. A missing answer (None) does not prove that none
        was stored.
        """
        decision = self.at_once(endpoint, demands)
        if decision is None:
            decision = await self._queue.submit(demands, answer) or self._decide_locally(demands)
            self._count_decision(endpoint, decision)
        return decision

    def at_once(self, endpoint: str, demands: Sequence[Demand]) -> Decision | None:
        """Refuse a request whose key is known to be blocked. None: `check` must ask Valkey."""
        decision = self._check_cached_blocks(demands) if self._cached_blocks else None
        if decision is not None:
            self._count_decision(endpoint, decision)
        return decision

    async def peek(self, demands: Sequence[Demand]) -> Decision:
        """Return the status of the demands without taking any units."""
        reads = [Demand(one.limit, one.id, 0) for one in demands]
        return await self._queue.submit(reads, None) or self._decide_locally(reads)

    async def store_answer(self, answer: str, stored: bytes, *, ttl_s: float = 86_400.0) -> bool:
        """Store an answer under its `answer_key` for `ttl_s` seconds. False: Valkey is unavailable, which
        loses nothing: this is a cache of what the claims store.
        """
        if self._breaker.retry_after() is not None:
            return False
        return await self._succeeds("SET", answer, stored, "PX", max(1, round(ttl_s * 1_000)))

    async def block(self, limit: Limit, id: str, duration_s: float) -> bool:  # noqa: A002
        """Block a key in all processes. False: Valkey is unavailable; the key is blocked in this one only."""
        self._local.block(limit, id, duration_s)
        key, duration_ms = script.state_key(limit, id), max(1, round(duration_s * 1_000))
        return await self._succeeds(b"EVAL", script.BLOCK, 2, key, script.BLOCKED_KEYS, duration_ms)

    async def unblock(self, limit: Limit, id: str) -> bool:  # noqa: A002
        """Remove a key's block, violations and used units. False: Valkey is unavailable, so they are removed
        in this process only. Other processes may refuse the key for up to 2 s more.
        """
        self._cached_blocks.pop((limit.key, id), None)
        self._local.unblock(limit, id)
        return await self._succeeds(
            b"EVAL", script.UNBLOCK, 2, script.state_key(limit, id), script.BLOCKED_KEYS
        )

    async def blocked(self, most: int) -> tuple[Sequence[BlockedKey], bool]:
        """Return the keys that are blocked now, at most `most`, those blocked longest first. False: Valkey is
        unavailable; these are the keys that this process has blocked.
        """
        try:
            reply = await self._connection.call(b"EVAL", script.BLOCKED, 1, script.BLOCKED_KEYS, most)
        except UNREACHABLE:
            return self._local.blocked(most), False
        return script.decode_blocked(reply), True

    async def _succeeds(self, *command: bytes | str | int) -> bool:
        try:
            await self._connection.call(*command)
        except UNREACHABLE:
            return False
        return True

    async def aclose(self) -> None:
        """Close the connection to Valkey, unless it is shared."""
        if not self._is_shared:
            await self._connection.aclose()

    def _on_decisions(self, decisions: Sequence[Decision], now_us: int) -> None:
        """Count granted units in the local limiter, and cache blocks."""
        for decision in decisions:
            if decision.allowed:
                self._warm_local(decision)
                continue
            for one in decision.statuses:
                if (
                    one.blocked_until_us
                    and one.demand.cost
                    and not one.demand.limit.shadow
                    and len(self._cached_blocks) < _MAX_CACHED_BLOCKS
                ):
                    left_s = (one.blocked_until_us - now_us) / 1_000_000
                    until = self._monotonic() + min(left_s, _BLOCK_CACHE_S)
                    self._cached_blocks[one.demand.limit.key, one.demand.id] = until, one

    def _warm_local(self, granted: Decision) -> None:
        take, instances = self._local.hit, self._instances()
        has_answer = granted.answer is not None
        for demand, refuses, *_ in granted.statuses:
            limit, cost = demand.limit, demand.cost
            if refuses or not cost or limit.fail_policy != "local" or (has_answer and limit.scope == "user"):
                continue
            if instances == 1:
                take(limit, demand.id, cost)
            else:
                limit = self._limit_share(limit, instances)
                take(limit, demand.id, min(cost, limit.capacity))

    def _check_cached_blocks(self, demands: Sequence[Demand]) -> Decision | None:
        for demand in demands:
            key = demand.limit.key, demand.id
            cached = self._cached_blocks.get(key)
            if cached is None:
                continue
            if self._monotonic() < cached[0]:
                return Decision(allowed=False, statuses=(cached[1],))
            del self._cached_blocks[key]
        if len(self._cached_blocks) >= _MAX_CACHED_BLOCKS:
            now = self._monotonic()
            self._cached_blocks = {
                key: cached for key, cached in self._cached_blocks.items() if cached[0] > now
            }
        return None

    def _decide_locally(self, demands: Sequence[Demand]) -> Decision:
        """Decide without Valkey, each limit by its own fail policy."""
        self.counts.degraded += 1
        closed = [one for one in demands if one.limit.fail_policy == "closed" and not one.limit.shadow]
        if closed:
            statuses = tuple(
                LimitStatus(one, refuses=True, remaining=0, retry_us=_CLOSED_RETRY_US, reset_us=0)
                for one in closed
            )
            return Decision(allowed=False, statuses=statuses, degraded=True)
        shares = [self._demand_share(one) for one in demands if one.limit.fail_policy == "local"]
        return self._local.check(shares)._replace(degraded=True)

    def _demand_share(self, demand: Demand) -> Demand:
        """Return the demand on this process's share of the limit."""
        instances = self._instances()
        if instances == 1:
            return demand
        share = self._limit_share(demand.limit, instances)
        return Demand(share, demand.id, min(demand.cost, share.capacity))

    def _limit_share(self, limit: Limit, instances: int) -> Limit:
        # replace() takes 5 µs, for each limit of each request.
        cached = self._shares.get(id(limit))
        if cached is None or cached[0] != instances:
            share = replace(limit, quota=max(1, limit.quota // instances), burst=limit.burst // instances)
            cached = self._shares[id(limit)] = instances, limit, share
        return cached[2]

    def _count_decision(self, endpoint: str, decision: Decision) -> None:
        (self.counts.allowed if decision.allowed else self.counts.blocked)[endpoint] += 1
        self.counts.key_blocked += decision.newly_blocked
        if decision.shadowed:
            self.counts.shadowed[endpoint] += 1
