"""Runs scripts, some at a time, each on a database and a sandbox of its own."""

import asyncio
import contextlib
import sys
import tempfile
import traceback
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from drill.judge import call_again, overlooked, story, verdict
from drill.occurrences import occurrences
from drill.script import drawn
from drill.world import World, world_of
from sim.world import logs_into

ANY = -1
"""In place of a seed: what was logged as an error, in whichever run."""
_SHOWN = 12


@contextlib.asynccontextmanager
async def database(server_url: str, template: str) -> AsyncGenerator[str]:
    """A migrated database of the run's own."""
    name = f"drill_{uuid.uuid4().hex}"
    await _execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    finally:
        await _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@dataclass(slots=True)
class Judged:
    """`played`: how many scripts. `bad`: what was wrong, by seed; seeds that went well are left out.

    `met`: how often each of the rarer faults met an order. `called_again`: of how many attempts' money the
    engine heard only by a repeated callback.
    """

    played: int = 0
    bad: dict[int, list[str]] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter[str])
    called_again: int = 0


async def play(world: World) -> tuple[list[str], int]:
    """Run a world and say what was wrong with it, and of how much its rails had to call again."""
    await world.run()
    wrong = await overlooked(world)
    called_again = await call_again(world)
    if called_again:
        await world.rest()
    return [*wrong, *await verdict(world)], called_again


async def _judge(seed: int, server_url: str, template: str, result: Judged, *, tell: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="synccash-drill-") as folder:
        async with database(server_url, template) as url, world_of(drawn(seed), url, Path(folder)) as world:
            wrong, called_again = await play(world)
            result.called_again += called_again
            result.met += await occurrences(world)
            if wrong:
                result.bad[seed] = [*wrong, *await story(world)] if tell else wrong


async def judge_all(
    seeds: Iterable[int],
    server_url: str,
    template: str,
    *,
    at_once: int,
    tell: bool = False,
    result: Judged | None = None,
) -> Judged:
    """Play the script of each seed; `tell` adds what happened to each order of a bad one. `result` is filled
    as they end, for those who do not wait for all."""
    room = asyncio.Semaphore(at_once)
    separator = "\n  " if tell else "; "
    result = result or Judged()

    async def one(seed: int) -> None:
        async with room:
            try:
                await _judge(seed, server_url, template, result, tell=tell)
            except Exception as error:
                result.bad[seed] = [f"raised: {line}" for line in traceback.format_exception(error)]
        result.played += 1
        if result.played % 100 == 0:
            print(f"{result.played} scripts played", file=sys.stderr, flush=True)
        if seed in result.bad:
            print(f"{seed}: {separator.join(result.bad[seed])}", file=sys.stderr, flush=True)

    errors: list[str] = []
    try:
        with logs_into(errors):
            async with asyncio.TaskGroup() as everything:
                for seed in seeds:
                    everything.create_task(one(seed))
    finally:
        # The judge has seen to it that only rows which a script made unreadable are meant.
        if unexpected := [error for error in errors if "'order_unreadable'" not in error]:
            result.bad[ANY] = unexpected
    return result


def report(bad: Mapping[int, list[str]], replay: str) -> str:
    """Return what was wrong by seed, with the command that replays each; `replay` ends before the seed."""
    lines = [f"{len(bad)} of the scripts went wrong:"]
    for seed, wrong in bad.items():
        name = "an error was logged" if seed == ANY else f"seed {seed}"
        lines.append(f"{name}:")
        shown = [line for part in wrong for line in part.splitlines()]
        lines += [f"  {line[:300]}" for line in shown[:_SHOWN]]
        if len(shown) > _SHOWN:
            lines.append(f"  … and {len(shown) - _SHOWN} more lines, on stderr above")
        if seed != ANY:
            lines.append(f"  replay: {replay} {seed}")
    return "\n".join(lines)
