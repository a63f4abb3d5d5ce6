"""The environment of a run: the sandbox's rails, PostgreSQL, and processes with the real engine."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from aiohttp import web

from synccash.engine.dispatch.policy_dispatch import DispatchSettings, PolicyDispatch
from synccash.engine.dispatch.rail_float import RailFloats
from synccash.engine.engine import Engine, build_engine
from synccash.engine.settings import EngineSettings
from synccash.engine.system import SystemClock, SystemIdentities
from synccash.payments.errors import PaymentError
from synccash.payments.inquiry_schedule import InquirySchedule
from synccash.payments.references import ReferenceKey
from synccash.rails.http.transport import Transport
from synccash.rails.registry import RAILS, build_rails
from synccash.rails.sandbox_account import SandboxRail
from synccash.resilience.circuit_breaker import BreakerSettings
from synccash.resilience.profiles import Profile
from synccash.resilience.registry import Registry
from synccash.resilience.retry import Retry
from synccash.sandbox.rail import Timings
from synccash.sandbox.server import Sandbox, run_sandbox
from synccash.settings.loader import convert_settings
from synccash.stores.local_work_signal import LocalWorkSignal
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.orders.recovery import ServerCheck
from synccash.stores.postgres.pool import Pool, connect

USER, KEY = "0b1c7d52-6f0e-4c0a-9a53-6d1f3d1f2a10", "5d" * 16
RETRY = Retry(attempts=3, base=0.05, cap=0.2)
QUICK_BREAKER = BreakerSettings(failures=3, open_s=0.2, open_max_s=0.5)
REFERENCES = ReferenceKey.of("5c" * 32)
CALLS = DispatchSettings(attempt_timeout_s=0.5, inquiry_timeout_s=0.5)
LADDER_S = 3.0


def quick(public_url: str) -> EngineSettings:
    """The shipped engine with waits about twenty times shorter."""
    return EngineSettings(
        public_url=public_url,
        request_deadline_s=1.0,
        attempt_timeout_s=0.5,
        lease_s=2.0,
        heartbeat_s=0.5,
        settle_s=0.5,
        queue_retry_s=0.1,
        schedule=InquirySchedule(steps=(0.05, 0.1, 0.2), tail=((0.25, LADDER_S),)),
        poll_s=0.1,
    )


@dataclass(slots=True)
class Process:
    """What one process of the service holds, apart from its HTTP."""

    engine: Engine
    pool: Pool
    transport: Transport
    working: asyncio.Task[None]

    async def kill(self) -> None:
        """End it between two steps, and let it tidy nothing up: its leases stay."""
        self.working.cancel()
        self.pool.terminate()
        await self.engine.leases.close(grace_s=0)
        await asyncio.gather(self.working, return_exceptions=True)
        await self.transport.aclose()

    async def stop(self) -> None:
        """End it in good order."""
        self.engine.worker.stop()
        await self.working
        await self.engine.close()
        await self.transport.aclose()
        await self.pool.close()


@dataclass(slots=True, kw_only=True)
class Deployment:
    """Live. `order`: the rails that are set up, in the order in which they are tried."""

    database_url: str
    sandbox: Sandbox
    order: tuple[str, ...]
    seed: int = 0
    breaker: BreakerSettings = QUICK_BREAKER
    settings_for: Callable[[str], EngineSettings] = quick
    public_url: str = ""
    processes: list[Process] = field(default_factory=list)
    requests: list[tuple[float, str]] = field(default_factory=list)
    inquiries: list[tuple[float, str]] = field(default_factory=list)
    callbacks: list[tuple[float, str]] = field(default_factory=list)
    rail_settings: dict[str, str] = field(default_factory=dict)

    def record_requests(self) -> None:
        """Write down when each money request arrives at a rail, before any fault of the rail meets it, and
        when it has answered each inquiry."""
        for played in self.sandbox.rails.values():
            played.serve = partial(self._record, played, played.serve)

    async def _record(self, played: Any, serve: Any, call: Any) -> Any:
        is_money = played.wire.kind(call) == "money" or call.path.endswith("submit_otp")
        if is_money and "refund" not in call.path:
            text = f"{call.path} {dict(call.headers)} {call.body.decode(errors='replace')}"
            self.requests.append((time.time(), text.replace("-", "")))
        at = time.time()
        reply = await serve(call)
        if played.wire.kind(call) == "inquiry" and reply is not None and reply.status == 200:
            self.inquiries.append((at, played.wire.inquired(call)))
        return reply

    def requests_for(self, reference: str) -> list[float]:
        """Return when each request arrived that names the reference."""
        name = reference.replace("-", "")
        return [at for at, text in self.requests if name in text]

    def callbacks_for(self, reference: str) -> list[float]:
        """Return when each callback came that names the reference and was taken."""
        name = reference.replace("-", "")
        return [at for at, text in self.callbacks if name in text]

    async def close(self) -> None:
        """Stop what still runs."""
        for process in self.processes:
            await process.stop()

    @property
    def pool(self) -> Pool:
        """For checks after the run."""
        return self.processes[0].pool

    @property
    def order_store(self) -> Any:
        """For checks after the run."""
        return self.processes[0].engine.order_store

    async def take_callback(self, request: web.BaseRequest) -> web.Response:
        """A callback of a rail, as the HTTP API hands it on."""
        rail, _, token = request.path.removeprefix("/api/v1/callbacks/").partition("/")
        headers = {name.lower(): value for name, value in request.headers.items()}
        body, at = await request.read(), time.time()
        if not self.processes:
            return web.Response(status=503)
        try:
            await self.processes[-1].engine.take_callback(rail, token, headers, body)
        except PaymentError:
            return web.Response(status=503)
        self.callbacks.append((at, body.decode(errors="replace").replace("-", "")))
        return web.Response()

    def open_accounts(self) -> None:
        """Have each rail of the sandbox take the credentials of ours."""
        for rail, url in self.sandbox.rail_urls.items():
            callbacks = f"{self.public_url}/api/v1/callbacks/{rail}"
            account = RAILS[rail].sandbox_account(
                SandboxRail(url=url, user=USER, key=KEY, callbacks=callbacks)
            )
            for resource, body in account.control.items():
                self.tell(rail, resource, body)
            self.rail_settings |= account.settings
        self.rail_settings |= {
            "hubtel_prompt_window_s": "0.9",
            "mtn_momo_status_per_s": "1000",
            "pawapay_status_per_s": "1000",
        }

    def tell(self, rail: str, resource: str, body: Mapping[str, Any]) -> None:
        """PUT one of a rail's control resources."""
        played = self.sandbox.rails[rail]
        outcome = played.wire.control(resource, "PUT", body)
        assert outcome is not None, (rail, resource)
        played.learn(outcome.facts)

    def order_store_on(self, pool: Pool) -> PostgresOrderStore:
        """What a process commits to."""
        return PostgresOrderStore(Database(pool))

    def url_of(self, number: int) -> str:
        """How a process reaches PostgreSQL."""
        return self.database_url

    def clock_of(self, number: int) -> SystemClock:
        """The clock of a process's host."""
        return SystemClock()

    def watched(self, number: int, order_store: Any, dispatch: Any) -> tuple[Any, Any]:
        """The order store and rails of a process, for runs that wrap them."""
        return order_store, dispatch

    async def process(self, number: int = 0) -> Process:
        """Start one more process of the service."""
        clock, random = self.clock_of(number), Random(self.seed)
        pool = await connect(self.url_of(number), min_size=1, max_size=3, check=ServerCheck())
        transport = Transport()
        built = build_rails(convert_settings(self.rail_settings), transport, clock)
        profiles = {"*": Profile(retry=RETRY, breaker=self.breaker, total_timeout=2.0)}
        registry = Registry(profiles, clock=clock.monotonic, random=random.random)
        dispatch = PolicyDispatch(registry.breaker, registry.profile, clock, CALLS, random.random)
        order_store, dispatch = self.watched(number, self.order_store_on(pool), dispatch)
        engine = build_engine(
            order_store=order_store,
            rails={name: built[name] for name in self.order},
            dispatch=dispatch,
            clock=clock,
            identities=SystemIdentities(),
            references=REFERENCES,
            work_signal=LocalWorkSignal(),
            settings=self.settings_for(self.public_url),
            # What a rail could not pay is tried again soon.
            floats=RailFloats(clock.monotonic, poll_s=0.2),
        )
        engine.start()
        return Process(engine, pool, transport, asyncio.create_task(engine.worker.run()))


Built = TypeVar("Built", bound=Deployment)


@contextlib.asynccontextmanager
async def deployed(kind: type[Built], database_url: str, folder: Path, **given: Any) -> AsyncGenerator[Built]:
    """A deployment over a sandbox of its own, its accounts open; afterwards nothing of it is left."""
    # A forged callback names what is true nowhere; late ones come soon enough for a short run.
    timings = Timings(delayed_s=0.5, late_callback_s=0.3, early_callback_s=0.3, credit_s=0.05)
    rng = Random(given.get("seed", 0))
    async with run_sandbox(data_dir=folder, rng=rng, timings=timings) as sandbox:
        deployment = kind(database_url=database_url, sandbox=sandbox, **given)
        server = web.Server(deployment.take_callback, access_log=None)
        loop = asyncio.get_running_loop()
        site = await loop.create_server(server, "127.0.0.1", 0, family=socket.AF_INET)
        deployment.public_url = f"http://localhost:{site.sockets[0].getsockname()[1]}"
        deployment.open_accounts()
        deployment.record_requests()
        try:
            yield deployment
        finally:
            site.close()
            await server.shutdown(timeout=0.1)
            await deployment.close()
