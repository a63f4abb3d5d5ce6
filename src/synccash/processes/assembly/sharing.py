"""Connects what processes share over Valkey: limits, work signals, breakers, risk inputs, health of rails."""

from collections.abc import Awaitable, Callable

from synccash.engine.dispatch.rail_health import RailHealth
from synccash.engine.engine import Engine
from synccash.observability.cluster_breakers import ClusterBreakers
from synccash.payments.ports import WorkSignal
from synccash.payments.risk import RiskDecision, RiskInput, VelocityCounters
from synccash.processes.assembly.wiring import Wiring
from synccash.processes.service_guard import LocalLimiter, ServiceGuard
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.client_address import Network, trusted_networks
from synccash.resilience.limit_policies import ConfiguredLimits
from synccash.settings.loader import Settings, SettingsError
from synccash.settings.request_limits import REQUEST_LIMITS
from synccash.stores.local_work_signal import LocalWorkSignal
from synccash.stores.valkey.answers import ValkeyAnswers
from synccash.stores.valkey.breakers.shared import SharedBreakers
from synccash.stores.valkey.client import ValkeyState, valkey_state
from synccash.stores.valkey.limits.rate_limiter import ValkeyLimiter
from synccash.stores.valkey.presence import API_PROCESSES, INQUIRERS, Membership
from synccash.stores.valkey.rail_health import SharedRailHealth
from synccash.stores.valkey.risk_sharing import SharedRiskInputs
from synccash.stores.valkey.work_signal import DELIVERIES, ValkeyWorkSignal

StateOfValkey = Callable[[], Awaitable[ValkeyState]]


def request_limits(settings: Settings) -> tuple[ConfiguredLimits, tuple[Network, ...]]:
    """Return the limits of requests, and the proxies whose headers are trusted. Raises SettingsError."""
    try:
        return REQUEST_LIMITS.overridden(settings.rate_limits), trusted_networks(settings.trusted_proxies)
    except ValueError as error:
        raise SettingsError(f"rate_limits, trusted_proxies: {error}") from error


def service_guard(wiring: Wiring, engine: Engine) -> ServiceGuard:
    """Limits and cached answers in Valkey; without Valkey, each process limits by itself."""
    book, trusted = request_limits(wiring.settings)
    limiter, answers, members = _limits_over_valkey(wiring) or (LocalLimiter(), None, None)
    guard = ServiceGuard(
        limiter,
        answers,
        book,
        trusted,
        members,
        recovery=lambda: engine.recovery.known,
        encryption=wiring.database.encryption,
    )
    wiring.stack.push_async_callback(guard.close)
    return guard


def _limits_over_valkey(wiring: Wiring) -> tuple[ValkeyLimiter, ValkeyAnswers, Membership] | None:
    settings, stack = wiring.settings, wiring.stack
    if wiring.valkey is None:
        return None
    members = wiring.valkey.presence.membership(API_PROCESSES, assumed=settings.processes)
    stack.push_async_callback(members.leave)
    # Not in the registry, whose breakers are shared through Valkey itself.
    breaker = CircuitBreaker("valkey:limits", wiring.registry.profile("valkey").breaker)
    # 110,000 decisions/s over the line, 19,000 over redis-py's pool (decision record 4).
    limiter = ValkeyLimiter(wiring.valkey.line, instances=members.size, breaker=breaker)
    stack.push_async_callback(limiter.aclose)
    answers = ValkeyAnswers(limiter)
    stack.push_async_callback(answers.aclose)
    return limiter, answers, members


def inquiring_processes(wiring: Wiring) -> Membership | None:
    """Count the processes that share the rails' inquiry rates; without Valkey, the setting says how many."""
    if wiring.valkey is None:
        return None
    members = wiring.valkey.presence.membership(INQUIRERS, assumed=wiring.settings.processes)
    wiring.stack.push_async_callback(members.leave)
    return members


def workers_missing_s(wiring: Wiring) -> Callable[[], float | None]:
    """Return what tells for how long no worker has sent a heartbeat; without Valkey, nothing is known."""
    if wiring.valkey is None:
        return lambda: None
    return wiring.valkey.presence.watch(INQUIRERS).missing_s


def open_work_signal(wiring: Wiring, *, listens: bool) -> tuple[WorkSignal, StateOfValkey | None]:
    """The work signal over Valkey; without Valkey it wakes the workers of its own process, others poll.

    Only a process that takes due orders `listens`: receiving a signal costs about as much as sending one.
    """
    session = wiring.valkey
    if session is None:
        return LocalWorkSignal(), None
    signal_over_valkey = ValkeyWorkSignal(session)
    signal_over_valkey.start(listens=listens)
    wiring.stack.push_async_callback(signal_over_valkey.close)
    return signal_over_valkey, lambda: valkey_state(session.client)


def open_delivery_signal(wiring: Wiring) -> Callable[[], None]:
    """Return what wakes the webhooks processes; without Valkey they poll."""
    if wiring.valkey is None:
        return lambda: None
    signal_over_valkey = ValkeyWorkSignal(wiring.valkey, channel=DELIVERIES)
    signal_over_valkey.start(listens=False)
    wiring.stack.push_async_callback(signal_over_valkey.close)
    return signal_over_valkey.notify


def cluster_breakers(wiring: Wiring) -> ClusterBreakers:
    """The breakers of all processes, over Valkey; without Valkey, those of this process."""
    if wiring.valkey is None:
        return ClusterBreakers(wiring.registry, wiring.instance)
    shared = SharedBreakers(wiring.valkey, wiring.registry, peer_open=wiring.settings.peer_open)
    shared.start()
    wiring.stack.push_async_callback(shared.close)
    return ClusterBreakers(wiring.registry, wiring.instance, shared)


def share_risk(wiring: Wiring, counters: VelocityCounters) -> SharedRiskInputs | None:
    """Share what the risk rules count with all processes; without Valkey, each counts by itself."""
    if wiring.valkey is None or counters.is_idle:
        return None
    clock = wiring.clock

    def receive(seen: RiskInput, decision: RiskDecision) -> None:
        counters.receive(seen, decision, clock.monotonic())

    def receive_not_opened(seen: RiskInput) -> None:
        counters.receive_not_opened(seen, clock.monotonic())

    shared = SharedRiskInputs(
        wiring.valkey, receive, receive_not_opened, encryption=wiring.database.encryption
    )
    wiring.stack.push_async_callback(shared.close)
    counters.publish = shared.publish
    counters.publish_not_opened = shared.publish_not_opened
    return shared


def share_health(wiring: Wiring, health: RailHealth) -> None:
    """Share the health of the rails with all processes; without Valkey, each uses its own samples."""
    if wiring.valkey is None:
        return

    def open_breakers() -> dict[str, float]:
        refusing = {name: breaker.retry_after() for name, breaker in wiring.registry.breakers().items()}
        return {name: left_s for name, left_s in refusing.items() if left_s is not None}

    shared = SharedRailHealth(
        wiring.valkey, health.own_samples, open_breakers, health.set_peer_samples, health.now
    )
    wiring.stack.push_async_callback(shared.close)
    wiring.run_in_background("rail_health", shared.run)
