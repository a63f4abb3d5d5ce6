"""API and worker processes with ports of their own, their sandbox, and merchants who pay all the time."""

import asyncio
import contextlib
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from service.installation import FINAL, Running, call, wait_until
from synccash.local.free_ports import SANDBOX_PORTS, free_run_of_ports
from synccash.local.preparing import confirm_test_accounts, register, sandbox_rails
from synccash.rails.registry import RAILS

KEYS = {"test": "sk_test_" + "f" * 48, "admin": "sk_admin_" + "f" * 48}
_UNLIMITED = ",".join(
    f"{name}=1000000/1"
    for name in ("payment_initiation", "payment_status", "api_key", "ip", "endpoint", "global")
)
_DEFAULTS = {
    "installation_key": "5c" * 32,
    "encryption_keys": "1:" + "e1" * 32,
    "lookup_key": "e2" * 32,
    "rate_limits": _UNLIMITED,
    "ladder": "sandbox",
    "settle_s": "3",
    "queue_retry_s": "1",
    "breaker_open_s": "3",
    "lease_s": "3",
    "heartbeat_s": "1",
    "mtn_momo_status_per_s": "1000",
    "pawapay_status_per_s": "1000",
}


@dataclass(slots=True)
class Fleet:
    """The processes by name. `ports` are those of their health checks."""

    settings: Mapping[str, str]
    sandbox: str
    ports: dict[str, int] = field(default_factory=dict[str, int])
    processes: dict[str, Running] = field(default_factory=dict[str, Running])

    def start(self, name: str) -> None:
        """Start `api-1`, `worker-1` and the like, and wait until it is ready."""
        self.begin(name)
        self.wait_ready(name)

    def begin(self, name: str) -> None:
        """Start a process."""
        role, setting = ("serve", "port") if name.startswith("api") else ("worker", "worker_port")
        port = self.ports.setdefault(name, free_run_of_ports(1))
        given = {**self.settings, setting: str(port)}
        environment = {f"SYNCCASH_{key.upper()}": value for key, value in given.items()}
        self.processes[name] = Running.of(role, environment=environment)

    def wait_ready(self, name: str) -> None:
        """Wait until a process is ready."""
        wait_until(f"{name} is ready", lambda: self.is_ready(name))

    def is_ready(self, name: str) -> bool:
        """Tell whether a process is ready."""
        try:
            return call("GET", f"http://127.0.0.1:{self.ports[name]}/health/ready").status == 200
        except OSError:
            return False

    def restart(self, name: str) -> None:
        """Stop a process as an operator does, and start it again."""
        assert self.processes[name].stop() == 0, self.processes[name].tail(20)
        self.start(name)

    def printed(self) -> list[str]:
        """What the processes printed so far."""
        return [line for process in self.processes.values() for line in process.printed]

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the sandbox."""
        answer = call(method, f"{self.sandbox}/control/{path}", body)
        assert answer.status < 300, answer.raw
        return answer.body

    def debits(self) -> Counter[str]:
        """How often each wallet was debited, in the books of all rails."""
        books = [self.control("GET", f"{rail}/book") for rail in RAILS]
        return Counter(debit["msisdn"] for book in books for debit in book["debits"])


@contextlib.contextmanager
def fleet(
    folder: Path,
    public_port: int,
    *,
    database_url: str,
    owner_url: str,
    without: tuple[str, ...] = (),
    **settings: str,
) -> Generator[Fleet]:
    """Start the sandbox, and stop everything at the end.

    `owner_url`: the database as its owner. `without`: rails that are not set up.
    """
    sandbox_port = free_run_of_ports(SANDBOX_PORTS)
    sandbox = f"http://127.0.0.1:{sandbox_port}"
    box = Running.of("sandbox", "--port", str(sandbox_port), "--data-dir", str(folder / "sandbox"))
    running: Fleet | None = None
    try:
        public_url = f"http://localhost:{public_port}"
        accounts = sandbox_rails(sandbox, folder / "credentials.json", public_url, time.sleep)
        given = {
            "database_url": database_url,
            "public_url": public_url,
            **{name: value for name, value in accounts.items() if not name.startswith(without)},
            **_DEFAULTS,
            **settings,
        }
        asyncio.run(register(owner_url, KEYS))
        environment = {f"SYNCCASH_{name.upper()}": value for name, value in given.items()}
        asyncio.run(confirm_test_accounts(owner_url, environment))
        running = Fleet(given, sandbox)
        running.control("PUT", "mtn_momo/settings", {"status_per_s": 0})
        yield running
    finally:
        for process in running.processes.values() if running else ():
            if process.process.poll() is None:
                process.process.send_signal(signal.SIGTERM)
        for process in (*(running.processes.values() if running else ()), box):
            process.stop()


@dataclass(slots=True)
class Request:
    """One payment that was asked for. `status` 0: no answer. Times of the monotonic clock."""

    number: int
    asked_at: float
    key: str
    status: int = 0
    answered_at: float = 0.0
    payment_id: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether the merchant was told that the payment is accepted."""
        return self.status in (201, 202)


