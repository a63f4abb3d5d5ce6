"""`/metrics`: the series of one process in the Prometheus text format."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from litestar import Response, get
from litestar.di import NamedDependency as Given
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from synccash.api.http_counts import BOUNDS_S, HttpCounts


@dataclass(frozen=True, slots=True, eq=False)
class HttpCollector:
    """`http_*`: requests by route, method and status class, and their durations."""

    counts: HttpCounts

    def collect(self) -> Iterator[Metric]:
        """Return all series with their present values."""
        labels = ["method", "route"]
        requests = CounterMetricFamily("http_requests", "Requests answered", labels=[*labels, "status"])
        took = HistogramMetricFamily("http_request_duration_seconds", "Until the answer", labels=labels)
        for names, route in self.counts.routes.items():
            for status, count in route.by_status_class.items():
                requests.add_metric([*names, status], count)
            below = accumulate(route.durations)
            buckets = [(str(bound), float(n)) for bound, n in zip((*BOUNDS_S, "+Inf"), below, strict=True)]
            took.add_metric(names, buckets, route.seconds)
        yield requests
        yield took


class Metrics:
    """Renders the metrics of one process. A collector reads plain integers and owns no lock."""

    def __init__(self, collectors: Iterable[Collector]) -> None:
        self._registry = CollectorRegistry()
        for collector in collectors:
            self._registry.register(collector)

    def text(self) -> bytes:
        """Return all series with their present values."""
        return generate_latest(self._registry)


@get("/metrics", include_in_schema=False)
async def metrics(metrics_of: Given[Metrics]) -> Response[bytes]:
    """Return the series of this process."""
    return Response(metrics_of.text(), headers={"Content-Type": CONTENT_TYPE_LATEST}, media_type="text/plain")
