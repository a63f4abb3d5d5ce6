"""Replays recorded orders under other routing rules: which rails they would have used, at which cost. Pure.

The state of each rail comes from the decision that is stored with the order: which rails were available, and
their scores, from which the rules of that time are taken off to get their health.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from synccash.payments.payer import Network
from synccash.payments.rail import Capabilities, Environment, Operation
from synccash.payments.routing import FREE, RECOVERY_PROBE, Candidate, RoutingPreferences, choose
from synccash.payments.routing_rules import RoutingRules


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOrder:
    """An order with its routing decision: `chosen`, `considered` and `reason`."""

    id: str
    merchant_id: str
    livemode: bool
    operation: Operation
    network: Network | None
    amount: int
    pinned_rail: str | None
    routing: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Move:
    """Orders that would have used another rail; `amount` in pesewas is what they come to."""

    operation: Operation
    former: str
    new: str
    orders: int
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingReplay:
    """The result of a replay. `unrouted` orders had no rail, and are not among `orders`. Costs are in
    pesewas, by the new rules: of the rails that were used, and of those that would have been used."""

    orders: int
    unrouted: int
    moves: tuple[Move, ...]
    cost_used: float
    cost_new: float

    @property
    def moved(self) -> int:
        """How many orders would have used another rail."""
        return sum(move.orders for move in self.moves)


def replay_routing(
    orders: Iterable[RecordedOrder],
    rails: Mapping[str, Capabilities],
    *,
    former: RoutingRules,
    new: RoutingRules,
    unhealthy_below: float,
) -> RoutingReplay:
    """Choose a rail for each order again, under the rules `new`. It was routed under those of `former`."""
    counted, amounts = Counter[tuple[Operation, str, str]](), Counter[tuple[Operation, str, str]]()
    routed, unrouted, cost_used, cost_new = 0, 0, 0.0, 0.0
    for order in orders:
        used = order.routing.get("chosen")
        if used is None:
            unrouted += 1
            continue
        routed += 1
        preferences = _preferences(new, order)
        chosen = _rail_of(order, used, rails, _preferences(former, order), preferences, unhealthy_below)
        cost_used += _cost(preferences, used, order.amount)
        cost_new += _cost(preferences, chosen, order.amount)
        if chosen != used:
            counted[order.operation, used, chosen] += 1
            amounts[order.operation, used, chosen] += order.amount
    moves = tuple(Move(*name, n, amounts[name]) for name, n in counted.most_common())
    return RoutingReplay(
        orders=routed, unrouted=unrouted, moves=moves, cost_used=cost_used, cost_new=cost_new
    )


def _rail_of(
    order: RecordedOrder,
    used: str,
    rails: Mapping[str, Capabilities],
    former: RoutingPreferences,
    new: RoutingPreferences,
    unhealthy_below: float,
) -> str:
    """Return the rail of an order under the new preferences; the one that was used where no rule counts."""
    if order.pinned_rail is not None or order.routing.get("reason") == RECOVERY_PROBE:
        return used
    available = [one for one in order.routing["considered"] if "skipped" not in one and one["rail"] in rails]
    environment = Environment.of_mode(livemode=order.livemode)
    candidates = [
        _candidate(one, available, order.amount, rails, former, unhealthy_below, environment)
        for one in sorted(available, key=lambda one: list(rails).index(one["rail"]))
    ]
    route = choose(
        candidates,
        network=order.network,
        operation=order.operation,
        amount=order.amount,
        key=order.id,
        preferences=new,
        environment=environment,
    )
    return route.chosen or used


def _candidate(
    one: Mapping[str, Any],
    available: Iterable[Mapping[str, Any]],
    amount: int,
    rails: Mapping[str, Capabilities],
    former: RoutingPreferences,
    unhealthy_below: float,
    environment: Environment,
) -> Candidate:
    rail = one["rail"]
    costs = {other["rail"]: former.costs.get(other["rail"], FREE).of(amount) for other in available}
    less = former.cost_weight * (costs[rail] - min(costs.values()))
    if former.order:
        rank = former.order.index(rail) if rail in former.order else len(former.order)
        less += former.preference_step * rank
    # Scores are stored with three digits, and a rail that was healthy must not get below a threshold by that.
    health = min(1.0, one["score"] + less + 0.0005)
    return Candidate(rail, rails[rail], None, health, health < unhealthy_below, environment=environment)


def _preferences(rules: RoutingRules, order: RecordedOrder) -> RoutingPreferences:
    return rules.preferences_for(order.merchant_id, order.network, order.operation)


def _cost(preferences: RoutingPreferences, rail: str, amount: int) -> float:
    return preferences.costs.get(rail, FREE).of(amount) * amount / 100
