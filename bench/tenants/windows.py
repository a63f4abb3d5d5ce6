"""Windows of a run: the victim pays at a fixed rate, while an attack goes on or in quiet."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field

import aiohttp
import uvloop

from bench.payment_requests import payer_number, payment_body
from bench.processes import machine_busy_s
from bench.tenants.attacks import ATTACKS
from bench.tenants.deployment import Blocked, Deployment

QUIET, ALL = "quiet", "all"
_SETTLE_S = 1.0


@dataclass(slots=True)
class Window:
    """What one window came to. `latencies_s`: of the victim's requests, from the moment each was due.

    `payment_ids` are those that the API answered with. `cpu`: shares of one core by role; `elsewhere` is what
    programs that are not ours used. `aimed_per_s` and `answered_per_s`: requests of the attack.
    """

    name: str
    round: int
    latencies_s: list[float]
    statuses: Counter[int]
    payment_ids: list[str]
    driver_late_s: float
    answers: Counter[str] = field(default_factory=Counter[str])
    cpu: dict[str, float] = field(default_factory=dict[str, float])
    blocked: list[Blocked] = field(default_factory=list[Blocked])
    ends: Counter[str] = field(default_factory=Counter[str])
    aimed_per_s: float = 0.0
    answered_per_s: float = 0.0

    def quantile_ms(self, share: float) -> float:
        """Return a quantile of the latencies in milliseconds."""
        latencies = sorted(self.latencies_s)
        return latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1_000


@dataclass(frozen=True, slots=True)
class _Answer:
    """One request of the victim, in seconds from the moment it was due. `status` 0: no answer."""

    latency_s: float
    status: int
    payment_id: str
    late_s: float


class Victim:
    """The merchant that pays: `per_s` requests a second, each with a payer of its own."""

    def __init__(self, deployment: Deployment, per_s: float) -> None:
        self._deployment = deployment
        self._per_s = per_s
        self._number = 0

    def pay(self, name: str, round_number: int, seconds: float) -> Window:
        """Pay for so many seconds."""
        return uvloop.run(self._pay(name, round_number, seconds))

    async def _pay(self, name: str, round_number: int, seconds: float) -> Window:
        headers = {"Authorization": f"Bearer {self._deployment.keys['victim']}"}
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
            # The connection exists before the first request that is timed.
            await self._post(session, time.monotonic())
            began, posts = time.monotonic(), list[asyncio.Task[_Answer]]()
            for count in range(int(seconds * self._per_s)):
                due = began + count / self._per_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                posts.append(asyncio.create_task(self._post(session, due)))
            done = await asyncio.gather(*posts)
        return Window(
            name,
            round_number,
            latencies_s=[one.latency_s for one in done],
            statuses=Counter(one.status for one in done),
            payment_ids=[one.payment_id for one in done if one.payment_id],
            driver_late_s=max(one.late_s for one in done),
        )

    async def _post(self, session: aiohttp.ClientSession, due: float) -> _Answer:
        late_s = time.monotonic() - due
        self._number += 1
        body = payment_body(payer_number("024", self._number), rail="mtn_momo")
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        status, payment_id = 0, ""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with session.post(f"{self._deployment.api}/payments", json=body, headers=headers) as reply:
                payment_id = (await reply.json(content_type=None)).get("id", "")
                status = reply.status
        return _Answer(time.monotonic() - due, status, payment_id, late_s)


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
        before, busy, own, began = deployment.cpu_s(), machine_busy_s(), time.process_time(), time.monotonic()
        for process in attackers:
            assert process.stdin is not None
            print("go", file=process.stdin, flush=True)
        found = victim.pay(name, round_number, seconds)
        took = time.monotonic() - began
        used = {role: cpu - before[role] for role, cpu in deployment.cpu_s().items()}
        used["victim"] = time.process_time() - own
        busy = machine_busy_s() - busy
        found.blocked = deployment.blocked_loops()
        used["attacker"] = 0.0
        for process in attackers:
            said = json.loads(process.communicate(timeout=30)[0])
            found.answers.update(said["answers"])
            used["attacker"] += said["cpu_s"]
        used["elsewhere"] = max(0.0, busy - sum(used.values()))
        found.aimed_per_s = sum(ATTACKS[one].per_s * share for one in names)
        found.answered_per_s = sum(count for said, count in found.answers.items() if said.isdigit()) / took
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
