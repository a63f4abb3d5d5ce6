"""Chooses a rail for an order: reads the present state of all rails and ranks them (`routing.choose`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from synccash.payments.case import Routed
from synccash.payments.health import Health, HealthSettings
from synccash.payments.payer import Network
from synccash.payments.rail import Capabilities, Environment, Operation
from synccash.payments.routing import (
    OTHER_MODE,
    RECOVERY_PROBE,
    Candidate,
    Route,
    choose,
    is_available,
    share_of,
    why_not,
)
from synccash.payments.routing_rules import NO_RULES, RoutingRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """How many orders probe whether an unhealthy rail has recovered: a `share` of them (0 to 1), but at most
    one in `every_s` seconds over all processes."""

    share: float = 0.05
    every_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingQuery:
    """The properties of an order that routing uses. `key` identifies it: a split by shares sends the same key
    to the same rail each time. `livemode`: the order's mode; it goes only to accounts of that environment."""

    network: Network | None
    operation: Operation
    amount: int
    merchant_id: str
    key: str
    livemode: bool
    pinned: str | None = None

    @property
    def environment(self) -> Environment:
        """The environment of the accounts that may take it."""
        return Environment.of_mode(livemode=self.livemode)


class HealthView(Protocol):
    """Reads rails' health. Satisfied by RailHealth."""

    @property
    def settings(self) -> HealthSettings: ...
    @property
    def now(self) -> Callable[[], float]: ...
    @property
    def live(self) -> int: ...
    def of(self, rail: str, network: Network | None, operation: Operation) -> Health: ...


class BreakerView(Protocol):
    """Reads for how many seconds a rail's breaker still refuses. Satisfied by every Dispatch."""

    def open_for_s(self, rail: str, operation: Operation) -> float | None: ...


class FloatView(Protocol):
    """Reads whether a rail's float is too low. Satisfied by RailFloats."""

    def short_for_s(self, rail: str, network: Network | None, amount: int) -> float | None: ...


class HasCapabilities(Protocol):
    """The properties of a rail that routing uses."""

    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def environment(self) -> Environment: ...


@dataclass(slots=True)
class Router:
    """Chooses rails for orders. Does no I/O: health, breakers and floats are read from memory.

    `is_unconfirmed` returns whether the operator has yet to confirm a rail's account.
    """

    rails: Mapping[str, HasCapabilities]
    breakers: BreakerView
    health: HealthView
    rules: RoutingRules = NO_RULES
    probing: Probing = field(default_factory=Probing)
    floats: FloatView | None = None
    is_unconfirmed: Callable[[str], bool] = lambda _: False
    _probed: dict[tuple[Network | None, Operation], float] = field(
        default_factory=dict[tuple[Network | None, Operation], float]
    )

    def route(self, order: Routed, excluded: frozenset[str] = frozenset()) -> Route:
        """Choose a rail for the payment or payout, leaving out those in `excluded`."""
        query = routing_query_of(order)
        route = self._choose(query, excluded, probe=not excluded and self._may_probe(query))
        if route.reason == RECOVERY_PROBE:
            self._probed[query.network, query.operation] = self.health.now()
        return route

    def failover_rail(self, order: Routed, excluded: frozenset[str]) -> str | None:
        """Return the rail that would take the order if all of `excluded` fail; None when there is none."""
        return self._choose(routing_query_of(order), excluded, probe=False).chosen

    def can_fail_over(self, order: Routed, excluded: frozenset[str]) -> bool:
        """Return whether `failover_rail` names a rail. It ranks none, because each send asks this."""
        query = routing_query_of(order)
        return any(
            self._why_not(name, rail, query, excluded) is None
            and is_available(self._candidate(name, rail, query))
            for name, rail in self.rails.items()
        )

    @property
    def has_live_account(self) -> bool:
        """True when any rail's account moves real money."""
        return any(rail.environment is Environment.LIVE for rail in self.rails.values())

    def has_only_other_mode(self, query: RoutingQuery) -> bool:
        """True when only the mode prevents routing: every rail that could take the order has an account of
        the other mode."""
        only_other_mode = False
        for name, rail in self.rails.items():
            reason = self._why_not(name, rail, query, frozenset())
            if reason is None:
                return False
            only_other_mode |= reason == OTHER_MODE
        return only_other_mode

    def dry_run(self, query: RoutingQuery) -> dict[str, Any]:
        """Return what would be chosen now, and why. Sends nothing and uses up no recovery probe."""
        route = self._choose(query, frozenset(), probe=False)
        preferences = self.rules.preferences_for(query.merchant_id, query.network, query.operation)
        considered: list[dict[str, Any]] = []
        for one in route.considered:
            name = one["rail"]
            health = self.health.of(name, query.network, query.operation)
            cost = preferences.costs.get(name)
            considered.append(
                {
                    **one,
                    "health": round(health.score, 3),
                    "seen": health.explained(),
                    "cost_percent": None if cost is None else round(cost.of(query.amount), 3),
                    "preferred": preferences.order.index(name) + 1 if name in preferences.order else None,
                    "share_percent": preferences.shares.get(name),
                }
            )
        return {"chosen": route.chosen, "reason": route.reason, "considered": considered}

    def _choose(self, query: RoutingQuery, excluded: frozenset[str], *, probe: bool) -> Route:
        return choose(
            [self._candidate(name, rail, query) for name, rail in self.rails.items()],
            network=query.network,
            pinned=query.pinned,
            excluded=excluded,
            operation=query.operation,
            amount=query.amount,
            key=query.key,
            preferences=self.rules.preferences_for(query.merchant_id, query.network, query.operation),
            probe=probe,
            environment=query.environment,
        )

    def _why_not(
        self, name: str, rail: HasCapabilities, query: RoutingQuery, excluded: frozenset[str]
    ) -> str | None:
        return why_not(
            Candidate(name, rail.capabilities, environment=rail.environment),
            query.network,
            query.pinned,
            excluded,
            query.operation,
            query.environment,
        )

    def _candidate(self, name: str, rail: HasCapabilities, query: RoutingQuery) -> Candidate:
        score = self.health.of(name, query.network, query.operation).score
        is_unhealthy = score < self.health.settings.unhealthy_below
        open_for_s = self.breakers.open_for_s(name, query.operation)
        short_for_s = None
        if self.floats is not None and query.operation is Operation.PAYOUT:
            short_for_s = self.floats.short_for_s(name, query.network, query.amount)
        return Candidate(
            name,
            rail.capabilities,
            open_for_s,
            score,
            is_unhealthy,
            short_for_s=short_for_s,
            environment=rail.environment,
            unconfirmed=self.is_unconfirmed(name),
        )

    def _may_probe(self, query: RoutingQuery) -> bool:
        if share_of(query.key, RECOVERY_PROBE) > self.probing.share:
            return False
        last = self._probed.get((query.network, query.operation))
        return last is None or self.health.now() - last >= self.probing.every_s * self.health.live


def routing_query_of(order: Routed) -> RoutingQuery:
    """Return the routing query of a payment or payout."""
    return RoutingQuery(
        network=order.wallet.likely_network,
        operation=order.operation,
        amount=order.amount,
        merchant_id=order.merchant_id,
        key=order.id,
        livemode=order.livemode,
        pinned=order.pinned_rail,
    )
