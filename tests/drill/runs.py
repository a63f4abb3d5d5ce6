"""Runs scripts, some at a time, each on a database and a sandbox of its own."""

import asyncio
import contextlib
import sys
import tempfile
import uuid
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from drill.judge import story, verdict
from drill.script import drawn
from drill.world import world_of
from sim.world import logs_into

ANY = -1
"""In place of a seed: what was logged as an error, in whichever run."""


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


async def judged(seed: int, server_url: str, template: str, *, tell: bool = False) -> list[str]:
    """Play the script of a seed and say what was wrong; `tell` adds what happened to each order of it."""
    with tempfile.TemporaryDirectory(prefix="synccash-drill-") as folder:
        async with database(server_url, template) as url, world_of(drawn(seed), url, Path(folder)) as world:
            await world.run()
            wrong = await verdict(world)
            return [*wrong, *await story(world)] if wrong and tell else wrong


async def judge_all(
    seeds: Iterable[int], server_url: str, template: str, *, at_once: int, tell: bool = False
) -> dict[int, list[str]]:
    """What was wrong, by seed; seeds that went well are left out."""
    room = asyncio.Semaphore(at_once)
    separator = "\n  " if tell else "; "
    bad: dict[int, list[str]] = {}

    async def one(seed: int) -> None:
        async with room:
            wrong = await judged(seed, server_url, template, tell=tell)
        if wrong:
            bad[seed] = wrong
            print(f"{seed}: {separator.join(wrong)}", file=sys.stderr, flush=True)

    errors: list[str] = []
    with logs_into(errors):
        async with asyncio.TaskGroup() as everything:
            for seed in seeds:
                everything.create_task(one(seed))
    if errors:
        bad[ANY] = errors
    return bad
