"""Turns the counts of ended orders into the series of a chart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRange:
    """A time that charts show: up to now, in periods of `step`."""

    name: str
    title: str
    length: timedelta
    step: timedelta


RANGES = (
    HistoryRange(name="24h", title="24 hours", length=timedelta(hours=24), step=timedelta(minutes=15)),
    HistoryRange(name="35d", title="35 days", length=timedelta(days=35), step=timedelta(hours=12)),
)


def payment_series(found: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Return the series of the payments in an answer of `GET /admin/history`, by period: `at` in seconds
    since 1970, `rate` in payments a second, `success` in per cent of those that count for the goal, and `p95`
    in seconds. A period without payments has the rate 0 and no other value."""
    start, end = (datetime.fromisoformat(found[name]).timestamp() for name in ("start", "end"))
    step: int = found["step_s"]
    by_period: dict[float, list[Mapping[str, Any]]] = {}
    for one in found["data"]:
        if one["kind"] == "payment":
            at = datetime.fromisoformat(one["at"]).timestamp()
            by_period.setdefault(at, []).append(one)
    # Periods begin where those of the counts do, which need not be the beginning of the time.
    known = min(by_period, default=start)
    first = known - int((known - start) // step) * step
    count = max(0, round((end - first) / step))
    periods = [first + step * number for number in range(count)]
    series: dict[str, list[float | None]] = {"at": [], "rate": [], "success": [], "p95": []}
    for at in periods:
        ended = by_period.get(at, [])
        series["at"].append(at)
        series["rate"].append(sum(one["orders"] for one in ended) / step)
        series["success"].append(_success(ended))
        series["p95"].append(_within(ended, found["bounds_s"], 0.95))
    return series


def _success(ended: Sequence[Mapping[str, Any]]) -> float | None:
    met, missed = (
        sum(one["orders"] for one in ended if one["result"] == result) for result in ("met", "missed")
    )
    return 100 * met / (met + missed) if met + missed else None


def _within(ended: Sequence[Mapping[str, Any]], bounds: Sequence[float], part: float) -> float | None:
    """Return the bound within which this part of the orders ended; the last one for longer ones."""
    counts = [sum(column) for column in zip(*(one["durations"] for one in ended), strict=True)]
    left = part * sum(counts)
    for bound, count in zip(bounds, counts, strict=False):
        left -= count
        if left <= 0:
            return bound
    return bounds[-1] if counts else None
