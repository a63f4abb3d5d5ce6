"""CPU seconds and memory of the processes below one process, by role."""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SERVERS = ("pgbouncer", "postgres", "valkey")
ROLES = ("api", "worker", "webhooks", "up", "sandbox", *_SERVERS)
_COMMANDS = {"serve": "api", **{name: name for name in ROLES}}
_COMMAND = re.compile(r"\0-m\0[\w.]+\0(\w+)")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_KB = re.compile(r"^(Rss|Pss): +(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes. PostgreSQL's processes share most of their pages: `rss` counts those for each of them, `pss`
    counts them once in all."""

    rss: float = 0.0
    pss: float = 0.0

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(self.rss + other.rss, self.pss + other.pss)


def descendants(root: int) -> list[int]:
    """Return the ids of all processes below this one."""
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


def role_of(command_line: str) -> str | None:
    """Return the role of a process: by the command after `-m MODULE`, or by its program."""
    found = _COMMAND.search(command_line)
    if found is not None:
        return _COMMANDS.get(found[1])
    return next((name for name in _SERVERS if name in command_line.split("\0")[0]), None)


def roles(root: int) -> Iterator[tuple[str, int]]:
    """Yield the role and the id of each process below this one that has a role."""
    for pid in descendants(root):
        with contextlib.suppress(OSError):
            role = role_of(Path(f"/proc/{pid}/cmdline").read_text())
            if role is not None:
                yield role, pid


def cpu_s(root: int) -> dict[str, float]:
    """Return the CPU seconds of each role so far, with those of ended children (PostgreSQL's backends)."""
    used: dict[str, float] = dict.fromkeys(ROLES, 0.0)
    for role, pid in roles(root):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used[role] += sum(map(int, fields[11:15])) / _TICKS_PER_S
    return used


def memory_mb(root: int) -> dict[str, Memory]:
    """Return what each role holds in memory."""
    held: dict[str, Memory] = dict.fromkeys(ROLES, Memory())
    for role, pid in roles(root):
        with contextlib.suppress(OSError):
            sizes = dict(_KB.findall(Path(f"/proc/{pid}/smaps_rollup").read_text()))
            if sizes:
                held[role] += Memory(int(sizes["Rss"]) / 1_000, int(sizes["Pss"]) / 1_000)
    return held


def machine_busy_s() -> float:
    """Return the CPU seconds that all programs of the machine have used."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / _TICKS_PER_S
