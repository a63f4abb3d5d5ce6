"""What requests came to, as integers that are read when somebody asks."""

from bisect import bisect_left
from dataclasses import dataclass, field

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the duration buckets in seconds; the last bucket has none."""
NOWHERE = ("other", "none")
"""The method and the route of whatever came to no handler: such names are the caller's, and endless."""
CLASSES = ("2xx", "4xx", "5xx")


@dataclass(slots=True)
class Route:
    """Live: one method of one route."""

    answered: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLASSES, 0))
    durations: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    seconds: float = 0.0


@dataclass(slots=True)
class HttpCounts:
    """Live: one per process. Routes that were made known have their series from the start."""

    routes: dict[tuple[str, str], Route] = field(default_factory=lambda: {NOWHERE: Route()})

    def know(self, method: str, route: str) -> None:
        """Count this route by its name."""
        self.routes.setdefault((method, route), Route())

    def count(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """One request. `route`: the template of its path; None where no handler was reached."""
        counted = self.routes.get((method, route or "")) or self.routes[NOWHERE]
        kind = f"{status // 100}xx"
        counted.answered[kind] = counted.answered.get(kind, 0) + 1
        counted.durations[bisect_left(BOUNDS_S, seconds)] += 1
        counted.seconds += seconds
