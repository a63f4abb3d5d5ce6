"""The process of one attack: `python -m bench.tenants.attacker NAME` with the target as JSON on its stdin.

It says `ready`, begins at the next line of its stdin, ends at the end of its stdin, and prints what was
answered. It runs at the lowest priority and sends ready-made bytes, so that it uses little CPU itself.
"""

import asyncio
import contextlib
import itertools
import json
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import uvloop

from bench.connection import Connection
from bench.tenants.attacks import ATTACKS, Attack, Target

_MOST_CONNECTIONS = 128


@dataclass(slots=True)
class Attacker:
    """Live: sends one attack's requests when they are due, never waiting for an answer."""

    attack: Attack
    target: Target
    host: str
    port: int
    number: int
    per_s: float
    answers: Counter[str] = field(default_factory=Counter[str])
    _idle: list[Connection] = field(default_factory=list[Connection])
    _open: int = 0
    _addresses: itertools.count = field(default_factory=itertools.count)

    async def run(self, ended: asyncio.Event) -> None:
        """Attack until the event is set."""
        loop = asyncio.get_running_loop()
        began, requests, tasks = loop.time(), self.attack.requests(self.target), set[asyncio.Task[None]]()
        for count in itertools.count():
            pause = began + count // self.attack.at_once * self.attack.at_once / self.per_s - loop.time()
            if pause > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), pause)
            if ended.is_set():
                break
            task = asyncio.create_task(self._send(next(requests)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        for task in tasks:
            task.cancel()

    async def _send(self, data: bytes) -> None:
        connection = self._reusable()
        if connection is not None:
            pass
        elif self._open < _MOST_CONNECTIONS:
            self._open += 1
            address = next(self._addresses) % self.attack.addresses + 1
            try:
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self._answered),
                    self.host,
                    self.port,
                    local_addr=(f"127.7.{self.number}.{address}", 0),
                )
            except OSError:
                self._open -= 1
                self.answers["refused"] += 1
                return
        else:
            self.answers["not sent"] += 1
            return
        if self.attack.dribble_s is None:
            connection.send(data)
        else:
            await self._dribble(connection, data, self.attack.dribble_s)

    def _reusable(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closes:
                return connection
            self._open -= 1
        return None

    async def _dribble(self, connection: Connection, data: bytes, pause_s: float) -> None:
        head, gap, body = data.partition(b"\r\n\r\n")
        connection.send(head + gap)
        for byte in body:
            await asyncio.sleep(pause_s)
            if not connection.waits:
                return
            connection.transport.write(bytes([byte]))

    def _answered(self, connection: Connection, answer: str) -> None:
        self.answers[answer] += 1
        # A botnet's requests come from many addresses: each takes a connection of its own.
        if connection.closes or self.attack.addresses > 1:
            self._open -= 1
            connection.transport.close()
        else:
            self._idle.append(connection)


async def main(name: str) -> None:
    """Attack as the lines of stdin say."""
    given = json.loads(sys.stdin.readline())
    target = Target(given["keys"], given["waiting"])
    number = list(ATTACKS).index(name) + 1
    per_s = ATTACKS[name].per_s * given["share"]
    attacker = Attacker(ATTACKS[name], target, given["host"], given["port"], number, per_s)
    print("ready", flush=True)
    sys.stdin.readline()
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
    began = time.process_time()
    await attacker.run(ended)
    print(json.dumps({"answers": attacker.answers, "cpu_s": time.process_time() - began}), flush=True)


if __name__ == "__main__":
    os.nice(19)
    uvloop.run(main(sys.argv[1]))
