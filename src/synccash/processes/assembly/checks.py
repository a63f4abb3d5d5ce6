"""The checks of a process at its start: its settings, and its lookup key against the stored orders."""

import asyncio
import contextlib

from synccash.administration.routing_settings import health_settings, routing_rules
from synccash.engine.system import SystemClock
from synccash.payments.errors import StoreUnavailableError
from synccash.processes.assembly.engine_settings import engine_settings
from synccash.processes.assembly.registry import build_registry
from synccash.processes.assembly.sharing import request_limits
from synccash.processes.assembly.wiring import FIRST_LOOK_S
from synccash.rails.http.transport import Transport
from synccash.rails.registry import build_former_rails, build_rails
from synccash.settings.live_mode import refuse_insecure
from synccash.settings.loader import Settings, SettingsError
from synccash.settings.risk import payout_rules, risk_rules
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.schema.lookup_key import WRONG_LOOKUP_KEY, is_lookup_key_wrong


def check_settings(settings: Settings) -> None:
    """Check everything that a process reads at its start, without any call. Raises SettingsError."""
    # Imported here, because workers check only their lookup key and need no HTTP server.
    from synccash.processes.http_server import tls_files

    clock = SystemClock()
    rails = build_rails(settings, Transport(), clock)
    build_former_rails(settings, Transport(), clock)
    routing_rules(settings, rails)
    health_settings(settings)
    engine_settings(settings)
    risk_rules(settings)
    payout_rules(settings)
    build_registry(settings, clock.monotonic)
    request_limits(settings)
    tls_files(settings)
    refuse_insecure(settings)


async def check_lookup_key(database: Database) -> None:
    """Raise SettingsError when the stored orders were hashed with another key. An unreachable PostgreSQL does
    not stop the start."""
    with contextlib.suppress(TimeoutError, StoreUnavailableError):
        async with asyncio.timeout(FIRST_LOOK_S):
            if await is_lookup_key_wrong(database):
                raise SettingsError(WRONG_LOOKUP_KEY)