@dataclass(slots=True)
class Merchant:
    """Asks for payments at a constant rate, and never repeats a request by itself. Payers' numbers begin with
    that of `first`, so that no wallet pays twice."""

    url: str
    rate: float
    first: int = 0
    requests: list[Request] = field(default_factory=list[Request])
    read_statuses: Counter[int] = field(default_factory=Counter[int])

    @contextlib.contextmanager
    def paying(self) -> Generator[None]:
        """Send requests until the block is left, and then wait for the last answers."""
        stop = threading.Event()
        with ThreadPoolExecutor(1) as threads:
            sending = threads.submit(lambda: asyncio.run(self._send(stop)))
            try:
                yield
            finally:
                stop.set()
                sending.result()

    def repeat(self, requests: Sequence[Request]) -> None:
        """Repeat requests under their keys until each is accepted, as merchants do that are not sure."""
        asyncio.run(self._repeat(requests))

    async def _repeat(self, requests: Sequence[Request]) -> None:
        async with _session() as session, asyncio.timeout(60):
            for request in requests:
                request.status = 0
                while not request.accepted:
                    await self._pay(session, request)
                    if not request.accepted:
                        await asyncio.sleep(0.2)

    async def _send(self, stop: threading.Event) -> None:
        began = time.monotonic()
        async with _session() as session, asyncio.TaskGroup() as group:
            count = 0
            while not stop.is_set():
                request = Request(self.first + count, time.monotonic(), uuid.uuid4().hex)
                self.requests.append(request)
                group.create_task(self._pay_and_read(session, request))
                count += 1
                await asyncio.sleep(max(0.0, began + count / self.rate - time.monotonic()))

    async def _pay_and_read(self, session: aiohttp.ClientSession, request: Request) -> None:
        await self._pay(session, request)
        if request.payment_id is not None:
            self.read_statuses[await self._read(session, request.payment_id)] += 1

    async def _pay(self, session: aiohttp.ClientSession, request: Request) -> None:
        body = {
            "amount": 2500,
            "currency": "GHS",
            "payer": {"msisdn": f"0{wallet(request.number)[3:]}"},
            "reference": f"order-{request.number}",
        }
        headers = {"Idempotency-Key": request.key}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with session.post(f"{self.url}/payments", json=body, headers=headers) as reply:
                request.status = reply.status
                # A load balancer's own errors are no JSON.
                if request.accepted:
                    answer: Any = await reply.json()
                    request.payment_id = answer["id"]
        request.answered_at = time.monotonic()

    async def _read(self, session: aiohttp.ClientSession, payment_id: str) -> int:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with session.get(f"{self.url}/payments/{payment_id}") as reply:
                await reply.read()
                return reply.status
        return 0


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers={"Authorization": f"Bearer {KEYS['test']}"},
        timeout=aiohttp.ClientTimeout(total=30),
    )


def wallet(number: int) -> str:
    """A payer's number of its own for each payment, as 233…. The rails' test numbers end in 450 to 469."""
    thousand, rest = divmod(number, 400)
    return f"23324{thousand:04d}{rest:03d}"


def read_payment(url: str, payment_id: str) -> tuple[int, Any]:
    """The status and the body of the answer to a read."""
    answer = call("GET", f"{url}/payments/{payment_id}", Authorization=f"Bearer {KEYS['test']}")
    return answer.status, answer.body


def final_payment(url: str, payment_id: str) -> Any:
    """The payment once it has ended."""

    def ended() -> Any:
        status, body = read_payment(url, payment_id)
        return body if status == 200 and body["status"] in FINAL else None

    return wait_until(f"{payment_id} ends", ended)
