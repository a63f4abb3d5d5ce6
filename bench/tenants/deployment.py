"""`synccash up` with all its processes, and what a run reads of them: CPU by role, blocked loops, ends."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from bench.tenants.attacks import payer_number, payment_body
from synccash.payments.request import Role
from synccash.servers.existing_server import running_database
from synccash.servers.process import spawn
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.merchants import PostgresKeys
from synccash.stores.postgres.pool import connect

_PATIENCE_S = 90.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_ROLES = ("api", "worker", "webhooks", "sandbox", "postgres", "valkey", "up")
_COMMANDS = {"serve": "api", "worker": "worker", "webhooks": "webhooks", "sandbox": "sandbox", "up": "up"}
_ENDPOINTS = 16
_LISTED = 120
"""So many payments of the attacker exist from the start: pages of 100 are full."""


@dataclass(frozen=True, slots=True)
class Tarpit:
    """The process with the attacker's endpoints and name server."""

    process: subprocess.Popen[str]
    http_port: int

    def name_server(self, word: str) -> None:
        """Have the name server `answer` or be `silent`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(word, file=self.process.stdin, flush=True)
        self.process.stdout.readline()


@dataclass(frozen=True, slots=True)
class Blocked:
    """One block of an event loop. `where`: the innermost line of ours that ran; empty if none did."""

    process: str
    took_ms: int
    where: str


@dataclass(slots=True)
class Deployment:
    """Live. `api` is the base path of the API; `keys` are those of the merchants."""

    pid: int
    folder: Path
    api: str
    database_url: str
    keys: Mapping[str, str]
    tarpit: Tarpit
    _log_ends: dict[Path, int] = field(default_factory=dict[Path, int])

    @property
    def port(self) -> int:
        return urlsplit(self.api).port or 0

    def send(self, merchant: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Ask the API as a merchant; wait while it says 429. Raises HTTPError."""
        data = None if body is None else json.dumps(body).encode()
        given = {"Content-Type": "application/json", "Authorization": f"Bearer {self.keys[merchant]}"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        while True:
            asked = urllib.request.Request(self.api + path, data, given, method=method)
            try:
                with urllib.request.urlopen(asked, timeout=30) as reply:
                    return json.loads(reply.read() or b"null")
            except urllib.error.HTTPError as error:
                if error.code != 429:
                    raise
                time.sleep(float(error.headers["Retry-After"]))

    def pay(self, merchant: str, msisdn: str, **more: Any) -> Any:
        """Make a payment; return its document."""
        body = payment_body(msisdn, **more)
        return self.send(merchant, "POST", "/payments", body, Idempotency_Key=uuid.uuid4().hex)

    def seed(self) -> None:
        """Make so many payments of the attacker that its pages are full."""
        for number in range(_LISTED):
            self.pay("mallory", payer_number("055", 1_900_000 + number))

    def waiting_payments(self, count: int) -> list[str]:
        """Make payments of the attacker that wait for a one-time password."""
        number = uuid.uuid4().int
        payer = {"network": "telecel"}
        made = [
            self.pay(
                "mallory",
                "",
                payer={**payer, "msisdn": payer_number("020", number + one)},
                rail="paystack",
            )["id"]
            for one in range(count)
        ]
        for payment_id in made:
            _until(
                f"{payment_id} waits for a password",
                lambda one=payment_id: (
                    self.send("mallory", "GET", f"/payments/{one}")["status"] == "requires_action"
                ),
            )
        return made

    @contextlib.contextmanager
    def hostile_endpoints(self, merchant: str) -> Generator[None]:
        """Register as many endpoints as a merchant may have, proven to be its own, and let them hang."""
        self.tarpit.name_server("answer")
        host = "127.0.0.1" if merchant == "hanging" else "w{}.tarpit.example"
        urls = [f"http://{host.format(n)}:{self.tarpit.http_port}/{n}" for n in range(_ENDPOINTS)]
        made = [self.send(merchant, "POST", "/webhook-endpoints", {"url": url})["id"] for url in urls]

        def enabled() -> bool:
            listed = self.send(merchant, "GET", "/webhook-endpoints")["data"]
            return all(one["status"] == "enabled" for one in listed)

        _until(f"the endpoints of {merchant} are enabled", enabled)
        if merchant == "silent":
            self.tarpit.name_server("silent")
        yield
        for endpoint_id in made:
            self.send(merchant, "DELETE", f"/webhook-endpoints/{endpoint_id}")
        self.tarpit.name_server("answer")

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds of each role so far."""
        used: dict[str, float] = dict.fromkeys(_ROLES, 0.0)
        for pid in [self.pid, *_descendants(self.pid)]:
            try:
                role = _role(Path(f"/proc/{pid}/cmdline").read_text())
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if role is not None:
                # With those of ended children, such as PostgreSQL's backends.
                used[role] += sum(map(int, fields[11:15])) / _TICKS_PER_S
        return used

    def blocked_loops(self) -> list[Blocked]:
        """Return the blocks of event loops that were logged since the last call."""
        found: list[Blocked] = []
        for path in sorted((self.folder / "logs").glob("*.log")):
            with path.open("rb") as log:
                log.seek(self._log_ends.get(path, 0))
                whole = log.read().rpartition(b"\n")[0]
            self._log_ends[path] = self._log_ends.get(path, 0) + len(whole)
            lines = [json.loads(line) for line in whole.splitlines() if b'"loop_blocked"' in line]
            found += [Blocked(path.stem, one["blocked_ms"], _own_frame(one["stack"])) for one in lines]
        return found

    def ends(self) -> dict[str, str]:
        """Wait for the ends of the victim's payments; return the status of each by its id."""
        return asyncio.run(self._ends())

    async def _ends(self) -> dict[str, str]:
        connection = await asyncpg.connect(self.database_url)
        try:
            end = time.monotonic() + _PATIENCE_S
            while await connection.fetchval(_UNDER_WAY) and time.monotonic() < end:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
            return {row["id"]: row["status"] for row in await connection.fetch(_ENDS)}
        finally:
            await connection.close()


_UNDER_WAY = """
    SELECT count(*) FROM payments
    WHERE merchant_id = 'mer_victim' AND status NOT IN ('succeeded', 'failed', 'canceled')
"""
_ENDS = "SELECT id, status FROM payments WHERE merchant_id = 'mer_victim'"


@contextlib.contextmanager
def deployed(**settings: str) -> Generator[Deployment]:
    """Run `synccash up` with its defaults. The folder with the logs stays where the run broke off."""
    folder = Path(tempfile.mkdtemp(prefix="synccash-bench-"))
    folder.chmod(0o711)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SYNCCASH_")}
    with contextlib.ExitStack() as stack:
        tarpit = subprocess.Popen(
            [sys.executable, "-m", "bench.tenants.tarpit"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(tarpit.communicate)
        assert tarpit.stdout is not None
        http_port, dns_port = tarpit.stdout.readline().split()
        given = {
            # The attacker's servers are on this machine.
            "webhook_private_addresses": "true",
            "webhook_name_servers": f"127.0.0.1:{dns_port}",
            **settings,
        }
        environment = inherited | {f"SYNCCASH_{name.upper()}": value for name, value in given.items()}
        argv = ["up", "--port", "0", "--sandbox-port", "0", "--data-dir", str(folder)]
        up = spawn(
            [sys.executable, "-u", "-m", "synccash.cli", *argv],
            env=environment,
            stdout=subprocess.PIPE,
            death_signal=signal.SIGTERM,
        )
        stack.callback(_stop, up)
        api = _ready(up, folder)
        database_url = running_database(folder / "servers")
        assert database_url is not None
        keys = asyncio.run(_merchants(database_url))
        yield Deployment(up.pid, folder, api, database_url, keys, Tarpit(tarpit, int(http_port)))
    shutil.rmtree(folder, ignore_errors=True)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.communicate(timeout=60)


def _ready(up: subprocess.Popen[bytes], folder: Path) -> str:
    """Read what `up` prints until it is ready; return the URL of the API."""
    assert up.stdout is not None
    api = ""
    for line in (raw.decode() for raw in up.stdout):
        if line.startswith("api "):
            api = line.removeprefix("api ").strip().replace("//localhost", "//127.0.0.1")
        if line.startswith("ready"):
            return api
    raise RuntimeError(f"synccash up ended; its logs are in {folder}")


async def _merchants(database_url: str) -> dict[str, str]:
    keys: dict[str, str] = {}
    pool = await connect(database_url, min_size=0, max_size=1)
    try:
        store = PostgresKeys(Database(pool))
        for name in ("victim", "mallory", "hanging", "silent"):
            keys[name] = f"sk_test_{uuid.uuid4().hex}"
            await store.ensure_merchant(f"mer_{name}", name)
            hashed = sha256(keys[name].encode()).digest()
            await store.ensure_key(hashed, Role.MERCHANT, merchant_id=f"mer_{name}", livemode=False)
    finally:
        await pool.close()
    return keys


def _own_frame(stack: Sequence[str]) -> str:
    frames = [frame.partition("/synccash/")[2] for frame in stack]
    return next(filter(None, frames), "")


def _role(command_line: str) -> str | None:
    found = re.search(r"synccash\.cli\0(\w+)", command_line)
    if found is not None:
        return _COMMANDS.get(found[1])
    return next((name for name in ("postgres", "valkey") if name in command_line.split("\0")[0]), None)


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, waiting = list[int](), [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _until(what: str, holds: Any) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {_PATIENCE_S:.0f} s")
        time.sleep(0.1)
