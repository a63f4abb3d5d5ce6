"""Counts the orders that this process ended, for metrics. An order counts when its last commit is written."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

from synccash.payments.case import Event, Order
from synccash.payments.history import DURATION_BOUNDS_S, GoalResult, duration_bucket, goal_result
from synccash.payments.payment import OrderKind, Payment
from synccash.payments.payout import Payout

END_STATUSES = ("succeeded", "failed", "canceled")
MODES = ("live", "test")
_END_TYPES = frozenset(f"{kind}.{status}" for kind, status in product(OrderKind, END_STATUSES))


@dataclass(frozen=True, slots=True)
class EndedLabels:
    """How an order ended. Every value is of a closed list; an empty one stands for none."""

    mode: str
    kind: str
    rail: str
    network: str
    status: str
    failure_code: str


@dataclass(slots=True)
class Durations:
    """The times from creation to end: their sum, and their number in each bucket."""

    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS_S) + 1))


def _goals() -> dict[tuple[str, str, str], int]:
    return dict.fromkeys(product(MODES, OrderKind, GoalResult), 0)


def _durations() -> dict[tuple[str, str], Durations]:
    return {labels: Durations() for labels in product(OrderKind, END_STATUSES)}


@dataclass(slots=True)
class EndedOrderCounts:
    """`orders` by all labels; `goals` by mode, kind and result; `durations` by kind and status;
    `contradictions` by kind: reports of a rail that differ from what was recorded."""

    orders: dict[EndedLabels, int] = field(default_factory=dict[EndedLabels, int])
    goals: dict[tuple[str, str, str], int] = field(default_factory=_goals)
    durations: dict[tuple[str, str], Durations] = field(default_factory=_durations)
    contradictions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OrderKind, 0))

    def count(self, order: Order, events: Sequence[Event], contradiction: str | None = None) -> None:
        """Count a commit that was written. It ended the order if one of its events says so."""
        if contradiction is not None:
            self.contradictions[order.kind] += 1
        for event in events:
            if event.type in _END_TYPES:
                self._count_end(order, event)

    def _count_end(self, order: Order, event: Event) -> None:
        status, code = order.status.value, ""
        if status != "succeeded" and order.last_error is not None:
            code = order.last_error.code.value
        mode = "live" if order.livemode else "test"
        labels = EndedLabels(mode, order.kind.value, order.rail or "", _network(order), status, code)
        self.orders[labels] = self.orders.get(labels, 0) + 1
        self.goals[mode, order.kind, goal_result(status, code)] += 1
        seconds = max(0.0, (event.created_at - order.created_at).total_seconds())
        durations = self.durations[order.kind, status]
        durations.seconds += seconds
        durations.buckets[duration_bucket(seconds)] += 1


def _network(order: Order) -> str:
    """Return the likely network of the wallet; a refund is not stored with it."""
    network = None
    if isinstance(order, Payment):
        network = order.payer.likely_network
    elif isinstance(order, Payout):
        network = order.payee.likely_network
    return "" if network is None else network.value
