"""The composition root: builds a process from its settings, and runs it as API server or as worker.

Every other module is passed what it needs.
"""

import asyncio
import contextlib
import random
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Protocol

import structlog

from synccash.administration.operators.operators import Operators
from synccash.administration.operators.passwords import PasswordHashes
from synccash.administration.routing_settings import health_settings, probing, rail_floats, routing_rules
from synccash.engine.dispatch.account_book import StoredAccountBook
from synccash.engine.dispatch.float_watch import FloatWatch
from synccash.engine.dispatch.network_memory import NetworkMemory
from synccash.engine.dispatch.policy_dispatch import PolicyDispatch
from synccash.engine.dispatch.rail_float import RailFloats
from synccash.engine.dispatch.rail_health import RailHealth
from synccash.engine.dispatch.rail_watch import RailWatch
from synccash.engine.engine import Engine, build_engine
from synccash.engine.ports import Rail
from synccash.engine.progress.screening import OutagePolicy, Screening
from synccash.engine.requests.payout_velocity import PayoutVelocityLoader
from synccash.engine.system import SystemClock, SystemIdentities
from synccash.fraud.http import FraudService
from synccash.fraud.policy import guarded
from synccash.middleware.authentication import PRINCIPAL
from synccash.middleware.refusal import App, Scope
from synccash.observability.backlog import Backlog
from synccash.observability.cluster_breakers import ClusterBreakers
from synccash.observability.health import ServiceHealth
from synccash.observability.loop_watch import LoopWatch
from synccash.observability.metrics import (
    FloatCollector,
    IdempotencyCollector,
    InquiryCollector,
    LeaseCollector,
    LimiterCollector,
    LoopCollector,
    PeersCollector,
    SignInCollector,
    WaitingCollector,
)
from synccash.observability.prometheus import BreakerCollector, EventCounter, RetryCollector
from synccash.observability.undelivered import UndeliveredWatch
from synccash.payments.access import Credential, Principal
from synccash.payments.balance import read_fees
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.payer_networks import PayerNetworks
from synccash.payments.ports import WorkSignal
from synccash.payments.references import ReferenceKey
from synccash.payments.request import Tenant
from synccash.payments.risk import RiskDecision, RiskInput, RiskOutcome, VelocityCounters
from synccash.processes.audit_sealing import AuditSealing
from synccash.processes.balance_loop import BalanceLoop
from synccash.processes.engine_settings import dispatch_settings, engine_settings
from synccash.processes.housekeeping import Housekeeping, RetentionLoop
from synccash.processes.key_usage import KeyUsage
from synccash.processes.registry import build_registry
from synccash.processes.runner import run_process
from synccash.processes.service_guard import ENDPOINT_NAMES, LocalLimiter, ServiceGuard, limited_user
from synccash.rails.registry import build_former_rails, build_rails
from synccash.rails.transport import Transport
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.client_address import Network, trusted_networks
from synccash.resilience.limit_policies import ConfiguredLimits
from synccash.resilience.registry import Registry
from synccash.settings.loader import Settings, SettingsError
from synccash.settings.request_limits import REQUEST_LIMITS
from synccash.settings.risk import payout_rules, risk_rules
from synccash.settings.secret import Secret
from synccash.stores.encryption import required_encryption
from synccash.stores.local_work_signal import LocalWorkSignal
from synccash.stores.postgres.approvals import PostgresApprovals
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.audit_chain import AuditKey, PostgresAuditChain
from synccash.stores.postgres.balances import PostgresBalances
from synccash.stores.postgres.claims import PostgresClaims
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.erasure import PostgresErasure
from synccash.stores.postgres.lookup_key import WRONG_LOOKUP_KEY, is_lookup_key_wrong
from synccash.stores.postgres.merchants import PostgresKeys
from synccash.stores.postgres.operators import PostgresOperators
from synccash.stores.postgres.order_store import PostgresOrderStore
from synccash.stores.postgres.payer_networks import PostgresNetworks
from synccash.stores.postgres.pool import Pool, connect
from synccash.stores.postgres.rail_accounts import PostgresRailAccounts
from synccash.stores.postgres.rail_status import PostgresRailStatus
from synccash.stores.postgres.reading import PostgresReading
from synccash.stores.postgres.recent_payouts import PostgresRecentPayouts
from synccash.stores.postgres.recovery import PostgresRecovery, hold_if_server_changed
from synccash.stores.postgres.removed_endpoints import PostgresRemovedEndpoints
from synccash.stores.postgres.runtime_role import RoleCheck
from synccash.stores.postgres.waiting import PostgresWaiting
from synccash.stores.postgres.webhooks import PostgresWebhooks
from synccash.stores.supervised_loops import LoopSupervisor, Run, SupervisedLoop
from synccash.stores.valkey.answers import ValkeyAnswers
from synccash.stores.valkey.breakers.shared import SharedBreakers
from synccash.stores.valkey.client import ping
from synccash.stores.valkey.limits.rate_limiter import ValkeyLimiter
from synccash.stores.valkey.presence import API_PROCESSES, INQUIRERS, Membership
from synccash.stores.valkey.rail_health import SharedRailHealth
from synccash.stores.valkey.risk_sharing import SharedRiskInputs
from synccash.stores.valkey.session import ValkeySession, open_session
from synccash.stores.valkey.work_signal import ValkeyWorkSignal

