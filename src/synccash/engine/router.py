"""Looks at all rails as they stand now, and has the pure ranking choose among them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from synccash.engine.ports import Dispatch, Rail
from synccash.engine.rail_health import RailHealth
from synccash.payments.lifecycle import Routed
from synccash.payments.payer import Network, Payer
from synccash.payments.payment import Payment
from synccash.payments.payout import Payee
from synccash.payments.rail import Operation
from synccash.payments.routing import RECOVERY_PROBE, Candidate, Route, choose, share_of
from synccash.payments.routing_rules import NO_RULES, RoutingRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """How many orders find out whether a sick rail is well again: `share` of them (0 to 1), and one in
    `every_s` seconds at most over the whole fleet."""

    share: float = 0.05
    every_s: float = 1.0


@dataclass(slots=True)
class Router:
    """Live: one per process. It calls nobody: health and breakers are known in process."""

    rails: Mapping[str, Rail]
    dispatch: Dispatch
    health: RailHealth
    rules: RoutingRules = NO_RULES
    probing: Probing = field(default_factory=Probing)
    _probed: dict[tuple[Network | None, Operation], float] = field(
        default_factory=dict[tuple[Network | None, Operation], float]
    )

    def route(self, order: Routed, spent: frozenset[str] = frozenset()) -> Route:
        """Choose a rail for the payment or payout, leaving out those in `spent`."""
        kind = (wallet_of(order).likely_network, operation_of(order))
        route = self._choose(order, spent, probe=not spent and self._may_probe(order, kind))
        if route.reason == RECOVERY_PROBE:
            self._probed[kind] = self.health.now()
        return route

    def elsewhere(self, order: Routed, spent: frozenset[str]) -> str | None:
        """Where the order could go if all of `spent` fail; None where there is no other way."""
        return self._choose(order, spent, probe=False).chosen

    def _choose(self, order: Routed, spent: frozenset[str], *, probe: bool) -> Route:
        network, operation = wallet_of(order).likely_network, operation_of(order)
        return choose(
            [self._candidate(name, rail, network, operation) for name, rail in self.rails.items()],
            network=network,
            pinned=order.pinned_rail,
            spent=spent,
            operation=operation,
            amount=order.amount,
            key=order.id,
            wishes=self.rules.wishes(order.merchant_id, network, operation),
            probe=probe,
        )

    def _candidate(self, name: str, rail: Rail, network: Network | None, operation: Operation) -> Candidate:
        score = self.health.of(name, network, operation).score
        ailing = score < self.health.settings.ailing_below
        return Candidate(name, rail.capabilities, self.dispatch.open_for_s(name, operation), score, ailing)

    def _may_probe(self, order: Routed, kind: tuple[Network | None, Operation]) -> bool:
        if share_of(order.id, RECOVERY_PROBE) > self.probing.share:
            return False
        last = self._probed.get(kind)
        return last is None or self.health.now() - last >= self.probing.every_s * self.health.live


def wallet_of(order: Routed) -> Payer | Payee:
    """Whose wallet the order is about."""
    return order.payer if isinstance(order, Payment) else order.payee


def operation_of(order: Routed) -> Operation:
    """What a rail is asked to do for the order."""
    return Operation.COLLECT if isinstance(order, Payment) else Operation.PAYOUT
