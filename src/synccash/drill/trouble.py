"""Injects faults into a running installation: kills and stops processes, kills Valkey, makes rails fail."""

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

from synccash.drill.rails import RAILS
from synccash.drill.records import database_time, open_orders
from synccash.drill.timeline import FaultLog
from synccash.stores.postgres.pool import Pool

Control = Callable[[str, str, Mapping[str, Any] | None], Awaitable[Any]]
"""Method, path below /control, body."""

KINDS = ("kill", "pause", "valkey", "rails", "records", "rows", "http_500")
EVERY_RAIL = frozenset({"rails", "records", "http_500"})
"""Kinds that need traffic at every rail."""
OUTAGE_S = 20.0
_UNREADABLE_S = 2.0
_UNREADABLE_ROWS = 3
_RECORDS_S = 2.0
_ROLES = ("synccash.cli\0serve", "synccash.cli\0worker")
_TABLES = ("payments", "refunds", "payouts")
_PROCESSES = {"serve": "the API process", "worker": "the worker process", "valkey-server": "Valkey"}
_RAIL_FAULTS: Mapping[str, Mapping[str, Any]] = {
    "refuses all connections": {"down": True},
    "answers after 8 s": {"latency_ms": 8_000},
    "answers after 0.7 s": {"latency_ms": 700},
    "answers HTTP 500 to half of all money requests": {"error_rate": 0.5},
    "loses half of all money requests": {"drop": "before_commit", "drop_rate": 0.5},
    "loses half of its answers to money requests": {"drop": "after_commit", "drop_rate": 0.5},
    "sends no callbacks": {"callbacks": "lost"},
    "sends each callback twice": {"callbacks": "duplicate"},
    "sends callbacks before its answer": {"callbacks": "early"},
    "sends callbacks late": {"callbacks": "late"},
    "sends forged callbacks of success": {"callbacks": "forged"},
}
"""The sandbox's settings for each fault of a rail's health, by a description of the fault."""


@dataclass(frozen=True, slots=True)
class RecordsFault:
    """A fault in a rail's records: its description, and the sandbox's settings for it."""

    what: str
    faults: Mapping[str, Any]


RECORDS: Mapping[str, RecordsFault] = {
    "other_amount": RecordsFault("moves GHS 1 too much in 30 % of orders", {"other_amount_rate": 0.3}),
    "other_currency": RecordsFault(
        "reports another currency for 30 % of orders", {"other_currency_rate": 0.3}
    ),
    "other_reference": RecordsFault(
        "reports another reference three times for 50 % of orders", {"other_reference_rate": 0.5}
    ),
    # The rail must first report the order as pending, so its payer approves late.
    "not_found_after_found": RecordsFault(
        "reports 50 % of orders as pending and then as not found",
        {"not_found_after_found_rate": 0.5, "approve_after_ms": 3_000},
    ),
    "failed_then_success": RecordsFault(
        "reports 30 % of orders as failed, and moves the money 1 s later without a callback",
        {"failed_then_success_rate": 0.3, "late_success_after_ms": 1_000},
    ),
    "callback_failure": RecordsFault(
        "sends a false callback of failure for 50 % of orders", {"callback_failure_rate": 0.5}
    ),
}
"""Faults of records, by the name under which a rail's book counts them."""