if TYPE_CHECKING:
    from synccash.processes.worker import WorkerServer

log = structlog.get_logger("synccash")
_CONNECTIONS = 16
_FIRST_LOOK_S = 2.0
"""How long a start waits for the recorded rail accounts, and for the payouts that the risk rules count. While
PostgreSQL is unreachable they are read later."""
Ping = Callable[[], Awaitable[bool]]


class _StoppableLoop(Protocol):
    async def run(self) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Service:
    """The live parts of one process."""

    engine: Engine
    rails: Mapping[str, Rail]
    inquirers: Membership | None
    keys: PostgresKeys
    key_usage: KeyUsage
    operators: Operators
    reading: PostgresReading
    balances: PostgresBalances
    webhooks: PostgresWebhooks
    health: ServiceHealth
    guard: ServiceGuard
    breakers: ClusterBreakers
    shared_risk: SharedRiskInputs | None
    registry: Registry
    events: EventCounter
    database: Database
    claims: PostgresClaims
    audit: PostgresAudit
    backlog: Backlog
    floats: FloatWatch
    loops: LoopSupervisor
    loop_watch: LoopWatch
    retention: RetentionLoop | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wiring:
    """Holds what the steps of `assembled` share. `stack` closes what they start, in reverse order.

    `valkey` is None when no Valkey is configured.
    """

    settings: Settings
    stack: contextlib.AsyncExitStack
    loops: LoopSupervisor
    clock: SystemClock
    identities: SystemIdentities
    instance: str
    pool: Pool
    database: Database
    registry: Registry
    events: EventCounter
    transport: Transport
    valkey: ValkeySession | None

    def run_in_background(self, name: str, run: Run) -> SupervisedLoop:
        """Run a loop that ends when it is cancelled, until the stack is closed."""
        loop = self.loops.start(name, run)
        self.stack.push_async_callback(loop.end)
        return loop


@dataclass(frozen=True, slots=True, kw_only=True)
class _EngineParts:
    """Holds the parts that the engine and the background loops share."""

    rails: Mapping[str, Rail]
    former: Mapping[str, Sequence[Rail]]
    accounts: StoredAccountBook
    dispatch: PolicyDispatch
    rail_health: RailHealth
    floats: RailFloats
    networks: PayerNetworks


