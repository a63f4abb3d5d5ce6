"""What the steps of the assembly share: settings, connections, background loops."""

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synccash.engine.system import SystemClock, SystemIdentities
from synccash.observability.prometheus import EventCounter
from synccash.processes.assembly.registry import build_registry
from synccash.processes.assembly.traces import open_tracing
from synccash.rails.http.transport import Transport
from synccash.resilience.events import EventHook
from synccash.resilience.registry import Registry
from synccash.settings.loader import Settings
from synccash.settings.secret import Secret
from synccash.stores.encryption import required_encryption
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.recovery import ServerCheck
from synccash.stores.postgres.pool import Pool, connect
from synccash.stores.supervised_loops import LoopSupervisor, Run, SupervisedLoop
from synccash.stores.valkey.session import ValkeySession, open_session

if TYPE_CHECKING:
    from synccash.observability.tracing import Tracing

FIRST_LOOK_S = 2.0
"""How long a start waits for the recorded rail accounts, and for the payouts that the risk rules count. While
PostgreSQL is unreachable they are read later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
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
    on_event: EventHook
    tracing: "Tracing | None"
    transport: Transport
    valkey: ValkeySession | None

    def run_in_background(self, name: str, run: Run) -> SupervisedLoop:
        """Run a loop that ends when it is cancelled, until the stack is closed."""
        loop = self.loops.start(name, run)
        self.stack.push_async_callback(loop.end)
        return loop


async def open_connections(
    settings: Settings, database_url: Secret | str, stack: contextlib.AsyncExitStack, role: str
) -> Wiring:
    """Make the connections that everything else uses. Raises SettingsError without encryption keys."""
    encryption = required_encryption(settings)
    clock, identities = SystemClock(), SystemIdentities()
    instance = identities.new("proc")
    tracing = open_tracing(settings, stack, role=role, instance=instance)
    pool = await connect(
        database_url,
        min_size=0,
        max_size=settings.database_pool_size,
        check=ServerCheck(),
        statement_timeout_s=settings.database_statement_timeout_s,
        prepared_statements=settings.database_prepared_statements == "on",
    )
    stack.push_async_callback(pool.close)
    transport = Transport()
    stack.push_async_callback(transport.aclose)
    events = EventCounter()
    on_event = events if tracing is None else tracing.on_event(events)
    registry = build_registry(settings, clock.monotonic, on_event)
    loops = LoopSupervisor()
    valkey = None
    if settings.valkey_url is not None:
        opening = open_session(settings.valkey_url, instance, supervisor=loops)
        valkey = await stack.enter_async_context(opening)
    return Wiring(
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
            on_event=on_event,
        ),
        registry=registry,
        events=events,
        on_event=on_event,
        tracing=tracing,
        transport=transport,
        valkey=valkey,
    )
