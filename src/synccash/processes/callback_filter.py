"""Answers callbacks that belong to no attempt before anything is done for them.

Anyone may call the callback addresses. Without this filter, a flood of invented tokens costs each one a log
line, the whole HTTP stack and a query, which payments then wait for.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import structlog
from prometheus_client.core import CounterMetricFamily, Metric

from synccash.api.request_context import UNLOGGED
from synccash.api.v1.callbacks import IS_KNOWN
from synccash.engine.engine import TokenOrigin
from synccash.middleware.refusal import App, Receive, Scope, Send
from synccash.middleware.request_identity import matched_path
from synccash.resilience.rate_limiter import Demand, Limit, MemoryLimiter, wall_clock_us

log = structlog.get_logger("synccash.callbacks")

_PREFIX = "/api/v1/callbacks/"
_METHODS = frozenset({"POST", "PUT"})
_LOG_EVERY_S = 60.0
_ADDRESSES_MAX = 1_000

ADDRESS_LIMIT = Limit(name="unknown_callback", scope="ip", quota=5, period_s=1, burst=15)
"""Unsigned tokens of no attempt from one address; more are not looked up."""
GLOBAL_LIMIT = Limit(name="unknown_callbacks", scope="global", quota=20, period_s=1, burst=80)
"""The same from all addresses that have not sent a known token."""

FOREIGN = "foreign_token"
PACED = "paced"


@dataclass(slots=True, eq=False)
class CallbackFilter:
    """Live: one per process, in front of the API.

    A token that this installation cannot have made gets 200 at once, without a query, a log line, or a read
    of the body. Tokens of former releases are not signed, so only PostgreSQL knows them: look-ups that find
    nothing are paced, by address and together, and beyond the pace the callback gets 200 and is ignored. An
    address that has sent a known token is exempt from the shared pace, so a flood from elsewhere does not
    keep out a rail. Tokens that are signed, and those of rail accounts, are never limited.

    `origin` tells where a token of a rail may come from; `address` returns the address of a client.
    """

    origin: Callable[[str, str], TokenOrigin]
    address: Callable[[Scope], str]
    clock_us: Callable[[], int] = wall_clock_us
    monotonic: Callable[[], float] = time.monotonic
    counts: Counter[str] = field(default_factory=Counter[str])
    _limiter: MemoryLimiter = field(init=False)
    _looked_up: Counter[str] = field(default_factory=Counter[str])
    _known_addresses: OrderedDict[str, None] = field(default_factory=OrderedDict[str, None])
    _logged_at: float = float("-inf")
    _logged_count: int = 0

    def __post_init__(self) -> None:
        self._limiter = MemoryLimiter(clock_us=self.clock_us)

    def layer(self, app: App) -> App:
        """Return `app` behind this filter."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            await self._serve(app, scope, receive, send)

        return serve

    async def _serve(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        found = _token(scope)
        if found is None:
            await app(scope, receive, send)
            return
        origin = self.origin(*found)
        if origin is TokenOrigin.OURS:
            await app(scope, receive, send)
        elif origin is TokenOrigin.FOREIGN:
            await self._ignore(scope, send, FOREIGN)
        else:
            await self._look_up(app, scope, receive, send)

    async def _look_up(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        address = self.address(scope)
        if not self._has_room(address):
            await self._ignore(scope, send, PACED)
            return
        self._looked_up[address] += 1
        try:
            await app(scope, receive, send)
        finally:
            self._looked_up[address] -= 1
            if not self._looked_up[address]:
                del self._looked_up[address]
        if scope.get(IS_KNOWN):
            self._known_addresses[address] = None
            self._known_addresses.move_to_end(address)
            if len(self._known_addresses) > _ADDRESSES_MAX:
                self._known_addresses.popitem(last=False)
        elif IS_KNOWN in scope:
            self._limiter.hit(ADDRESS_LIMIT, address)
            self._limiter.hit(GLOBAL_LIMIT, "all")

    def _has_room(self, address: str) -> bool:
        """Tell whether one more look-up may find nothing, besides those that are under way."""
        if self._remaining(ADDRESS_LIMIT, address) <= self._looked_up[address]:
            return False
        if address in self._known_addresses:
            return True
        return self._remaining(GLOBAL_LIMIT, "all") > self._looked_up.total()

    def _remaining(self, limit: Limit, id: str) -> int:  # noqa: A002 - the field's word
        return self._limiter.check([Demand(limit, id, 0)]).statuses[0].remaining

    async def _ignore(self, scope: Scope, send: Send, reason: str) -> None:
        self.counts[reason] += 1
        self._log()
        scope[UNLOGGED] = True
        scope["path_template"] = _PREFIX + "{rail}/{token}"
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": b""})

    def _log(self) -> None:
        """Write one line for all that were ignored in a minute."""
        self._logged_count += 1
        now = self.monotonic()
        if now - self._logged_at >= _LOG_EVERY_S:
            log.warning("callbacks_ignored", count=self._logged_count, **self.counts)
            self._logged_at, self._logged_count = now, 0

    def collect(self) -> Iterator[Metric]:
        """Return `callbacks_ignored_total`, as a Prometheus collector."""
        family = CounterMetricFamily(
            "callbacks_ignored", "Callbacks that were answered and not looked up", labels=["reason"]
        )
        for reason in (FOREIGN, PACED):
            family.add_metric([reason], self.counts[reason])
        yield family


_HEADERS = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"0")]


def _token(scope: Scope) -> tuple[str, str] | None:
    """Return the rail and the token of a callback, in every spelling of its path that has a route."""
    if scope["type"] != "http" or scope["method"] not in _METHODS or "callbacks/" not in scope["path"]:
        return None
    path = matched_path(scope["path"])
    if not path.startswith(_PREFIX):
        return None
    rail, slash, token = path[len(_PREFIX) :].partition("/")
    return (rail, token) if slash and token and "/" not in token else None
