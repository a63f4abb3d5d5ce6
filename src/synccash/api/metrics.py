"""`/metrics`: numbers that are counted anyway, read when somebody asks (Prometheus text format)."""

from collections.abc import Iterable

from litestar import Response, get
from litestar.di import NamedDependency as Given
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector


class Metrics:
    """Live: the collectors of one process. A collector reads plain integers and owns no lock."""

    def __init__(self, collectors: Iterable[Collector]) -> None:
        self._registry = CollectorRegistry()
        for collector in collectors:
            self._registry.register(collector)

    def text(self) -> bytes:
        """All series as they stand now."""
        return generate_latest(self._registry)


@get("/metrics", include_in_schema=False)
async def metrics(metrics_of: Given[Metrics]) -> Response[bytes]:
    """The series of this process."""
    return Response(metrics_of.text(), headers={"Content-Type": CONTENT_TYPE_LATEST}, media_type="text/plain")
