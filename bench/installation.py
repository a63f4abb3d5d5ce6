"""A whole installation for benchmarks: servers, sandbox, API and worker, each a process of its own."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synccash.local.free_ports import SANDBOX_PORTS, free_run_of_ports
from synccash.local.preparing import register, sandbox_rails
from synccash.local.supervisor import Program, Supervisor
from synccash.local.up import answers, listening
from synccash.servers.bundle import start_servers
from synccash.stores.postgres.schema.migrations import migrate

KEYS = {"test": f"sk_test_{'b' * 48}", "admin": f"sk_admin_{'b' * 48}"}
_PATIENCE_S = 60.0
# One person at a time is what the shipped limits are made for; here one machine plays a whole country.
_UNLIMITED = ",".join(
    f"{name}=1000000/1"
    for name in ("payment_initiation", "payment_status", "api_key", "ip", "endpoint", "global")
)


@dataclass(frozen=True, slots=True)
class Installation:
    """A running service. `api` is its base path."""

    api: str
    sandbox: str
    database_url: str
    key: str

    def control(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Talk to the sandbox's bench."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.sandbox}/control/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)


@contextlib.contextmanager
def installation(entry: str = "synccash.cli", **settings: str) -> Generator[Installation]:
    """Start everything, as `synccash up` does; `entry` is the module whose `serve` and `worker` are run.

    The folder with databases and logs stays where the run broke off.
    """
    folder = Path(tempfile.mkdtemp(prefix="synccash-bench-"))
    folder.chmod(0o711)
    supervisor = Supervisor(print)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening("127.0.0.1", 0))
        servers = stack.enter_context(start_servers(folder / "servers"))
        stack.callback(supervisor.stop)
        assert servers.database_url is not None
        migrate(servers.database_url)
        asyncio.run(register(servers.database_url, KEYS))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SYNCCASH_")}
        port = free_run_of_ports(SANDBOX_PORTS)
        sandbox = f"http://127.0.0.1:{port}"
        argv = ["sandbox", "--port", str(port), "--data-dir", str(folder / "sandbox")]
        supervisor.add(_program("sandbox", "synccash.cli", argv, inherited, folder))
        public_url = f"http://localhost:{listener.getsockname()[1]}"
        given = sandbox_rails(sandbox, folder / "credentials.json", public_url, time.sleep)
        given |= {
            "database_url": servers.database_url,
            "valkey_url": servers.valkey_url or "",
            "public_url": public_url,
            "rate_limits": _UNLIMITED,
            "ladder": "sandbox",
            "settle_s": "3",
            "queue_retry_s": "1",
            "breaker_open_s": "3",
            "drain_s": "0",
            **settings,
        }
        environment = inherited | {f"SYNCCASH_{name.upper()}": value for name, value in given.items()}
        fd = listener.fileno()
        serve = _program("api", entry, ["serve", "--fd", str(fd)], environment, folder, fds=(fd,))
        supervisor.add(serve)
        supervisor.add(_program("worker", entry, ["worker"], environment, folder))
        _wait_for(f"{public_url}/health/ready", folder)
        yield Installation(f"{public_url}/api/v1", sandbox, servers.database_url, KEYS["test"])
    shutil.rmtree(folder, ignore_errors=True)


def _program(
    name: str,
    module: str,
    arguments: list[str],
    environment: Mapping[str, str],
    folder: Path,
    *,
    fds: tuple[int, ...] = (),
) -> Program:
    argv = [sys.executable, "-m", module, *arguments]
    return Program(name=name, argv=argv, env=environment, log=folder / f"{name}.log", pass_fds=fds)


def _wait_for(url: str, folder: Path) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not answers(url):
        if time.monotonic() > end:
            raise RuntimeError(f"{url} does not answer; the logs are in {folder}")
        time.sleep(0.1)
