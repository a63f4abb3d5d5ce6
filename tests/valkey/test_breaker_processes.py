"""Breakers of eight real processes over one Valkey."""

import asyncio
import contextlib
import json
import sys
import tempfile
from pathlib import Path

import pytest_asyncio

PROGRAM = Path(__file__).with_name("breaker_process.py")
PROCESSES = 8
WAIT_S = 60.0


class Cluster:
    """The processes of one program, by their connections."""

    def __init__(self, connections):
        self.connections = connections

    async def ask(self, which, word):
        lines, words = self.connections[which]
        words.write(f"{word}\n".encode())
        return json.loads(await lines.readline())

    async def ask_all(self, word):
        return await asyncio.gather(*(self.ask(which, word) for which in sorted(self.connections)))

    async def all_are(self, state):
        async with asyncio.timeout(WAIT_S):
            while set(await self.ask_all("state")) != {state}:  # noqa: ASYNC110 - other processes set no event
                await asyncio.sleep(0.005)


@pytest_asyncio.fixture
async def cluster(valkey_url):
    connections, all_there = {}, asyncio.Event()

    async def arrived(lines, words):
        connections[(await lines.readline()).decode().strip()] = lines, words
        if len(connections) == PROCESSES:
            all_there.set()

    with tempfile.TemporaryDirectory(prefix="synccash-") as folder:
        socket = str(Path(folder) / "judge")
        async with await asyncio.start_unix_server(arrived, socket):
            program = [str(PROGRAM), socket, valkey_url, str(PROCESSES)]
            process = await asyncio.create_subprocess_exec(sys.executable, *program)
            try:
                async with asyncio.timeout(WAIT_S):
                    await all_there.wait()
                    found = Cluster(connections)
                    while set(await found.ask_all("live")) != {PROCESSES}:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                yield found
            finally:
                for _, words in connections.values():
                    words.close()
                with contextlib.suppress(ProcessLookupError):
                    async with asyncio.timeout(WAIT_S):
                        await process.wait()


async def test_of_eight_processes_one_probes_and_what_one_does_all_do(cluster: Cluster):
    await cluster.ask("p0", "fail")
    await cluster.all_are("open")
    await cluster.ask("p3", "reset")
    await cluster.all_are("closed")

    await cluster.ask("p5", "fail")
    await cluster.all_are("open")
    await cluster.ask_all("leap")
    probing = set()
    async with asyncio.timeout(WAIT_S):
        while not probing:
            tickets = dict(zip(sorted(cluster.connections), await cluster.ask_all("enter"), strict=True))
            probing = {which for which, ticket in tickets.items() if ticket is not None}
    assert len(probing) == 1
    for _ in range(5):
        others = [cluster.ask(which, "enter") for which in cluster.connections if which not in probing]
        assert await asyncio.gather(*others) == [None] * (PROCESSES - 1)
    await cluster.ask(probing.pop(), "succeed")
    await cluster.all_are("closed")
