"""What stands before the payments: which limits a request meets, who it comes from, which answer it has.

Wires the middleware to the limiter and to the cache of answers. Nothing is decided from what Valkey forgot.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from synccash.api.problem import refuse
from synccash.middleware.authentication import PRINCIPAL
from synccash.middleware.idempotency_coordinator import Counts
from synccash.middleware.matching import Endpoint
from synccash.middleware.refusal import App, Refusal, Scope
from synccash.middleware.request_guard import Admitted, Asked, Caller
from synccash.middleware.resilience import ResilienceMiddleware
from synccash.payments.document import moment
from synccash.payments.payer import Msisdn
from synccash.payments.recovery import NO_RECOVERY, Recovery
from synccash.payments.request import Principal
from synccash.resilience.client_address import Network, client_address
from synccash.resilience.fast_tuple import make_namedtuple
from synccash.resilience.limit_headers import limit_headers, raw_limit_headers
from synccash.resilience.limit_policies import ConfiguredLimits
from synccash.resilience.rate_limiter import Decision, Demand, Limit, MemoryLimiter
from synccash.stores.valkey.limits.rate_limiter import LimiterCounts
from synccash.stores.valkey.limits.script import answer_key

BASE = "/api/v1"
_LONGEST_USER = 128

ENDPOINTS = (
    Endpoint("POST", f"{BASE}/payments", "payment_initiation", "handled", user_of_body=("payer", "msisdn")),
    Endpoint("GET", f"{BASE}/payments", "payment_list"),
    Endpoint("GET", f"{BASE}/payments/{{payment_id}}", "payment_status", user="payment_id"),
    Endpoint("GET", f"{BASE}/payments/{{payment_id}}/timeline", "payment_timeline", user="payment_id"),
    Endpoint("POST", f"{BASE}/payments/{{payment_id}}/cancel", "payment_cancel", user="payment_id"),
    Endpoint("POST", f"{BASE}/payments/{{payment_id}}/otp", "payment_otp", user="payment_id"),
    Endpoint(
        "POST", f"{BASE}/payments/{{payment_id}}/refunds", "refund_request", "handled", user="payment_id"
    ),
    Endpoint("GET", f"{BASE}/refunds/{{refund_id}}", "refund_status", user="refund_id"),
    Endpoint("POST", f"{BASE}/payouts", "payout_request", "handled", user_of_body=("payee", "msisdn")),
    Endpoint("GET", f"{BASE}/payouts/{{payout_id}}", "payout_status", user="payout_id"),
    Endpoint("POST", f"{BASE}/callbacks/{{rail}}/{{token}}", "callback", limited=False),
    Endpoint("PUT", f"{BASE}/callbacks/{{rail}}/{{token}}", "callback", limited=False),
    *(
        Endpoint(method, f"/health/{name}", "health_check")
        for method in ("GET", "HEAD")
        for name in ("live", "ready")
    ),
)
"""Every kind of request with limits of its own, or under an idempotency key. The paths are the templates of
the routes: they are part of the scope under which claims are stored."""
AUTHENTICATION = "authentication"
"""The name under which callers are counted who have no key, or one that no process has seen yet."""
NAMES = (*dict.fromkeys(endpoint.name for endpoint in ENDPOINTS if endpoint.limited), AUTHENTICATION)


class Limiter(Protocol):
    """Grants all demands of a request or none."""

    counts: LimiterCounts

    def at_once(self, endpoint: str, demands: Sequence[Demand]) -> Decision | None:
        """Decide without asking anybody, where that can be."""
        ...

    async def check(
        self, endpoint: str, demands: Sequence[Demand], *, answer: str | None = None
    ) -> Decision: ...
    async def peek(self, demands: Sequence[Demand]) -> Decision: ...
    async def block(self, limit: Limit, id: str, duration_s: float) -> bool: ...  # noqa: A002
    async def unblock(self, limit: Limit, id: str) -> bool: ...  # noqa: A002 - the field's word


class Answers(Protocol):
    """Keeps answers in the background."""

    def keep(self, key: str, stored: bytes) -> None: ...


class Fleet(Protocol):
    """Counts the processes that share the limits, from its start on."""

    def start(self) -> None: ...


@dataclass(slots=True)
class LocalLimiter:
    """Live: a Limiter for a service without Valkey. Each process counts by itself."""

    memory: MemoryLimiter = field(default_factory=MemoryLimiter)
    counts: LimiterCounts = field(default_factory=LimiterCounts)

    async def check(self, endpoint: str, demands: Sequence[Demand], *, answer: str | None = None) -> Decision:
        """Decide here. There is no cache of answers."""
        del answer
        return self.at_once(endpoint, demands)

    def at_once(self, endpoint: str, demands: Sequence[Demand]) -> Decision:
        """Decide here."""
        decided = self.memory.check(demands)
        counts = self.counts
        if decided.allowed:
            counts.allowed[endpoint] += 1
        else:
            counts.blocked[endpoint] += 1
            counts.key_blocked += decided.newly_blocked
        return decided

    async def peek(self, demands: Sequence[Demand]) -> Decision:
        """How the demands stand, without taking anything."""
        return self.memory.check([Demand(one.limit, one.id, 0) for one in demands])

    async def block(self, limit: Limit, id: str, duration_s: float) -> bool:  # noqa: A002
        """Shut a key out."""
        self.memory.block(limit, id, duration_s)
        return True

    async def unblock(self, limit: Limit, id: str) -> bool:  # noqa: A002
        """Forget a key's block, its record and its use."""
        self.memory.unblock(limit, id)
        return True


