"""The webhooks process: delivers merchants' events. It sends nothing to a rail and takes no order, so that a
merchant's slow endpoint or silent name server cannot delay a payment."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from synccash.engine.system import SystemClock, SystemIdentities
from synccash.observability.loop_watch import LoopWatch
from synccash.observability.metrics import LoopCollector, ProcessCollector
from synccash.payments.ports import WorkSignal
from synccash.processes.assembly.checks import check_lookup_key
from synccash.processes.assembly.engine_settings import dispatcher_settings
from synccash.processes.assembly.registry import build_registry
from synccash.processes.assembly.traces import open_tracing
from synccash.processes.runner import run_process
from synccash.processes.schema_wait import ServerOf, entered, schema_is_ready
from synccash.settings.loader import Settings
from synccash.settings.name_servers import read_name_servers
from synccash.settings.secret import Secret
from synccash.stores.encryption import required_encryption
from synccash.stores.local_work_signal import LocalWorkSignal
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.recovery import ServerCheck
from synccash.stores.postgres.pool import Pool, connect
from synccash.stores.postgres.webhooks import PostgresWebhooks
from synccash.stores.supervised_loops import LoopSupervisor
from synccash.stores.valkey.session import open_session
from synccash.stores.valkey.work_signal import DELIVERIES, ValkeyWorkSignal
from synccash.webhooks.dispatcher import WebhookDispatcher
from synccash.webhooks.name_lookups import NameLookups
from synccash.webhooks.sender import WebhookSender
from synccash.webhooks.signature import signed_headers

if TYPE_CHECKING:
    from synccash.processes.metrics_server import MetricsServer


@dataclass(frozen=True, slots=True, eq=False)
class WebhookCollector:
    """`webhook_*`: what the dispatcher has done."""

    dispatcher: WebhookDispatcher

    def collect(self) -> Iterator[Metric]:
        """Return all series with their present values."""
        sent = self.dispatcher.deliveries
        for name, text, count in (
            ("webhook_delivered", "Events that were delivered", sent.delivered),
            ("webhook_failed", "Posts of an event that failed", sent.failed),
            (
                "webhook_postponed",
                "Posts postponed because the breaker of the endpoint was open",
                sent.postponed,
            ),
            ("webhook_endpoints_disabled", "Endpoints disabled after repeated failures", sent.disabled),
        ):
            yield CounterMetricFamily(name, text, value=count)
        for name, text, count in (
            ("webhook_under_way", "Posts of events in progress", self.dispatcher.busy),
            ("webhook_endpoints_shut", "Endpoints whose breaker is not closed", self.dispatcher.shut),
        ):
            yield GaugeMetricFamily(name, text, value=count)


@dataclass(frozen=True, slots=True)
class WebhookService:
    """The live parts of one webhooks process."""

    dispatcher: WebhookDispatcher
    loops: LoopSupervisor
    loop_watch: LoopWatch
    pool: Pool


@contextlib.asynccontextmanager
async def webhook_service(settings: Settings, database_url: Secret | str) -> AsyncGenerator[WebhookService]:
    """Wire the parts of a webhooks process. At the end they are closed in reverse order."""
    async with contextlib.AsyncExitStack() as stack:
        clock, identities, loops = SystemClock(), SystemIdentities(), LoopSupervisor()
        instance = identities.new("proc")
        registry = build_registry(settings, clock.monotonic)
        loop_watch = LoopWatch()
        loop_watch.start()
        stack.callback(loop_watch.close)
        pool = await connect(
            database_url,
            min_size=0,
            max_size=settings.database_pool_size,
            check=ServerCheck(),
            statement_timeout_s=settings.database_statement_timeout_s,
            prepared_statements=settings.database_prepared_statements == "on",
        )
        stack.push_async_callback(pool.close)
        database = Database(
            pool,
            encryption=required_encryption(settings),
            profile=registry.profile("database"),
            budget=registry.budget("database"),
        )
        await check_lookup_key(database)
        work_signal: WorkSignal = LocalWorkSignal()
        if settings.valkey_url is not None:
            opening = open_session(settings.valkey_url, instance, supervisor=loops)
            over_valkey = ValkeyWorkSignal(await stack.enter_async_context(opening), channel=DELIVERIES)
            over_valkey.start()
            stack.push_async_callback(over_valkey.close)
            work_signal = over_valkey
        sender = WebhookSender(
            private=settings.webhook_private_addresses,
            resolver=NameLookups(read_name_servers(settings.webhook_name_servers)),
        )
        stack.push_async_callback(sender.aclose)
        tracing = open_tracing(settings, stack, role="webhooks", instance=instance)
        outbox, post = PostgresWebhooks(database), sender.post
        if tracing is not None:
            outbox = traced_outbox = tracing.outbox(database)
            post = traced_outbox.traced(post)
        yield WebhookService(
            dispatcher=WebhookDispatcher(
                outbox=outbox,
                post=post,
                sign=signed_headers,
                clock=clock,
                identities=identities,
                work_signal=work_signal,
                random=random.random,
                settings=dispatcher_settings(settings, registry.profile("webhook")),
            ),
            loops=loops,
            loop_watch=loop_watch,
            pool=pool,
        )


def webhook_collectors(service: WebhookService) -> tuple[Collector, ...]:
    """Return the series of a webhooks process."""
    return (
        WebhookCollector(service.dispatcher),
        LoopCollector(service.loops.restarts),
        ProcessCollector("webhooks", service.pool),
        service.loop_watch,
    )


def webhook_server(service: WebhookService, host: str, port: int) -> "MetricsServer":
    """Return the server of the process's metrics. Raises SettingsError when its port cannot be opened."""
    # Imported here because a process without this port needs no web framework.
    from synccash.processes.metrics_server import MetricsServer, metrics_app

    app = metrics_app(webhook_collectors(service))
    return MetricsServer(app, host=host, port=port, setting="webhook_port")


def deliver(settings: Settings) -> int:
    """Deliver webhooks until a signal stops it; return the exit code."""
    return run_process(settings, lambda url: _deliver(settings, url))


def _waiting_server(settings: Settings) -> ServerOf | None:
    port = settings.webhook_port
    if port is None:
        return None
    from synccash.processes.metrics_server import SmallServer, listen

    return lambda app: SmallServer(app, listen(settings.host, port, "webhook_port"))


async def _deliver(settings: Settings, database_url: Secret) -> None:
    if not await schema_is_ready(database_url, _waiting_server(settings)):
        return
    async with contextlib.AsyncExitStack() as stack:
        service = await entered(stack, webhook_service(settings, database_url))
        port = settings.webhook_port
        servers = [] if port is None else [webhook_server(service, settings.host, port)]

        def stop() -> None:
            for part in (service.dispatcher, *servers):
                part.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        async with asyncio.TaskGroup() as group:
            group.create_task(service.loops.run("webhooks", service.dispatcher.run))
            for server in servers:
                group.create_task(server.answer())
