"""What is measured: the service, the service without the fraud service, and the floor. Each starts afresh."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bench.payments import floor_statements, up_behind_pgbouncer
from bench.running_service import RunningService, add_merchants, running_service
from synccash.servers.bundle import start_servers
from synccash.servers.process import spawn

SERVICE, WITHOUT_FRAUD_SERVICE, FLOOR = "service", "without fraud service", "floor"
PGBOUNCER = "pgbouncer"
_START_S = 60.0
_LIMITS = ("payment_initiation", "payment_status", "api_key", "ip", "endpoint", "global")
_SETTINGS = {
    # One payer and one address at a time is what the limits are made for.
    "rate_limits": ",".join(f"{name}=1000000/1" for name in _LIMITS),
    "mtn_momo_status_per_s": "1000",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A running contender. `key` is the API key of the merchant that pays."""

    port: int
    key: str
    database_url: str
    service: RunningService | None = None


@contextlib.contextmanager
def service(module: str, **settings: str) -> Generator[Target]:
    """Run the service; `module` is the one whose `up` is run."""
    with running_service(module, **_SETTINGS, **settings) as running:
        key = add_merchants(running.database_url, ["load"])["load"]
        # The sandbox enforces MTN's limit of inquiries, which is far below these rates.
        body = json.dumps({"status_per_s": 0}).encode()
        url = f"{running.sandbox}/control/mtn_momo/settings"
        urllib.request.urlopen(urllib.request.Request(url, body, method="PUT"), timeout=30).close()
        yield Target(running.port, key, running.database_url, running)


@contextlib.contextmanager
def _floor() -> Generator[Target]:
    folder = Path(tempfile.mkdtemp(prefix="synccash-bench-"))
    folder.chmod(0o711)
    with ExitStack() as stack:
        servers = stack.enter_context(start_servers(folder / "servers"))
        database_url, valkey_url = servers.database_url, servers.valkey_url
        assert database_url is not None
        assert valkey_url is not None
        asyncio.run(_create_tables(database_url))
        api_port, sink_port = _free_ports()
        environment = {
            "FLOOR_DATABASE_URL": database_url,
            "FLOOR_VALKEY_URL": valkey_url,
            "FLOOR_SINK_URL": f"http://127.0.0.1:{sink_port}",
            "FLOOR_PORT": str(api_port),
            "SINK_API_URL": f"http://127.0.0.1:{api_port}",
            "SINK_PORT": str(sink_port),
        }
        for module, command in (("floor", "serve"), ("sink", "sandbox")):
            argv = [sys.executable, "-m", f"bench.payments.{module}", command]
            process = spawn(argv, env=dict(os.environ) | environment)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        for port in (api_port, sink_port):
            _wait_for(port)
        yield Target(api_port, "none", database_url)
    shutil.rmtree(folder, ignore_errors=True)


CONTENDERS: dict[str, Callable[[], AbstractContextManager[Target]]] = {
    SERVICE: lambda: service("synccash.cli"),
    WITHOUT_FRAUD_SERVICE: lambda: service("bench.payments.up_without_fraud_service"),
    FLOOR: _floor,
}


def processes_contender(processes: int) -> tuple[str, Callable[[], AbstractContextManager[Target]]]:
    """Return the name and the start of the service with so many API and so many worker processes."""
    count = str(processes)
    return (
        f"{count} + {count} processes",
        lambda: service("bench.payments.up_with_workers", workers=count, processes=count),
    )


def pgbouncer_contender() -> AbstractContextManager[Target]:
    """Start the service behind PgBouncer in transaction mode."""
    return service("bench.payments.up_behind_pgbouncer")


def missing_pgbouncer() -> str | None:
    """Return why the service cannot run behind PgBouncer; None if it can."""
    if up_behind_pgbouncer.PROGRAM is None:
        return "pgbouncer is not installed (Debian's package pgbouncer)"
    return None


async def _create_tables(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(floor_statements.TABLES)
    finally:
        await connection.close()


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def _wait_for(port: int) -> None:
    end = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError as error:
            if time.monotonic() > end:
                raise RuntimeError(f"nothing listens on port {port} after {_START_S:.0f} s") from error
            time.sleep(0.05)
        else:
            return
