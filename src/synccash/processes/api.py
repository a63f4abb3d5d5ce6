"""The composition root: the only place where parts meet. Everything else is handed what it needs."""

import asyncio
import contextlib
import random
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING, Any

import structlog
import uvloop

from synccash.administration.routing_settings import health_settings, probing, rail_floats, routing_rules
from synccash.engine.dispatch.account_book import StoredAccountBook
from synccash.engine.dispatch.float_watch import FloatWatch
from synccash.engine.dispatch.network_memory import NetworkMemory
from synccash.engine.dispatch.policy_dispatch import PolicyDispatch
from synccash.engine.dispatch.rail_health import RailHealth
from synccash.engine.dispatch.rail_watch import RailWatch
from synccash.engine.engine import Engine, build_engine
from synccash.engine.ports import Rail
from synccash.engine.progress.screening import OutagePolicy, Screening
from synccash.engine.requests.payout_velocity import PayoutVelocityLoader
from synccash.engine.system import SystemClock, SystemIdentities
from synccash.fraud.http import FraudService
from synccash.fraud.policy import guarded
from synccash.middleware.refusal import App
from synccash.observability.backlog import Backlog
from synccash.observability.cluster_breakers import ClusterBreakers
from synccash.observability.health import ServiceHealth
from synccash.observability.logs import configure_logging
from synccash.observability.metrics import (
    BreakerCollector,
    FloatCollector,
    IdempotencyCollector,
    InquiryCollector,
    LeaseCollector,
    LimiterCollector,
    LoopCollector,
    PeersCollector,
    RetryCollector,
    WaitingCollector,
)
from synccash.payments.balance import read_fees
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.payer_networks import PayerNetworks
from synccash.payments.ports import WorkSignal
from synccash.payments.references import ReferenceKey
from synccash.payments.risk import RiskDecision, RiskInput, RiskOutcome, VelocityCounters
from synccash.processes.balance_loop import BalanceLoop
from synccash.processes.engine_settings import dispatch_settings, engine_settings, notifier_settings
from synccash.processes.housekeeping import Housekeeping
from synccash.processes.service_guard import NAMES, Gate, LocalLimiter
from synccash.rails.registry import RAILS, build_former_rails, build_rails
from synccash.rails.transport import Transport
from synccash.resilience.circuit_breaker import BreakerSettings, CircuitBreaker
from synccash.resilience.client_address import Network, trusted_networks
from synccash.resilience.limit_policies import ConfiguredLimits
from synccash.resilience.profiles import PROFILES
from synccash.resilience.registry import Registry
from synccash.settings.loader import Settings, SettingsError
from synccash.settings.profiles import overridden
from synccash.settings.risk import payout_rules, risk_rules
from synccash.stores.local_work_signal import LocalWorkSignal
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.balances import PostgresBalances
from synccash.stores.postgres.claims import PostgresClaims
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.merchants import PostgresKeys
from synccash.stores.postgres.order_store import PostgresOrderStore
from synccash.stores.postgres.payer_networks import PostgresNetworks
from synccash.stores.postgres.pool import connect
from synccash.stores.postgres.rail_accounts import PostgresRailAccounts
from synccash.stores.postgres.rail_status import PostgresRailStatus
from synccash.stores.postgres.reading import PostgresReading
from synccash.stores.postgres.recent_payouts import PostgresRecentPayouts
from synccash.stores.postgres.recovery import PostgresRecovery, hold_if_server_changed
from synccash.stores.postgres.waiting import PostgresWaiting
from synccash.stores.postgres.webhooks import PostgresWebhooks
from synccash.stores.supervised_loops import LoopSupervisor, Run, SupervisedLoop
from synccash.stores.valkey.answers import ValkeyAnswers
from synccash.stores.valkey.breakers.shared import SharedBreakers
from synccash.stores.valkey.client import build_client, ping
from synccash.stores.valkey.limits.rate_limiter import ValkeyLimiter
from synccash.stores.valkey.presence import INQUIRERS, Fleet
from synccash.stores.valkey.rail_health import SharedRailHealth
from synccash.stores.valkey.risk_sharing import SharedRiskInputs
from synccash.stores.valkey.work_signal import ValkeyWorkSignal
from synccash.webhooks.dispatcher import WebhookDispatcher
from synccash.webhooks.sender import WebhookSender
from synccash.webhooks.signature import signed_headers

