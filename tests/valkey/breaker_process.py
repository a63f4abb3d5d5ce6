"""One process of a cluster of breakers: a word a line from stdin, a line of JSON to stdout for each."""

import asyncio
import json
import os
import sys
import time
from dataclasses import replace

from synccash.breakers import ClusterBreakers
from synccash.resilience.breaker_settings import BreakerSettings
from synccash.resilience.errors import CircuitOpenError
from synccash.resilience.profiles import PROFILES
from synccash.resilience.registry import Registry
from synccash.resilience.verdict import Outcome
from synccash.stores.valkey.breakers import SharedBreakers
from synccash.stores.valkey.client import build_client

NAME = "rail:collect"


def registry(open_s):
    breaker = BreakerSettings(failures=3, open_s=open_s, probe_hold_s=20.0)
    return Registry({"*": replace(PROFILES["*"], breaker=breaker)})


def entered(breaker):
    try:
        return breaker.enter()
    except CircuitOpenError:
        return None


async def main(url, instance, open_s):
    # Logs go to stdout by default; answers keep it for themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    client = build_client(url)
    known = registry(float(open_s))
    breaker = known.breaker(NAME)
    shared = SharedBreakers(client, known, instance)
    view = ClusterBreakers(known, instance, shared)
    closed_at = 0.0

    def heard(transition):
        nonlocal closed_at
        if transition.after.value == "closed":
            closed_at = time.time()

    breaker.listen(heard)
    await shared.start()
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    ticket = 0
    while line := (await lines.readline()).decode().strip():
        answer = None
        if line == "fail":
            for _ in range(3):
                breaker.note(Outcome.FAILED, 0.1, error="down")
        elif line == "enter":
            answer = ticket = entered(breaker)
        elif line == "succeed":
            breaker.leave(ticket, Outcome.OK, 0.001)
        elif line == "reset":
            answer = time.time()
            await view.reset(NAME, "by hand")
        elif line == "force":
            await view.force_open(NAME, "by hand")
        elif line == "healthy":
            for _ in range(1_000):
                breaker.leave(breaker.enter(), Outcome.OK, 0.001)
                await asyncio.sleep(0)
        elif line == "live":
            answer = len(await shared.peers()) + 1
        elif line == "view":
            answer = await view.one(NAME)
        elif line == "closed_at":
            answer = closed_at
        else:
            answer = breaker.state.value
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    await shared.close()
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
