"""What is done to a running installation: processes killed or stopped, Valkey killed, rails made sick."""

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from synccash.sandbox.registry import WIRES
from synccash.stores.postgres.pool import Pool

Control = Callable[[str, str, Mapping[str, Any] | None], Awaitable[Any]]
"""Method, path below /control, body."""

KINDS = ("kill", "pause", "valkey", "rails", "records", "rows", "http_500")
RAILS = tuple(WIRES)
"""Every rail that the sandbox plays."""
_OUTAGE_S = 20.0
_UNREADABLE_S = 2.0
_ROLES = ("synccash.cli\0serve", "synccash.cli\0worker")
_SICK: tuple[Mapping[str, Any], ...] = (
    {"down": True},
    {"latency_ms": 8_000},
    {"latency_ms": 700},
    {"error_rate": 0.5},
    {"drop": "before_commit", "drop_rate": 0.5},
    {"drop": "after_commit", "drop_rate": 0.5},
    {"callbacks": "lost"},
    {"callbacks": "duplicate"},
    {"callbacks": "early"},
    {"callbacks": "late"},
    {"callbacks": "forged"},
)

_RECORDS: tuple[Mapping[str, Any], ...] = (
    {"other_amount_rate": 0.3},
    {"other_currency_rate": 0.3},
    {"other_reference_rate": 0.5},
    {"not_found_after_found_rate": 0.5},
    {"failed_then_success_rate": 0.3, "late_success_after_ms": 1_000},
    {"callback_failure_rate": 0.5},
)
"""Faults of a rail's own records; the book counts how often each has really occurred."""


@dataclass(slots=True)
class Trouble:
    """Live: makes trouble until it is told to stop, and ends with everything well again.

    `root` is the process of `synccash up`; what it starts again, it starts by itself. `happened` is told in
    seconds from the begin.
    """

    root: int
    control: Control
    kinds: tuple[str, ...]
    random: Random
    pool: Pool
    occurrences: Counter[str] = field(default_factory=Counter[str])
    happened: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    _began: float = field(default_factory=time.monotonic)

    async def run(self, seconds: float) -> None:
        """Make trouble for so long, then heal."""
        end = time.monotonic() + seconds
        try:
            if "http_500" in self.kinds:
                await self._refuse_everything()
            while (left_s := end - time.monotonic()) > 0:
                await asyncio.sleep(min(left_s, 0.5 + self.random.random() * 1.5))
                struck = [kind for kind in self.kinds if kind != "http_500"]
                if struck:
                    await self._strike(self.random.choice(struck))
        finally:
            for pid, _ in self._processes(_ROLES):
                _signal(pid, signal.SIGCONT)
            for rail in RAILS:
                await self.control("DELETE", f"{rail}/faults", None)
            self._note("all is well")

    async def _strike(self, kind: str) -> None:
        match kind:
            case "kill":
                self._kill(_ROLES, "kill -9")
            case "valkey":
                self._kill(("valkey-server",), "kill -9")
            case "pause":
                await self._pause()
            case "rows":
                await self._make_unreadable()
            case "records":
                await self._make_sick(_RECORDS)
            case _:
                await self._make_sick(_SICK)

    async def _refuse_everything(self) -> None:
        """Have every rail answer HTTP 500 and book nothing."""
        for rail in RAILS:
            await self.control("PUT", f"{rail}/faults", {"error_rate": 1.0})
        self._note(f"every rail answers HTTP 500 for {_OUTAGE_S:.0f} s")
        await asyncio.sleep(_OUTAGE_S)
        for rail in RAILS:
            await self.control("DELETE", f"{rail}/faults", None)

    async def _make_unreadable(self) -> None:
        """Write a word that no version knows into one payment, and take it back later."""
        row = await self.pool.fetchrow(_UNREADABLE)
        if row is None:
            return
        self._note(f"{row['id']} is unreadable for {_UNREADABLE_S:.0f} s")
        self.occurrences["unreadable_row"] += 1
        try:
            await asyncio.sleep(_UNREADABLE_S)
        finally:
            await self.pool.execute(_READABLE, row["id"], row["former"])

    def _kill(self, names: tuple[str, ...], what: str) -> None:
        found = self._processes(names)
        if found:
            pid, name = self.random.choice(found)
            _signal(pid, signal.SIGKILL)
            self.occurrences[f"kill_{name}"] += 1
            self._note(f"{what} {name}")

    async def _pause(self) -> None:
        """Longer than a lease or shorter: who wakes must find out by himself."""
        found = self._processes(_ROLES)
        if not found:
            return
        pid, name = self.random.choice(found)
        seconds = 1 + self.random.random() * 3
        _signal(pid, signal.SIGSTOP)
        self.occurrences["pause"] += 1
        self._note(f"{name} stops for {seconds:.1f} s")
        await asyncio.sleep(seconds)
        _signal(pid, signal.SIGCONT)

    async def _make_sick(self, choices: tuple[Mapping[str, Any], ...]) -> None:
        rail = self.random.choice(RAILS)
        await self.control("DELETE", f"{rail}/faults", None)
        if self.random.random() < 0.25:
            self._note(f"{rail} is well")
            return
        faults = self.random.choice(choices)
        await self.control("PUT", f"{rail}/faults", faults)
        self._note(f"{rail}: {', '.join(f'{name}={value}' for name, value in faults.items())}")

    def _processes(self, names: tuple[str, ...]) -> list[tuple[int, str]]:
        """The processes below `root` whose command line holds one of the names, with a word for each."""
        found: list[tuple[int, str]] = []
        for pid in descendants(self.root):
            line = _command_line(pid)
            word = next((name for name in names if name in line), None)
            if word is not None:
                found.append((pid, word.rpartition("\0")[2]))
        return found

    def _note(self, what: str) -> None:
        self.happened.append((time.monotonic() - self._began, what))


_UNREADABLE = """
    UPDATE payments SET status_detail = 'drill_unreadable' FROM (
        SELECT id, status_detail AS former FROM payments
        WHERE status NOT IN ('succeeded', 'failed', 'canceled') LIMIT 1 FOR UPDATE SKIP LOCKED
    ) AS chosen WHERE payments.id = chosen.id RETURNING payments.id, former
"""
_READABLE = "UPDATE payments SET status_detail = $2 WHERE id = $1 AND status_detail = 'drill_unreadable'"


def descendants(root: int) -> list[int]:
    """Every process below a process, in the order in which they were found."""
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