@contextlib.asynccontextmanager
async def assembled(settings: Settings, database_url: Secret | str) -> AsyncGenerator[Service]:
    """Wire the parts of one process. At the end they are closed in reverse order."""
    async with contextlib.AsyncExitStack() as stack:
        loop_watch = LoopWatch()
        loop_watch.start()
        stack.callback(loop_watch.close)
        wiring = await _connect(settings, database_url, stack)
        await _check_lookup_key(wiring.database)
        inquirers = _inquirers(wiring)
        parts, work_signal, ping_valkey = await _engine_parts(wiring, inquirers)
        engine = await _start_engine(wiring, parts, work_signal)
        recovery = PostgresRecovery(wiring.database)
        await _warn_of_weaknesses(recovery)
        balances, folding = _start_balances(wiring)
        webhooks = PostgresWebhooks(wiring.database)
        undelivered = UndeliveredWatch(webhooks, wiring.clock)
        wiring.run_in_background("undelivered", undelivered.run)
        health = ServiceHealth(
            wiring.pool,
            ping_valkey,
            engine.rails,
            parts.dispatch,
            lambda: engine.recovery.known,
            recovery.durability,
            lambda: (*folding.warnings(), *undelivered.warnings()),
        )
        _register_breakers(wiring.registry, parts.rails)
        _share_health(wiring, parts.rail_health)
        backlog, float_watch = _start_watches(wiring, parts)
        await _load_payout_velocity(wiring, engine)
        guard = _service_guard(wiring, engine)
        keys = PostgresKeys(wiring.database)
        key_usage = _record_key_usage(wiring, keys)
        yield Service(
            engine=engine,
            rails=parts.rails,
            inquirers=inquirers,
            keys=keys,
            key_usage=key_usage,
            operators=_operators(wiring),
            reading=PostgresReading(wiring.database),
            balances=balances,
            webhooks=webhooks,
            health=health,
            guard=guard,
            registry=wiring.registry,
            events=wiring.events,
            breakers=_cluster_breakers(wiring),
            shared_risk=_share_risk(wiring, engine.risk),
            database=wiring.database,
            claims=PostgresClaims(wiring.database),
            audit=PostgresAudit(wiring.database),
            backlog=backlog,
            floats=float_watch,
            loops=wiring.loops,
            loop_watch=loop_watch,
            retention=_retention(wiring),
        )


async def _connect(
    settings: Settings, database_url: Secret | str, stack: contextlib.AsyncExitStack
) -> _Wiring:
    """Make the connections that everything else uses. Raises SettingsError without encryption keys."""
    encryption = required_encryption(settings)
    clock, identities = SystemClock(), SystemIdentities()
    pool = await connect(database_url, min_size=0, max_size=_CONNECTIONS, check=hold_if_server_changed)
    stack.push_async_callback(pool.close)
    transport = Transport()
    stack.push_async_callback(transport.aclose)
    events = EventCounter()
    registry = build_registry(settings, clock.monotonic, events)
    instance, loops = identities.new("proc"), LoopSupervisor()
    valkey = None
    if settings.valkey_url is not None:
        opening = open_session(settings.valkey_url, instance, supervisor=loops)
        valkey = await stack.enter_async_context(opening)
    return _Wiring(
        settings=settings,
        stack=stack,
        loops=loops,
        clock=clock,
        identities=identities,
        instance=instance,
        pool=pool,
        database=Database(
            pool,
            encryption=encryption,
            profile=registry.profile("database"),
            budget=registry.budget("database"),
            on_event=events,
        ),
        registry=registry,
        events=events,
        transport=transport,
        valkey=valkey,
    )


async def _engine_parts(
    wiring: _Wiring, inquirers: Membership | None
) -> tuple[_EngineParts, WorkSignal, Ping | None]:
    """Build the rails with their accounts, health, floats and networks; nothing runs yet."""
    settings, clock = wiring.settings, wiring.clock
    sharing = inquirers.size if inquirers is not None else lambda: settings.processes
    rails = build_rails(settings, wiring.transport, clock, sharing)
    former = build_former_rails(settings, wiring.transport, clock, sharing)
    work_signal, ping_valkey = _work_signal(wiring)
    parts = _EngineParts(
        rails=rails,
        former=former,
        accounts=await _accounts(wiring.database, rails, clock),
        dispatch=_dispatch(wiring),
        rail_health=RailHealth(health_settings(settings), clock.monotonic),
        floats=rail_floats(settings, rails, clock.monotonic),
        networks=PayerNetworks(clock.now, settings.network_memory_days * 86_400.0),
    )
    return parts, work_signal, ping_valkey


async def _start_engine(wiring: _Wiring, parts: _EngineParts, work_signal: WorkSignal) -> Engine:
    """Build and start the engine; learn whether a recovery is under way before anything is sent."""
    settings = wiring.settings
    engine = build_engine(
        order_store=PostgresOrderStore(wiring.database),
        rails=parts.rails,
        dispatch=parts.dispatch,
        clock=wiring.clock,
        identities=wiring.identities,
        references=_reference_key(settings),
        work_signal=work_signal,
        settings=engine_settings(settings),
        rules=risk_rules(settings),
        payout_rules=payout_rules(settings),
        screening=_screening(wiring),
        health=parts.rail_health,
        routing=routing_rules(settings, parts.rails),
        probing=probing(settings),
        networks=parts.networks,
        floats=parts.floats,
        accounts=parts.accounts,
        former=parts.former,
    )
    engine.start()
    wiring.stack.push_async_callback(engine.close)
    await engine.recovery.look()
    wiring.run_in_background("recovery", engine.recovery.run)
    return engine