if TYPE_CHECKING:
    from synccash.processes.worker import WorkerServer

log = structlog.get_logger("synccash")
_CONNECTIONS = 16
_FIRST_LOOK_S = 2.0
"""How long a start waits for the recorded rail accounts, and for the payouts that the risk rules count; they
are read later where PostgreSQL is away."""
Ping = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Service:
    """The live parts of one process."""

    engine: Engine
    rails: Mapping[str, Rail]
    inquirers: Fleet | None
    keys: PostgresKeys
    reading: PostgresReading
    balances: PostgresBalances
    webhooks: PostgresWebhooks
    health: ServiceHealth
    notifier: WebhookDispatcher
    gate: Gate
    breakers: ClusterBreakers
    sightings: SharedRiskInputs | None
    registry: Registry
    claims: PostgresClaims
    audit: PostgresAudit
    backlog: Backlog
    floats: FloatWatch
    loops: LoopSupervisor


@contextlib.asynccontextmanager
async def assembled(settings: Settings, database_url: str) -> AsyncGenerator[Service]:
    """Wire the parts of one process, and close them in the right order at the end."""
    clock, identities = SystemClock(), SystemIdentities()
    instance = identities.new("proc")
    loops = LoopSupervisor()
    async with contextlib.AsyncExitStack() as stack:
        pool = await connect(database_url, min_size=0, max_size=_CONNECTIONS, check=hold_if_server_changed)
        stack.push_async_callback(pool.close)
        transport = Transport()
        stack.push_async_callback(transport.aclose)
        inquirers = _inquirers(settings, instance, loops, stack)
        sharing = inquirers.size if inquirers is not None else lambda: settings.processes
        rails = build_rails(settings, transport, clock, sharing)
        former = build_former_rails(settings, transport, clock, sharing)
        work_signal, ping_valkey = await _doorbell(settings, loops, stack)
        registry = _registry(settings, clock)
        database = Database(pool, profile=registry.profile("database"), budget=registry.budget("database"))
        accounts = await _accounts(database, rails, clock)
        dispatch = _dispatch(settings, registry, clock)
        rail_health = RailHealth(health_settings(settings), clock.monotonic)
        floats = rail_floats(settings, rails, clock.monotonic)
        networks = PayerNetworks(clock.now, settings.network_memory_days * 86_400.0)
        engine = build_engine(
            order_store=PostgresOrderStore(database),
            rails=rails,
            dispatch=dispatch,
            clock=clock,
            identities=identities,
            references=_reference_key(settings),
            work_signal=work_signal,
            settings=engine_settings(settings),
            rules=risk_rules(settings),
            payout_rules=payout_rules(settings),
            screening=_screening(settings, transport, registry, clock),
            health=rail_health,
            routing=routing_rules(settings, rails),
            probing=probing(settings),
            networks=networks,
            floats=floats,
            accounts=accounts,
            former=former,
        )
        engine.start()
        stack.push_async_callback(engine.close)
        await engine.recovery.look()
        _in_background("recovery", engine.recovery.run, loops, stack)
        recovery = PostgresRecovery(database)
        await _warn_of_weaknesses(recovery)
        balances = PostgresBalances(database)
        folding = BalanceLoop(balances, clock, read_fees(settings.balance_fees))
        _in_background("balances", folding.run, loops, stack)
        health = ServiceHealth(
            pool,
            ping_valkey,
            engine.rails,
            dispatch,
            lambda: engine.recovery.known,
            recovery.durability,
            folding.warnings,
        )
        sender = WebhookSender(private=settings.webhook_private_addresses)
        stack.push_async_callback(sender.aclose)
        webhooks = PostgresWebhooks(database)
        notifier = _notifier(settings, webhooks, sender, registry, work_signal, clock, identities)
        _know_breakers(registry, rails)
        await _share_health(settings, rail_health, registry, instance, loops, stack)
        watch = RailWatch(rails, rail_health, dispatch, PostgresRailStatus(database), clock, identities)
        _in_background("rail_watch", watch.run, loops, stack)
        _in_background("rail_accounts", accounts.run, loops, stack)
        backlog = Backlog(PostgresWaiting(database), clock)
        _in_background("backlog", backlog.run, loops, stack)
        keeping = NetworkMemory(networks, PostgresNetworks(database), clock)
        _in_background("network_keeping", keeping.run, loops, stack)
        float_watch = FloatWatch(rails, floats, dispatch.read_float, clock)
        _in_background("float_watch", float_watch.run, loops, stack)
        recall = PayoutVelocityLoader(engine.risk, PostgresRecentPayouts(database), clock)
        recalled = _in_background("payout_recall", recall.run, loops, stack)
        await asyncio.wait([recalled.task], timeout=_FIRST_LOOK_S)
        yield Service(
            engine=engine,
            rails=rails,
            inquirers=inquirers,
            keys=PostgresKeys(database),
            reading=PostgresReading(database),
            balances=balances,
            webhooks=webhooks,
            health=health,
            notifier=notifier,
            gate=replace(
                await _gate(settings, instance, registry.profile("valkey").breaker, loops, stack),
                recovery=lambda: engine.recovery.known,
            ),
            registry=registry,
            breakers=await _shared(settings, registry, instance, loops, stack),
            sightings=_share_risk(settings, engine.risk, clock, instance, loops, stack),
            claims=PostgresClaims(database),
            audit=PostgresAudit(database),
            backlog=backlog,
            floats=float_watch,
            loops=loops,
        )


