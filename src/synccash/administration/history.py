"""The period of a history that an operator asks for, and the lines that show it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from synccash.administration.errors import AdministrationError
from synccash.administration.merchants import read_duration
from synccash.payments.history import (
    KEPT_DAYS,
    EndedOrders,
    GoalResult,
    duration_quantile,
    read_history,
    success_ratio,
)

_DAY, _MINUTE = timedelta(days=1), timedelta(minutes=1)
_LABELS: Mapping[str, Callable[[EndedOrders], str]] = {
    "time": lambda one: f"{one.at:%Y-%m-%d %H:%M}",
    "rail": lambda one: one.rail or "none",
    "network": lambda one: one.network or "not known",
    "code": lambda one: one.failure_code or one.status,
}


def period_of(last: str, step: str, *, now: datetime | None = None) -> tuple[datetime, datetime, timedelta]:
    """Returns start, end and step of the periods that end with the present one. Raises
    AdministrationError."""
    back = read_duration("--last", last, longest=timedelta(days=KEPT_DAYS))
    length = read_duration("--step", step, longest=_DAY)
    if length % _MINUTE or not length:
        raise AdministrationError("--step: expected whole minutes, such as 5m or 1h")
    end = (now or datetime.now(UTC)).replace(second=0, microsecond=0) + _MINUTE
    since_midnight = end - end.replace(hour=0, minute=0)
    end += -since_midnight % length
    return end - max(1, back // length) * length, end, length


def history_lines(document: Mapping[str, Any], by: str) -> list[Sequence[object]]:
    """Returns a line for each period, rail, network or code: the label, how many orders ended and how they
    count, the share that met the goal in percent, and two quantiles of the durations of those."""
    ended, label = read_history(document), _LABELS[by]
    return [
        (name, *_figures([one for one in ended if label(one) == name]))
        for name in sorted({label(one) for one in ended})
    ]


def _figures(ended: Sequence[EndedOrders]) -> Iterator[object]:
    yield sum(one.orders for one in ended)
    for result in GoalResult:
        yield sum(one.orders for one in ended if one.result is result)
    ratio = success_ratio(ended)
    yield None if ratio is None else f"{ratio * 100:.2f}"
    for share in (0.5, 0.95):
        seconds = duration_quantile([one for one in ended if one.result is GoalResult.MET], share)
        yield None if seconds is None else f"{seconds:.1f}"