@dataclass(slots=True)
class Trouble:
    """Injects faults for a given time, then ends all of them.

    `root` is the process of `synccash up`, which restarts its children itself. `happened`: the faults, with
    the seconds from the start. `met` counts the orders that each kind of fault affected, and `http_500` for
    each rail separately. `healed_at`: when the last fault ended, by the database's clock.
    """

    root: int
    control: Control
    kinds: tuple[str, ...]
    random: Random
    pool: Pool
    occurrences: Counter[str] = field(default_factory=Counter[str])
    met: Counter[str] = field(default_factory=Counter[str])
    happened: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    faults: FaultLog = field(default_factory=FaultLog)
    healed_at: datetime | None = None
    _faulty_since: dict[str, datetime] = field(default_factory=dict[str, datetime])
    _turn: int = 0

    async def run(self, seconds: float) -> None:
        """Inject faults for so long, then end them. HTTP 500 comes first and takes 20 s of its own."""
        end = time.monotonic() + seconds
        others = [kind for kind in self.kinds if kind != "http_500"]
        left: list[str] = []
        try:
            if "http_500" in self.kinds:
                await self._refuse_everything()
            while others and (left_s := end - time.monotonic()) > 0:
                await asyncio.sleep(min(left_s, 0.5 + self.random.random() * 1.5))
                # Inject each kind once, in random order, before any kind repeats.
                left = left or self.random.sample(others, len(others))
                await self._inject(left.pop())
        finally:
            await self._end_faults()

    async def _end_faults(self) -> None:
        for pid, _ in self._processes(_ROLES):
            _signal(pid, signal.SIGCONT)
        for rail in RAILS:
            await self._clear_faults(rail)
        self.healed_at = await database_time(self.pool)
        if self.kinds:
            self.note("the last fault has ended")

    async def _inject(self, kind: str) -> None:
        match kind:
            case "kill":
                await self._kill(kind, _ROLES)
            case "valkey":
                await self._kill(kind, ("valkey-server",))
            case "pause":
                await self._pause()
            case "rows":
                await self._make_unreadable()
            case "records":
                await self._falsify_records()
            case _:
                await self._degrade_rail()

    async def _refuse_everything(self) -> None:
        """Have every rail answer HTTP 500 and book nothing."""
        began = await database_time(self.pool)
        for rail in RAILS:
            await self.control("PUT", f"{rail}/faults", {"error_rate": 1.0})
            self.faults.begin(rail, "answers HTTP 500")
        self.note(f"every rail answers HTTP 500 for {OUTAGE_S:.0f} s")
        await asyncio.sleep(OUTAGE_S)
        for rail in RAILS:
            self.met[f"http_500 at {rail}"] += await self._attempts_since(rail, began)
            await self._clear_faults(rail)
        self.note("every rail works again")

    async def _make_unreadable(self) -> None:
        """Write an unknown status_detail into a few unleased orders, and restore the former value later."""
        rows: Sequence[Any] = ()
        table = ""
        for table in self.random.sample(_TABLES, len(_TABLES)):
            rows = await self.pool.fetch(_UNREADABLE.format(table=table), _UNREADABLE_ROWS)
            if rows:
                break
        else:
            return
        ids = [row["id"] for row in rows]
        self.note(f"rows unreadable for {_UNREADABLE_S:.0f} s: {', '.join(ids)}")
        self.occurrences["rows made unreadable"] += len(ids)
        self.faults.begin("database rows", f"{len(ids)} unreadable")
        try:
            await asyncio.sleep(_UNREADABLE_S)
        finally:
            self.faults.end("database rows")
            for row in rows:
                await self.pool.execute(_READABLE.format(table=table), row["id"], row["former"])
            self.met["rows"] = await self.pool.fetchval("SELECT count(*) FROM unreadable_orders")

    async def _kill(self, kind: str, names: tuple[str, ...]) -> None:
        found = self._processes(names)
        if not found:
            return
        pid, name = self.random.choice(found)
        orders = await open_orders(self.pool)
        _signal(pid, signal.SIGKILL)
        self.occurrences[f"kill -9 of {name}"] += 1
        self.met[kind] += orders
        self.note(f"{name} killed (kill -9) while {orders} orders were open")
        self.faults.instant(name, "killed")

    async def _pause(self) -> None:
        """Stop a process for 1 to 4 s, which may be longer or shorter than a lease."""
        found = self._processes(_ROLES)
        if not found:
            return
        pid, name = self.random.choice(found)
        seconds = 1 + self.random.random() * 3
        orders = await open_orders(self.pool)
        _signal(pid, signal.SIGSTOP)
        self.occurrences[f"pause of {name}"] += 1
        self.met["pause"] += orders
        self.note(f"{name} stopped (SIGSTOP) for {seconds:.1f} s while {orders} orders were open")
        self.faults.begin(name, "stopped")
        await asyncio.sleep(seconds)
        _signal(pid, signal.SIGCONT)
        self.faults.end(name)

    async def _degrade_rail(self) -> None:
        rail = self.random.choice(RAILS)
        await self._clear_faults(rail)
        if self.random.random() < 0.25:
            self.note(f"{rail} works without faults")
            return
        what = self.random.choice(list(_RAIL_FAULTS))
        self._faulty_since[rail] = await database_time(self.pool)
        await self.control("PUT", f"{rail}/faults", _RAIL_FAULTS[what])
        self.note(f"{rail} {what}")
        self.faults.begin(rail, what)

    async def _falsify_records(self) -> None:
        """Give each rail a different fault of records for 2 s, so that in turn each rail has each fault."""
        chosen = list(RECORDS)
        for number, rail in enumerate(RAILS):
            fault = RECORDS[chosen[(self._turn + number) % len(chosen)]]
            await self._clear_faults(rail)
            await self.control("PUT", f"{rail}/faults", fault.faults)
            self.note(f"{rail} {fault.what}")
            self.faults.begin(rail, fault.what)
        self._turn += 1
        await asyncio.sleep(_RECORDS_S)

    async def _clear_faults(self, rail: str) -> None:
        await self.control("DELETE", f"{rail}/faults", None)
        self.faults.end(rail)
        since = self._faulty_since.pop(rail, None)
        if since is not None:
            self.met["rails"] += await self._attempts_since(rail, since)

    async def _attempts_since(self, rail: str, since: datetime) -> int:
        count: int = await self.pool.fetchval(_ATTEMPTS_SINCE, rail, since)
        return count

    def _processes(self, names: tuple[str, ...]) -> list[tuple[int, str]]:
        """Return the descendants of `root` whose command line contains one of the names, with labels."""
        found: list[tuple[int, str]] = []
        for pid in descendants(self.root):
            line = _command_line(pid)
            word = next((name for name in names if name in line), None)
            if word is not None:
                found.append((pid, _PROCESSES[word.rpartition("\0")[2]]))
        return found

    def note(self, what: str) -> None:
        """Record a fault with its time."""
        self.happened.append((self.faults.now_s(), what))


