"""Helpers that look at servers from outside: processes, the process that owns them, connections."""

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import redis

OWNER = Path(__file__).with_name("server_owner.py")
TIMEOUT_MS = 60_000


@dataclass(frozen=True, slots=True)
class Owner:
    process: subprocess.Popen
    database_url: str
    valkey_url: str
    processes: list[int]
    home: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def owner(folder: Path, prefix: Sequence[str] = (sys.executable,), env=None) -> Generator[Owner]:
    """Another process with servers of its own; it stops them when the block ends, if it still lives."""
    argv = [*prefix, str(OWNER), str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env) as process:
        line = process.stdout.readline()
        if not line:
            raise AssertionError(process.stderr.read())
        shown = json.loads(line)
        yield Owner(process, **shown | {"home": Path(shown["home"])})
        process.stdin.close()


def processes_at_work_in(folder: Path) -> dict[int, str]:
    """The pids whose working folder lies in `folder`: each process of each server, with its name."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(folder):
                found[int(entry.name)] = (entry / "comm").read_text().strip()
    return found


def wait_until_gone(pid: int) -> bool:
    """True once that process, which need not be a child, has ended; False after 60 s."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        return bool(poll.poll(TIMEOUT_MS))
    finally:
        os.close(watched)


@contextlib.asynccontextmanager
async def connected(url: str):
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.contextmanager
def valkey(url: str):
    with redis.Redis.from_url(url) as client:
        yield client
