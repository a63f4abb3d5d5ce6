"""`synccash up` with all its processes, and what a run reads of them: CPU by role, blocked loops, ends."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from bench import processes
from bench.payment_requests import payer_number, payment_body
from bench.running_service import RunningService, add_merchants, running_service

_PATIENCE_S = 90.0
_CONFIRMED_WITHIN_S = 15.0
"""A payment of the victim that succeeded later than this counts as late, also when the attack is over."""
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
    """Live. `keys` are those of the merchants."""

    service: RunningService
    keys: Mapping[str, str]
    tarpit: Tarpit
    _log_ends: dict[Path, int] = field(default_factory=dict[Path, int])

    @property
    def api(self) -> str:
        """The base path of the API."""
        return self.service.api

    @property
    def port(self) -> int:
        return self.service.port

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
        return processes.cpu_s(os.getpid())

    def blocked_loops(self) -> list[Blocked]:
        """Return the blocks of event loops that were logged since the last call."""
        found: list[Blocked] = []
        for path in sorted((self.service.folder / "logs").glob("*.log")):
            with path.open("rb") as log:
                log.seek(self._log_ends.get(path, 0))
                whole = log.read().rpartition(b"\n")[0]
            self._log_ends[path] = self._log_ends.get(path, 0) + len(whole)
            lines = [json.loads(line) for line in whole.splitlines() if b'"loop_blocked"' in line]
            found += [Blocked(path.stem, one["blocked_ms"], _own_frame(one["stack"])) for one in lines]
        return found

    def ends(self) -> dict[str, str]:
        """Wait for the ends of the victim's payments; return how each ended by its id: its status, and the
        reason where it has one; `succeeded late` after more than 15 s."""
        return asyncio.run(self._ends())

    def timeline(self, payment_id: str) -> str:
        """Return what happened to one of the victim's payments, one entry a line."""
        asked = urllib.request.Request(
            f"{self.api}/payments/{payment_id}/timeline",
            headers={"Authorization": f"Bearer {self.keys['victim']}"},
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return "\n".join(json.dumps(entry) for entry in json.load(answer)["data"])

    async def _ends(self) -> dict[str, str]:
        connection = await asyncpg.connect(self.service.database_url)
        try:
            end = time.monotonic() + _PATIENCE_S
            while await connection.fetchval(_UNDER_WAY) and time.monotonic() < end:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
            return {row["id"]: row["ended"] for row in await connection.fetch(_ENDS, _CONFIRMED_WITHIN_S)}
        finally:
            await connection.close()


_UNDER_WAY = """
    SELECT count(*) FROM payments
    WHERE merchant_id = 'mer_victim' AND status NOT IN ('succeeded', 'failed', 'canceled')
"""
_ENDS = """
    SELECT p.id, CASE
        WHEN p.status = 'succeeded' AND e.at > p.created_at + make_interval(secs => $1) THEN 'succeeded late'
        ELSE concat_ws(' ', p.status, p.status_detail, p.last_error->>'code')
    END AS ended
    FROM payments p LEFT JOIN (
        SELECT object_id, min(created_at) AS at FROM events
        WHERE merchant_id = 'mer_victim' AND type = 'payment.succeeded' GROUP BY object_id
    ) e ON e.object_id = p.id
    WHERE p.merchant_id = 'mer_victim'
"""


@contextlib.contextmanager
def deployed(**settings: str) -> Generator[Deployment]:
    """Run `synccash up` with its defaults, and the tarpit."""
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
        service = stack.enter_context(running_service(**given))
        keys = add_merchants(service.database_url, ("victim", "mallory", "hanging", "silent"))
        yield Deployment(service, keys, Tarpit(tarpit, int(http_port)))


def _own_frame(stack: Sequence[str]) -> str:
    frames = [frame.partition("/synccash/")[2] for frame in stack]
    return next(filter(None, frames), "")


def _until(what: str, holds: Any) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {_PATIENCE_S:.0f} s")
        time.sleep(0.1)
