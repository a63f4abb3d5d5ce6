"""Builds the engine's routing settings and checks them against the configured rails."""

from collections.abc import Callable, Mapping

from synccash.engine.dispatch.rail_float import RailFloats
from synccash.engine.dispatch.router import Probing
from synccash.engine.ports import Rail
from synccash.payments.health import HealthSettings
from synccash.payments.routing_rules import RoutingRules, read_rules
from synccash.settings.loader import Settings, SettingsError


def rail_floats(settings: Settings, rails: Mapping[str, object], now: Callable[[], float]) -> RailFloats:
    """Returns the tracker of rail floats, with the alarm level of each rail that has one."""
    alarms = {rail: getattr(settings, f"{rail}_float_alarm", None) for rail in rails}
    return RailFloats(
        now, settings.float_poll_s, {rail: alarm for rail, alarm in alarms.items() if alarm is not None}
    )


def routing_rules(settings: Settings, rails: Mapping[str, Rail]) -> RoutingRules:
    """Returns costs, preferences and splits. Raises SettingsError with a line for each mistake."""
    try:
        return read_rules(
            {name: rail.capabilities for name, rail in rails.items()},
            costs=settings.routing_costs,
            preferences=settings.routing_preferences,
            splits=settings.routing_splits,
            cost_weight=settings.routing_cost_weight,
            preference_step=settings.routing_preference_step,
        )
    except ValueError as error:
        raise SettingsError(str(error)) from error


def health_settings(settings: Settings) -> HealthSettings:
    """Returns the thresholds and time constants of rail health. Raises SettingsError."""
    if settings.health_degraded_below >= settings.health_recovered_above:
        raise SettingsError("health_degraded_below must be less than health_recovered_above")
    return HealthSettings(
        half_life_s=settings.health_half_life_s,
        slow_s=settings.health_slow_s,
        timeout_s=settings.attempt_timeout_s,
        degraded_below=settings.health_degraded_below,
        recovered_above=settings.health_recovered_above,
        hold_s=settings.health_hold_s,
    )


def probing(settings: Settings) -> Probing:
    """Returns how many orders probe a degraded rail for recovery."""
    return Probing(share=settings.routing_probe_share, every_s=settings.routing_probe_every_s)
