"""Rate limits that all processes share: one script, one round trip, decided here while Valkey is away.

limiter = ValkeyLimiter(url, instances=fleet.size)
decision = await limiter.check("payment_initiation", demands, answer=answer_key(scope, key))
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.profiles import VALKEY
from synccash.resilience.rate_limiter import Decision, Demand, Limit, LimitStatus, MemoryLimiter
from synccash.stores.valkey.client import UNREACHABLE
from synccash.stores.valkey.limits import script as script
from synccash.stores.valkey.limits.connection import ValkeyConnection
from synccash.stores.valkey.limits.queue import LimitQueue

_DEADLINE_S = 0.05
# A block is believed without asking for this long, so that lifting it works everywhere soon.
_BELIEVED_S = 2.0
_MOST_BELIEVED = 10_000
_CLOSED_RETRY_US = 1_000_000


@dataclass(slots=True)
class LimiterCounts:
    """What the limiter did, as integers for a scrape: by endpoint, and in all. `degraded`: decided here,
    without Valkey; `shadowed`: granted, though a limit in shadow mode would have refused.
    """

    allowed: Counter[str] = field(default_factory=Counter[str])
    blocked: Counter[str] = field(default_factory=Counter[str])
    shadowed: Counter[str] = field(default_factory=Counter[str])
    key_blocked: int = 0
    degraded: int = 0


class ValkeyLimiter:
    """Live: one per process. Never raises because Valkey is away.

    `instances` tells how many processes share the limits now; while Valkey is away, each grants its share.
    The local limiter is kept warm by what Valkey granted.
    """

    __slots__ = (
        "_believed",
        "_breaker",
        "_instances",
        "_line",
        "_local",
        "_monotonic",
        "_queue",
        "_shares",
        "counts",
    )

    def __init__(
        self,
        url: str,
        *,
        instances: Callable[[], int] = lambda: 1,
        local: MemoryLimiter | None = None,
        deadline_s: float = _DEADLINE_S,
        breaker: CircuitBreaker | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._line = ValkeyConnection(url, deadline_s=deadline_s)
        self._local = local or MemoryLimiter()
        self._breaker = breaker or CircuitBreaker("valkey:limits", VALKEY.breaker)
        self._queue = LimitQueue(self._line, self._breaker, monotonic, self._remember)
        self._instances = instances
        self._monotonic = monotonic
        self._shares: dict[int, tuple[int, Limit, Limit]] = {}
        self._believed: dict[tuple[str, str], tuple[float, LimitStatus]] = {}
        self.counts = LimiterCounts()

    async def check(self, endpoint: str, demands: Sequence[Demand], *, answer: str | None = None) -> Decision:
        """Grant all demands or none, and bring the answer stored under `answer_key` along.

        An answer that is there costs no user quota. No answer (None) proves nothing.
        """
        decided = self.at_once(endpoint, demands)
        if decided is None:
            decided = await self._queue.ask(demands, answer) or self._degraded(demands)
            self._count(endpoint, decided)
        return decided

    def at_once(self, endpoint: str, demands: Sequence[Demand]) -> Decision | None:
        """Refuse what is believed to be blocked; None: Valkey has to be asked."""
        decided = self._believed_blocked(demands) if self._believed else None
        if decided is not None:
            self._count(endpoint, decided)
        return decided

    async def peek(self, demands: Sequence[Demand]) -> Decision:
        """How the demands stand, without taking anything."""
        looks = [Demand(one.limit, one.id, 0) for one in demands]
        return await self._queue.ask(looks, None) or self._degraded(looks)

    async def keep(self, answer: str, stored: bytes, *, ttl_s: float = 86_400.0) -> bool:
        """Store an answer under its `answer_key`; False if Valkey is away, which harms nobody."""
        if self._breaker.retry_after() is not None:
            return False
        return await self._done("SET", answer, stored, "PX", max(1, round(ttl_s * 1_000)))

    async def block(self, limit: Limit, id: str, duration_s: float) -> bool:  # noqa: A002
        """Shut a key out everywhere. False: Valkey is away, and only this process knows."""
        self._local.block(limit, id, duration_s)
        key, duration_ms = script.state_key(limit, id), max(1, round(duration_s * 1_000))
        return await self._done(b"EVAL", script.BLOCK, 1, key, duration_ms)

    async def unblock(self, limit: Limit, id: str) -> bool:  # noqa: A002
        """Forget a key's block, its record and its use. False: Valkey is away, and only this process knows.
        Processes that believe the block let go of it within 2 s.
        """
        self._believed.pop((limit.key, id), None)
        self._local.unblock(limit, id)
        return await self._done("DEL", script.state_key(limit, id))

    async def _done(self, *command: bytes | str | int) -> bool:
        try:
            await self._line.call(*command)
        except UNREACHABLE:
            return False
        return True

    async def aclose(self) -> None:
        """Hang up."""
        await self._line.aclose()

    def _remember(self, decisions: Sequence[Decision], now_us: int) -> None:
        """Keep the local limiter warm, and believe blocks for a while."""
        for decided in decisions:
            if decided.allowed:
                self._warm(decided)
                continue
            for one in decided.standings:
                if (
                    one.blocked_until_us
                    and one.demand.cost
                    and not one.demand.limit.shadow
                    and len(self._believed) < _MOST_BELIEVED
                ):
                    left_s = (one.blocked_until_us - now_us) / 1_000_000
                    till = self._monotonic() + min(left_s, _BELIEVED_S)
                    self._believed[one.demand.limit.key, one.demand.id] = till, one

    def _warm(self, granted: Decision) -> None:
        note, instances = self._local.hit, self._instances()
        answered = granted.answer is not None
        for demand, refuses, *_ in granted.standings:
            limit, cost = demand.limit, demand.cost
            if refuses or not cost or limit.fail_policy != "local" or (answered and limit.scope == "user"):
                continue
            if instances == 1:
                note(limit, demand.id, cost)
            else:
                limit = self._part(limit, instances)
                note(limit, demand.id, min(cost, limit.capacity))

    def _believed_blocked(self, demands: Sequence[Demand]) -> Decision | None:
        for demand in demands:
            key = demand.limit.key, demand.id
            known = self._believed.get(key)
            if known is None:
                continue
            if self._monotonic() < known[0]:
                return Decision(allowed=False, standings=(known[1],))
            del self._believed[key]
        if len(self._believed) >= _MOST_BELIEVED:
            now = self._monotonic()
            self._believed = {key: known for key, known in self._believed.items() if known[0] > now}
        return None

    def _degraded(self, demands: Sequence[Demand]) -> Decision:
        """Each limit by its own fail policy."""
        self.counts.degraded += 1
        closed = [one for one in demands if one.limit.fail_policy == "closed" and not one.limit.shadow]
        if closed:
            standings = tuple(
                LimitStatus(one, refuses=True, remaining=0, retry_us=_CLOSED_RETRY_US, reset_us=0)
                for one in closed
            )
            return Decision(allowed=False, standings=standings, degraded=True)
        shares = [self._share(one) for one in demands if one.limit.fail_policy == "local"]
        return self._local.check(shares)._replace(degraded=True)

    def _share(self, demand: Demand) -> Demand:
        """What this process may grant by itself."""
        instances = self._instances()
        if instances == 1:
            return demand
        part = self._part(demand.limit, instances)
        return Demand(part, demand.id, min(demand.cost, part.capacity))

    def _part(self, limit: Limit, instances: int) -> Limit:
        known = self._shares.get(id(limit))
        if known is None or known[0] != instances:
            part = replace(limit, quota=max(1, limit.quota // instances), burst=limit.burst // instances)
            known = self._shares[id(limit)] = instances, limit, part
        return known[2]

    def _count(self, endpoint: str, decided: Decision) -> None:
        (self.counts.allowed if decided.allowed else self.counts.blocked)[endpoint] += 1
        self.counts.key_blocked += decided.newly_blocked
        if decided.shadowed:
            self.counts.shadowed[endpoint] += 1