def _record_key_usage(wiring: _Wiring, keys: PostgresKeys) -> KeyUsage:
    usage = KeyUsage(keys, wiring.clock)
    wiring.stack.push_async_callback(usage.close)
    wiring.run_in_background("key_usage", usage.run)
    return usage


def _operators(wiring: _Wiring) -> Operators:
    passwords = PasswordHashes()
    wiring.stack.callback(passwords.close)
    return Operators(
        PostgresOperators(wiring.database),
        PostgresAudit(wiring.database),
        passwords,
        wiring.clock,
        wiring.identities,
    )


@dataclass(frozen=True, slots=True)
class _CallerStore:
    """The API keys, and the tokens of operators."""

    keys: KeyUsage
    operators: PostgresOperators

    async def credential(self, secret_hash: bytes) -> Credential | None:
        """Return a valid key or token; None for any other. Raises StoreUnavailableError."""
        return await self.keys.credential(secret_hash) or await self.operators.credential(secret_hash)

    async def good(self) -> frozenset[bytes]:
        """Return the hashes of the keys and tokens that are valid now. Raises StoreUnavailableError."""
        return frozenset(await self.keys.good()) | await self.operators.good()


def _start_balances(wiring: _Wiring) -> tuple[PostgresBalances, BalanceLoop]:
    balances = PostgresBalances(wiring.database)
    folding = BalanceLoop(balances, wiring.clock, read_fees(wiring.settings.balance_fees))
    wiring.run_in_background("balances", folding.run)
    return balances, folding


def _start_watches(wiring: _Wiring, parts: _EngineParts) -> tuple[Backlog, FloatWatch]:
    """Start the loops that watch rails, accounts, floats, networks and the backlog."""
    database, clock = wiring.database, wiring.clock
    rail_statuses = PostgresRailStatus(database)
    rail_watch = RailWatch(
        parts.rails, parts.rail_health, parts.dispatch, rail_statuses, clock, wiring.identities
    )
    wiring.run_in_background("rail_watch", rail_watch.run)
    wiring.run_in_background("rail_accounts", parts.accounts.run)
    backlog = Backlog(PostgresWaiting(database), clock)
    wiring.run_in_background("backlog", backlog.run)
    memory = NetworkMemory(parts.networks, PostgresNetworks(database), clock)
    wiring.run_in_background("network_keeping", memory.run)
    float_watch = FloatWatch(parts.rails, parts.floats, parts.dispatch.read_float, clock)
    wiring.run_in_background("float_watch", float_watch.run)
    return backlog, float_watch


def _retention(wiring: _Wiring) -> RetentionLoop | None:
    """The loop that erases and deletes what is past its retention; None where the settings keep it."""
    settings, database = wiring.settings, wiring.database
    days = settings.retention_days
    if days is None or database.encryption is None:
        return None
    return RetentionLoop(
        PostgresErasure(database, database.encryption, settings.refundable_days, days),
        PostgresRemovedEndpoints(database, days),
    )


async def _load_payout_velocity(wiring: _Wiring, engine: Engine) -> None:
    """Load the recent payouts that the risk rules count, for `_FIRST_LOOK_S` at most; the loop goes on."""
    loader = PayoutVelocityLoader(engine.risk, PostgresRecentPayouts(wiring.database), wiring.clock)
    loading = wiring.run_in_background("payout_recall", loader.run)
    await asyncio.wait([loading.task], timeout=_FIRST_LOOK_S)


def _reference_key(settings: Settings) -> ReferenceKey:
    """Return the key that attempts' references are derived with. Raises SettingsError when it is not set."""
    if settings.installation_key is None:
        raise SettingsError(
            "installation_key is not set; generate one with `openssl rand -hex 32`, set it for every process "
            "as SYNCCASH_INSTALLATION_KEY or SYNCCASH_INSTALLATION_KEY_FILE, and store it apart from the "
            "database's backups: after a restore it finds orders at the rails that the database has lost"
        )
    return ReferenceKey.of(settings.installation_key.reveal())


