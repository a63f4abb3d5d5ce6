"""The service in one thread of the test process: API, worker, webhooks and all rails of the sandbox.

Lighter than `synccash up`, whose processes are what test_promises.py is about; the engine, PostgreSQL, HTTP
in all directions and the rails' books are the same.
"""

import asyncio
import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import uvicorn

from servers_fixture import service_url
from synccash.payments.request import Role
from synccash.processes.api import application
from synccash.processes.assembly.service import Service, assembled
from synccash.processes.webhooks import webhook_service
from synccash.rails.registry import RAILS
from synccash.rails.sandbox_account import SandboxRail
from synccash.sandbox.faults import Faults
from synccash.sandbox.server import Sandbox, run_sandbox
from synccash.settings.loader import convert_settings

GENEROUS = "payment_initiation=100000/60, refund_request=100000/60, payment_status=100000/60"


@dataclass(frozen=True, slots=True)
class RunningService:
    """A running service with its keys: of a merchant, of another merchant, of the first one's live mode."""

    url: str
    sandbox_url: str
    key: str = field(repr=False)
    other_key: str = field(repr=False)
    live_key: str = field(repr=False)
    admin_key: str = field(repr=False)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the sandbox."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.sandbox_url}/control/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)

    def booked(self, side: str, rail: str = "mtn_momo") -> list[Any]:
        """One side of a rail's book."""
        return self.control("GET", f"{rail}/book")[side]


@contextlib.contextmanager
def running_service(
    database_url: str, folder: Path, *, tells: bool = True, role_url: str | None = None, **settings: Any
) -> Generator[RunningService]:
    """Run it until the block is left. `tells`: webhooks are sent; some hosts take long to be looked up.
    `role_url` leads to the database as the service's role already."""
    started: list[RunningService | BaseException] = []
    ready = threading.Event()
    ends: list[Any] = []

    async def serve() -> None:
        end = asyncio.Event()
        loop = asyncio.get_running_loop()
        ends.append(lambda: loop.call_soon_threadsafe(end.set))
        async with _running(database_url, folder, settings, tells=tells, role_url=role_url) as running:
            started.append(running)
            ready.set()
            await end.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            started.append(error)
            ready.set()

    thread = threading.Thread(target=run, name="the service")
    thread.start()
    try:
        assert ready.wait(60)
        first = started[0]
        assert isinstance(first, RunningService), first
        yield first
    finally:
        with contextlib.suppress(RuntimeError):
            ends[0]()
        thread.join(60)
        assert not thread.is_alive()


@contextlib.asynccontextmanager
async def _running(
    database_url: str, folder: Path, more: Mapping[str, Any], *, tells: bool, role_url: str | None
) -> AsyncGenerator[RunningService]:
    async with contextlib.AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(run_sandbox(data_dir=folder))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        url = f"http://localhost:{listener.getsockname()[1]}"
        chosen = {
            "public_url": url,
            "installation_key": "5c" * 32,
            "encryption_keys": "1:" + "e1" * 32,
            "lookup_key": "e2" * 32,
            "settle_s": 0.2,
            "ladder": "sandbox",
            "rate_limits": GENEROUS,
            "webhook_private_addresses": True,
            "webhook_timeout_s": 2,
            **_accounts(sandbox, url),
            **more,
        }
        settings = convert_settings(chosen)
        # As the role that services have: what it may not do shows in every test.
        own_url = role_url or await service_url(database_url)
        service = await stack.enter_async_context(assembled(settings, own_url))
        delivering = await stack.enter_async_context(webhook_service(settings, own_url))
        keys = await _keys(service)
        config = uvicorn.Config(application(service, settings), lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        for loop in (service.engine.worker, delivering.dispatcher) if tells else (service.engine.worker,):
            working = asyncio.create_task(loop.run())
            stack.push_async_callback(asyncio.wait, [working])
            stack.callback(loop.stop)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield RunningService(url, sandbox.url, **keys)
        finally:
            server.should_exit = True
            await serving


def _accounts(sandbox: Sandbox, url: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, rail in sandbox.rails.items():
        callbacks = f"{url}/api/v1/callbacks/{name}"
        place = SandboxRail(
            url=sandbox.rail_urls[name], user=str(uuid.UUID(int=4)), key="5d" * 16, callbacks=callbacks
        )
        account = RAILS[name].sandbox_account(place)
        for resource, body in account.control.items():
            outcome = rail.wire.control(resource, "PUT", body)
            assert outcome is not None
            rail.learn(outcome.facts)
        rail.set_faults(Faults(approve_after_ms=0))
        given |= account.settings
    return given


async def _keys(service: Service) -> dict[str, str]:
    keys: dict[str, str] = {}
    for name, merchant, livemode in (
        ("key", "mer_one", False),
        ("other_key", "mer_two", False),
        ("live_key", "mer_one", True),
        ("admin_key", None, False),
    ):
        if merchant is not None:
            await service.keys.ensure_merchant(merchant, merchant)
        keys[name] = f"sk_{name}_{uuid.uuid4().hex}"
        hashed = sha256(keys[name].encode()).digest()
        role = Role.ADMIN if merchant is None else Role.MERCHANT
        await service.keys.ensure_key(hashed, role, merchant_id=merchant, livemode=livemode)
    return keys
