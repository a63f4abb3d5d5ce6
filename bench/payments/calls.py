"""Counts what a payment costs each process in calls of functions and in tasks, by package and module.

`python -m bench.payments.calls`: unlike CPU time, these counts hardly depend on what else the machine does. A
call is also each resumption of a coroutine. The CPU comes from a window of its own, without the profiler.
"""

import argparse
import asyncio
import json
import os
import pstats
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from bench import processes
from bench.payments.contenders import Target, service
from bench.payments.database_counters import DatabaseCounters
from bench.payments.load import CREATED, Load, payment_requests, run_load

_ROLES = ("api", "worker", "webhooks")
_COMMANDS = {"api": "serve", "worker": "worker", "webhooks": "webhooks"}
_PACKAGE = re.compile(r".*/site-packages/([^/.]+)|.*/src/(synccash/[^/.]+)|.*/lib/python3[.\d]*/(\w+)")
_WRITE_S = 30.0


async def _window(target: Target, requests: Iterator[bytes], load: Load, seconds: float) -> int:
    """Run one load until its payments have ended; return how many there were."""
    connection = await asyncpg.connect(target.database_url)
    try:
        answers = await run_load(load, target.port, requests, seconds)
        await DatabaseCounters(connection).drain()
    finally:
        await connection.close()
    if set(answers.statuses) != {CREATED}:
        raise RuntimeError(f"not every payment was accepted: {dict(answers.statuses)}")
    return answers.statuses[CREATED]


def _toggle(pids: dict[str, int]) -> None:
    for pid in pids.values():
        os.kill(pid, signal.SIGUSR1)


def _written(path: Path) -> dict[str, Any]:
    end = time.monotonic() + _WRITE_S
    while not path.exists():
        if time.monotonic() > end:
            raise RuntimeError(f"{path} was not written")
        time.sleep(0.05)
    return json.loads(path.read_text())


def _package(key: tuple[str, int, str]) -> str:
    file, _, name = key
    if file == "~":
        return "built-in functions"
    found = _PACKAGE.match(file)
    return name if found is None else next(filter(None, found.groups()))


def _module(key: tuple[str, int, str]) -> str:
    file = key[0].partition("/site-packages/")[2] or key[0].partition("/src/")[2]
    return file.removesuffix(".py").replace("/", ".") or key[0].rpartition("/")[2]


def _show(role: str, path: Path, payments: int, top: int) -> None:
    counted = _written(path.with_suffix(".json"))
    stats: Any = pstats.Stats(str(path.with_suffix(".profile"))).stats  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
    groups: dict[str, Counter[str]] = {"package": Counter(), "module": Counter(), "function": Counter()}
    own_us = {name: Counter[str]() for name in groups}
    python = 0
    for key, (_, calls, own_s, _, _) in stats.items():
        python += calls if key[0] != "~" else 0
        names = {"package": _package(key), "module": _module(key), "function": f"{_module(key)}:{key[2]}"}
        for group, name in names.items():
            groups[group][name] += calls
            own_us[group][name] += own_s * 1e6
    total = sum(groups["package"].values())
    print(
        f"\n{role}: {python / payments:.0f} Python calls, {(total - python) / payments:.0f} of built-in "
        f"functions, {counted['tasks'] / payments:.1f} tasks a payment ({payments} payments)"
    )
    for group, counts in groups.items():
        print(f"  {group:<58} {'calls':>7} {'own µs under the profiler':>26}")
        for name, calls in counts.most_common(top if group != "package" else 24):
            print(f"  {name[-58:]:<58} {calls / payments:>7.1f} {own_us[group][name] / payments:>26.0f}")


def main() -> None:
    """Run both windows, and print the counts."""
    asked = argparse.ArgumentParser(prog="python -m bench.payments.calls", description=__doc__)
    asked.add_argument("--callers", type=int, default=16)
    asked.add_argument("--seconds", type=float, default=6.0)
    asked.add_argument("--top", type=int, default=30)
    asked.add_argument("--without-fraud-service", action="store_true")
    given = asked.parse_args()
    if given.without_fraud_service:
        os.environ["COUNTED_MODULE"] = "bench.payments.up_without_fraud_service"
    folder = Path(tempfile.mkdtemp(prefix="synccash-calls-"))
    os.environ["COUNTED_FOLDER"] = str(folder)
    load = Load(callers=given.callers)
    with service("bench.payments.counted") as target:
        requests = payment_requests(target.key)
        uvloop.run(_window(target, requests, load, 2.0))
        used = processes.cpu_s(os.getpid())
        began = time.perf_counter()
        payments = uvloop.run(_window(target, requests, load, given.seconds))
        took_s = time.perf_counter() - began
        now = processes.cpu_s(os.getpid())
        shown = ", ".join(
            f"{role} {(now[role] - used[role]) / payments * 1e6:.0f}" for role in (*_ROLES, "up", "postgres")
        )
        print(f"CPU µs a payment: {shown} ({payments} payments in {took_s:.1f} s)")
        pids = {role: pid for role, pid in processes.roles(os.getpid()) if role in _ROLES}
        _toggle(pids)
        payments = uvloop.run(_window(target, requests, load, given.seconds))
        _toggle(pids)
        asyncio.run(asyncio.sleep(0.5))
        for role in pids:
            _show(role, folder / _COMMANDS[role], payments, given.top)


if __name__ == "__main__":
    main()
