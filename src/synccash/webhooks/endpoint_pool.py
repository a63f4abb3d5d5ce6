"""Posts webhooks under one policy per endpoint: an endpoint that is down or slow does not delay the others.

The outbox stores when a delivery is retried; the pool only decides whether an endpoint may be tried now. See
docs/decisions/0007-breaker-per-webhook-endpoint.md.
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
from synccash.resilience.verdict import FailureCause, Outcome, Verdict

# Caps Retry-After, so that a manually resent event does not wait for as long as the endpoint asked.
_MAX_RETRY_AFTER_S = 300.0
_MOST = 10_000


class Post(Protocol):
    """Sends one request to a merchant's server. Returns failures of that server instead of raising them."""

    async def __call__(
        self, url: str, *, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> DeliveryResult: ...


def judge(result: DeliveryResult | BaseException) -> Verdict:
    """Classify a result for the breaker: a result that is not a delivery is a failure of the endpoint."""
    if isinstance(result, BaseException):
        return Verdict(Outcome.IGNORED)
    if result.delivered:
        return Verdict(Outcome.OK)
    asked_s = result.retry_after_s
    return Verdict(
        Outcome.FAILED,
        retry_after=None if asked_s is None else min(asked_s, _MAX_RETRY_AFTER_S),
        cause=FailureCause("delivery_failed", result.error or f"HTTP {result.status}"),
    )


@dataclass(slots=True)
class EndpointState:
    """Holds the policy and breaker of one version of an endpoint, and counts the posts under way to it."""

    endpoint_id: str
    as_of: datetime
    policy: Policy
    breaker: CircuitBreaker
    under_way: int = 0

    def room(self, each: int) -> int:
        """Return how many more posts may begin now."""
        if self.breaker.retry_after() is not None:
            return 0
        most = each if self.breaker.state is BreakerState.CLOSED else self.breaker.settings.probes_at_once
        return max(0, most - self.under_way)

    @property
    def is_disposable(self) -> bool:
        """True when a new state would be equal: no post under way, breaker closed, no recent failure."""
        closed = self.breaker.state is BreakerState.CLOSED
        return not self.under_way and closed and not self.breaker.statistics().in_a_row


@dataclass(slots=True)
class EndpointPool:
    """Holds the state of the endpoints that have a post under way or recent failures. One per process.

    `each` limits the posts to one endpoint that run at once. `timeout_s` limits one post, in seconds.
    """

    send: Post
    breaker: BreakerSettings
    each: int
    timeout_s: float
    clock: Callable[[], float]
    random: Callable[[], float]
    _states: dict[str, EndpointState] = field(default_factory=dict[str, EndpointState])

    def room(self) -> dict[str, int]:
        """Return how many deliveries may be taken for each endpoint. The limit of an endpoint that is not in
        the result is `each`."""
        return {
            name: left for name, state in self._states.items() if (left := state.room(self.each)) < self.each
        }

    @property
    def shut(self) -> int:
        """The number of endpoints whose breakers are not closed."""
        return sum(state.breaker.state is not BreakerState.CLOSED for state in self._states.values())

    def acquire(self, endpoint: WebhookEndpoint) -> EndpointState:
        """Reserve one post; the caller must `release` it. A changed endpoint gets a new state."""
        state = self._states.get(endpoint.id)
        if state is None or state.as_of != endpoint.updated_at:
            self._drop_idle()
            state = self._states[endpoint.id] = self._new_state(endpoint)
        state.under_way += 1
        return state

    def release(self, state: EndpointState) -> None:
        """Release the reservation of one post."""
        state.under_way -= 1
        if state.is_disposable and self._states.get(state.endpoint_id) is state:
            del self._states[state.endpoint_id]

    async def post(
        self, state: EndpointState, url: str, headers: Mapping[str, str], body: bytes
    ) -> DeliveryResult:
        """Post once. Raises CircuitOpenError while the endpoint's breaker refuses."""
        return await state.policy.call(self._post, url, headers, body)

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> DeliveryResult:
        left_s = remaining()
        timeout_s = self.timeout_s if left_s is None else left_s
        return await self.send(url, headers=headers, body=body, timeout_s=timeout_s)

    def _new_state(self, endpoint: WebhookEndpoint) -> EndpointState:
        name = f"webhook:{endpoint.id}"
        breaker = CircuitBreaker(name, self.breaker, clock=self.clock, random=self.random)
        policy = Policy(
            name,
            breaker=breaker,
            attempt_timeout=self.timeout_s,
            interrupt=False,  # the sender applies the time-out itself and reports the reason
            budget=None,  # the dispatcher repeats deliveries
            classify=judge,
            clock=self.clock,
        )
        return EndpointState(endpoint.id, endpoint.updated_at, policy, breaker)

    def _drop_idle(self) -> None:
        """Drop idle states at the limit, because nothing else drops a deleted endpoint that was failing."""
        if len(self._states) >= _MOST:
            self._states = {name: state for name, state in self._states.items() if state.under_way}
