"""Counts requests and their durations for each route. Metrics read the numbers on demand."""

from bisect import bisect_left
from dataclasses import dataclass, field

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the duration buckets in seconds; the last bucket has none."""
UNMATCHED = ("other", "none")
"""The method and the route of requests that reached no handler. Callers choose such paths, without end, so
they share one series."""
STATUS_CLASSES = ("2xx", "4xx", "5xx")


@dataclass(slots=True)
class RouteCounts:
    """Counts the responses of one method of one route."""

    by_status_class: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUS_CLASSES, 0))
    durations: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    seconds: float = 0.0


@dataclass(slots=True)
class HttpCounts:
    """Counts the responses of all routes. Registered routes have their series from the start."""

    routes: dict[tuple[str, str], RouteCounts] = field(default_factory=lambda: {UNMATCHED: RouteCounts()})

    def register(self, method: str, route: str) -> None:
        """Count this route under its own name."""
        self.routes.setdefault((method, route), RouteCounts())

    def count(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count one request. `route` is the template of its path; None when no handler was reached."""
        counts = self.routes.get((method, route or "")) or self.routes[UNMATCHED]
        status_class = f"{status // 100}xx"
        counts.by_status_class[status_class] = counts.by_status_class.get(status_class, 0) + 1
        counts.durations[bisect_left(BOUNDS_S, seconds)] += 1
        counts.seconds += seconds