async def _check_lookup_key(database: Database) -> None:
    """Raise SettingsError when the stored orders were hashed with another key. An unreachable PostgreSQL does
    not stop the start."""
    with contextlib.suppress(TimeoutError, StoreUnavailableError):
        async with asyncio.timeout(_FIRST_LOOK_S):
            if await is_lookup_key_wrong(database):
                raise SettingsError(WRONG_LOOKUP_KEY)


async def _warn_of_weaknesses(recovery: PostgresRecovery) -> None:
    """Log what a failure of PostgreSQL could lose. An unreachable PostgreSQL does not stop the start."""
    try:
        durability = await recovery.durability()
    except StoreUnavailableError:
        return
    for weakness in durability.weaknesses():
        log.warning("commits_may_be_lost", detail=weakness)


async def _accounts(database: Database, rails: Mapping[str, Rail], clock: SystemClock) -> StoredAccountBook:
    """Record the rail accounts of this process. While PostgreSQL is unreachable no account is confirmed, so
    nothing is sent. Raises SettingsError when the settings contradict what is recorded."""
    book = StoredAccountBook(PostgresRailAccounts(database), rails.values(), clock)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_LOOK_S):
            await book.refresh()
    if contradictions := book.contradictions():
        raise SettingsError("\n".join(contradictions))
    return book


def _limits(settings: Settings) -> tuple[ConfiguredLimits, tuple[Network, ...]]:
    try:
        return REQUEST_LIMITS.overridden(settings.rate_limits), trusted_networks(settings.trusted_proxies)
    except ValueError as error:
        raise SettingsError(f"rate_limits, trusted_proxies: {error}") from error


def _service_guard(wiring: _Wiring, engine: Engine) -> ServiceGuard:
    """Limits and cached answers in Valkey; without Valkey, each process limits by itself."""
    settings, stack = wiring.settings, wiring.stack
    book, trusted = _limits(settings)
    if wiring.valkey is None or settings.valkey_url is None:
        guard = ServiceGuard(
            LocalLimiter(),
            None,
            book,
            trusted,
            recovery=lambda: engine.recovery.known,
            encryption=wiring.database.encryption,
        )
        stack.push_async_callback(guard.close)
        return guard
    members = wiring.valkey.presence.membership(API_PROCESSES, assumed=settings.processes)
    stack.push_async_callback(members.leave)
    # Not in the registry, whose breakers are shared through Valkey itself.
    breaker = CircuitBreaker("valkey:limits", wiring.registry.profile("valkey").breaker)
    # A connection of its own: 110,000 decisions/s over it, 19,000 over redis-py's pool (decision record 4).
    limiter = ValkeyLimiter(settings.valkey_url, instances=members.size, breaker=breaker)
    stack.push_async_callback(limiter.aclose)
    answers = ValkeyAnswers(limiter)
    stack.push_async_callback(answers.aclose)
    guard = ServiceGuard(
        limiter,
        answers,
        book,
        trusted,
        members,
        recovery=lambda: engine.recovery.known,
        encryption=wiring.database.encryption,
    )
    stack.push_async_callback(guard.close)
    return guard


def _inquirers(wiring: _Wiring) -> Membership | None:
    """Count the processes that share the rails' inquiry rates; without Valkey, the setting says how many."""
    if wiring.valkey is None:
        return None
    members = wiring.valkey.presence.membership(INQUIRERS, assumed=wiring.settings.processes)
    wiring.stack.push_async_callback(members.leave)
    return members


def _work_signal(wiring: _Wiring) -> tuple[WorkSignal, Ping | None]:
    """The work signal over Valkey; without Valkey it wakes the workers of its own process, others poll."""
    session = wiring.valkey
    if session is None:
        return LocalWorkSignal(), None
    signal_over_valkey = ValkeyWorkSignal(session)
    signal_over_valkey.start()
    wiring.stack.push_async_callback(signal_over_valkey.close)
    return signal_over_valkey, lambda: ping(session.client)


def _cluster_breakers(wiring: _Wiring) -> ClusterBreakers:
    """The breakers of all processes, over Valkey; without Valkey, those of this process."""
    if wiring.valkey is None:
        return ClusterBreakers(wiring.registry, wiring.instance)
    shared = SharedBreakers(wiring.valkey, wiring.registry, peer_open=wiring.settings.peer_open)
    shared.start()
    wiring.stack.push_async_callback(shared.close)
    return ClusterBreakers(wiring.registry, wiring.instance, shared)