def _no_recovery() -> Recovery:
    return NO_RECOVERY


@dataclass(slots=True)
class Gate:
    """Live: one per process. `book` has the limits in force, `trusted` the proxies that are believed.

    `recovery` is what the process knows of a recovery: answers that were stored before it may speak of orders
    that the database has lost, so none is used while it lasts, and none from before it afterwards.
    """

    limiter: Limiter
    answers: Answers | None
    book: ConfiguredLimits
    trusted: tuple[Network, ...]
    fleet: Fleet | None = None
    recovery: Callable[[], Recovery] = _no_recovery
    middleware: ResilienceMiddleware | None = None

    def open(self) -> None:
        """Say to the other processes that this one lets requests in, too."""
        if self.fleet is not None:
            self.fleet.start()

    def layer(self, app: App) -> App:
        """Stand before `app`."""
        self.middleware = ResilienceMiddleware(
            app,
            endpoints=ENDPOINTS,
            identify=self.identify,
            refuse=refuse,
            door=self,
            user_of=payer_of,
        )
        return self.middleware

    @property
    def counts(self) -> Counts:
        """What idempotency came to so far."""
        return Counts() if self.middleware is None else self.middleware.counts

    async def close(self) -> None:
        """Let requests whose clients hung up finish."""
        if self.middleware is not None:
            await self.middleware.close()

    def identify(self, scope: Scope) -> Caller:
        """Who asks: the key's merchant, the end user that he names, the address behind our own proxies."""
        ip = self._address(scope)
        principal: Principal | None = scope.get(PRINCIPAL)
        if principal is None:
            return make_namedtuple(Caller, (ip, None, None, None))
        tenant = principal.tenant
        return Caller(
            ip=ip,
            tenant=None
            if tenant is None
            else f"{tenant.merchant_id}:{'live' if tenant.livemode else 'test'}",
            api_key=principal.key_id,
            user=_named_user(scope),
        )

    def _address(self, scope: Scope) -> str:
        peer = scope.get("client")
        host: str | None = peer[0] if peer else None
        if not self.trusted:
            return _direct(host)
        forwarded = [
            value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"
        ]
        return client_address(host, forwarded, self.trusted)

    async def admit(self, asked: Asked) -> Admitted:
        """Decide about all limits and bring the stored answer, in one round trip."""
        endpoint, (ip, tenant, api_key, user), name = asked
        if user is not None:
            user = f"{tenant}:{user}"
        if tenant is None and api_key is not None:
            # Whoever has to lift a limit is not held up by it: an operator has that of his own key alone.
            demands = self._shared("api_key", api_key)
        else:
            demands = self.book.demands(endpoint, user=user, api_key=api_key, ip=ip)
        decision = self.limiter.at_once(endpoint, demands)
        if decision is None:
            answer = None if name is None else self._answer_key(name)
            decision = await self.limiter.check(endpoint, demands, answer=answer)
        headers = raw_limit_headers(decision)
        allowed, _, stored, _, _ = decision
        if allowed:
            return make_namedtuple(Admitted, (None, stored, headers))
        return Admitted(refusal=refused(decision), headers=headers)

    async def stranger(self, scope: Scope) -> Refusal | None:
        """Whether an address may have one more key looked up that was never seen here, or why not."""
        return await self._barred(self.book.demands(AUTHENTICATION, ip=self._address(scope)))

    async def keyless(self, scope: Scope) -> Refusal | None:
        """Why an address that sends no key hears no more than 429; None while it is within its limit.

        It takes nothing from what all share: nobody is kept out by those who are let in nowhere.
        """
        return await self._barred(self._shared("ip", self._address(scope)))

    def _shared(self, scope: str, id: str) -> Sequence[Demand]:  # noqa: A002 - the field's word
        return [Demand(one, id) for one in self.book.shared if one.scope == scope]

    async def _barred(self, demands: Sequence[Demand]) -> Refusal | None:
        decision = self.limiter.at_once(AUTHENTICATION, demands)
        if decision is None:
            decision = await self.limiter.check(AUTHENTICATION, demands)
        if decision.allowed:
            return None
        return replace(refused(decision), headers=dict(limit_headers(decision)))

    def keep(self, answer_name: str, stored: bytes) -> None:
        """Store an answer in the background."""
        key = self._answer_key(answer_name)
        if self.answers is not None and key is not None:
            self.answers.keep(key, stored)

    def _answer_key(self, name: str) -> str | None:
        """Where the answer is kept; None while a recovery is under way."""
        recovery = self.recovery()
        if recovery.active:
            return None
        scope, _, key = name.partition("\n")
        return answer_key(f"{scope}@{recovery.name}" if recovery.name else scope, key)


