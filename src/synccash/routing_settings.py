"""The settings of routing as the engine goes by them, checked against the rails that are set up."""

from collections.abc import Mapping

from synccash.engine.ports import Rail
from synccash.engine.router import Probing
from synccash.payments.health import HealthSettings
from synccash.payments.routing_rules import RoutingRules, read_rules
from synccash.settings import Settings, SettingsError


def routing_rules(settings: Settings, rails: Mapping[str, Rail]) -> RoutingRules:
    """Costs, preferences and splits. Raises SettingsError with a line for each mistake."""
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
    """How the health of rails is judged. Raises SettingsError."""
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
    """How many orders try whether a sick rail is well again."""
    return Probing(share=settings.routing_probe_share, every_s=settings.routing_probe_every_s)
