"""Time-outs that interrupt calls follow the rules of asyncio.timeout, with one timer for all calls."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from synccash.resilience import AttemptTimeoutError, Policy, remaining
from synccash.resilience._core.deadline_cell import current_deadline, live_cell
from synccash.resilience.deadline import deadline, detached
from synccash.resilience.testing import FakeClock


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


async def read_repeatedly(seen: list[float | None], go_on: asyncio.Semaphore) -> None:
    """Append the remaining time each time that `go_on` is released."""
    while True:
        await go_on.acquire()
        seen.append(remaining())


@pytest.mark.parametrize("form", ["call", "attempts", "block", "attempt"])
async def test_a_deadline_ends_with_its_call_also_in_tasks_that_outlive_it(form):
    seen: list[float | None] = []
    go_on = asyncio.Semaphore(0)
    time = FakeClock(5.0)
    limits = {"attempt_timeout": 8.0} if form == "attempt" else {"total_timeout": 8.0}
    policy = Policy("rail", interrupt=False, clock=time, **limits)

    async def begin() -> asyncio.Task[None]:
        task = asyncio.create_task(read_repeatedly(seen, go_on))
        await read_once()
        return task

    async def read_once() -> None:
        go_on.release()
        for _ in range(3):
            await asyncio.sleep(0)

    with deadline(20.0, clock=time):
        if form == "block":
            with deadline(8.0, clock=time):
                task = await begin()
        elif form == "attempts":
            async for attempt in policy.attempts():
                async with attempt:
                    task = await begin()
        else:
            task = await policy.call(begin)
        await read_once()
    await read_once()
    task.cancel()
    assert seen == [8.0, 20.0, None]
    assert remaining() is None


async def test_a_thread_that_outlives_a_call_has_no_deadline():
    started, go_on = threading.Event(), threading.Event()
    seen: list[float | None] = []

    def work() -> None:
        seen.append(remaining())
        started.set()
        go_on.wait(30.0)
        seen.append(remaining())

    async def run() -> asyncio.Task[None]:
        task = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.to_thread(started.wait, 30.0)
        return task

    task = await Policy("rail", total_timeout=8.0, interrupt=False, clock=lambda: 5.0).call(run)
    go_on.set()
    await task
    assert seen == [8.0, None]


async def test_detached_work_has_no_deadline_even_while_the_call_runs():
    async def begin() -> tuple[float | None, float | None]:
        with detached():
            task = asyncio.create_task(look())
            inside = remaining()
        assert remaining() == 8.0
        return inside, await task

    async def look() -> float | None:
        return remaining()

    call = Policy("rail", total_timeout=8.0, interrupt=False, clock=lambda: 5.0).call
    assert await call(begin) == (None, None)


async def test_tasks_that_start_each_other_build_no_chain_of_deadlines():
    policy = Policy("rail", total_timeout=8.0, interrupt=False)

    async def again(left: int) -> int:
        if left:
            return await asyncio.create_task(policy.call(spawn, left - 1))
        cell, length = current_deadline.get(), 0
        while cell is not None:
            cell, length = live_cell(cell), length + 1
            cell = None if cell is None or not isinstance(cell[0], list) else cell[0]
        return length

    async def spawn(left: int) -> asyncio.Task[int]:
        return asyncio.create_task(again(left))

    task = await policy.call(spawn, 30)
    while isinstance(task, asyncio.Task):
        task = await task
    assert task <= 1


@pytest.mark.parametrize("limits", [{"total_timeout": 8.0}, {"attempt_timeout": 8.0}])
async def test_after_a_call_its_context_has_no_deadline_and_the_next_call_a_new_one(limits):
    clock = FakeClock()
    policy = Policy("rail", interrupt=False, clock=clock, **limits)

    async def look() -> float | None:
        return remaining()

    for _ in range(3):
        assert (await policy.call(look), policy.call_sync(remaining)) == (8.0, 8.0)
        assert remaining() is None
        assert await asyncio.create_task(look()) is None
        clock.move(100.0)


async def test_a_task_that_outlives_its_call_does_not_get_the_deadline_of_the_next_call():
    policy = Policy("rail", total_timeout=8.0, interrupt=False, clock=FakeClock())
    look_now = asyncio.Event()

    async def look_later() -> float | None:
        await look_now.wait()
        return remaining()

    async def begin() -> asyncio.Task[float | None]:
        return asyncio.create_task(look_later())

    async def second_call() -> tuple[float | None, float | None]:
        look_now.set()
        return await outlives, remaining()

    outlives = await policy.call(begin)
    assert await policy.call(second_call) == (None, 8.0)


async def test_after_a_nested_call_the_deadline_outside_is_in_force_again():
    clock = FakeClock()
    outer, inner = (
        Policy("rail", total_timeout=seconds, interrupt=False, clock=clock) for seconds in (8.0, 3.0)
    )

    async def look() -> float | None:
        return remaining()

    async def call_twice() -> list[float | None]:
        return [await inner.call(look), remaining(), inner.call_sync(remaining), remaining()]

    assert await outer.call(call_twice) == [3.0, 8.0, 3.0, 8.0]
    with deadline(5.0, clock=clock):
        assert await outer.call(call_twice) == [3.0, 5.0, 3.0, 5.0]
        assert remaining() == 5.0
    assert remaining() is None


async def test_a_generator_that_is_closed_in_another_context_ends_its_deadline():
    async def fixture():
        async for attempt in Policy("rail", total_timeout=5.0).attempts():
            async with attempt:
                yield remaining()

    opened = fixture()
    assert await asyncio.create_task(anext(opened)) is not None
    await asyncio.create_task(opened.aclose())
    assert remaining() is None


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to its next timer."""

    now, timers = 0.0, 0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # pyright: ignore[reportAttributeAccessIssue]
            self.now = max(self.now, self._scheduled[0]._when)  # pyright: ignore[reportAttributeAccessIssue]
            self.timers += 1
            assert self.timers < 100, "the timer spins"
        super()._run_once()  # pyright: ignore[reportAttributeAccessIssue]


def test_time_outs_follow_the_time_of_the_event_loop():
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        with pytest.raises(AttemptTimeoutError):
            runner.run(policy(attempt_timeout=30.0).call(hang))
        assert runner.get_loop().time() == 30.0


def test_a_policy_interrupts_calls_in_two_event_loops_at_the_same_time():
    p, both = policy(attempt_timeout=0.05), threading.Barrier(2)

    def run() -> str:
        async def main() -> None:
            both.wait(30.0)
            await p.call(hang)

        with pytest.raises(AttemptTimeoutError):
            asyncio.run(main())
        return "interrupted"

    with ThreadPoolExecutor(2) as threads:
        assert [one.result(30.0) for one in [threads.submit(run) for _ in range(2)]] == ["interrupted"] * 2


@pytest.mark.parametrize("block", [lambda: deadline(5.0), lambda: deadline(None), detached])
def test_a_deadline_object_serves_one_block_at_a_time(block):
    """Two blocks of one object, such as one at module level, would end each other's deadline."""
    shared = block()
    with deadline(60.0):
        with shared, pytest.raises(RuntimeError, match="for each block"), shared:
            pass
        assert current_deadline.get() is not None
        with shared:
            pass
