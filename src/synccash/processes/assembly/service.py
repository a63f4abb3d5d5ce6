"""The live parts of an API process or worker, and the function that builds them."""

import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from synccash.administration.operators.operators import Operators
from synccash.administration.operators.passwords import PasswordHashes
from synccash.engine.dispatch.float_watch import FloatWatch
from synccash.engine.dispatch.network_memory import NetworkMemory
from synccash.engine.dispatch.rail_watch import RailWatch
from synccash.engine.engine import Engine
from synccash.engine.ports import Rail
from synccash.observability.backlog import Backlog
from synccash.observability.callback_watch import CallbackWatch
from synccash.observability.cluster_breakers import ClusterBreakers
from synccash.observability.health import ServiceHealth
from synccash.observability.loop_watch import LoopWatch
from synccash.observability.overdue_orders import OverdueOrdersWatch
from synccash.observability.prometheus import EventCounter
from synccash.observability.undelivered import UndeliveredWatch
from synccash.payments.balance import read_fees
from synccash.payments.errors import StoreUnavailableError
from synccash.processes.assembly.checks import check_lookup_key
from synccash.processes.assembly.engine import (
    EngineParts,
    engine_parts,
    load_payout_velocity,
    register_breakers,
    start_engine,
)
from synccash.processes.assembly.sharing import (
    cluster_breakers,
    inquiring_processes,
    service_guard,
    share_health,
    share_risk,
    workers_missing_s,
)
from synccash.processes.assembly.wiring import Wiring, open_connections
from synccash.processes.balance_loop import BalanceLoop
from synccash.processes.drain import Drain
from synccash.processes.housekeeping import RetentionLoop
from synccash.processes.key_usage import KeyUsage
from synccash.processes.service_guard import ServiceGuard
from synccash.resilience.registry import Registry
from synccash.settings.loader import Settings
from synccash.settings.secret import Secret
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.balances import PostgresBalances
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.approvals import PostgresApprovals
from synccash.stores.postgres.operations.erasure import PostgresErasure
from synccash.stores.postgres.operations.merchants import PostgresKeys
from synccash.stores.postgres.operations.missing_callbacks import PostgresMissingCallbacks
from synccash.stores.postgres.operations.operators import PostgresOperators
from synccash.stores.postgres.operations.removed_endpoints import PostgresRemovedEndpoints
from synccash.stores.postgres.orders.claims import PostgresClaims
from synccash.stores.postgres.orders.overdue_orders import PostgresOverdueOrders
from synccash.stores.postgres.orders.rail_status import PostgresRailStatus
from synccash.stores.postgres.orders.reading import PostgresReading
from synccash.stores.postgres.orders.recovery import PostgresRecovery
from synccash.stores.postgres.orders.waiting import PostgresWaiting
from synccash.stores.postgres.payer_networks import PostgresNetworks
from synccash.stores.postgres.schema.schema_version import SchemaCheck
from synccash.stores.postgres.webhooks import PostgresWebhooks
from synccash.stores.supervised_loops import LoopSupervisor
from synccash.stores.valkey.presence import Membership
from synccash.stores.valkey.risk_sharing import SharedRiskInputs

if TYPE_CHECKING:
    from synccash.observability.tracing import Tracing

log = structlog.get_logger("synccash")


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
    undelivered: UndeliveredWatch
    floats: FloatWatch
    loops: LoopSupervisor
    loop_watch: LoopWatch
    drain: Drain
    retention: RetentionLoop | None = None
    tracing: "Tracing | None" = None


_API = "api"


