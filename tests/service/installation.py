"""A whole installation, started as a user starts it, and the sandbox's book to compare it with."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

PATIENCE_S = 60.0
FINAL = ("succeeded", "failed", "canceled")
# Short leases, so that orders of a killed process are taken over within a test's time limit.
QUICK = {
    "SYNCCASH_LEASE_S": "2",
    "SYNCCASH_HEARTBEAT_S": "0.5",
    # What is tested here are payments, not the limits of one wallet.
    "SYNCCASH_RATE_LIMITS": "payment_initiation=100000/60, refund_request=100000/60",
}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


def call(method: str, url: str, body: Any = None, **headers: str) -> Answer:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method=method)
    request.add_header("Content-Type", "application/json")
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return Answer(reply.status, {k.lower(): v for k, v in reply.headers.items()}, reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())


def wait_until(what: str, holds: Callable[[], Any]) -> Any:
    """Poll a condition of another process: there is nothing of ours to wait on."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {PATIENCE_S:.0f} s")


@dataclass(slots=True)
class Running:
    """A command that runs, with what it printed so far. `started` are all of this test and those that run."""

    started: ClassVar[list["Running"]] = []

    process: subprocess.Popen[str]
    arguments: tuple[str, ...] = ()
    printed: list[str] = field(default_factory=list)
    reader: threading.Thread | None = None

    @classmethod
    def of(cls, *arguments: str, environment: dict[str, str] | None = None) -> "Running":
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SYNCCASH_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "synccash.cli", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**inherited, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        running = cls(process, arguments)
        cls.started.append(running)
        running.reader = threading.Thread(target=running._read)
        running.reader.start()
        return running

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.printed.extend(line.rstrip() for line in lines)

    def said(self, word: str) -> str:
        """The rest of the line that begins with the word."""

        def found() -> str | None:
            if self.process.poll() is not None:
                raise AssertionError("ended early:\n" + "\n".join(self.printed))
            return next((line[len(word) :].strip() for line in self.printed if line.startswith(word)), None)

        return wait_until(f"{word!r} is printed", found)

    def tail(self, lines: int) -> str:
        """The end of what it printed and of the log of each of its processes, and how it ended."""
        code = self.process.poll()
        state = "is running" if code is None else f"ended with code {code}"
        told = [*self.printed[-lines:], f"({' '.join(self.arguments[:1])} {state})"]
        folders = [Path(line[len("logs ") :].strip()) for line in self.printed if line.startswith("logs ")]
        for log in sorted(path for folder in folders for path in folder.iterdir()):
            last = log.read_text(errors="replace").splitlines()[-lines // 3 :]
            told += [f"-- {log.name}", *(line[:300] for line in last)]
        return "\n".join(told)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        if self.reader is not None:
            self.reader.join(timeout=10)
        return code


@dataclass(slots=True)
class Installation:
    """`synccash up` and its sandbox."""

    running: Running
    api: str
    sandbox: str
    key: str

    @classmethod
    def start(cls, folder: Path, *, sandbox_url: str | None = None, **settings: str) -> "Installation":
        where = ["--sandbox-url", sandbox_url] if sandbox_url else ["--sandbox-port", "0"]
        arguments = ["up", "--port", "0", "--data-dir", str(folder), *where]
        running = Running.of(*arguments, environment={**QUICK, **settings})
        try:
            running.said("ready")
        except BaseException:
            running.stop(signal.SIGKILL)
            raise
        return cls(running, running.said("api "), running.said("sandbox "), running.said("test key "))

    def stop(self) -> int:
        return self.running.stop()

    @property
    def pid(self) -> int:
        return self.running.process.pid

    def children(self, name: str) -> list[int]:
        """The processes of one role, by their command line."""
        return [pid for pid in descendants(self.pid) if f"synccash.cli\0{name}" in command_line(pid)]

    # what a merchant does

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return call(method, self.api + path, body, Authorization=f"Bearer {self.key}", **headers)

    def pay(
        self, msisdn: str = "0241234567", amount: int = 2500, *, key: str | None = None, **more: Any
    ) -> Answer:
        body = {
            "amount": amount,
            "currency": "GHS",
            "payer": {"msisdn": msisdn},
            "reference": fresh(),
            "rail": "mtn_momo",  # pinned: the faults are this rail's, and nothing may go round it
            **more,
        }
        return self.send("POST", "/payments", body, Idempotency_Key=key or fresh())

    def refund(self, payment_id: str, amount: int) -> Answer:
        return self.send(
            "POST",
            f"/payments/{payment_id}/refunds",
            {"amount": amount},
            Idempotency_Key=fresh(),
        )

    def payment(self, payment_id: str) -> Any:
        return self.send("GET", f"/payments/{payment_id}").body

    def by_reference(self, reference: str) -> Any:
        found = self.send("GET", f"/payments?reference={reference}").body["data"]
        return found[0] if found else None

    def ended(self, payment_id: str) -> Any:
        """The payment, once it has ended."""
        seen: Any = None

        def final() -> Any:
            nonlocal seen
            seen = self.payment(payment_id)
            return seen if seen["status"] in FINAL else None

        try:
            return wait_until(f"{payment_id} ends", final)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {seen}") from None

    # what the rail saw

    def book(self) -> Any:
        return call("GET", f"{self.sandbox}/control/mtn_momo/book").body

    def debits(self, payment: Any) -> int:
        counted = Counter(debit["reference"] for debit in self.book()["debits"])
        return sum(counted[attempt["reference"]] for attempt in payment["attempts"])

    def faults(self, **faults: Any) -> None:
        url = f"{self.sandbox}/control/mtn_momo/faults"
        answer = call("PUT", url, faults) if faults else call("DELETE", url)
        assert answer.status < 300, answer.raw


def fresh() -> str:
    return uuid.uuid4().hex


def at_once(count: int, work: Callable[[], Answer]) -> list[Answer]:
    """Do the same thing from many threads that leave together."""
    gate = threading.Barrier(count)

    def run() -> Answer:
        gate.wait()
        return work()

    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(run) for _ in range(count)]]


def descendants(root: int) -> list[int]:
    """Every process below a process, itself not included."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found.extend(below)
        waiting.extend(below)
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def still_there(pids: list[int]) -> list[int]:
    """Which of the processes run; a zombie does not."""

    def runs(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    return [pid for pid in pids if runs(pid)]
