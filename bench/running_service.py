"""`synccash up` with all its processes, for parts that measure the whole service."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from synccash.payments.request import Role
from synccash.servers.existing_server import running_database
from synccash.servers.process import spawn
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.merchants import PostgresKeys
from synccash.stores.postgres.pool import connect

_STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class RunningService:
    """`pid` is that of `synccash up`, `folder` its data folder, `api` and `sandbox` are base URLs."""

    pid: int
    folder: Path
    api: str
    sandbox: str
    database_url: str

    @property
    def port(self) -> int:
        return urlsplit(self.api).port or 0


@contextlib.contextmanager
def running_service(module: str = "synccash.cli", **settings: str) -> Generator[RunningService]:
    """Run `synccash up` with its defaults but for these settings; `module` is the one whose `up` is run.

    The folder with the logs stays where the run broke off.
    """
    folder = Path(tempfile.mkdtemp(prefix="synccash-bench-"))
    folder.chmod(0o711)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SYNCCASH_")}
    given = {f"SYNCCASH_{name.upper()}": value for name, value in settings.items()}
    argv = ["up", "--port", "0", "--sandbox-port", "0", "--data-dir", str(folder)]
    up = spawn(
        [sys.executable, "-u", "-m", module, *argv],
        env=inherited | given,
        stdout=subprocess.PIPE,
        death_signal=signal.SIGTERM,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(_stop, up)
        urls = _urls_when_ready(up, folder)
        database_url = running_database(folder / "servers")
        assert database_url is not None
        yield RunningService(up.pid, folder, urls["api"], urls["sandbox"], database_url)
    shutil.rmtree(folder, ignore_errors=True)


def add_merchants(database_url: str, names: Sequence[str]) -> dict[str, str]:
    """Register merchants; return the test key of each by its name. The id of `name` is `mer_name`."""
    return asyncio.run(_add_merchants(database_url, names))


async def _add_merchants(database_url: str, names: Sequence[str]) -> dict[str, str]:
    keys: dict[str, str] = {}
    pool = await connect(database_url, min_size=0, max_size=1)
    try:
        store = PostgresKeys(Database(pool))
        for name in names:
            keys[name] = f"sk_test_{uuid.uuid4().hex}"
            await store.ensure_merchant(f"mer_{name}", name)
            hashed = sha256(keys[name].encode()).digest()
            await store.ensure_key(hashed, Role.MERCHANT, merchant_id=f"mer_{name}", livemode=False)
    finally:
        await pool.close()
    return keys


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.communicate(timeout=_STOP_S)


def _urls_when_ready(up: subprocess.Popen[bytes], folder: Path) -> dict[str, str]:
    """Read what `up` prints until it is ready; return the URLs by the first word of their lines."""
    assert up.stdout is not None
    urls: dict[str, str] = {}
    for line in (raw.decode() for raw in up.stdout):
        name, _, value = line.partition(" ")
        if "://" in value:
            urls[name] = value.strip().replace("//localhost", "//127.0.0.1")
        if name == "ready":
            return urls
    raise RuntimeError(f"synccash up ended; its logs are in {folder}")
