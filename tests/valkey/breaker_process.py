"""A cluster of breakers, each in a process of its own: `python breaker_process.py SOCKET VALKEY_URL NUMBER`.

The processes are forked from one that has imported everything. Each connects to SOCKET, says who it is, reads
a word a line and answers each with a line of JSON.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from breaker_peers import NAME, breaker_peer
from synccash.resilience.verdict import Outcome


async def serve(socket, url, instance):
    async with breaker_peer(url, instance) as found:
        await answer_all(socket, instance, found)


async def answer_all(socket, instance, member):
    closed_at, ticket = 0.0, 0

    def heard(transition):
        nonlocal closed_at
        if transition.after.value == "closed":
            closed_at = time.monotonic()

    member.breaker.listen(heard)
    member.shared.start()
    lines, answers = await asyncio.open_unix_connection(socket)
    answers.write(f"{instance}\n".encode())
    while line := (await lines.readline()).decode().strip():
        answer = None
        if line == "fail":
            member.fail()
        elif line == "leap":
            member.clock.ahead_s += 100.0
        elif line == "enter":
            answer = ticket = member.enter()
        elif line == "succeed":
            member.breaker.record(ticket, Outcome.OK, 0.001)
        elif line == "reset":
            answer = time.monotonic()
            await member.view.reset(NAME, "by hand")
        elif line == "live":
            answer = len(await member.shared.peers()) + 1
        elif line == "closed_at":
            answer = closed_at
        else:
            answer = member.state
        answers.write(json.dumps(answer).encode() + b"\n")
    answers.close()


def main(socket, url, number):
    children = []
    for each in range(int(number)):
        child = os.fork()
        if child == 0:
            asyncio.run(serve(socket, url, f"p{each}"))
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
