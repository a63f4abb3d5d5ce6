"""What routing would do, from a shell: by the settings of this shell, or as the running service stands."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from synccash.administration.errors import AdministrationError
from synccash.administration.routing_settings import health_settings, probing, routing_rules
from synccash.engine.dispatch.router import Router, RoutingQuery
from synccash.engine.system import SystemClock
from synccash.payments.health import WELL, Health, HealthSettings
from synccash.payments.payer import Network
from synccash.payments.rail import Operation
from synccash.rails.registry import build_rails
from synccash.rails.transport import Transport
from synccash.settings.loader import Settings, SettingsError


@dataclass(frozen=True, slots=True)
class AssumedHealth:
    """Rails as well as somebody says; all others are in full health."""

    settings: HealthSettings
    scores: Mapping[str, float]
    live: int = 1
    now: Callable[[], float] = field(default=time.monotonic)

    def of(self, rail: str, network: Network | None, operation: Operation) -> Health:
        """The score that is assumed."""
        del network, operation
        score = self.scores.get(rail)
        return WELL if score is None else Health(score)


@dataclass(frozen=True, slots=True)
class AssumedBreakers:
    """Breakers that are closed, but for those of the rails named."""

    shut: frozenset[str]

    def open_for_s(self, rail: str, operation: Operation) -> float | None:
        """None, or the usual time of an open one."""
        del operation
        return 30.0 if rail in self.shut else None


def dry_run(
    settings: Settings,
    asked: RoutingQuery,
    *,
    scores: Mapping[str, float],
    shut: frozenset[str],
    is_mode_given: bool,
) -> dict[str, Any]:
    """Route by these settings, without a service. Without a mode given, the order is live where any rail has
    a live account. Raises AdministrationError."""
    router = _router(settings, scores, shut)
    unknown = sorted((set(scores) | shut) - set(router.rails))
    if unknown:
        raise AdministrationError(
            f"{unknown[0]} is not set up; there are {', '.join(router.rails) or 'none'}"
        )
    if not is_mode_given:
        asked = replace(asked, livemode=router.has_live_account)
    return router.dry_run(asked)


def _router(settings: Settings, scores: Mapping[str, float], shut: frozenset[str]) -> Router:
    try:
        rails = build_rails(settings, Transport(), SystemClock())
        return Router(
            rails,
            AssumedBreakers(shut),
            AssumedHealth(health_settings(settings), scores),
            routing_rules(settings, rails),
            probing(settings),
        )
    except SettingsError as error:
        raise AdministrationError(str(error)) from error
