"""Dry run of routing by the settings of this shell, without a service."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from synccash.administration.errors import AdministrationError
from synccash.administration.routing_settings import health_settings, probing, routing_rules
from synccash.engine.dispatch.router import Router, RoutingQuery
from synccash.engine.system import SystemClock
from synccash.payments.health import FULL_HEALTH, Health, HealthSettings
from synccash.payments.payer import Network
from synccash.payments.rail import Operation
from synccash.rails.http.transport import Transport
from synccash.rails.registry import build_rails
from synccash.settings.loader import Settings, SettingsError


@dataclass(frozen=True, slots=True)
class AssumedHealth:
    """Rail health for a dry run: the given scores, and full health for all other rails."""

    settings: HealthSettings
    scores: Mapping[str, float]
    live: int = 1
    now: Callable[[], float] = field(default=time.monotonic)

    def of(self, rail: str, network: Network | None, operation: Operation) -> Health:
        """Returns the assumed health of the rail."""
        del network, operation
        score = self.scores.get(rail)
        return FULL_HEALTH if score is None else Health(score)


@dataclass(frozen=True, slots=True)
class AssumedBreakers:
    """Breakers for a dry run: open for the rails in `open_rails`, closed for all others."""

    open_rails: frozenset[str]

    def open_for_s(self, rail: str, operation: Operation) -> float | None:
        """Returns 30 s for an open breaker, None for a closed one."""
        del operation
        return 30.0 if rail in self.open_rails else None


def dry_run(
    settings: Settings,
    asked: RoutingQuery,
    *,
    scores: Mapping[str, float],
    open_rails: frozenset[str],
    is_mode_given: bool,
) -> dict[str, Any]:
    """Routes an order by these settings and returns the decision.

    If `is_mode_given` is false, the order is live if any rail has a live account. Raises AdministrationError.
    """
    router = _router(settings, scores, open_rails)
    unknown = sorted((set(scores) | open_rails) - set(router.rails))
    if unknown:
        raise AdministrationError(
            f"{unknown[0]} is not configured. Configured rails: {', '.join(router.rails) or 'none'}"
        )
    if not is_mode_given:
        asked = replace(asked, livemode=router.has_live_account)
    return router.dry_run(asked)


def _router(settings: Settings, scores: Mapping[str, float], open_rails: frozenset[str]) -> Router:
    try:
        rails = build_rails(settings, Transport(), SystemClock())
        return Router(
            rails,
            AssumedBreakers(open_rails),
            AssumedHealth(health_settings(settings), scores),
            routing_rules(settings, rails),
            probing(settings),
        )
    except SettingsError as error:
        raise AdministrationError(str(error)) from error
