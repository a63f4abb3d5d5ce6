"""The worker process: moves orders forward, and cleans up."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from synccash.engine.worker import Worker
from synccash.observability.metrics import (
    BacklogCollector,
    EndedOrdersCollector,
    FloatCollector,
    InquiryCollector,
    LeaseCollector,
    LoopCollector,
    PeersCollector,
    ProcessCollector,
)
from synccash.observability.prometheus import BreakerCollector, RetryCollector
from synccash.processes.assembly.service import Service, assembled
from synccash.processes.audit_sealing import AuditSealing
from synccash.processes.housekeeping import Housekeeping, RollupLoop
from synccash.processes.runner import run_process
from synccash.processes.schema_wait import ServerOf, entered, schema_is_ready
from synccash.settings.loader import Settings
from synccash.settings.secret import Secret
from synccash.stores.postgres.operations.audit_chain import AuditKey, PostgresAuditChain
from synccash.stores.postgres.operations.rollups import RollupStore

if TYPE_CHECKING:
    from synccash.processes.metrics_server import MetricsServer


class _StoppableLoop(Protocol):
    async def run(self) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class WorkerCollector:
    """`worker_*` and `idempotency_swept`: what the loops of a worker have done."""

    worker: Worker
    housekeeping: Housekeeping

    def collect(self) -> Iterator[Metric]:
        """Return all series with their present values."""
        for name, text, count in (
            ("worker_orders_taken", "Orders taken because they were due", self.worker.taken),
            (
                "worker_orders_taken_over",
                "Orders taken over after the lease of another process had expired",
                self.worker.taken_over,
            ),
            (
                "worker_orders_interrupted",
                "Orders left because PostgreSQL was unreachable",
                self.worker.interrupted,
            ),
            (
                "worker_full_seconds",
                "Time without room for another order, because of a slow rail, its pace or a slow PostgreSQL",
                self.worker.full_s,
            ),
            ("idempotency_swept", "Claims deleted because they were old", self.housekeeping.swept),
        ):
            yield CounterMetricFamily(name, text, value=count)


def worker_collectors(service: Service, housekeeping: Housekeeping) -> tuple[Collector, ...]:
    """Return the series of a worker."""
    return (
        WorkerCollector(service.engine.worker, housekeeping),
        BreakerCollector(service.registry),
        RetryCollector(service.registry),
        service.events,
        InquiryCollector(service.rails),
        PeersCollector(service.breakers),
        FloatCollector(service.floats.shown),
        LeaseCollector(service.engine.leases),
        LoopCollector(service.loops.restarts),
        BacklogCollector(service.backlog, service.undelivered),
        EndedOrdersCollector(service.engine.ended),
        ProcessCollector("worker", service.database.pool),
        service.loop_watch,
    )


def worker_server(service: Service, housekeeping: Housekeeping, host: str, port: int) -> "MetricsServer":
    """Return the server of a worker's metrics. Raises SettingsError when its port cannot be opened."""
    # Imported here because a worker without this port needs no web framework.
    from synccash.processes.metrics_server import MetricsServer, metrics_app

    app = metrics_app(worker_collectors(service, housekeeping))
    return MetricsServer(app, host=host, port=port, setting="worker_port")


def _waiting_server(settings: Settings) -> ServerOf | None:
    port = settings.worker_port
    if port is None:
        return None
    from synccash.processes.metrics_server import SmallServer, listen

    return lambda app: SmallServer(app, listen(settings.host, port, "worker_port"))


def work(settings: Settings) -> int:
    """Move orders forward until a signal stops it; return the exit code."""
    return run_process(settings, lambda url: _work(settings, url))


async def _work(settings: Settings, database_url: Secret) -> None:
    if not await schema_is_ready(database_url, _waiting_server(settings)):
        return
    async with contextlib.AsyncExitStack() as stack:
        service = await entered(stack, assembled(settings, database_url, "worker"))
        housekeeping = Housekeeping(service.claims, settings.idempotency_retention_days * 86_400.0)
        sealing = AuditSealing(PostgresAuditChain(service.database, AuditKey.of(settings.audit_key)))
        loops: dict[str, _StoppableLoop] = {
            "worker": service.engine.worker,
            "housekeeping": housekeeping,
            "audit_sealing": sealing,
            "rollups": RollupLoop(RollupStore(service.database)),
        }
        if service.retention is not None:
            loops["retention"] = service.retention
        if service.inquirers is not None:
            service.inquirers.join()
        port = settings.worker_port
        servers = [] if port is None else [worker_server(service, housekeeping, settings.host, port)]

        def stop() -> None:
            for loop in (*loops.values(), *servers):
                loop.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        async with asyncio.TaskGroup() as group:
            for name, loop in loops.items():
                group.create_task(service.loops.run(name, loop.run))
            for server in servers:
                group.create_task(server.answer())
