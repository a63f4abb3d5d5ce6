"""Looks at all rails as they stand now, and has the pure ranking choose among them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from synccash.payments.health import Health, HealthSettings
from synccash.payments.lifecycle import Routed
from synccash.payments.payer import Network, Payer
from synccash.payments.payment import Payment
from synccash.payments.payout import Payee
from synccash.payments.rail import Capabilities, Environment, Operation
from synccash.payments.routing import OTHER_MODE, RECOVERY_PROBE, Candidate, Route, choose, share_of, why_not
from synccash.payments.routing_rules import NO_RULES, RoutingRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """How many orders find out whether a sick rail is well again: `share` of them (0 to 1), and one in
    `every_s` seconds at most over the whole fleet."""

    share: float = 0.05
    every_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What routing goes by of an order. `key` names it: a split sends it to the same rail each time.
    `livemode`: the order's mode; it goes to accounts of that environment only."""

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
    """How well rails serve. RailHealth is one."""

    @property
    def settings(self) -> HealthSettings: ...
    @property
    def now(self) -> Callable[[], float]: ...
    @property
    def live(self) -> int: ...
    def of(self, rail: str, network: Network | None, operation: Operation) -> Health: ...


class BreakerView(Protocol):
    """What says for how many seconds a rail's breaker still refuses. A Dispatch is one."""

    def open_for_s(self, rail: str, operation: Operation) -> float | None: ...


class FloatView(Protocol):
    """How much rails can pay out. RailFloats is one."""

    def short_for_s(self, rail: str, network: Network | None, amount: int) -> float | None: ...


class HasCapabilities(Protocol):
    """What routing goes by of a rail."""

    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def environment(self) -> Environment: ...


@dataclass(slots=True)
class Router:
    """Live: one per process. It calls nobody: health and breakers are known in process. `is_unconfirmed` says
    of a rail whether the operator has still to confirm its account."""

    rails: Mapping[str, HasCapabilities]
    gates: BreakerView
    health: HealthView
    rules: RoutingRules = NO_RULES
    probing: Probing = field(default_factory=Probing)
    floats: FloatView | None = None
    is_unconfirmed: Callable[[str], bool] = lambda _: False
    _probed: dict[tuple[Network | None, Operation], float] = field(
        default_factory=dict[tuple[Network | None, Operation], float]
    )

    def route(self, order: Routed, spent: frozenset[str] = frozenset()) -> Route:
        """Choose a rail for the payment or payout, leaving out those in `spent`."""
        asked = asked_of(order)
        route = self._choose(asked, spent, probe=not spent and self._may_probe(asked))
        if route.reason == RECOVERY_PROBE:
            self._probed[asked.network, asked.operation] = self.health.now()
        return route

    def elsewhere(self, order: Routed, spent: frozenset[str]) -> str | None:
        """Where the order could go if all of `spent` fail; None where there is no other way."""
        return self._choose(asked_of(order), spent, probe=False).chosen

    @property
    def has_live_account(self) -> bool:
        """True where any rail's account moves real money."""
        return any(rail.environment is Environment.LIVE for rail in self.rails.values())

    def has_only_other_mode(self, asked: Asked) -> bool:
        """True where rails could take the order but for its mode: their accounts are of the other one."""
        only_other_mode = False
        for name, rail in self.rails.items():
            reason = why_not(
                Candidate(name, rail.capabilities, environment=rail.environment),
                asked.network,
                asked.pinned,
                frozenset(),
                asked.operation,
                asked.environment,
            )
            if reason is None:
                return False
            only_other_mode |= reason == OTHER_MODE
        return only_other_mode

    def dry_run(self, asked: Asked) -> dict[str, Any]:
        """What would be chosen now, and what that rests on. Nothing is sent and nothing is used up."""
        route = self._choose(asked, frozenset(), probe=False)
        preferences = self.rules.preferences_for(asked.merchant_id, asked.network, asked.operation)
        considered: list[dict[str, Any]] = []
        for one in route.considered:
            name = one["rail"]
            health = self.health.of(name, asked.network, asked.operation)
            cost = preferences.costs.get(name)
            considered.append(
                {
                    **one,
                    "health": round(health.score, 3),
                    "seen": health.explained(),
                    "cost_percent": None if cost is None else round(cost.of(asked.amount), 3),
                    "preferred": preferences.order.index(name) + 1 if name in preferences.order else None,
                    "share_percent": preferences.shares.get(name),
                }
            )
        return {"chosen": route.chosen, "reason": route.reason, "considered": considered}

    def _choose(self, asked: Asked, spent: frozenset[str], *, probe: bool) -> Route:
        return choose(
            [self._candidate(name, rail, asked) for name, rail in self.rails.items()],
            network=asked.network,
            pinned=asked.pinned,
            spent=spent,
            operation=asked.operation,
            amount=asked.amount,
            key=asked.key,
            preferences=self.rules.preferences_for(asked.merchant_id, asked.network, asked.operation),
            probe=probe,
            environment=asked.environment,
        )

    def _candidate(self, name: str, rail: HasCapabilities, asked: Asked) -> Candidate:
        score = self.health.of(name, asked.network, asked.operation).score
        ailing = score < self.health.settings.ailing_below
        open_for_s = self.gates.open_for_s(name, asked.operation)
        short_for_s = None
        if self.floats is not None and asked.operation is Operation.PAYOUT:
            short_for_s = self.floats.short_for_s(name, asked.network, asked.amount)
        return Candidate(
            name,
            rail.capabilities,
            open_for_s,
            score,
            ailing,
            short_for_s=short_for_s,
            environment=rail.environment,
            unconfirmed=self.is_unconfirmed(name),
        )

    def _may_probe(self, asked: Asked) -> bool:
        if share_of(asked.key, RECOVERY_PROBE) > self.probing.share:
            return False
        last = self._probed.get((asked.network, asked.operation))
        return last is None or self.health.now() - last >= self.probing.every_s * self.health.live


def asked_of(order: Routed) -> Asked:
    """What routing goes by of a payment or payout."""
    return Asked(
        network=wallet_of(order).likely_network,
        operation=operation_of(order),
        amount=order.amount,
        merchant_id=order.merchant_id,
        key=order.id,
        livemode=order.livemode,
        pinned=order.pinned_rail,
    )


def wallet_of(order: Routed) -> Payer | Payee:
    """Whose wallet the order is about."""
    return order.payer if isinstance(order, Payment) else order.payee


def operation_of(order: Routed) -> Operation:
    """What a rail is asked to do for the order."""
    return Operation.COLLECT if isinstance(order, Payment) else Operation.PAYOUT