def _reference_key(settings: Settings) -> ReferenceKey:
    """What attempts' references are derived with. Raises SettingsError where there is none."""
    if settings.installation_key is None:
        raise SettingsError(
            "installation_key is not set; generate one with `openssl rand -hex 32`, set it for every process "
            "as SYNCCASH_INSTALLATION_KEY or SYNCCASH_INSTALLATION_KEY_FILE, and store it apart from the "
            "database's backups: after a restore it finds orders at the rails that the database has lost"
        )
    return ReferenceKey.of(settings.installation_key)


async def _warn_of_weaknesses(recovery: PostgresRecovery) -> None:
    """Log what a failure of PostgreSQL could lose. A database out of reach is no reason not to start."""
    try:
        durability = await recovery.durability()
    except StoreUnavailableError:
        return
    for weakness in durability.weaknesses():
        log.warning("commits_may_be_lost", detail=weakness)


async def _accounts(database: Database, rails: Mapping[str, Rail], clock: SystemClock) -> StoredAccountBook:
    """Record the rail accounts of this process. While PostgreSQL is away nothing of them is confirmed, and so
    nothing is sent. Raises SettingsError where the settings contradict what is recorded."""
    book = StoredAccountBook(PostgresRailAccounts(database), rails.values(), clock)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_LOOK_S):
            await book.refresh()
    if contradictions := book.contradictions():
        raise SettingsError("\n".join(contradictions))
    return book


def _limits(settings: Settings) -> tuple[ConfiguredLimits, tuple[Network, ...]]:
    try:
        return ConfiguredLimits().overridden(settings.rate_limits), trusted_networks(settings.trusted_proxies)
    except ValueError as error:
        raise SettingsError(f"rate_limits, trusted_proxies: {error}") from error


