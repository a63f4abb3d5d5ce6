"""Delivers webhooks: signs and posts due events of the outbox until each is delivered or its retries end."""

import asyncio
import contextlib
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import structlog

from synccash.payments.document import event_body
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.ports import Clock, Identities, WorkSignal
from synccash.payments.request import Tenant
from synccash.payments.webhook import (
    ENDPOINT_VERIFICATION,
    GIVE_UP_AFTER,
    Delivery,
    DeliveryResult,
    MerchantShare,
    WebhookSecret,
    next_try_s,
)
from synccash.resilience.breaker_settings import BreakerSettings
from synccash.resilience.errors import CircuitOpenError
from synccash.resilience.profiles import WEBHOOK
from synccash.resilience.rate_limiter import Limit, MemoryLimiter
from synccash.webhooks.challenge import answers_challenge
from synccash.webhooks.endpoint_pool import EndpointPool, EndpointState, Post
from synccash.webhooks.pacing import MerchantPacer

log = structlog.get_logger("synccash.webhooks")
_GONE = 410
_RELEASE_S = 2.0
_NEXT_PART_S = 1.0

CHALLENGE_LIMIT = Limit(name="endpoint_challenge", scope="user", quota=12, period_s=60, burst=20)
"""Challenges of one merchant in one mode. They go to addresses that may be anybody's, and each change of an
endpoint sends one."""


class Outbox(Protocol):
    """Stores the deliveries that are still due."""

    async def take(
        self,
        *,
        free: int,
        each: int,
        lease_s: float,
        room: Mapping[str, int],
        merchant_each: int,
        shares: Mapping[Tenant, MerchantShare],
    ) -> Sequence[Delivery]: ...
    async def heartbeat(self) -> int: ...
    async def end_useless(self) -> int: ...
    async def postpone(self, delivery: Delivery, *, due_in_s: float) -> bool: ...
    async def delivered(self, delivery: Delivery, status: int) -> bool: ...
    async def verified(self, delivery: Delivery, status: int) -> bool: ...
    async def failed(
        self, delivery: Delivery, *, status: int | None, error: str, due_in_s: float | None
    ) -> bool: ...
    async def disable(self, endpoint_id: str, *, reason: str, event_id: str) -> bool: ...


class Sign(Protocol):
    """Returns the signature headers of a delivery."""

    def __call__(
        self, event_id: str, body: bytes, signing: Sequence[WebhookSecret], *, now: datetime
    ) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDispatcherSettings:
    """`concurrency` limits the posts that run at once, `each` those to one endpoint, `merchant_concurrency`
    those of one merchant in one mode, of which at most `merchant_per_s` begin in a second. A merchant has at
    most as many posts as are free. A stop waits `stop_s` for posts under way. Times are in seconds."""

    timeout_s: float = 10.0
    lease_s: float = 30.0
    poll_s: float = 0.2
    heartbeat_s: float = 10.0
    stop_s: float = 5.0
    concurrency: int = 256
    each: int = 8
    merchant_concurrency: int = 32
    merchant_per_s: float = 100.0
    breaker: BreakerSettings = WEBHOOK.breaker


@dataclass(slots=True)
class Deliveries:
    """Counts the deliveries since the process started, by result. `disabled` counts the endpoints that were
    disabled after failures."""

    delivered: int = 0
    failed: int = 0
    postponed: int = 0
    disabled: int = 0