def _share_risk(wiring: _Wiring, counters: VelocityCounters) -> SharedRiskInputs | None:
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


def _share_health(wiring: _Wiring, health: RailHealth) -> None:
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


def _screening(wiring: _Wiring) -> Screening | None:
    """The external fraud service under its profile; None when none is configured."""
    settings, registry, clock = wiring.settings, wiring.registry, wiring.clock
    if settings.fraud_url is None:
        return None
    service = FraudService(settings.fraud_url, wiring.transport, settings.fraud_timeout_s, settings.fraud_key)
    ask = guarded(
        service,
        registry.profile("fraud"),
        registry.breaker("fraud"),
        registry.budget("fraud"),
        on_event=wiring.events,
        clock=clock.monotonic,
        sleep=clock.sleep,
    )
    outage = OutagePolicy(
        outcome=RiskOutcome(settings.fraud_outage),
        payouts=RiskOutcome(settings.payout_fraud_outage),
        decline_above=settings.fraud_decline_above,
    )
    return Screening(ask, outage)


def _dispatch(wiring: _Wiring) -> PolicyDispatch:
    registry = wiring.registry
    return PolicyDispatch(
        breaker_of=registry.breaker,
        profile_of=registry.profile,
        budget_of=registry.budget,
        on_event=wiring.events,
        clock=wiring.clock,
        settings=dispatch_settings(wiring.settings),
        random=random.random,
    )


def _register_breakers(registry: Registry, rails: Mapping[str, Rail]) -> None:
    """Create the breakers of all rails, so that they are shown and shared before the first call."""
    for rail in rails.values():
        for operation in (*rail.capabilities.operations, "status"):
            registry.breaker(f"{rail.name}:{operation}")


def check_settings(settings: Settings) -> None:
    """Check everything that a process reads at its start, without any call. Raises SettingsError."""
    clock = SystemClock()
    rails = build_rails(settings, Transport(), clock)
    build_former_rails(settings, Transport(), clock)
    routing_rules(settings, rails)
    health_settings(settings)
    engine_settings(settings)
    risk_rules(settings)
    payout_rules(settings)
    build_registry(settings, clock.monotonic)
    _limits(settings)


def serve(settings: Settings, *, fd: int | None) -> int:
    """Serve the API until a signal stops it; return the exit code. `fd` is a listening socket to use."""
    return run_process(settings, lambda url: _serve(settings, url, fd))


def work(settings: Settings) -> int:
    """Move orders forward until a signal stops it; return the exit code."""
    return run_process(settings, lambda url: _work(settings, url))


def application(service: Service, settings: Settings) -> App:
    """The HTTP API over the live parts of a process."""
    # Imported here because the worker and the commands that only check settings need no web framework.
    from synccash.administration.audit import AuditLog
    from synccash.administration.operators.approved_actions import ApprovedActions
    from synccash.administration.operators.four_eyes import FourEyes
    from synccash.administration.service import Administration
    from synccash.api.app import create_app
    from synccash.api.v1.management import Management
    from synccash.api.v1.webhook_endpoints import EndpointMaker
    from synccash.processes.callback_filter import CallbackFilter
    from synccash.processes.fair_queue import FairQueue

    clock, identities = SystemClock(), SystemIdentities()
    callbacks = CallbackFilter(service.engine.token_origin, service.guard.address)
    fair_queue = FairQueue(_tenant_of)
    actions = ApprovedActions(
        service.engine,
        service.database,
        service.operators,
        settings.four_eyes_payout_above,
        settings.four_eyes_refund_above,
    )
    return create_app(
        engine=service.engine,
        keys=_CallerStore(service.key_usage, service.operators.store),
        reading=service.reading,
        balances=service.balances,
        health=service.health,
        endpoints=service.webhooks,
        endpoint_maker=EndpointMaker(clock, identities, settings.webhook_private_addresses),
        management=Management(
            breakers=service.breakers,
            limits=service.guard.limiter,
            book=service.guard.book,
            claims=service.claims,
            audit=service.audit,
            audit_log=AuditLog(service.database),
            tenants=service.keys,
            counted=lambda: asdict(service.guard.counts),
            floats=service.floats.shown,
            role_notice=RoleCheck(service.database).notice,
            operators=service.operators,
            four_eyes=FourEyes(
                PostgresApprovals(service.database),
                service.operators.store,
                service.audit,
                identities,
                actions.rules(),
                settings.four_eyes == "on",
                settings.four_eyes_valid_s,
            ),
            administration=Administration(service.database),
            address_of=lambda scope: service.guard.identify(scope).ip,
            limited_user=partial(limited_user, service.guard.encryption),
        ),
        collectors=(
            LimiterCollector(service.guard.limiter.counts, ENDPOINT_NAMES),
            IdempotencyCollector(lambda: service.guard.counts),
            BreakerCollector(service.registry),
            RetryCollector(service.registry),
            service.events,
            InquiryCollector(service.rails),
            PeersCollector(service.breakers),
            FloatCollector(service.floats.shown),
            WaitingCollector(lambda: service.backlog.counted),
            LoopCollector(service.loops.restarts),
            callbacks,
            fair_queue,
            service.loop_watch,
            SignInCollector(service.operators.sign_ins),
        ),
        layers=(fair_queue.layer, service.guard.layer),
        first_layers=(callbacks.layer,),
        in_flight=service.loop_watch.in_flight,
        client_ip=service.guard.client_ip,
        check_missing_key=service.guard.check_missing_key,
        check_unknown_key=service.guard.check_unknown_key,
        wallet_limits=service.guard,
        body_timeout_s=settings.body_timeout_s,
        new_id=lambda: identities.new("req"),
    )


