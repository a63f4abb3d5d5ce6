"""One contender under each load in turn: what its payments cost until the last one has ended."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import asyncpg

from bench import processes
from bench.payments.contenders import Target
from bench.payments.database_counters import Counts, DatabaseCounters, difference
from bench.payments.load import CREATED, Answers, Load, payment_requests, run_load
from bench.payments.preload import preload
from bench.processes import Memory

SERVICE_ROLES = ("api", "worker", "webhooks", "up")
_WARM_UP = Load(callers=16)


@dataclass(frozen=True, slots=True)
class Window:
    """What one load of one contender came to.

    `cpu_us` and `counts` are for each payment, from its request to its end; `cpu_us["load"]` is what this
    program used. `elsewhere` is how many cores programs used that do not belong to the run.
    """

    contender: str
    round: int
    load: Load
    answers: Answers
    drain_s: float
    cpu_us: dict[str, float]
    memory: dict[str, Memory]
    counts: Counts
    elsewhere: float

    @property
    def per_s(self) -> float:
        """Accepted payments in a second."""
        return self.answers.statuses[CREATED] / self.answers.took_s

    @property
    def service_us(self) -> float:
        """CPU of the service's own processes for each payment."""
        return sum(self.cpu_us[role] for role in SERVICE_ROLES)

    @property
    def all_us(self) -> float:
        """CPU of the service and its servers for each payment: without the sandbox and the load itself."""
        servers = ("postgres", "valkey", "pgbouncer")
        return self.service_us + sum(self.cpu_us[role] for role in servers)

    @property
    def hot_share(self) -> float:
        """The share of the updates of payments that PostgreSQL kept within a page and out of the indexes."""
        updates = self.counts["payments.updates"]
        return self.counts["payments.hot_updates"] / updates if updates else 0.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: of each window, of the load before the first one, and for PostgreSQL to publish its counts."""

    window_s: float
    warm_up_s: float
    flush_s: float


@dataclass(slots=True)
class _Run:
    """Live: a contender that is being measured."""

    contender: str
    round: int
    target: Target
    timing: Timing
    database: DatabaseCounters
    requests: Iterator[bytes]
    idle: Counts
    before: Counts

    async def window(self, load: Load) -> Window:
        """Run one load, wait for the ends of its payments, and read all counters."""
        root = os.getpid()
        used, own = processes.cpu_s(root), time.process_time()
        busy, began = processes.machine_busy_s(), time.perf_counter()
        answers = await run_load(load, self.target.port, self.requests, self.timing.window_s)
        drain_s = await self.database.drain()
        took_s = time.perf_counter() - began
        busy = processes.machine_busy_s() - busy
        cpu_s = {role: now - used[role] for role, now in processes.cpu_s(root).items()}
        cpu_s["load"] = time.process_time() - own
        memory = processes.memory_mb(root)
        await asyncio.sleep(self.timing.flush_s)
        now, before = await self.database.read(), self.before
        self.before = now
        made = max(1, answers.statuses[CREATED])
        counted = difference(difference(now, before), self.idle)
        return Window(
            self.contender,
            self.round,
            load,
            answers,
            drain_s,
            cpu_us={role: used_s / made * 1e6 for role, used_s in cpu_s.items()},
            memory=memory,
            counts={name: count / made for name, count in counted.items()},
            elsewhere=max(0.0, busy - sum(cpu_s.values())) / took_s,
        )


async def measure_contender(
    contender: str,
    round_number: int,
    target: Target,
    loads: Sequence[Load],
    timing: Timing,
    *,
    stored: int = 0,
) -> list[Window]:
    """Measure all loads, with so many `stored` payments from before.

    Raises RuntimeError when a payment did not succeed.
    """
    connection = await asyncpg.connect(target.database_url)
    try:
        database, requests = DatabaseCounters(connection), payment_requests(target.key)
        warm_up = await run_load(_WARM_UP, target.port, requests, timing.warm_up_s)
        await database.drain()
        if stored:
            took_s = await preload(target.database_url, stored)
            print(f"{stored:,} payments were stored in {took_s:.0f} s", flush=True)
            # The statistics are new, so each connection plans anew; that is part of the warm-up.
            again = await run_load(_WARM_UP, target.port, requests, timing.warm_up_s)
            warm_up.statuses.update(again.statuses)
            await database.drain()
        await asyncio.sleep(timing.flush_s)
        first = await database.read()
        await asyncio.sleep(timing.flush_s)
        before = await database.read()
        # What the contender does while it waits for PostgreSQL's counts is not part of any payment.
        idle = difference(before, first)
        run = _Run(contender, round_number, target, timing, database, requests, idle, before)
        windows = [await run.window(load) for load in loads]
        _check(contender, [warm_up, *(one.answers for one in windows)], await database.ends())
        return windows
    finally:
        await connection.close()


def _check(contender: str, answers: Sequence[Answers], ends: Counter[str]) -> None:
    statuses = sum((one.statuses for one in answers), Counter[str]())
    if set(statuses) != {CREATED} or set(ends) != {"succeeded"} or ends.total() < statuses.total():
        raise RuntimeError(
            f"{contender}: not every payment succeeded, so its figures mean nothing: the answers were "
            f"{dict(statuses)}, the payments ended as {dict(ends)}"
        )
