import asyncio

import pytest

from rails.ticking import TickingClock
from synccash.rails.pacer import Pacer


async def test_the_first_turn_is_free_and_the_next_keep_their_distance():
    clock = TickingClock()
    pacer = Pacer(10.0, clock)
    turns = [asyncio.create_task(pacer.turn(timeout_s=5.0)) for _ in range(3)]
    await asyncio.sleep(0)
    assert clock.slept == pytest.approx([0.105, 0.21])
    clock.advance(1.0)
    assert await asyncio.gather(*turns) == [True, True, True]


async def test_no_second_ever_holds_more_turns_than_the_rate():
    clock = TickingClock()
    pacer = Pacer(10.0, clock)
    taken = []

    async def take():
        assert await pacer.turn(timeout_s=60.0)
        taken.append(clock.time)

    takers = [asyncio.create_task(take()) for _ in range(50)]
    while len(taken) < 50:
        await asyncio.sleep(0)
        clock.advance(0.005)
    await asyncio.gather(*takers)
    for begin in taken:
        assert sum(begin <= moment < begin + 1.0 for moment in taken) <= 10


async def test_a_turn_that_would_come_too_late_is_refused_at_once_and_not_used_up():
    clock = TickingClock()
    pacer = Pacer(1.0, clock)
    assert await pacer.turn(timeout_s=0.0)
    assert not await pacer.turn(timeout_s=0.5)
    clock.advance(1.05)
    assert await pacer.turn(timeout_s=0.0)
    assert clock.slept == []
