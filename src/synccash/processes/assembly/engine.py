"""Builds the engine with its rails, and starts it."""

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synccash.administration.routing_settings import health_settings, probing, rail_floats, routing_rules
from synccash.engine.dispatch.account_book import StoredAccountBook
from synccash.engine.dispatch.policy_dispatch import PolicyDispatch
from synccash.engine.dispatch.rail_float import RailFloats
from synccash.engine.dispatch.rail_health import RailHealth
from synccash.engine.engine import Engine, build_engine
from synccash.engine.ports import Rail
from synccash.engine.progress.screening import OutagePolicy, Screening
from synccash.engine.requests.payout_velocity import PayoutVelocityLoader
from synccash.engine.system import SystemClock
from synccash.engine.worker import no_context
from synccash.fraud.http import FraudService
from synccash.fraud.policy import guarded
from synccash.payments.payer_networks import PayerNetworks
from synccash.payments.ports import WorkSignal
from synccash.payments.references import ReferenceKey
from synccash.payments.risk import RiskOutcome
from synccash.processes.assembly.engine_settings import dispatch_settings, engine_settings
from synccash.processes.assembly.sharing import StateOfValkey, open_delivery_signal, open_work_signal
from synccash.processes.assembly.wiring import FIRST_LOOK_S, Wiring
from synccash.rails.registry import build_former_rails, build_rails
from synccash.resilience.registry import Registry
from synccash.settings.loader import Settings, SettingsError
from synccash.settings.risk import payout_rules, risk_rules
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.orders.witnesses import PostgresWitnesses
from synccash.stores.postgres.rail_accounts import PostgresRailAccounts
from synccash.stores.postgres.recent_payouts import PostgresRecentPayouts
from synccash.stores.valkey.presence import Membership


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """Holds the parts that the engine and the background loops share."""

    rails: Mapping[str, Rail]
    former: Mapping[str, Sequence[Rail]]
    accounts: StoredAccountBook
    dispatch: PolicyDispatch
    rail_health: RailHealth
    floats: RailFloats
    networks: PayerNetworks


async def engine_parts(
    wiring: Wiring, inquirers: Membership | None, *, takes_orders: bool
) -> tuple[EngineParts, WorkSignal, StateOfValkey | None]:
    """Build the rails with their accounts, health, floats and networks; nothing runs yet. `takes_orders`: the
    process may run a worker."""
    settings, clock = wiring.settings, wiring.clock
    sharing = inquirers.size if inquirers is not None else lambda: settings.processes
    rails = build_rails(settings, wiring.transport, clock, sharing)
    former = build_former_rails(settings, wiring.transport, clock, sharing)
    work_signal, ping_valkey = open_work_signal(wiring, listens=takes_orders)
    parts = EngineParts(
        rails=rails,
        former=former,
        accounts=await _accounts(wiring.database, rails, clock),
        dispatch=_dispatch(wiring),
        rail_health=RailHealth(health_settings(settings), clock.monotonic),
        floats=rail_floats(settings, rails, clock.monotonic),
        networks=PayerNetworks(clock.now, settings.network_memory_days * 86_400.0),
    )
    return parts, work_signal, ping_valkey


async def start_engine(wiring: Wiring, parts: EngineParts, work_signal: WorkSignal) -> Engine:
    """Build and start the engine; learn whether a recovery is under way before anything is sent."""
    settings, tracing = wiring.settings, wiring.tracing
    make_store = tracing.order_store if tracing else PostgresOrderStore
    engine = build_engine(
        order_store=make_store(wiring.database, open_delivery_signal(wiring)),
        rails=parts.rails,
        dispatch=tracing.dispatch(parts.dispatch) if tracing else parts.dispatch,
        around_work=tracing.around_work if tracing else no_context,
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
        witnesses=PostgresWitnesses(wiring.database),
    )
    wiring.stack.push_async_callback(engine.recovery.end)
    engine.start()
    wiring.stack.push_async_callback(engine.close)
    await engine.recovery.look()
    wiring.run_in_background("recovery", engine.recovery.run)
    return engine


def _reference_key(settings: Settings) -> ReferenceKey:
    """Return the key that attempts' references are derived with. Raises SettingsError when it is not set."""
    if settings.installation_key is None:
        raise SettingsError(
            "installation_key is not set; generate one with `openssl rand -hex 32`, set it for every process "
            "as SYNCCASH_INSTALLATION_KEY or SYNCCASH_INSTALLATION_KEY_FILE, and store it apart from the "
            "database's backups: after a restore it finds orders at the rails that the database has lost"
        )
    return ReferenceKey.of(settings.installation_key.reveal())


async def _accounts(database: Database, rails: Mapping[str, Rail], clock: SystemClock) -> StoredAccountBook:
    """Record the rail accounts of this process. While PostgreSQL is unreachable no account is confirmed, so
    nothing is sent. Raises SettingsError when the settings contradict what is recorded."""
    book = StoredAccountBook(PostgresRailAccounts(database), rails.values(), clock)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_LOOK_S):
            await book.refresh()
    if contradictions := book.contradictions():
        raise SettingsError("\n".join(contradictions))
    return book


def _screening(wiring: Wiring) -> Screening | None:
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
        on_event=wiring.on_event,
        clock=clock.monotonic,
        sleep=clock.sleep,
    )
    outage = OutagePolicy(
        outcome=RiskOutcome(settings.fraud_outage),
        payouts=RiskOutcome(settings.payout_fraud_outage),
        decline_above=settings.fraud_decline_above,
    )
    return Screening(ask, outage)


def _dispatch(wiring: Wiring) -> PolicyDispatch:
    registry = wiring.registry
    return PolicyDispatch(
        breaker_of=registry.breaker,
        profile_of=registry.profile,
        budget_of=registry.budget,
        on_event=wiring.on_event,
        clock=wiring.clock,
        settings=dispatch_settings(wiring.settings),
        random=random.random,
    )


def register_breakers(registry: Registry, rails: Mapping[str, Rail]) -> None:
    """Create the breakers of all rails, so that they are shown and shared before the first call."""
    for rail in rails.values():
        for operation in (*rail.capabilities.operations, "status"):
            registry.breaker(f"{rail.name}:{operation}")


async def load_payout_velocity(wiring: Wiring, engine: Engine) -> None:
    """Load the recent payouts that the risk rules count, for `FIRST_LOOK_S` at most; the loop goes on."""
    loader = PayoutVelocityLoader(engine.risk, PostgresRecentPayouts(wiring.database), wiring.clock)
    loading = wiring.run_in_background("payout_recall", loader.run)
    await asyncio.wait([loading.task], timeout=FIRST_LOOK_S)
