"""Windows of a run: the victim pays at a fixed rate, while an attack goes on or in quiet."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import uvloop

from bench.tenants.attacks import ATTACKS, payer_number, payment_body
from bench.tenants.deployment import Blocked, Deployment

QUIET, ALL = "quiet", "all"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SETTLE_S = 1.0


@dataclass(slots=True)
class Window:
    """What one window came to. `latencies_s`: of the victim's requests, from the moment each was due.

    `cpu`: shares of one core by role; `elsewhere` is what programs that are not ours used.
    """

    name: str
    round: int
    prefix: str
    latencies_s: list[float]
    statuses: Counter[int]
    driver_late_s: float
    answers: Counter[str] = field(default_factory=Counter[str])
    cpu: dict[str, float] = field(default_factory=dict[str, float])
    blocked: list[Blocked] = field(default_factory=list[Blocked])
    ends: Counter[str] = field(default_factory=Counter[str])

    def quantile_ms(self, share: float) -> float:
        """Return a quantile of the latencies."""
        return quantile_ms(self.latencies_s, share)


def quantile_ms(latencies_s: Sequence[float], share: float) -> float:
    """Return a quantile in milliseconds."""
    return sorted(latencies_s)[min(len(latencies_s) - 1, int(len(latencies_s) * share))] * 1_000


class Victim:
    """The merchant that pays: `per_s` requests a second, each with a payer of its own."""

    def __init__(self, deployment: Deployment, per_s: float) -> None:
        self._deployment = deployment
        self._per_s = per_s
        self._number = 0
        self._windows = 0

    def pay(self, name: str, round_number: int, seconds: float) -> Window:
        """Pay for so many seconds."""
        self._windows += 1
        return uvloop.run(self._pay(name, round_number, f"w{self._windows}", seconds))

    async def _pay(self, name: str, round_number: int, prefix: str, seconds: float) -> Window:
        headers = {"Authorization": f"Bearer {self._deployment.keys['victim']}"}
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
            # The connection exists before the first request that is timed.
            await self._post(session, "warm", time.monotonic())
            began, posts = time.monotonic(), list[asyncio.Task[tuple[float, int, float]]]()
            for count in range(int(seconds * self._per_s)):
                due = began + count / self._per_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                posts.append(asyncio.create_task(self._post(session, prefix, due)))
            done = await asyncio.gather(*posts)
        return Window(
            name,
            round_number,
            prefix,
            latencies_s=[latency for latency, _, _ in done],
            statuses=Counter(status for _, status, _ in done),
            driver_late_s=max(late for _, _, late in done),
        )

    async def _post(
        self, session: aiohttp.ClientSession, prefix: str, due: float
    ) -> tuple[float, int, float]:
        late_s = time.monotonic() - due
        self._number += 1
        body = payment_body(
            payer_number("024", self._number), reference=f"{prefix}-{self._number}", rail="mtn_momo"
        )
        try:
            async with session.post(
                f"{self._deployment.api}/payments", json=body, headers={"Idempotency-Key": uuid.uuid4().hex}
            ) as reply:
                await reply.read()
                status = reply.status
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        return time.monotonic() - due, status, late_s


def window(
    deployment: Deployment,
    victim: Victim,
    name: str,
    round_number: int,
    seconds: float,
    share_of_each: float,
) -> Window:
    """Measure one window: `quiet`, the attack of this name, or `all` with a share of each attack's rate."""
    share = share_of_each if name == ALL else 1.0
    names = () if name == QUIET else tuple(ATTACKS) if name == ALL else (name,)
    with contextlib.ExitStack() as stack:
        for one in names:
            if (merchant := ATTACKS[one].tarpit) is not None:
                stack.enter_context(deployment.hostile_endpoints(merchant))
        if "dns" in names:
            deployment.tarpit.name_server("silent")
        waiting = deployment.waiting_payments(3) if "otp" in names else []
        attackers = [_attacker(stack, deployment, one, waiting, share) for one in names]
        time.sleep(_SETTLE_S)
        deployment.blocked_loops()
        before, busy, own, began = deployment.cpu_s(), _busy_s(), time.process_time(), time.monotonic()
        for process in attackers:
            assert process.stdin is not None
            print("go", file=process.stdin, flush=True)
        found = victim.pay(name, round_number, seconds)
        took = time.monotonic() - began
        used = {role: cpu - before[role] for role, cpu in deployment.cpu_s().items()}
        used["victim"] = time.process_time() - own
        busy = _busy_s() - busy
        found.blocked = deployment.blocked_loops()
        used["attacker"] = 0.0
        for process in attackers:
            said = json.loads(process.communicate(timeout=30)[0])
            found.answers.update(said["answers"])
            used["attacker"] += said["cpu_s"]
        used["elsewhere"] = max(0.0, busy - sum(used.values()))
        found.cpu = {role: cpu / took for role, cpu in used.items()}
    return found


def _attacker(
    stack: contextlib.ExitStack, deployment: Deployment, name: str, waiting: list[str], share: float
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.tenants.attacker", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.callback(process.kill)
    assert process.stdin is not None
    assert process.stdout is not None
    target = {
        "keys": deployment.keys,
        "waiting": waiting,
        "share": share,
        "host": "127.0.0.1",
        "port": deployment.port,
    }
    print(json.dumps(target), file=process.stdin, flush=True)
    assert process.stdout.readline() == "ready\n"
    return process


def _busy_s() -> float:
    """Return the CPU seconds that all programs of the machine have used."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / _TICKS_PER_S
