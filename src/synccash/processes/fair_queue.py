"""Starts requests fairly: a merchant that sends many at once delays its own, not those of other merchants.

One event loop serves all merchants, so each step of a request waits for all other steps that are ready. Rate
limits bound how many requests a merchant may send in a second, not how many of them are ready at once.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from synccash.api.problem import refuse
from synccash.middleware.refusal import App, Receive, Refusal, Scope, Send

WAITED, REFUSED = "waited", "refused"
TOO_MANY = Refusal(
    status=429,
    code="rate_limit_exceeded",
    detail="Too many requests of this merchant wait to be served; nothing was done. Send fewer at once, and "
    "send this one again after Retry-After seconds.",
    retryable=True,
    retry_after_s=1.0,
    members={"violated_policies": ["waiting"], "blocked_until": None},
)


@dataclass(slots=True, eq=False)
class _Tenant:
    """Live: `young` has the moment at which each young request started, the oldest first; `waiting` the
    requests that may not start yet."""

    young: dict[asyncio.Future[None], float] = field(default_factory=dict[asyncio.Future[None], float])
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque[asyncio.Future[None]])
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True, eq=False)
class FairQueue:
    """Live: one per process, between authentication and the limits.

    `tenant_of` returns whom a request counts for; None for a request that never waits and counts for nobody.
    A request is young from its start until it ends, at most for `young_s` seconds. While another tenant has
    been active within `active_s` seconds, a tenant has at most `young_max` young requests, and the rest
    wait in the order of their arrival. Requests that take long, because they wait for a fraud service or a
    database, are not young, so a slow dependency keeps nobody waiting here: a tenant may always start
    `young_max` requests in `young_s` seconds, which is more than the limit of an API key grants.

    Beyond `waiting_max` waiting requests of a tenant, more are refused with 429.
    """

    tenant_of: Callable[[Scope], Hashable | None]
    young_max: int = 3
    young_s: float = 0.025
    active_s: float = 1.0
    waiting_max: int = 512
    counts: Counter[str] = field(default_factory=Counter[str])
    _tenants: dict[Hashable, _Tenant] = field(default_factory=dict[Hashable, _Tenant])
    _newest: Hashable | None = None
    _newest_at: float = float("-inf")
    _other_at: float = float("-inf")

    def layer(self, app: App) -> App:
        """Return `app` behind this queue."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            name = self.tenant_of(scope)
            if name is None:
                await app(scope, receive, send)
            else:
                await self._serve(name, app, scope, receive, send)

        return serve

    async def _serve(self, name: Hashable, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        is_shared = self._note(name, now)
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = _Tenant()
        request: asyncio.Future[None] = loop.create_future()
        if not tenant.waiting and (not is_shared or self._has_room(tenant, now)):
            tenant.young[request] = now
            request.set_result(None)
        elif len(tenant.waiting) >= self.waiting_max:
            self.counts[REFUSED] += 1
            await refuse(scope, send, TOO_MANY)
            return
        else:
            self.counts[WAITED] += 1
            tenant.waiting.append(request)
            self._set_timer(tenant, now)
        try:
            if not request.done():
                await request
            await app(scope, receive, send)
        finally:
            tenant.young.pop(request, None)
            self._start_waiting(tenant)
            if not tenant.young and not tenant.waiting and self._tenants.get(name) is tenant:
                del self._tenants[name]

    def _note(self, name: Hashable, now: float) -> bool:
        """Note that a tenant is active, and tell whether another one has been within `active_s`."""
        if name != self._newest:
            self._other_at, self._newest = self._newest_at, name
        self._newest_at = now
        return now - self._other_at < self.active_s

    def _has_room(self, tenant: _Tenant, now: float) -> bool:
        young = tenant.young
        while young:
            oldest = next(iter(young))
            if now - young[oldest] < self.young_s:
                break
            del young[oldest]
        return len(young) < self.young_max

    def _start_waiting(self, tenant: _Tenant) -> None:
        """Start as many waiting requests as there is room for."""
        if not tenant.waiting:
            return
        now = asyncio.get_running_loop().time()
        while tenant.waiting and self._has_room(tenant, now):
            request = tenant.waiting.popleft()
            # One that is done has been cancelled: it will not start, and takes no room.
            if not request.done():
                tenant.young[request] = now
                request.set_result(None)
        self._set_timer(tenant, now)

    def _set_timer(self, tenant: _Tenant, now: float) -> None:
        """Look again when the oldest young request is young no longer."""
        if tenant.timer is not None:
            tenant.timer.cancel()
            tenant.timer = None
        if tenant.waiting:
            oldest_at = next(iter(tenant.young.values()), now)
            loop = asyncio.get_running_loop()
            tenant.timer = loop.call_at(oldest_at + self.young_s, self._start_waiting, tenant)

    def collect(self) -> Iterator[Metric]:
        """Return the series `synccash_requests_waiting` and `synccash_requests_queued_total`."""
        waiting = sum(len(tenant.waiting) for tenant in self._tenants.values())
        yield GaugeMetricFamily(
            "synccash_requests_waiting", "Requests that wait for others of their merchant", waiting
        )
        family = CounterMetricFamily(
            "synccash_requests_queued",
            "Requests of a merchant with many at once: those that waited, and those refused",
            labels=["result"],
        )
        for result in (WAITED, REFUSED):
            family.add_metric([result], self.counts[result])
        yield family
