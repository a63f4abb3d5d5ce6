"""Builds the breakers, retry budgets and profiles of a process from its settings."""

from collections.abc import Callable
from dataclasses import replace

from synccash.rails.registry import RAILS
from synccash.resilience.events import EventHook
from synccash.resilience.profiles import PROFILES
from synccash.resilience.registry import Registry
from synccash.settings.loader import Settings, SettingsError
from synccash.settings.profiles import overridden


def build_registry(
    settings: Settings, clock: Callable[[], float], on_event: EventHook | None = None
) -> Registry:
    """Return the registry as configured; `on_event` gets the transitions of its breakers. Raises
    SettingsError."""
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
    return Registry(profiles, clock=clock, default_operation="collect", on_event=on_event)