@lru_cache(maxsize=10_000)
def _direct(host: str | None) -> str:
    """The address of a client who speaks to us without a proxy."""
    return client_address(host, (), ())


def refused(decision: Decision) -> Refusal:
    """Return the 429 that names the exceeded limit and, for a blocked key, when the block ends."""
    binding = decision.binding
    name = "" if binding is None else binding.demand.limit.name
    until = None if binding is None or not binding.blocked_until_us else _moment(binding.blocked_until_us)
    return Refusal(
        status=429,
        code="rate_limit_exceeded" if until is None else "rate_limit_blocked",
        detail=f"Rate limit {name} is exceeded." + ("" if until is None else f" Blocked until {until}."),
        retryable=True,
        retry_after_s=decision.retry_after_s,
        members={"violated_policies": [name], "blocked_until": until},
    )


def _moment(time_us: int) -> str:
    return moment(datetime.fromtimestamp(time_us / 1_000_000, UTC))


def payer_of(value: object) -> str | None:
    """A number of a body in its one form; None for what is none: its refusal comes later."""
    if not isinstance(value, str):
        return None
    try:
        return Msisdn.parse(value).digits
    except ValueError:
        return None


def _named_user(scope: Scope) -> str | None:
    """The merchant's end user, where one printable X-User-Id says so."""
    values = [value for name, value in scope["headers"] if name == b"x-user-id"]
    if len(values) != 1:
        return None
    text = values[0].decode("latin-1").strip()
    return text if 0 < len(text) <= _LONGEST_USER and text.isascii() and text.isprintable() else None
