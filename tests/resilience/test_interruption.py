"""Time-outs that interrupt calls follow the rules of asyncio.timeout, with one timer for all calls."""

import asyncio

import pytest

from synccash.resilience import AttemptTimeoutError, Policy, remaining


async def hang() -> None:
    await asyncio.Event().wait()


async def done() -> str:
    return "done"


def policy(**parts) -> Policy:
    return Policy("rail", **{"attempt_timeout": 0.01, **parts})


async def test_the_timer_still_interrupts_running_calls_after_another_call_has_ended():
    p = policy()
    assert await p.call(done) == "done"
    late = await asyncio.gather(p.call(hang), p.call(done), p.call(hang), return_exceptions=True)
    assert [type(one) for one in late] == [AttemptTimeoutError, str, AttemptTimeoutError]


async def test_a_call_that_ended_in_time_is_not_interrupted_afterwards():
    p, task = policy(), asyncio.current_task()
    assert await p.call(done) == "done"
    with pytest.raises(AttemptTimeoutError):
        await p.call(hang)
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_during_the_time_out_raises_cancelled_error():
    async def cancelled_during_cleanup() -> None:
        try:
            await hang()
        finally:
            task.cancel()

    task = asyncio.create_task(policy().call(cancelled_during_cleanup))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_before_the_time_out_raises_cancelled_error():
    async def wait_to_be_cancelled(reached: asyncio.Event) -> None:
        reached.set()
        await hang()

    reached = asyncio.Event()
    task = asyncio.create_task(policy(attempt_timeout=60.0).call(wait_to_be_cancelled, reached))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_shorter_of_two_nested_time_outs_raises():
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.01):
            await policy(attempt_timeout=60.0).call(hang)
    assert type(caught.value) is TimeoutError

    with pytest.raises(AttemptTimeoutError, match="inner"):
        await policy(attempt_timeout=60.0).call(Policy("inner", attempt_timeout=0.01).call, hang)
    with pytest.raises(AttemptTimeoutError, match="rail"):
        await policy().call(Policy("inner", attempt_timeout=60.0).call, hang)


async def test_a_call_that_suppresses_its_cancellation_returns_its_result():
    async def stubborn() -> str:
        try:
            await hang()
        except asyncio.CancelledError:
            return "stayed"
        return "woke"

    task = asyncio.current_task()
    assert await policy().call(stubborn) == "stayed"
    assert task is not None
    assert task.cancelling() == 0


async def test_an_error_raised_during_the_interruption_is_raised_unchanged():
    async def fail_in_cleanup() -> None:
        try:
            await hang()
        finally:
            raise ValueError("closing failed")

    with pytest.raises(ValueError, match="closing failed"):
        await policy().call(fail_in_cleanup)


def test_a_policy_works_in_several_event_loops_one_after_another():
    p = policy()
    for _ in range(2):
        with pytest.raises(AttemptTimeoutError):
            asyncio.run(p.call(hang))


async def test_an_earlier_outer_deadline_limits_the_inner_call():
    outer = Policy("outer", total_timeout=0.01, interrupt=False)
    with pytest.raises(AttemptTimeoutError, match="inner"):
        await outer.call(Policy("inner", total_timeout=60.0).call, hang)


async def test_a_task_started_under_a_deadline_keeps_it():
    async def begin() -> asyncio.Task[float | None]:
        return asyncio.create_task(look())

    async def look() -> float | None:
        return remaining()

    later = await Policy("rail", total_timeout=8.0, interrupt=False, clock=lambda: 5.0).call(begin)
    assert remaining() is None
    assert await later == 8.0