async def _gate(
    settings: Settings,
    instance: str,
    rules: BreakerSettings,
    loops: LoopSupervisor,
    stack: contextlib.AsyncExitStack,
) -> Gate:
    """Limits and cached answers in Valkey; without one, each process limits by itself."""
    book, trusted = _limits(settings)
    if settings.valkey_url is None:
        return Gate(LocalLimiter(), None, book, trusted)
    client = build_client(settings.valkey_url)
    stack.push_async_callback(client.aclose)
    fleet = Fleet(client, instance, assumed=settings.processes, supervisor=loops)
    stack.push_async_callback(fleet.close)
    # It is not in the registry: Valkey itself carries the news of those.
    breaker = CircuitBreaker("valkey:limits", rules)
    limiter = ValkeyLimiter(settings.valkey_url, instances=fleet.size, breaker=breaker)
    stack.push_async_callback(limiter.aclose)
    kept = ValkeyAnswers(limiter)
    stack.push_async_callback(kept.aclose)
    gate = Gate(limiter, kept, book, trusted, fleet)
    stack.push_async_callback(gate.close)
    return gate


def _inquirers(
    settings: Settings, instance: str, loops: LoopSupervisor, stack: contextlib.AsyncExitStack
) -> Fleet | None:
    """Who shares the rates that rails allow for inquiries; without a Valkey, `processes` says how many."""
    if settings.valkey_url is None:
        return None
    client = build_client(settings.valkey_url)
    stack.push_async_callback(client.aclose)
    fleet = Fleet(client, instance, assumed=settings.processes, members=INQUIRERS, supervisor=loops)
    stack.push_async_callback(fleet.close)
    return fleet


async def _doorbell(
    settings: Settings, loops: LoopSupervisor, stack: contextlib.AsyncExitStack
) -> tuple[WorkSignal, Ping | None]:
    """The bell over Valkey; without one, workers are woken in their own process and poll for the rest."""
    if settings.valkey_url is None:
        return LocalWorkSignal(), None
    client = build_client(settings.valkey_url)
    stack.push_async_callback(client.aclose)
    bell = ValkeyWorkSignal(client, supervisor=loops)
    await bell.start()
    stack.push_async_callback(bell.close)
    return bell, lambda: ping(client)


async def _shared(
    settings: Settings,
    registry: Registry,
    instance: str,
    loops: LoopSupervisor,
    stack: contextlib.AsyncExitStack,
) -> ClusterBreakers:
    """The breakers of all processes, over Valkey; without one, those of this process alone."""
    if settings.valkey_url is None:
        return ClusterBreakers(registry, instance)
    client = build_client(settings.valkey_url)
    stack.push_async_callback(client.aclose)
    shared = SharedBreakers(client, registry, instance, peer_open=settings.peer_open, supervisor=loops)
    await shared.start()
    stack.push_async_callback(shared.close)
    return ClusterBreakers(registry, instance, shared)


def _share_risk(
    settings: Settings,
    watch: VelocityCounters,
    clock: SystemClock,
    instance: str,
    loops: LoopSupervisor,
    stack: contextlib.AsyncExitStack,
) -> SharedRiskInputs | None:
    """What the risk rules count in all processes; without a Valkey, each counts for itself."""
    if settings.valkey_url is None or watch.is_idle:
        return None
    client = build_client(settings.valkey_url)
    stack.push_async_callback(client.aclose)

    def heard(seen: RiskInput, said: RiskDecision) -> None:
        watch.heard(seen, said, clock.monotonic())

    def heard_not_opened(seen: RiskInput) -> None:
        watch.heard_not_opened(seen, clock.monotonic())

    shared = SharedRiskInputs(client, instance, heard, heard_not_opened, supervisor=loops)
    stack.push_async_callback(shared.close)
    watch.tell, watch.take_back = shared.tell, shared.take_back
    return shared


async def _share_health(
    settings: Settings,
    health: RailHealth,
    registry: Registry,
    instance: str,
    loops: LoopSupervisor,
    stack: contextlib.AsyncExitStack,
) -> None:
    """What all processes know of the rails, over Valkey; without one, each goes by what it sees."""
    if settings.valkey_url is None:
        return
    client = build_client(settings.valkey_url)
    stack.push_async_callback(client.aclose)

    def shut() -> dict[str, float]:
        refusing = {name: breaker.retry_after() for name, breaker in registry.breakers().items()}
        return {name: left_s for name, left_s in refusing.items() if left_s is not None}

    shared = SharedRailHealth(client, instance, health.known, shut, health.heard, health.now)
    stack.push_async_callback(shared.close)
    _in_background("rail_health", shared.run, loops, stack)


