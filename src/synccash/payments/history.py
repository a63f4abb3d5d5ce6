"""History of ended orders: the goal that they are measured by, and counts of them with their durations."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from synccash.payments.document import moment
from synccash.payments.failure import Failure, FailureCode, WhoseProblem
from synccash.payments.payment import OrderKind

DURATION_BOUNDS_S = (
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    20.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1_800.0,
    3_600.0,
    86_400.0,
)
"""Upper bounds of the buckets of the time from creation to end, in seconds; one more bucket has none."""
KEPT_DAYS = 35
"""How long the counts of ended orders are kept."""
SUCCESS_GOAL = 0.999
"""The share of orders that has to succeed, of those that neither the payer nor the merchant ended."""


class GoalResult(StrEnum):
    """How an ended order counts towards the goal."""

    MET = "met"
    MISSED = "missed"
    EXCLUDED = "excluded"
    """The payer or the merchant ended the order: it was declined, canceled or not covered by the wallet."""


_NOT_OURS = frozenset({WhoseProblem.PAYER, WhoseProblem.MERCHANT})


def goal_result(status: str, failure_code: str) -> GoalResult:
    """Return how an order with this final status and failure code counts. Without a known code, a failure
    counts as missed."""
    if status == "succeeded":
        return GoalResult.MET
    if status == "canceled":
        return GoalResult.EXCLUDED
    known = failure_code in FailureCode.__members__.values()
    is_excluded = known and Failure(FailureCode(failure_code)).whose_problem in _NOT_OURS
    return GoalResult.EXCLUDED if is_excluded else GoalResult.MISSED


def duration_bucket(seconds: float) -> int:
    """Return the index of the bucket that a duration belongs to."""
    return bisect_left(DURATION_BOUNDS_S, seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedOrders:
    """The orders that ended in one period with the same labels. An empty label stands for none.

    `seconds`: the sum of the times from creation to end. `durations`: their number in each bucket.
    """

    at: datetime
    livemode: bool
    kind: OrderKind
    rail: str
    network: str
    status: str
    failure_code: str
    orders: int
    seconds: float
    durations: Sequence[int]

    @property
    def result(self) -> GoalResult:
        """How these orders count towards the goal."""
        return goal_result(self.status, self.failure_code)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much waits, and for how many seconds the oldest of it."""

    count: int = 0
    oldest_s: float = 0.0


Notice = Mapping[str, str]
"""What an operator should know although it is no trouble of the service: `what`, `state` and `detail`."""


def history_document(
    start: datetime, end: datetime, step: timedelta, found: Iterable[EndedOrders]
) -> dict[str, Any]:
    """Return a history as the API shows it."""
    return {
        "start": moment(start),
        "end": moment(end),
        "step_s": int(step.total_seconds()),
        "goal": SUCCESS_GOAL,
        "bounds_s": DURATION_BOUNDS_S,
        "data": [_ended_document(one) for one in found],
    }


def _ended_document(ended: EndedOrders) -> dict[str, Any]:
    return {
        "at": moment(ended.at),
        "livemode": ended.livemode,
        "kind": ended.kind.value,
        "rail": ended.rail or None,
        "network": ended.network or None,
        "status": ended.status,
        "failure_code": ended.failure_code or None,
        "result": ended.result.value,
        "orders": ended.orders,
        "seconds": ended.seconds,
        "durations": ended.durations,
    }


def read_history(document: Mapping[str, Any]) -> list[EndedOrders]:
    """Return the ended orders of such a document."""
    return [
        EndedOrders(
            at=datetime.fromisoformat(one["at"]),
            livemode=one["livemode"],
            kind=OrderKind(one["kind"]),
            rail=one["rail"] or "",
            network=one["network"] or "",
            status=one["status"],
            failure_code=one["failure_code"] or "",
            orders=one["orders"],
            seconds=one["seconds"],
            durations=one["durations"],
        )
        for one in document["data"]
    ]


def success_ratio(ended: Iterable[EndedOrders]) -> float | None:
    """Return the share of the orders that met the goal; None when no order counts."""
    counts = dict.fromkeys(GoalResult, 0)
    for one in ended:
        counts[one.result] += one.orders
    counted = counts[GoalResult.MET] + counts[GoalResult.MISSED]
    return counts[GoalResult.MET] / counted if counted else None


def duration_quantile(ended: Iterable[EndedOrders], share: float) -> float | None:
    """Return the duration in seconds that `share` of the orders stayed below, interpolated in its bucket.

    In the last bucket it is that bucket's lower bound. None without orders.
    """
    counts = [sum(column) for column in zip(*(one.durations for one in ended), strict=True)]
    total = sum(counts)
    if not total:
        return None
    rank, below, lower = share * total, 0, 0.0
    for upper, count in zip(DURATION_BOUNDS_S, counts, strict=False):
        if count and below + count >= rank:
            return lower + (upper - lower) * max(0.0, rank - below) / count
        below, lower = below + count, upper
    return lower
