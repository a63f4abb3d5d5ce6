"""What is done to a running installation: processes killed or stopped, Valkey killed, rails made sick."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

Control = Callable[[str, str, Mapping[str, Any] | None], Awaitable[Any]]
"""Method, path below /control, body."""

KINDS = ("kill", "pause", "valkey", "rails")
RAILS = ("mtn_momo", "paystack", "hubtel", "pawapay")
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
    happened: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    _began: float = field(default_factory=time.monotonic)

    async def run(self, seconds: float) -> None:
        """Make trouble for so long, then heal."""
        end = time.monotonic() + seconds
        try:
            while (left_s := end - time.monotonic()) > 0:
                await asyncio.sleep(min(left_s, 0.5 + self.random.random() * 1.5))
                await self._strike(self.random.choice(self.kinds))
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
            case _:
                await self._make_sick()

    def _kill(self, names: tuple[str, ...], what: str) -> None:
        found = self._processes(names)
        if found:
            pid, name = self.random.choice(found)
            _signal(pid, signal.SIGKILL)
            self._note(f"{what} {name}")

    async def _pause(self) -> None:
        """Longer than a lease or shorter: who wakes must find out by himself."""
        found = self._processes(_ROLES)
        if not found:
            return
        pid, name = self.random.choice(found)
        seconds = 1 + self.random.random() * 3
        _signal(pid, signal.SIGSTOP)
        self._note(f"{name} stops for {seconds:.1f} s")
        await asyncio.sleep(seconds)
        _signal(pid, signal.SIGCONT)

    async def _make_sick(self) -> None:
        rail = self.random.choice(RAILS)
        await self.control("DELETE", f"{rail}/faults", None)
        if self.random.random() < 0.25:
            self._note(f"{rail} is well")
            return
        faults = self.random.choice(_SICK)
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
