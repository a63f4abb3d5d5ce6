"""Rate limits that all processes share: one script, one round trip, decided here while Valkey is away.

limiter = ValkeyLimiter(url, instances=4)
decision = await limiter.check("payment_initiation", demands, answer=answer_key(scope, key))
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from redis.exceptions import ResponseError

from synccash.resilience.circuit_breaker import BreakerSettings, CircuitBreaker
from synccash.resilience.errors import CircuitOpenError
from synccash.resilience.rate_limiter import Decision, Demand, Limit, MemoryLimiter, Standing
from synccash.resilience.verdict import Outcome
from synccash.stores.valkey import limit_script as script
from synccash.stores.valkey.client import UNREACHABLE
from synccash.stores.valkey.line import ValkeyLine

log = structlog.get_logger("synccash.rate_limiter")

_DEADLINE_S = 0.05
# While Valkey is away, one request in this many seconds waits for it; the others are decided here at once.
_BREAKER = BreakerSettings(failures=3, open_s=1.0)
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

    `instances`: how many processes share the limits; while Valkey is away, each grants its share. The local
    limiter is kept warm by what Valkey granted.
    """

    __slots__ = (
        "_away",
        "_believed",
        "_breaker",
        "_instances",
        "_line",
        "_local",
        "_monotonic",
        "_shares",
        "counts",
    )

    def __init__(
        self,
        url: str,
        *,
        instances: int = 1,
        local: MemoryLimiter | None = None,
        deadline_s: float = _DEADLINE_S,
        breaker: CircuitBreaker | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if instances < 1:
            raise ValueError("instances must be at least 1")
        self._line = ValkeyLine(url, deadline_s=deadline_s)
        self._local = local or MemoryLimiter()
        self._breaker = breaker or CircuitBreaker("valkey:limits", _BREAKER)
        self._instances = instances
        self._monotonic = monotonic
        self._shares: dict[int, tuple[Limit, Limit]] = {}
        self._away = False
        self._believed: dict[tuple[str, str], tuple[float, Standing]] = {}
        self.counts = LimiterCounts()

    async def check(self, endpoint: str, demands: Sequence[Demand], *, answer: str | None = None) -> Decision:
        """Grant all demands or none, and bring the answer stored under `answer_key` along.

        An answer that is there costs no user quota. No answer (None) proves nothing.
        """
        decided = self._believed_blocked(demands) if self._believed else None
        if decided is None:
            decided = await self._asked(demands, answer)
        self._count(endpoint, decided)
        return decided

    async def peek(self, demands: Sequence[Demand]) -> Decision:
        """How the demands stand, without taking anything."""
        return await self._asked([replace(one, cost=0) for one in demands], None, remember=False)

    async def keep(self, answer: str, stored: bytes, *, ttl_s: float = 86_400.0) -> bool:
        """Store an answer under its `answer_key`; False if Valkey is away, which harms nobody."""
        try:
            await self._line.call("SET", answer, stored, "PX", max(1, round(ttl_s * 1_000)))
        except UNREACHABLE:
            return False
        return True

    async def block(self, limit: Limit, id: str, duration_s: float) -> None:  # noqa: A002
        """Shut a key out everywhere. Raises one of client.UNREACHABLE: then only this process knows."""
        self._local.block(limit, id, duration_s)
        seconds, micros = await self._line.call("TIME")
        until = int(seconds) * 1_000_000 + int(micros) + round(duration_s * 1_000_000)
        value = f"{until} 0 0 0"
        key = script.state_key(limit, id) + ":p"
        await self._line.call("SET", key, value, "PX", max(1, round(duration_s * 1_000)))

    async def unblock(self, limit: Limit, id: str) -> None:  # noqa: A002
        """Forget a key's block, its record and its use. Raises one of client.UNREACHABLE. Processes that
        believe the block let go of it within 2 s.
        """
        self._believed.pop((limit.key, id), None)
        self._local.unblock(limit, id)
        key = script.state_key(limit, id)
        await self._line.call("DEL", key, key + ":p")

    async def aclose(self) -> None:
        """Hang up."""
        await self._line.aclose()

    async def _asked(
        self, demands: Sequence[Demand], answer: str | None, *, remember: bool = True
    ) -> Decision:
        try:
            ticket = self._breaker.enter()
        except CircuitOpenError:
            return self._degraded(demands)
        began = self._monotonic()
        try:
            reply = await self._evaluated(script.arguments(demands, answer))
        except UNREACHABLE as error:
            reason = type(error).__name__
            self._breaker.leave(ticket, Outcome.FAILED, self._monotonic() - began, error=reason)
            if not self._away:
                log.warning("limiter_degraded", reason=reason)
                self._away = True
            return self._degraded(demands)
        except BaseException:
            self._breaker.drop(ticket)
            raise
        self._breaker.leave(ticket, Outcome.OK, self._monotonic() - began)
        if self._away:
            log.info("limiter_shared_again")
            self._away = False
        decided = script.decision(reply, demands)
        if remember:
            self._remember(decided, reply[0])
        return decided

    async def _evaluated(self, arguments: list[bytes | str | int]) -> Any:
        try:
            return await self._line.call(b"EVALSHA", script.DIGEST, *arguments)
        except ResponseError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
            # It did nothing; only this item is sent again, and brings the script along.
            return await self._line.call(b"EVAL", script.SOURCE, *arguments)

    def _remember(self, decided: Decision, now_us: int) -> None:
        """Keep the local limiter warm, and believe blocks for a while."""
        if decided.allowed:
            answered = decided.answer is not None
            for one in decided.standings:
                limit = one.demand.limit
                if (
                    not one.refuses
                    and limit.fail_policy == "local"
                    and not (answered and limit.scope == "user")
                ):
                    self._local.note(self._share(one.demand))
            return
        for one in decided.standings:
            if one.blocked_until_us and not one.demand.limit.shadow and len(self._believed) < _MOST_BELIEVED:
                left_s = (one.blocked_until_us - now_us) / 1_000_000
                till = self._monotonic() + min(left_s, _BELIEVED_S)
                self._believed[one.demand.limit.key, one.demand.id] = till, one

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
                Standing(one, refuses=True, remaining=0, retry_us=_CLOSED_RETRY_US, reset_us=0)
                for one in closed
            )
            return Decision(allowed=False, standings=standings, degraded=True)
        shares = [self._share(one) for one in demands if one.limit.fail_policy == "local"]
        return self._local.check(shares)._replace(degraded=True)

    def _share(self, demand: Demand) -> Demand:
        """What this process may grant by itself."""
        if self._instances == 1:
            return demand
        limit = demand.limit
        known = self._shares.get(id(limit))
        if known is None:
            part = replace(
                limit,
                quota=max(1, limit.quota // self._instances),
                burst=limit.burst // self._instances,
            )
            known = self._shares[id(limit)] = limit, part
        return Demand(known[1], demand.id, min(demand.cost, known[1].capacity))

    def _count(self, endpoint: str, decided: Decision) -> None:
        (self.counts.allowed if decided.allowed else self.counts.blocked)[endpoint] += 1
        self.counts.key_blocked += decided.newly_blocked
        if decided.shadowed:
            self.counts.shadowed[endpoint] += 1
