"""Checks the settings that a process reads at its start."""

from synccash.administration.routing_settings import health_settings, routing_rules
from synccash.engine.system import SystemClock
from synccash.processes.assembly.engine_settings import engine_settings
from synccash.processes.assembly.registry import build_registry
from synccash.processes.assembly.sharing import request_limits
from synccash.processes.http_server import tls_files
from synccash.rails.registry import build_former_rails, build_rails
from synccash.rails.transport import Transport
from synccash.settings.live_mode import refuse_insecure
from synccash.settings.loader import Settings
from synccash.settings.risk import payout_rules, risk_rules


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
    request_limits(settings)
    tls_files(settings)
    refuse_insecure(settings)