@dataclass(slots=True)
class WebhookDispatcher:
    """Posts due deliveries in a loop. Any number of dispatchers, in any processes, may share one outbox.

    Delivery is at least once: an endpoint may receive an event twice, with the same id.
    """

    outbox: Outbox
    post: Post
    sign: Sign
    clock: Clock
    identities: Identities
    work_signal: WorkSignal
    random: Callable[[], float]
    settings: WebhookDispatcherSettings
    deliveries: Deliveries = field(default_factory=Deliveries)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _under_way: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    _cut: list[Delivery] = field(default_factory=list[Delivery])
    _heartbeat_at: float = field(default=-math.inf)
    _pool: EndpointPool = field(init=False)
    _pacer: MerchantPacer = field(init=False)
    _challenges: MemoryLimiter = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self._pacer = MerchantPacer(
            settings.merchant_concurrency, settings.merchant_per_s, self.clock.monotonic
        )
        self._challenges = MemoryLimiter(clock_us=lambda: int(self.clock.monotonic() * 1_000_000))
        self._pool = EndpointPool(
            self.post,
            self.settings.breaker,
            self.settings.each,
            self.settings.timeout_s,
            self.clock.monotonic,
            self.random,
        )

    @property
    def busy(self) -> int:
        """The number of deliveries that are under way."""
        return len(self._under_way)

    @property
    def shut(self) -> int:
        """The number of endpoints whose breakers are not closed."""
        return self._pool.shut

    async def run(self) -> None:
        """Deliver until stopped, then end in about `stop_s` seconds: a delivery that is cut is due again."""
        while not self._stopped.is_set():
            try:
                await self._beat()
                taken = await self._round()
            except StoreUnavailableError as error:
                log.warning("outbox_unavailable", reason=str(error))
                await self.clock.sleep(error.retry_after_s)
                continue
            if not taken:
                await self.work_signal.wait(self.settings.poll_s)
        await self._end_posts()

    def stop(self) -> None:
        """Make `run` return after the current round and the deliveries under way."""
        self._stopped.set()
        self.work_signal.notify()

    async def _beat(self) -> None:
        now = self.clock.monotonic()
        if now - self._heartbeat_at >= self.settings.heartbeat_s:
            before, self._heartbeat_at = self._heartbeat_at, now
            try:
                changed = await self.outbox.heartbeat() + await self.outbox.end_useless()
            except StoreUnavailableError:
                self._heartbeat_at = before
                raise
            if changed and self._heartbeat_at == now:
                # The events that were kept for an endpoint become due in parts, and those of a disabled or
                # removed one end in parts; the next part does not wait as long.
                self._heartbeat_at = now - self.settings.heartbeat_s + _NEXT_PART_S

    async def _end_posts(self) -> None:
        """Wait for the deliveries under way, for `stop_s` seconds; cut the others, and make them due now."""
        if not self._under_way:
            return
        _, late = await asyncio.wait(self._under_way, timeout=self.settings.stop_s)
        if not late:
            return
        for task in late:
            task.cancel()
        await asyncio.wait(late)
        log.warning("deliveries_cut", count=len(late))
        # Without this they are due when their leases end.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RELEASE_S):
                for delivery in self._cut:
                    with contextlib.suppress(StoreUnavailableError):
                        await self.outbox.postpone(delivery, due_in_s=0.0)

    async def _round(self) -> int:
        free = self.settings.concurrency - len(self._under_way)
        if free <= 0:
            return 0
        taken = await self.outbox.take(
            free=free,
            each=self.settings.each,
            lease_s=self.settings.lease_s,
            room=self._pool.room(),
            merchant_each=self._pacer.most,
            shares=self._pacer.shares(),
        )
        for delivery in taken:
            self._pacer.begin(_tenant(delivery))
            self._begin(self._deliver(delivery, self._pool.acquire(delivery.endpoint)))
        return len(taken)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="webhook")
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("delivery_failed", error=type(error).__name__, exc_info=error)

    async def _deliver(self, delivery: Delivery, endpoint: EndpointState) -> None:
        try:
            await self._try(delivery, endpoint)
        except StoreUnavailableError as error:
            # The lease expires, and the event is sent again with the same id.
            log.warning("delivery_not_settled", event_id=delivery.event.id, reason=str(error))
        finally:
            self._pacer.end(_tenant(delivery))
            self._pool.release(endpoint)

    async def _try(self, delivery: Delivery, endpoint: EndpointState) -> None:
        if delivery.event.type == ENDPOINT_VERIFICATION:
            tenant = _tenant(delivery)
            wait_us = self._challenges.hit(CHALLENGE_LIMIT, f"{tenant.merchant_id}:{tenant.livemode}")
            if wait_us:
                await self.outbox.postpone(delivery, due_in_s=wait_us / 1_000_000)
                return
        body = event_body(delivery.event)
        now = self.clock.now()
        headers = self.sign(delivery.event.id, body, delivery.endpoint.secrets, now=now)
        try:
            posted = await self._pool.post(endpoint, delivery.endpoint.url, headers, body)
        except CircuitOpenError as refused:
            # The breaker opened while this delivery waited: nothing was sent, so it does not count as a try.
            self.deliveries.postponed += 1
            await self.outbox.postpone(
                delivery, due_in_s=refused.retry_after or endpoint.breaker.settings.open_s
            )
            return
        except asyncio.CancelledError:
            self._cut.append(delivery)
            raise
        except Exception as error:
            # A delivery that is not settled is repeated at the end of each lease, and its retries never end.
            log.exception("webhook_post_failed", event_id=delivery.event.id)
            posted = DeliveryResult(error=type(error).__name__)
        await self._settle(delivery, posted)

    async def _settle(self, delivery: Delivery, posted: DeliveryResult) -> None:
        status = posted.status
        challenged = delivery.event.type == ENDPOINT_VERIFICATION
        if status is not None and posted.delivered and challenged:
            if answers_challenge(delivery.event, posted.body):
                self.deliveries.delivered += 1
                await self.outbox.verified(delivery, status)
                self._heartbeat_at = -math.inf  # makes the kept events due
                return
            posted = replace(posted, status=None, error="the response does not repeat the challenge")
        if status is not None and posted.delivered:
            self.deliveries.delivered += 1
            await self.outbox.delivered(delivery, status)
            return
        self.deliveries.failed += 1
        reason = posted.error or f"HTTP {posted.status}"
        due_in_s = next_try_s(delivery.tries, delivery.age_s, self.random(), posted.retry_after_s)
        settled = await self.outbox.failed(
            delivery, status=posted.status, error=reason[:500], due_in_s=due_in_s
        )
        log.info(
            "webhook_failed",
            endpoint_id=delivery.endpoint.id,
            event_id=delivery.event.id,
            tries=delivery.tries,
            reason=reason,
            next_try_s=due_in_s,
        )
        if settled and (why := _disable_reason(delivery, posted, reason, due_in_s)):
            ended = await self.outbox.disable(
                delivery.endpoint.id, reason=why, event_id=self.identities.new("evt")
            )
            self.deliveries.disabled += ended
            self._heartbeat_at = -math.inf  # ends the endpoint's deliveries


def _tenant(delivery: Delivery) -> Tenant:
    return Tenant(delivery.endpoint.merchant_id, delivery.endpoint.livemode)


def _disable_reason(
    delivery: Delivery, posted: DeliveryResult, reason: str, due_in_s: float | None
) -> str | None:
    """Return why the endpoint must be disabled, or None: it answered 410 Gone, or no delivery succeeded, or
    its challenge was not answered, for GIVE_UP_AFTER."""
    hours = f"{GIVE_UP_AFTER.total_seconds() / 3600:.0f} hours; last: {reason}"
    if posted.status == _GONE:
        return "the endpoint answered 410 Gone"
    if delivery.event.type == ENDPOINT_VERIFICATION:
        return None if due_in_s is not None else f"the endpoint did not answer its challenge for {hours}"
    if delivery.failing_s >= GIVE_UP_AFTER.total_seconds():
        return f"no delivery succeeded for {hours}"
    return None
