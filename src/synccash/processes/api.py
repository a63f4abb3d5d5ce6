"""The API process: the HTTP application over the live parts of a process, and the server that runs it."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncGenerator, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from types import FrameType

import structlog
import uvicorn
from prometheus_client.registry import Collector

from synccash.administration.audit import AuditLog
from synccash.administration.operators.approved_actions import ApprovedActions
from synccash.administration.operators.four_eyes import FourEyes
from synccash.administration.service import Administration
from synccash.api.app import create_app
from synccash.api.v1.management import Management
from synccash.api.v1.webhook_endpoints import EndpointMaker
from synccash.console.app import Console
from synccash.console.ports import ConsoleParts
from synccash.engine.system import SystemClock, SystemIdentities
from synccash.middleware.authentication import PRINCIPAL
from synccash.middleware.known_keys import KnownKeys
from synccash.middleware.refusal import App, Scope
from synccash.observability.metrics import (
    BacklogCollector,
    EndedOrdersCollector,
    FloatCollector,
    IdempotencyCollector,
    InquiryCollector,
    LimiterCollector,
    LoopCollector,
    PeersCollector,
    ProcessCollector,
    SignInCollector,
)
from synccash.observability.prometheus import BreakerCollector, RetryCollector
from synccash.payments.access import Credential, Principal
from synccash.payments.history import SUCCESS_GOAL
from synccash.payments.operator import SignedIn, SignInThrottledError
from synccash.payments.request import Tenant
from synccash.processes.assembly.service import Service, assembled
from synccash.processes.callback_filter import CallbackFilter
from synccash.processes.drain import Drain
from synccash.processes.fair_queue import FairQueue
from synccash.processes.http_server import server_config, tls_files
from synccash.processes.key_usage import KeyUsage
from synccash.processes.metrics_server import MetricsServer, SmallServer, listen, metrics_of
from synccash.processes.runner import run_process
from synccash.processes.schema_wait import entered, schema_is_ready
from synccash.processes.service_guard import ENDPOINT_NAMES, limited_user
from synccash.resilience.client_address import is_within
from synccash.settings.loader import LoadedSettings, Settings
from synccash.settings.secret import Secret
from synccash.stores.postgres.operations.approvals import PostgresApprovals
from synccash.stores.postgres.operations.console_reading import PostgresConsoleReading
from synccash.stores.postgres.operations.merchant_reading import PostgresMerchantReading
from synccash.stores.postgres.operations.merchant_sessions import PostgresMerchantSessions
from synccash.stores.postgres.operations.operators import PostgresOperators
from synccash.stores.postgres.schema.runtime_role import RoleCheck

log = structlog.get_logger("synccash.api")


@dataclass(frozen=True, slots=True)
class _CallerStore:
    """The API keys, the tokens of operators, and the sessions of merchants' people."""

    keys: KeyUsage
    operators: PostgresOperators
    sessions: PostgresMerchantSessions

    async def credential(self, secret_hash: bytes) -> Credential | None:
        """Return a valid key or token; None for any other. Raises StoreUnavailableError."""
        return (
            await self.keys.credential(secret_hash)
            or await self.operators.credential(secret_hash)
            or await self.sessions.credential(secret_hash)
        )

    async def good(self) -> frozenset[bytes]:
        """Return the hashes of the keys and tokens that are valid now. Raises StoreUnavailableError."""
        keys = frozenset(await self.keys.good())
        return keys | await self.operators.good() | await self.sessions.good()


def application(service: Service, settings: Settings, console: Console | None = None) -> App:
    """The HTTP API over the live parts of a process, with its console."""
    identities = SystemIdentities()
    if console is None and settings.console:
        console = build_console(service, LoadedSettings(settings, {}))
    callbacks = CallbackFilter(service.engine.token_origin, service.guard.address)
    fair_queue = FairQueue(_tenant_of)
    app = create_app(
        engine=service.engine,
        keys=_caller_store(service),
        reading=service.reading,
        balances=service.balances,
        health=service.health,
        endpoints=service.webhooks,
        endpoint_maker=EndpointMaker(SystemClock(), identities, settings.webhook_private_addresses),
        management=_management(service, settings, identities),
        collectors=(*api_collectors(service), callbacks, fair_queue),
        layers=(fair_queue.layer, service.guard.layer),
        first_layers=(callbacks.layer, *(() if console is None else (console.layer,))),
        in_flight=service.loop_watch.in_flight,
        client_ip=service.guard.client_ip,
        check_missing_key=service.guard.check_missing_key,
        check_unknown_key=service.guard.check_unknown_key,
        wallet_limits=service.guard,
        body_timeout_s=settings.body_timeout_s,
        new_id=lambda: identities.new("req"),
    )
    return app if service.tracing is None else service.tracing.layer(app)