def _in_background(
    name: str, run: Run, loops: LoopSupervisor, stack: contextlib.AsyncExitStack
) -> SupervisedLoop:
    """Run a loop that ends when it is cancelled, until the stack is left."""
    loop = loops.start(name, run)
    stack.push_async_callback(loop.end)
    return loop


def _screening(
    settings: Settings, transport: Transport, registry: Registry, clock: SystemClock
) -> Screening | None:
    """The external fraud service, under the profile of its kind; None where none is set up."""
    if settings.fraud_url is None:
        return None
    service = FraudService(settings.fraud_url, transport, settings.fraud_timeout_s, settings.fraud_key)
    ask = guarded(
        service,
        registry.profile("fraud"),
        registry.breaker("fraud"),
        registry.budget("fraud"),
        clock=clock.monotonic,
        sleep=clock.sleep,
    )
    outage = OutagePolicy(
        outcome=RiskOutcome(settings.fraud_outage),
        payouts=RiskOutcome(settings.payout_fraud_outage),
        decline_above=settings.fraud_decline_above,
    )
    return Screening(ask, outage)


def _dispatch(settings: Settings, registry: Registry, clock: SystemClock) -> PolicyDispatch:
    return PolicyDispatch(
        breaker_of=registry.breaker,
        profile_of=registry.profile,
        budget_of=registry.budget,
        clock=clock,
        settings=dispatch_settings(settings),
        random=random.random,
    )


def _notifier(
    settings: Settings,
    webhooks: PostgresWebhooks,
    sender: WebhookSender,
    registry: Registry,
    work_signal: WorkSignal,
    clock: SystemClock,
    identities: SystemIdentities,
) -> WebhookDispatcher:
    return WebhookDispatcher(
        outbox=webhooks,
        post=sender.post,
        sign=signed_headers,
        clock=clock,
        identities=identities,
        work_signal=work_signal,
        random=random.random,
        settings=notifier_settings(settings, registry.profile("webhook")),
    )


def _know_breakers(registry: Registry, rails: Mapping[str, Rail]) -> None:
    """Make the breakers of all rails, so that they are shown and shared before the first call."""
    for rail in rails.values():
        for operation in (*rail.capabilities.operations, "status"):
            registry.breaker(f"{rail.name}:{operation}")


def _registry(settings: Settings, clock: SystemClock) -> Registry:
    """The breakers of this process, under the profiles that are in force."""
    profiles, open_s = PROFILES, settings.breaker_open_s
    if open_s is not None:
        provider = profiles["*"]
        most_s = max(open_s, provider.breaker.open_max_s)
        breaker = replace(provider.breaker, open_s=open_s, open_max_s=most_s)
        profiles = {**profiles, "*": replace(provider, breaker=breaker)}
    try:
        profiles = overridden(profiles, settings.profiles, tuple(RAILS))
    except ValueError as error:
        raise SettingsError(f"profiles: {error}") from error
    return Registry(profiles, clock=clock.monotonic)


def check_settings(settings: Settings) -> None:
    """Read all that a process reads at its start. Nothing is called. Raises SettingsError."""
    clock = SystemClock()
    rails = build_rails(settings, Transport(), clock)
    build_former_rails(settings, Transport(), clock)
    routing_rules(settings, rails)
    health_settings(settings)
    engine_settings(settings)
    risk_rules(settings)
    payout_rules(settings)
    _registry(settings, clock)
    _limits(settings)


def serve(settings: Settings, *, fd: int | None) -> int:
    """Serve the API until told to stop; return the exit code. `fd`: a listening socket of ours."""
    return _run(settings, lambda url: _serve(settings, url, fd))


def work(settings: Settings) -> int:
    """Move payments forward until told to stop; return the exit code."""
    return _run(settings, lambda url: _work(settings, url))


