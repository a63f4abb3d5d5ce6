"""The virtual event loop: simulated time, seeded order, and kills that run no cleanup."""

import asyncio
from random import Random

from sim.loop import Node, VirtualLoop, checkpoint


def _run(loop: VirtualLoop) -> None:
    loop.run(lambda: False, until=1e6)


def test_virtual_hours_pass_instantly_and_in_order():
    loop, seen = VirtualLoop(Random(1)), []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((seconds, loop.time()))

    for seconds in (7200.0, 1.0, 60.0):
        loop.start(sleeper(seconds))
    _run(loop)
    assert seen == [(1.0, 1.0), (60.0, 60.0), (7200.0, 7200.0)]


def test_a_seed_reproduces_its_order_and_other_seeds_differ():
    def order(seed: int) -> str:
        loop, seen = VirtualLoop(Random(seed)), []

        async def steps(name: str) -> None:
            for _ in range(4):
                seen.append(name)
                await checkpoint

        for name in "abc":
            loop.start(steps(name))
        _run(loop)
        return "".join(seen)

    assert order(7) == order(7)
    assert len({order(seed) for seed in range(20)}) > 10


def test_a_killed_node_runs_no_finally_block_during_the_run():
    loop, seen, node = VirtualLoop(Random(1)), [], Node("a")

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            seen.append("tidied up")

    loop.start(work(), node)
    loop.call_at(5, loop.kill, node)
    _run(loop)
    assert seen == []
    loop.bury()


def test_a_paused_node_does_not_run_its_timers_and_other_nodes_do():
    loop, seen, node = VirtualLoop(Random(1)), [], Node("a")

    async def work(name: str) -> None:
        await asyncio.sleep(10)
        seen.append((name, loop.time()))

    loop.start(work("paused"), node)
    loop.start(work("awake"))
    loop.call_at(5, loop.pause, node, 30)
    _run(loop)
    assert seen == [("awake", 10), ("paused", 35)]


def test_the_tools_of_asyncio_work_in_virtual_time():
    loop, seen = VirtualLoop(Random(3)), []

    async def work() -> None:
        try:
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append(("timeout", loop.time()))
        done, late = await asyncio.wait(
            [loop.create_task(asyncio.sleep(1)), loop.create_task(asyncio.sleep(100))], timeout=10
        )
        seen.append((len(done), len(late)))
        lock = asyncio.Lock()
        async with lock:
            shielded = await asyncio.shield(loop.create_task(asyncio.sleep(1, "shielded")))
        seen.append(shielded)

    loop.start(work())
    _run(loop)
    assert seen == [("timeout", 5.0), (1, 1), "shielded"]
