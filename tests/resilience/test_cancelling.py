"""A caller who goes away: wherever it was, nothing stays taken, and it proves nothing."""

import asyncio

import pytest

from synccash.resilience import BreakerSettings, Bulkhead, BulkheadFullError, Outcome, Policy, Retry
from synccash.resilience.bulkhead import AsyncBulkhead
from synccash.resilience.testing import FakeClock

ONE = Bulkhead(limit=1, queue=2)


async def turn() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def cancelled(task: "asyncio.Task[object]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def answer() -> str:
    return "done"


async def is_free(policy: Policy) -> bool:
    """One gets in, two wait, a fourth is refused; and all of them end."""
    door = asyncio.Event()
    tasks = [asyncio.create_task(policy.call(door.wait)) for _ in range(3)]
    await turn()
    with pytest.raises(BulkheadFullError):
        await policy.call(door.wait)
    door.set()
    return await asyncio.gather(*tasks) == [True] * 3


async def test_who_is_cancelled_in_the_queue_leaves_no_place_taken_and_nobody_behind_waits_for_it():
    policy, door = Policy("far", bulkhead=ONE), asyncio.Event()
    running = asyncio.create_task(policy.call(door.wait))
    await turn()
    gone = asyncio.create_task(policy.call(answer))
    behind = asyncio.create_task(policy.call(answer))
    await turn()
    await cancelled(gone)
    door.set()
    assert await asyncio.gather(running, behind) == [True, "done"]
    assert await is_free(policy)


async def test_who_is_cancelled_in_the_turn_in_which_its_place_comes_passes_it_on():
    bulkhead = AsyncBulkhead("far", ONE)
    await bulkhead.acquire(None)
    gone, behind = (asyncio.create_task(bulkhead.acquire(None)) for _ in range(2))
    await turn()
    bulkhead.release()
    await cancelled(gone)
    await behind
    assert bulkhead.busy == 1
    bulkhead.release()
    assert bulkhead.busy == 0


async def test_who_waited_too_long_in_the_queue_leaves_no_place_taken():
    policy = Policy("far", bulkhead=Bulkhead(limit=1, queue=2, wait_s=0.001))
    door = asyncio.Event()
    running = asyncio.create_task(policy.call(door.wait))
    await turn()
    with pytest.raises(BulkheadFullError):
        await policy.call(answer)
    door.set()
    await running
    assert await policy.call(answer) == "done"


async def test_a_probe_that_is_cancelled_in_the_queue_gives_its_slot_back():
    clock = FakeClock()
    policy = Policy("far", breaker=BreakerSettings(failures=1, open_s=10.0), bulkhead=ONE, clock=clock)
    door = asyncio.Event()
    early = asyncio.create_task(policy.call(door.wait))
    await turn()

    breaker = policy.breaker
    assert breaker is not None
    breaker.note(Outcome.FAILED, 0.1)
    clock.move(20.0)
    probe = asyncio.create_task(policy.call(answer))
    await turn()
    assert breaker.statistics().probes_running == 1
    await cancelled(probe)
    assert (breaker.statistics().probes_running, breaker.state.value) == (0, "half_open")
    door.set()
    await early
    assert await policy.call(answer) == "done"
    assert breaker.state.value == "closed"


@pytest.mark.parametrize("interrupt", [False, True])
async def test_ten_cancelled_calls_open_nothing_and_keep_no_place(interrupt):
    policy = Policy(
        "far",
        breaker=BreakerSettings(failures=1),
        bulkhead=ONE,
        attempt_timeout=60.0,
        total_timeout=60.0,
        interrupt=interrupt,
    )
    for _ in range(10):
        task = asyncio.create_task(policy.call(asyncio.Event().wait))
        await turn()
        await cancelled(task)
    assert policy.breaker is not None
    assert policy.breaker.state.value == "closed"
    assert await is_free(policy)


async def test_ten_cancelled_blocks_open_nothing_and_keep_no_place():
    policy = Policy("far", breaker=BreakerSettings(failures=1), bulkhead=ONE, attempt_timeout=60.0)

    async def block() -> None:
        async for attempt in policy.attempts():
            async with attempt:
                await asyncio.Event().wait()

    for _ in range(10):
        task = asyncio.create_task(block())
        await turn()
        await cancelled(task)
    assert policy.breaker is not None
    assert policy.breaker.state.value == "closed"
    assert await is_free(policy)


async def test_who_is_cancelled_between_two_attempts_makes_no_more():
    calls = 0

    async def fail() -> None:
        nonlocal calls
        calls += 1
        raise OSError("down")

    policy = Policy(
        "far",
        retry=Retry(attempts=5, base=60.0, cap=60.0, jitter="none", on=OSError),
        breaker=BreakerSettings(failures=5),
        bulkhead=ONE,
    )
    task = asyncio.create_task(policy.call(fail))
    await turn()
    await cancelled(task)
    assert calls == 1
    assert await is_free(policy)


async def test_an_attempt_that_is_interrupted_gives_its_place_back():
    policy = Policy("far", bulkhead=Bulkhead(limit=1), attempt_timeout=0.001)
    with pytest.raises(TimeoutError):
        await policy.call(asyncio.Event().wait)
    assert await policy.call(answer) == "done"


async def test_a_cancellation_that_meets_the_time_out_is_still_a_cancellation():
    """Who cancels is not answered with a result, nor with a time-out that looks like the far side's."""
    policy = Policy("far", attempt_timeout=0.000_1)

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            outer.cancel()
            raise

    outer = asyncio.create_task(policy.call(hang))
    with pytest.raises(asyncio.CancelledError):
        await outer