def _tenant_of(scope: Scope) -> Tenant | None:
    """Return the tenant of an authenticated request; None for operators and for requests without a key."""
    principal: Principal | None = scope.get(PRINCIPAL)
    return None if principal is None else principal.tenant


async def _serve(settings: Settings, database_url: Secret, fd: int | None) -> None:
    import uvicorn

    from synccash.processes.http_server import server_config

    listener = socket.socket(fileno=fd) if fd is not None else None
    async with assembled(settings, database_url) as service:
        config = server_config(
            application(service, settings),
            host=settings.host,
            port=settings.port,
            timeout_s=settings.body_timeout_s,
            grace_s=int(settings.request_deadline_s) + 2,
        )
        server = uvicorn.Server(config)
        service.loop_watch.begin()  # The imports of the application blocked the loop, and no request.
        service.guard.start()
        if service.shared_risk is not None:
            service.shared_risk.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ignore_signal)
        await server.serve(sockets=[listener] if listener is not None else None)


def _ignore_signal(_number: int, _frame: FrameType | None) -> None:
    """Ignore the signal that uvicorn raises again once it has stopped, so the parts are closed in order."""


def worker_server(service: Service, housekeeping: Housekeeping, host: str, port: int) -> "WorkerServer":
    """Return the server of a worker's metrics. Raises SettingsError when its port cannot be opened."""
    from synccash.processes.worker import WorkerCollector, WorkerServer

    collectors = (
        WorkerCollector(service.engine.worker, housekeeping),
        BreakerCollector(service.registry),
        RetryCollector(service.registry),
        service.events,
        InquiryCollector(service.rails),
        PeersCollector(service.breakers),
        FloatCollector(service.floats.shown),
        LeaseCollector(service.engine.leases),
        LoopCollector(service.loops.restarts),
        service.loop_watch,
    )
    return WorkerServer(collectors, host=host, port=port, setting="worker_port")


async def _work(settings: Settings, database_url: Secret) -> None:
    async with assembled(settings, database_url) as service:
        housekeeping = Housekeeping(service.claims, settings.idempotency_retention_days * 86_400.0)
        sealing = AuditSealing(PostgresAuditChain(service.database, AuditKey.of(settings.audit_key)))
        loops: dict[str, _StoppableLoop] = {
            "worker": service.engine.worker,
            "housekeeping": housekeeping,
            "audit_sealing": sealing,
        }
        if service.retention is not None:
            loops["retention"] = service.retention
        if service.inquirers is not None:
            service.inquirers.join()
        port = settings.worker_port
        servers = [] if port is None else [worker_server(service, housekeeping, settings.host, port)]

        def stop() -> None:
            for loop in (*loops.values(), *servers):
                loop.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        async with asyncio.TaskGroup() as group:
            for name, loop in loops.items():
                group.create_task(service.loops.run(name, loop.run))
            for server in servers:
                group.create_task(server.answer())