def build_console(service: Service, loaded: LoadedSettings) -> Console:
    """The console over the live parts of a process."""
    # Streams end this long after their session and the next heartbeat.
    known = KnownKeys(_caller_store(service), valid_s=2.0)

    async def credential(scope: Scope, token_hash: bytes) -> Credential | None:
        found = await known.find(token_hash, lambda: service.guard.check_unknown_key(scope))
        if not isinstance(found, Credential):
            return None
        is_near = not found.networks or is_within(service.guard.client_ip(scope), found.networks)
        return found if is_near else None

    async def use_link(scope: Scope, code: str) -> SignedIn:
        # As a key that this process has not seen: who guesses is stopped before PostgreSQL.
        refusal = await service.guard.check_unknown_key(scope)
        if refusal is not None:
            raise SignInThrottledError(refusal.retry_after_s or 1.0)
        return await service.operators.sign_in_by_link(code)

    return Console(
        ConsoleParts(
            public_url=loaded.settings.public_url,
            credential=credential,
            use_link=use_link,
            waiting=lambda: {name: one.count for name, one in service.backlog.counted.items()},
            reading=PostgresConsoleReading(service.database),
            merchant_reading=PostgresMerchantReading(service.database),
            merchant_sessions=PostgresMerchantSessions(service.database),
            settings=tuple(loaded.shown()),
            success_goal=SUCCESS_GOAL,
        )
    )


def _caller_store(service: Service) -> _CallerStore:
    sessions = PostgresMerchantSessions(service.database)
    return _CallerStore(service.key_usage, service.operators.store, sessions)


def _management(service: Service, settings: Settings, identities: SystemIdentities) -> Management:
    return Management(
        breakers=service.breakers,
        limits=service.guard.limiter,
        book=service.guard.book,
        claims=service.claims,
        audit=service.audit,
        audit_log=AuditLog(service.database),
        tenants=service.keys,
        counted=lambda: asdict(service.guard.counts),
        floats=service.floats.shown,
        role_notice=RoleCheck(service.database).notice,
        operators=service.operators,
        four_eyes=_four_eyes(service, settings, identities),
        administration=Administration(service.database),
        address_of=lambda scope: service.guard.identify(scope).ip,
        limited_user=partial(limited_user, service.guard.encryption),
    )


def _four_eyes(service: Service, settings: Settings, identities: SystemIdentities) -> FourEyes:
    actions = ApprovedActions(
        service.engine,
        service.database,
        service.operators,
        settings.four_eyes_payout_above,
        settings.four_eyes_refund_above,
    )
    return FourEyes(
        PostgresApprovals(service.database),
        service.operators.store,
        service.audit,
        identities,
        actions.rules(),
        settings.four_eyes == "on",
        settings.four_eyes_valid_s,
    )


def api_collectors(service: Service) -> Iterator[Collector]:
    """Return the series of an API process, without those of its layers."""
    yield LimiterCollector(service.guard.limiter.counts, ENDPOINT_NAMES)
    yield IdempotencyCollector(lambda: service.guard.counts)
    yield BreakerCollector(service.registry)
    yield RetryCollector(service.registry)
    yield service.events
    yield InquiryCollector(service.rails)
    yield PeersCollector(service.breakers)
    yield FloatCollector(service.floats.shown)
    yield BacklogCollector(service.backlog, service.undelivered)
    yield EndedOrdersCollector(service.engine.ended)
    yield ProcessCollector("api", service.database.pool)
    yield LoopCollector(service.loops.restarts)
    yield service.loop_watch
    yield SignInCollector(service.operators.sign_ins)


