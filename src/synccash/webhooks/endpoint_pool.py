"""Posts to merchants' endpoints, each under a policy of its own: one that is down or slow holds up no other.

When a delivery is tried again stands in the ledger; here is only whether an endpoint is worth a try now. See
docs/decisions/0016-a-breaker-for-each-webhook-endpoint.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from synccash.payments.webhook import DeliveryResult, WebhookEndpoint
from synccash.resilience.breaker_settings import BreakerSettings, BreakerState
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.deadline import remaining
from synccash.resilience.policy import Policy
from synccash.resilience.verdict import Outcome, Verdict

# However long an endpoint asks to be left alone: an event sent again by hand should not wait for a day.
_LONGEST_WISH_S = 300.0
_MOST = 10_000


class Post(Protocol):
    """Sends one request to a merchant's server; never raises for what that server does."""

    async def __call__(
        self, url: str, *, headers: Mapping[str, str], body: bytes, timeout_s: float, merchant_id: str
    ) -> DeliveryResult: ...


def judge(result: DeliveryResult | BaseException) -> Verdict:
    """Whatever is not delivered is the endpoint's failure, whoever is to blame."""
    if isinstance(result, BaseException):
        return Verdict(Outcome.IGNORED)
    if result.delivered:
        return Verdict(Outcome.OK)
    wish_s = result.retry_after_s
    return Verdict(Outcome.FAILED, retry_after=None if wish_s is None else min(wish_s, _LONGEST_WISH_S))


@dataclass(slots=True)
class Door:
    """Live: one endpoint as it was last changed, and how many posts to it are under way."""

    endpoint_id: str
    merchant_id: str
    as_of: datetime
    policy: Policy
    breaker: CircuitBreaker
    under_way: int = 0

    def room(self, each: int) -> int:
        """How many more posts may begin now."""
        if self.breaker.retry_after() is not None:
            return 0
        most = each if self.breaker.state is BreakerState.CLOSED else self.breaker.settings.probes_at_once
        return max(0, most - self.under_way)

    @property
    def forgettable(self) -> bool:
        """True when a new one would be no different."""
        closed = self.breaker.state is BreakerState.CLOSED
        return not self.under_way and closed and not self.breaker.statistics().in_a_row


@dataclass(slots=True)
class Courier:
    """Live: one per process. It remembers the endpoints that are posted to, or that fail.

    `each`: how many posts to one endpoint run at once. `timeout_s`: for one post, in seconds.
    """

    send: Post
    breaker: BreakerSettings
    each: int
    timeout_s: float
    clock: Callable[[], float]
    random: Callable[[], float]
    _doors: dict[str, Door] = field(default_factory=dict[str, Door])

    def room(self) -> dict[str, int]:
        """By endpoint, how many deliveries may be taken for it; one that is not there may have `each`."""
        return {
            name: left for name, door in self._doors.items() if (left := door.room(self.each)) < self.each
        }

    @property
    def shut(self) -> int:
        """How many endpoints are left alone, or being tried again, because they failed."""
        return sum(door.breaker.state is not BreakerState.CLOSED for door in self._doors.values())

    def begin(self, endpoint: WebhookEndpoint) -> Door:
        """Make room for one post, which `end` gives back. A changed endpoint begins anew."""
        door = self._doors.get(endpoint.id)
        if door is None or door.as_of != endpoint.updated_at:
            self._forget_some()
            door = self._doors[endpoint.id] = self._door(endpoint)
        door.under_way += 1
        return door

    def end(self, door: Door) -> None:
        """The post is over."""
        door.under_way -= 1
        if door.forgettable and self._doors.get(door.endpoint_id) is door:
            del self._doors[door.endpoint_id]

    async def post(self, door: Door, url: str, headers: Mapping[str, str], body: bytes) -> DeliveryResult:
        """Post once. Raises CircuitOpenError while the endpoint is left alone."""
        return await door.policy.call(self._post, door.merchant_id, url, headers, body)

    async def _post(
        self, merchant_id: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> DeliveryResult:
        left_s = remaining()
        timeout_s = self.timeout_s if left_s is None else left_s
        return await self.send(url, headers=headers, body=body, timeout_s=timeout_s, merchant_id=merchant_id)

    def _door(self, endpoint: WebhookEndpoint) -> Door:
        name = f"webhook:{endpoint.id}"
        breaker = CircuitBreaker(name, self.breaker, clock=self.clock, random=self.random)
        policy = Policy(
            name,
            breaker=breaker,
            attempt_timeout=self.timeout_s,
            interrupt=False,  # the transport ends it, and says how far it came
            budget=None,  # nothing is repeated here
            classify=judge,
            clock=self.clock,
        )
        return Door(endpoint.id, endpoint.merchant_id, endpoint.updated_at, policy, breaker)

    def _forget_some(self) -> None:
        """Endpoints that were removed while they failed would stay for ever."""
        if len(self._doors) >= _MOST:
            self._doors = {name: door for name, door in self._doors.items() if door.under_way}