def _run(settings: Settings, role: Callable[[str], Coroutine[Any, Any, None]]) -> int:
    configure_logging(settings.log_level)
    if settings.database_url is None:
        print(
            "synccash: SYNCCASH_DATABASE_URL is not set; set it to the URL of your PostgreSQL database",
            file=sys.stderr,
        )
        return 1
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(role(settings.database_url))
    except SettingsError as error:
        print(f"synccash: {error}", file=sys.stderr)
        return 1
    return 0


def application(service: Service, settings: Settings) -> App:
    """The HTTP API over the live parts of a process."""
    # Here, as a worker and the commands that only check settings need no web framework.
    from synccash.api.app import create_app
    from synccash.api.v1.management import Management
    from synccash.api.v1.webhook_endpoints import EndpointMaker

    clock, identities = SystemClock(), SystemIdentities()
    return create_app(
        engine=service.engine,
        keys=service.keys,
        reading=service.reading,
        balances=service.balances,
        health=service.health,
        endpoints=service.webhooks,
        endpoint_maker=EndpointMaker(clock, identities, settings.webhook_private_addresses),
        management=Management(
            breakers=service.breakers,
            limits=service.gate.limiter,
            book=service.gate.book,
            claims=service.claims,
            audit=service.audit,
            tenants=service.keys,
            counted=lambda: asdict(service.gate.counts),
            floats=service.floats.shown,
        ),
        collectors=(
            LimiterCollector(service.gate.limiter.counts, NAMES),
            IdempotencyCollector(lambda: service.gate.counts),
            BreakerCollector(service.registry),
            RetryCollector(service.registry),
            InquiryCollector(service.rails),
            PeersCollector(service.breakers),
            FloatCollector(service.floats.shown),
            WaitingCollector(lambda: service.backlog.counted),
            LoopCollector(service.loops.restarts),
        ),
        layers=(service.gate.layer,),
        keyless=service.gate.keyless,
        stranger=service.gate.stranger,
        body_timeout_s=settings.body_timeout_s,
        new_id=lambda: identities.new("req"),
    )


async def _serve(settings: Settings, database_url: str, fd: int | None) -> None:
    import uvicorn

    from synccash.processes.http_server import configured

    listener = socket.socket(fileno=fd) if fd is not None else None
    async with assembled(settings, database_url) as service:
        config = configured(
            application(service, settings),
            host=settings.host,
            port=settings.port,
            within_s=settings.body_timeout_s,
            grace_s=int(settings.request_deadline_s) + 2,
        )
        server = uvicorn.Server(config)
        service.gate.open()
        if service.sightings is not None:
            service.sightings.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _heard)
        await server.serve(sockets=[listener] if listener is not None else None)


def _heard(_number: int, _frame: FrameType | None) -> None:
    """Uvicorn raises the signal again once it has stopped; what it finds then ends nothing."""


def worker_server(service: Service, keeping: Housekeeping, host: str, port: int) -> "WorkerServer":
    """What shows a worker's numbers. Raises SettingsError where its port cannot be had."""
    from synccash.processes.worker import WorkerCollector, WorkerServer

    collectors = (
        WorkerCollector(service.engine.worker, service.notifier, keeping),
        BreakerCollector(service.registry),
        RetryCollector(service.registry),
        InquiryCollector(service.rails),
        PeersCollector(service.breakers),
        FloatCollector(service.floats.shown),
        LeaseCollector(service.engine.leases),
        LoopCollector(service.loops.restarts),
    )
    return WorkerServer(collectors, host=host, port=port)


async def _work(settings: Settings, database_url: str) -> None:
    async with assembled(settings, database_url) as service:
        keeping = Housekeeping(service.claims, settings.idempotency_retention_days * 86_400.0)
        loops = {"worker": service.engine.worker, "webhooks": service.notifier, "housekeeping": keeping}
        if service.inquirers is not None:
            service.inquirers.start()
        port = settings.worker_port
        servers = [] if port is None else [worker_server(service, keeping, settings.host, port)]

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