def _tenant_of(scope: Scope) -> Tenant | None:
    """Return the tenant of an authenticated request; None for operators and for requests without a key."""
    principal: Principal | None = scope.get(PRINCIPAL)
    return None if principal is None else principal.tenant


def serve(loaded: LoadedSettings, *, fd: int | None) -> int:
    """Serve the API until a signal stops it; return the exit code. `fd` is a listening socket to use."""
    return run_process(loaded.settings, lambda url: _serve(loaded, url, fd))


async def _serve(loaded: LoadedSettings, database_url: Secret, fd: int | None) -> None:
    settings = loaded.settings
    tls = tls_files(settings)
    if tls is None and settings.public_url.startswith("https://"):
        log.info(
            "tls_ends_at_proxy",
            public_url=settings.public_url,
            trusted_proxies=settings.trusted_proxies or "none",
            detail="serve answers plain HTTP: see TLS and live mode in docs/operating.md",
        )
    # A copy, because the socket is closed with this run, and the process may begin again.
    listener = socket.socket(fileno=os.dup(fd)) if fd is not None else None
    if not await schema_is_ready(database_url, partial(_waiting_server, settings, listener)):
        return
    async with contextlib.AsyncExitStack() as stack:
        service = await entered(stack, assembled(settings, database_url, "api"))
        console = build_console(service, loaded) if settings.console else None
        app = application(service, settings, console)
        config = server_config(
            app,
            host=settings.host,
            port=settings.port,
            timeout_s=settings.body_timeout_s,
            grace_s=int(settings.request_deadline_s) + 2,
            tls=tls,
            draining=lambda: service.drain.active,
        )
        server = DrainingServer(config, service.drain, console)
        service.loop_watch.begin()  # Building the application blocked the loop, and no request.
        service.guard.start()
        if service.shared_risk is not None:
            service.shared_risk.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ignore_signal)
        async with _metrics_served(app, settings), _console_prepared(console):
            await server.serve(sockets=[listener] if listener is not None else None)


@contextlib.asynccontextmanager
async def _metrics_served(app: App, settings: Settings) -> AsyncGenerator[None]:
    """Serve the metrics of this process on `metrics_port`, if it is set: several processes may share the
    API's port, which leads to any of them."""
    if settings.metrics_port is None:
        yield
        return
    server = MetricsServer(
        metrics_of(app), host=settings.host, port=settings.metrics_port, setting="metrics_port"
    )
    serving = asyncio.create_task(server.answer())
    try:
        yield
    finally:
        server.stop()
        await serving


@contextlib.asynccontextmanager
async def _console_prepared(console: Console | None) -> AsyncGenerator[None]:
    """Compile the console's pages beside the first requests: in a thread, so that none of them waits for all
    pages."""
    if console is None:
        yield
        return
    preparing = asyncio.create_task(asyncio.to_thread(console.prepare))
    try:
        yield
    finally:
        await preparing


def _waiting_server(settings: Settings, listener: socket.socket | None, app: App) -> SmallServer:
    # A copy, because the server closes its socket when it stops and the API needs it afterwards.
    copy = listener.dup() if listener is not None else listen(settings.host, settings.port, "port")
    return SmallServer(app, copy)


class DrainingServer(uvicorn.Server):
    """Drains on the first SIGTERM, and stops when that is over, on a second signal or on SIGINT. Streams of
    the console end first."""

    def __init__(self, config: uvicorn.Config, drain: Drain, console: Console | None = None) -> None:
        super().__init__(config)
        self._drain, self._is_told = drain, False
        self._console = console

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then wait for the requests that are under way."""
        self._end_streams()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or stop. Logs nothing: the signal may have interrupted code that holds the lock."""
        if sig != signal.SIGTERM or not self._drain.begin():
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop."""
        if self._drain.active and not self._is_told:
            self._is_told = True
            log.info("drain_began", seconds=self._drain.seconds)
            self._end_streams()
        return self._drain.over or await super().on_tick(counter)

    def _end_streams(self) -> None:
        if self._console is not None:
            self._console.close()


def _ignore_signal(_number: int, _frame: FrameType | None) -> None:
    """Ignore the signal that uvicorn raises again once it has stopped, so the parts are closed in order."""
