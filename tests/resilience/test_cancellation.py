"""A cancelled call keeps no slot and no permit at any point, and does not count for the breaker."""

import asyncio

import pytest

from synccash.resilience import BreakerSettings, Bulkhead, BulkheadFullError, Outcome, Policy, Retry
from synccash.resilience.bulkhead import AsyncBulkhead
from synccash.resilience.testing import FakeClock

ONE = Bulkhead(limit=1, queue=2)


async def run_ready_tasks() -> None:
    """Let every ready task run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def cancel(task: "asyncio.Task[object]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def succeed() -> str:
    return "done"


async def all_slots_are_free(policy: Policy) -> bool:
    """True if one call gets a slot, two wait, a fourth is refused, and all three end."""
    gate = asyncio.Event()
    tasks = [asyncio.create_task(policy.call(gate.wait)) for _ in range(3)]
    await run_ready_tasks()
    with pytest.raises(BulkheadFullError):
        await policy.call(gate.wait)
    gate.set()
    return await asyncio.gather(*tasks) == [True] * 3


async def test_a_call_cancelled_in_the_queue_frees_its_entry_for_the_next_call():
    policy, gate = Policy("rates", bulkhead=ONE), asyncio.Event()
    running = asyncio.create_task(policy.call(gate.wait))
    await run_ready_tasks()
    cancelled_call = asyncio.create_task(policy.call(succeed))
    next_call = asyncio.create_task(policy.call(succeed))
    await run_ready_tasks()
    await cancel(cancelled_call)
    gate.set()
    assert await asyncio.gather(running, next_call) == [True, "done"]
    assert await all_slots_are_free(policy)


async def test_a_call_cancelled_when_it_gets_its_slot_passes_the_slot_on():
    bulkhead = AsyncBulkhead("rates", ONE)
    await bulkhead.acquire(None)
    cancelled_call, next_call = (asyncio.create_task(bulkhead.acquire(None)) for _ in range(2))
    await run_ready_tasks()
    bulkhead.release()
    await cancel(cancelled_call)
    await next_call
    assert bulkhead.in_use == 1
    bulkhead.release()
    assert bulkhead.in_use == 0


async def test_a_call_that_times_out_in_the_queue_keeps_no_slot():
    policy = Policy("rates", bulkhead=Bulkhead(limit=1, queue=2, wait_s=0.001))
    gate = asyncio.Event()
    running = asyncio.create_task(policy.call(gate.wait))
    await run_ready_tasks()
    with pytest.raises(BulkheadFullError):
        await policy.call(succeed)
    gate.set()
    await running
    assert await policy.call(succeed) == "done"


async def test_a_probe_cancelled_in_the_bulkhead_queue_frees_its_probe_slot():
    clock = FakeClock()
    policy = Policy("rates", breaker=BreakerSettings(failures=1, open_s=10.0), bulkhead=ONE, clock=clock)
    gate = asyncio.Event()
    early = asyncio.create_task(policy.call(gate.wait))
    await run_ready_tasks()

    breaker = policy.breaker
    assert breaker is not None
    breaker.observe(Outcome.FAILED, 0.1)
    clock.move(20.0)
    probe = asyncio.create_task(policy.call(succeed))
    await run_ready_tasks()
    assert breaker.statistics().probes_running == 1
    await cancel(probe)
    assert (breaker.statistics().probes_running, breaker.state.value) == (0, "half_open")
    gate.set()
    await early
    assert await policy.call(succeed) == "done"
    assert breaker.state.value == "closed"


@pytest.mark.parametrize("interrupt", [False, True])
async def test_cancelled_calls_neither_open_the_breaker_nor_keep_slots(interrupt):
    policy = Policy(
        "rates",
        breaker=BreakerSettings(failures=1),
        bulkhead=ONE,
        attempt_timeout=60.0,
        total_timeout=60.0,
        interrupt=interrupt,
    )
    for _ in range(10):
        task = asyncio.create_task(policy.call(asyncio.Event().wait))
        await run_ready_tasks()
        await cancel(task)
    assert policy.breaker is not None
    assert policy.breaker.state.value == "closed"
    assert await all_slots_are_free(policy)


async def test_cancelled_blocks_neither_open_the_breaker_nor_keep_slots():
    policy = Policy("rates", breaker=BreakerSettings(failures=1), bulkhead=ONE, attempt_timeout=60.0)

    async def block() -> None:
        async for attempt in policy.attempts():
            async with attempt:
                await asyncio.Event().wait()

    for _ in range(10):
        task = asyncio.create_task(block())
        await run_ready_tasks()
        await cancel(task)
    assert policy.breaker is not None
    assert policy.breaker.state.value == "closed"
    assert await all_slots_are_free(policy)


async def test_a_call_cancelled_during_the_wait_makes_no_further_attempt():
    calls = 0

    async def fail() -> None:
        nonlocal calls
        calls += 1
        raise OSError("down")

    policy = Policy(
        "rates",
        retry=Retry(attempts=5, base=60.0, cap=60.0, jitter="none", on=OSError),
        breaker=BreakerSettings(failures=5),
        bulkhead=ONE,
    )
    task = asyncio.create_task(policy.call(fail))
    await run_ready_tasks()
    await cancel(task)
    assert calls == 1
    assert await all_slots_are_free(policy)


async def test_an_interrupted_attempt_releases_its_slot():
    policy = Policy("rates", bulkhead=Bulkhead(limit=1), attempt_timeout=0.001)
    with pytest.raises(TimeoutError):
        await policy.call(asyncio.Event().wait)
    assert await policy.call(succeed) == "done"


async def test_a_cancellation_during_the_time_out_raises_cancelled_error():
    """The code that cancelled must see neither a result nor a time-out."""
    policy = Policy("rates", attempt_timeout=0.000_1)

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            outer.cancel()
            raise

    outer = asyncio.create_task(policy.call(hang))
    with pytest.raises(asyncio.CancelledError):
        await outer
