"""Eight processes over one Valkey: how long until all of them have seen what one did."""

import asyncio
import itertools
import logging
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import structlog
import uvloop

from bench.report import Report
from synccash.observability.cluster_breakers import ClusterBreakers
from synccash.resilience.profiles import PAYMENT_PROVIDER
from synccash.resilience.registry import Registry
from synccash.resilience.verdict import Outcome
from synccash.servers.bundle import start_servers
from synccash.stores.valkey.breakers.shared import SharedBreakers
from synccash.stores.valkey.session import ValkeySession, open_session

PROCESSES = 8
ROUNDS = 100
MOST_MS = 100.0
NAME = "rail:collect"
FAILURES = PAYMENT_PROVIDER.breaker.failures or 1


def run(report: Report) -> None:
    """Opens and resets, each by another process in turn, until the last of the others has followed."""
    folder = Path(tempfile.mkdtemp(prefix="synccash-bench-"))
    folder.chmod(0o711)
    with start_servers(folder, postgres=False) as servers:
        assert servers.valkey_url is not None
        with _members(servers.valkey_url) as members:
            found = {
                "a reset, seen by all": [_reset(members, number) for number in range(ROUNDS)],
                "an open, seen by all": [_open(members, number) for number in range(ROUNDS)],
            }
    rows: list[Sequence[object]] = []
    for name, times in found.items():
        worst = max(times)
        rows.append((name, statistics.median(times), statistics.quantiles(times, n=20)[-1], worst))
        key = name.partition(",")[0].split()[-1]
        report.add(f"{key}_median", statistics.median(times), "ms")
        report.add(f"{key}_worst", worst, "ms", floor=MOST_MS)
    report.table(
        f"{PROCESSES} processes, {ROUNDS} rounds, ms ({MOST_MS:.0f} at most)",
        ("what", "median", "p95", "worst"),
        rows,
    )


def _reset(members: list[Connection], number: int) -> float:
    _all_do(members, "open")
    return _spread(members, number, "reset", "closed")


def _open(members: list[Connection], number: int) -> float:
    _all_do(members, "reset")
    return _spread(members, number, "open", "open")


def _all_do(members: list[Connection], word: str) -> None:
    """Get all into the state that the measured act leaves, and let what that told settle."""
    _ask(members[0], word)
    _until_all_are(members, {"open": "open", "reset": "closed"}[word])


def _until_all_are(members: list[Connection], state: str) -> None:
    while {_ask(member, "state")[0] for member in members} != {state}:
        time.sleep(0.002)


def _spread(members: list[Connection], number: int, word: str, state: str) -> float:
    """Milliseconds from the act of one process to its effect in the last one."""
    began = _ask(members[number % len(members)], word)[1]
    _until_all_are(members, state)
    return (max(_ask(member, "state")[1] for member in members) - began) * 1_000


def _ask(member: Connection, word: str) -> Any:
    member.send(word)
    return member.recv()


@contextmanager
def _members(url: str) -> Iterator[list[Any]]:
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe() for _ in range(PROCESSES)]
    processes = [
        context.Process(target=_live, args=(url, f"p{number}", theirs), daemon=True)
        for number, (_, theirs) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    ours: list[Any] = [mine for mine, _ in pipes]
    try:
        while {_ask(member, "live")[0] for member in ours} != {PROCESSES}:
            time.sleep(0.05)
        yield ours
    finally:
        for member, process in zip(ours, processes, strict=True):
            member.send("end")
            process.join()


def _live(url: str, instance: str, parent: Connection) -> None:
    logging.disable()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(url, instance, parent))


async def _serve(url: str, instance: str, parent: Connection) -> None:
    profile = replace(PAYMENT_PROVIDER, breaker=replace(PAYMENT_PROVIDER.breaker, open_s=300.0))
    registry = Registry({"*": profile})
    async with open_session(url, instance) as session:
        await _answer(session, registry, parent)


async def _answer(session: ValkeySession, registry: Registry, parent: Connection) -> None:
    breaker, instance = registry.breaker(NAME), session.instance
    shared = SharedBreakers(session, registry)
    view = ClusterBreakers(registry, instance, shared)
    moved_at = 0.0

    def heard(_: object) -> None:
        nonlocal moved_at
        moved_at = time.monotonic()

    breaker.listen(heard)
    shared.start()
    words: asyncio.Queue[str] = asyncio.Queue()
    asyncio.get_running_loop().add_reader(parent.fileno(), lambda: words.put_nowait(parent.recv()))
    while (word := await words.get()) != "end":
        at = time.monotonic()
        if word == "open":
            for _ in itertools.repeat(None, FAILURES):
                breaker.observe(Outcome.FAILED, 0.1, error="down")
        elif word == "reset":
            await view.reset(NAME, "by hand")
        elif word == "live":
            parent.send((len(await shared.peers()) + 1, at))
            continue
        parent.send((breaker.state.value, moved_at if word == "state" else at))
    await shared.close()
