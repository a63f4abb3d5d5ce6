"""Time-outs that interrupt: one timer for all calls of a policy, and asyncio's rules for each of them."""

import asyncio

import pytest

from synccash.resilience import AttemptTimeoutError, Policy, remaining


async def hang() -> None:
    await asyncio.Event().wait()


async def done() -> str:
    return "done"


def policy(**parts) -> Policy:
    return Policy("rail", **{"attempt_timeout": 0.01, **parts})


async def test_a_call_that_ended_leaves_the_timer_to_those_that_still_run():
    p = policy()
    assert await p.call(done) == "done"
    late = await asyncio.gather(p.call(hang), p.call(done), p.call(hang), return_exceptions=True)
    assert [type(one) for one in late] == [AttemptTimeoutError, str, AttemptTimeoutError]


async def test_a_call_that_ended_in_time_is_not_interrupted_later():
    p, task = policy(), asyncio.current_task()
    assert await p.call(done) == "done"
    with pytest.raises(AttemptTimeoutError):
        await p.call(hang)
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_that_meets_the_time_out_stays_a_cancellation():
    async def called_off_while_it_stops() -> None:
        try:
            await hang()
        finally:
            task.cancel()

    task = asyncio.create_task(policy().call(called_off_while_it_stops))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_before_the_time_out_stays_one_too():
    async def called_off(reached: asyncio.Event) -> None:
        reached.set()
        await hang()

    reached = asyncio.Event()
    task = asyncio.create_task(policy(attempt_timeout=60.0).call(called_off, reached))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_of_nested_time_outs_the_one_that_is_over_first_raises():
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.01):
            await policy(attempt_timeout=60.0).call(hang)
    assert type(caught.value) is TimeoutError

    with pytest.raises(AttemptTimeoutError, match="inner"):
        await policy(attempt_timeout=60.0).call(Policy("inner", attempt_timeout=0.01).call, hang)
    with pytest.raises(AttemptTimeoutError, match="rail"):
        await policy().call(Policy("inner", attempt_timeout=60.0).call, hang)


async def test_who_does_not_stop_when_interrupted_keeps_its_result():
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


async def test_an_error_raised_while_it_is_interrupted_comes_out_as_it_is():
    async def breaks() -> None:
        try:
            await hang()
        finally:
            raise ValueError("closing failed")

    with pytest.raises(ValueError, match="closing failed"):
        await policy().call(breaks)


def test_one_policy_serves_one_event_loop_after_another():
    p = policy()
    for _ in range(2):
        with pytest.raises(AttemptTimeoutError):
            asyncio.run(p.call(hang))


async def test_an_outer_deadline_that_is_earlier_is_the_limit():
    outer = Policy("outer", total_timeout=0.01, interrupt=False)
    with pytest.raises(AttemptTimeoutError, match="inner"):
        await outer.call(Policy("inner", total_timeout=60.0).call, hang)


async def test_a_task_begun_under_a_deadline_keeps_it():
    async def begin() -> asyncio.Task[float | None]:
        return asyncio.create_task(look())

    async def look() -> float | None:
        return remaining()

    later = await Policy("rail", total_timeout=8.0, interrupt=False, clock=lambda: 5.0).call(begin)
    assert remaining() is None
    assert await later == 8.0