def missed(kinds: Sequence[str], met: Mapping[str, int], occurred: Mapping[str, int]) -> list[str]:
    """Return the requested faults that affected no order, one line each.

    `met`: see `Trouble.met`. `occurred`: how often each fault of the records occurred, from the books.
    """
    lines: list[str] = []
    for kind in kinds:
        match kind:
            case "records":
                lines += [f"records: {name} never occurred" for name in RECORDS if not occurred.get(name)]
            case "http_500":
                lines += [
                    f"http_500: nothing was sent to {rail} while it answered HTTP 500"
                    for rail in RAILS
                    if not met.get(f"http_500 at {rail}")
                ]
            case "rows":
                if not met.get(kind):
                    lines.append("rows: no process tried to read an unreadable row")
            case "rails":
                if not met.get(kind):
                    lines.append("rails: nothing was sent to a rail while it had a fault")
            case _:
                if not met.get(kind):
                    lines.append(f"{kind}: it never occurred while an order was open")
    return lines


_UNREADABLE = """
    UPDATE {table} SET status_detail = 'drill_unreadable' FROM (
        SELECT id, status_detail AS former FROM {table}
        WHERE status NOT IN ('succeeded', 'failed', 'canceled')
            AND status_detail IS DISTINCT FROM 'drill_unreadable' AND lease_until IS NULL
        ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) AS chosen WHERE {table}.id = chosen.id RETURNING {table}.id, former
"""
_READABLE = "UPDATE {table} SET status_detail = $2 WHERE id = $1 AND status_detail = 'drill_unreadable'"
_ATTEMPTS_SINCE = "SELECT count(*) FROM attempts WHERE rail = $1 AND started_at >= $2"


def descendants(root: int) -> list[int]:
    """Return all descendants of a process, in the order in which they were found."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = sorted(children.get(waiting.pop(), ()))
        found.extend(below)
        waiting.extend(below)
    return found


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