@contextlib.asynccontextmanager
async def assembled(
    settings: Settings, database_url: Secret | str, role: str = "service"
) -> AsyncGenerator[Service]:
    """Wire the parts of one process. At the end they are closed in reverse order. `role` names the process in
    traces; one with the role `api` takes no due orders."""
    async with contextlib.AsyncExitStack() as stack:
        loop_watch, drain = LoopWatch(), Drain(settings.drain_s)
        loop_watch.start()
        stack.callback(loop_watch.close)
        wiring = await open_connections(settings, database_url, stack, role)
        await check_lookup_key(wiring.database)
        inquirers = inquiring_processes(wiring)
        parts, work_signal, ping_valkey = await engine_parts(wiring, inquirers, takes_orders=role != _API)
        engine = await start_engine(wiring, parts, work_signal)
        recovery = PostgresRecovery(wiring.database)
        await _warn_of_weaknesses(recovery)
        balances, folding = _start_balances(wiring)
        webhooks = PostgresWebhooks(wiring.database)
        undelivered = UndeliveredWatch(webhooks, wiring.clock)
        wiring.run_in_background("undelivered", undelivered.run)
        callbacks = CallbackWatch(parts.rails, PostgresMissingCallbacks(wiring.database), wiring.clock)
        wiring.run_in_background("callback_watch", callbacks.run)
        overdue = OverdueOrdersWatch(
            PostgresOverdueOrders(wiring.database), wiring.clock, workers_missing_s(wiring)
        )
        wiring.run_in_background("overdue_orders", overdue.run)
        backlog, float_watch = _start_watches(wiring, parts)
        health = ServiceHealth(
            wiring.pool,
            ping_valkey,
            engine.rails,
            parts.dispatch,
            lambda: engine.recovery.known,
            recovery.durability,
            lambda: (*folding.warnings(), *overdue.warnings(), *undelivered.warnings()),
            lambda: (*backlog.notices(), *undelivered.notices()),
            callbacks.silent_rails,
            draining=lambda: drain.active,
            schema_of=SchemaCheck(wiring.database).problem,
        )
        register_breakers(wiring.registry, parts.rails)
        share_health(wiring, parts.rail_health)
        await load_payout_velocity(wiring, engine)
        guard = service_guard(wiring, engine)
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
            breakers=cluster_breakers(wiring),
            shared_risk=share_risk(wiring, engine.risk),
            database=wiring.database,
            claims=PostgresClaims(wiring.database),
            audit=PostgresAudit(wiring.database),
            backlog=backlog,
            undelivered=undelivered,
            floats=float_watch,
            loops=wiring.loops,
            loop_watch=loop_watch,
            drain=drain,
            tracing=wiring.tracing,
            retention=_retention(wiring),
        )


def _record_key_usage(wiring: Wiring, keys: PostgresKeys) -> KeyUsage:
    usage = KeyUsage(keys, wiring.clock)
    wiring.stack.push_async_callback(usage.close)
    wiring.run_in_background("key_usage", usage.run)
    return usage


def _operators(wiring: Wiring) -> Operators:
    passwords = PasswordHashes()
    wiring.stack.callback(passwords.close)
    return Operators(
        PostgresOperators(wiring.database),
        PostgresAudit(wiring.database),
        passwords,
        wiring.clock,
        wiring.identities,
    )


def _start_balances(wiring: Wiring) -> tuple[PostgresBalances, BalanceLoop]:
    balances = PostgresBalances(wiring.database)
    folding = BalanceLoop(balances, wiring.clock, read_fees(wiring.settings.balance_fees))
    wiring.run_in_background("balances", folding.run)
    return balances, folding


def _start_watches(wiring: Wiring, parts: EngineParts) -> tuple[Backlog, FloatWatch]:
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


def _retention(wiring: Wiring) -> RetentionLoop | None:
    """The loop that erases and deletes what is past its retention; None where the settings keep it."""
    settings, database = wiring.settings, wiring.database
    days = settings.retention_days
    if days is None or database.encryption is None:
        return None
    return RetentionLoop(
        PostgresErasure(database, database.encryption, settings.refundable_days, days),
        PostgresRemovedEndpoints(database, days),
        PostgresApprovals(database),
    )


async def _warn_of_weaknesses(recovery: PostgresRecovery) -> None:
    """Log what a failure of PostgreSQL could lose. An unreachable PostgreSQL does not stop the start."""
    try:
        durability = await recovery.durability()
    except StoreUnavailableError:
        return
    for weakness in durability.weaknesses():
        log.warning("commits_may_be_lost", detail=weakness)
