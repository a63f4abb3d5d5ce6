"""A rate that calls wait for: spacing, order, cancellation, bounds, threads, and processes that share it."""

import asyncio
import pickle
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synccash.resilience.errors import RateExceededError
from synccash.resilience.rate import Rate, RateGate
from synccash.resilience.testing import FakeClock


class Turns:
    """A gate on a fake clock, and the time and name of each call that got its turn."""

    def __init__(self, rate, shared=None):
        self.clock = FakeClock(100.0)
        self.gate = RateGate("rates", rate, shared=shared, clock=self.clock)
        self.got = []

    async def call(self, name=None, timeout_s=None):
        await self.gate.acquire(timeout_s, sleep=self.clock.sleep)
        self.got.append((round(self.clock() - 100.0, 6), name))

    @property
    def times(self):
        return [at for at, _ in self.got]


@pytest.mark.parametrize(
    ("spec", "interval_s"),
    [
        ("10/s", 0.1),
        ("100/min", 0.6),
        ("5000/hour", 0.72),
        ("1/2s", 2.0),
        ("0.5 / s", 2.0),
        ("3/D", 28_800.0),
    ],
)
def test_a_rate_is_calls_per_time(spec, interval_s):
    assert Rate(spec).interval_s == pytest.approx(interval_s)


@pytest.mark.parametrize(
    "spec", ["", "10", "10/x", "-1/s", "0/s", "1/0s", "inf/s", "1e3/s", "10/s/s", "1" * 99 + "/s"]
)
def test_what_is_no_rate_is_refused_with_an_example(spec):
    with pytest.raises(ValueError, match=r"10/s|above 0"):
        Rate(spec)


@pytest.mark.parametrize("wrong", [{"burst": 0}, {"queue": -1}, {"wait_s": -1.0}, {"wait_s": float("nan")}])
def test_wrong_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match=r"burst|wait_s"):
        Rate("1/s", **wrong)


def test_a_rate_is_a_text_and_its_bounds_are_numbers():
    for build in (lambda: Rate(10), lambda: Rate("1/s", burst=1.5), lambda: Rate("1/s", wait_s="1")):  # pyright: ignore
        with pytest.raises(TypeError):
            build()


async def test_after_a_pause_the_burst_starts_at_once_and_the_rest_evenly_in_order():
    turns = Turns(Rate("10/s", burst=3))
    await asyncio.gather(*(turns.call(name) for name in range(6)))
    assert turns.got == [(0.0, 0), (0.0, 1), (0.0, 2), (0.1, 3), (0.2, 4), (0.3, 5)]
    turns.clock.move(100.0)
    await asyncio.gather(*(turns.call() for _ in range(4)))
    assert turns.times[6:] == [100.3, 100.3, 100.3, 100.4]


@pytest.mark.parametrize("cancelled", [1, 2, 3])
async def test_a_cancelled_call_costs_no_turn(cancelled):
    turns = Turns(Rate("1/s"))
    tasks = [asyncio.create_task(turns.call(name)) for name in range(5)]
    await asyncio.sleep(0)
    tasks[cancelled].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert turns.times == [0.0, 1.0, 2.0, 3.0]
    assert [name for _, name in turns.got] == [name for name in range(5) if name != cancelled]
    assert turns.gate.waiting == 0


async def test_a_turn_that_would_come_too_late_is_refused_at_once_and_costs_nothing():
    turns = Turns(Rate("1/s"))
    await turns.call()
    with pytest.raises(RateExceededError) as refused:
        await turns.call(timeout_s=0.5)
    assert (refused.value.retry_after, turns.clock.slept) == (1.0, [])
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)
    waiting = asyncio.create_task(turns.call())
    await asyncio.sleep(0)
    with pytest.raises(RateExceededError) as refused:
        await turns.call(timeout_s=1.5)
    assert (refused.value.retry_after, refused.value.queue) == (2.0, 1)
    await waiting
    assert turns.times == [0.0, 1.0]


async def test_the_queue_and_the_wait_are_bounded():
    turns = Turns(Rate("1/s", queue=2))
    results = await asyncio.gather(*(turns.call() for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 3 + [RateExceededError] * 2
    impatient = Turns(Rate("1/s", wait_s=1.0))
    results = await asyncio.gather(*(impatient.call() for _ in range(4)), return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 2 + [RateExceededError] * 2
    never = Turns(Rate("1/s", queue=0))
    await never.call()
    with pytest.raises(RateExceededError):
        await never.call()


@settings(max_examples=60, deadline=None)
@given(
    burst=st.integers(1, 4),
    script=st.lists(
        st.tuples(st.floats(0.0, 3.0), st.booleans(), st.floats(0.0, 3.0)), min_size=1, max_size=12
    ),
)
def test_whatever_comes_and_goes_the_rate_holds_in_order_and_no_turn_is_lost(burst, script):
    rate = Rate("2/s", burst=burst)

    async def run():
        turns = Turns(rate)
        calls, arrived = [], []

        async def come(name, after_s, leaves, patience_s):
            await turns.clock.sleep(after_s)
            arrived.append(name)
            call = asyncio.create_task(turns.call(name))
            calls.append(call)
            if leaves:
                await turns.clock.sleep(patience_s)
                call.cancel()

        await asyncio.gather(*(come(name, *one) for name, one in enumerate(script)))
        await asyncio.gather(*calls, return_exceptions=True)
        return turns, arrived

    turns, arrived = asyncio.run(run())
    times = turns.times
    assert times == sorted(times)
    for first in range(len(times) - burst):
        assert times[first + burst] - times[first] >= rate.interval_s - 1e-5
    served = [name for _, name in turns.got]
    assert served == [name for name in arrived if name in served]
    assert {name for name, (_, leaves, _) in enumerate(script) if not leaves} <= set(served)
    assert turns.gate.waiting == 0


def test_threads_and_event_loops_share_one_queue():
    gate = RateGate("rates", Rate("2000/s", burst=1))
    got = []

    def thread():
        for _ in range(10):
            gate.acquire_sync()
            got.append("thread")

    async def task():
        for _ in range(10):
            await gate.acquire()
            got.append("task")

    async def loop():
        await asyncio.gather(*(task() for _ in range(3)))

    threads = [threading.Thread(target=thread) for _ in range(3)]
    threads += [threading.Thread(target=asyncio.run, args=(loop(),)) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert (got.count("thread"), got.count("task"), gate.waiting) == (30, 60, 0)


def test_threads_wait_on_a_clock_of_their_own():
    clock = FakeClock()
    gate = RateGate("rates", Rate("1/s"), clock=clock)
    for _ in range(3):
        gate.acquire_sync(sleep=clock.sleep_sync)
    assert (clock(), clock.slept) == (2.0, [1.0, 1.0])
    with pytest.raises(RateExceededError):
        gate.acquire_sync(0.5, sleep=clock.sleep_sync)


def test_a_loop_that_was_closed_with_a_waiting_call_blocks_nobody():
    clock = FakeClock()
    gate = RateGate("rates", Rate("1/s"), clock=clock)
    gate.acquire_sync()
    first, dead = asyncio.new_event_loop(), asyncio.new_event_loop()
    sleeping = asyncio.Event()

    async def sleep(seconds):
        sleeping.set()
        await asyncio.Event().wait()

    head = first.create_task(gate.acquire(sleep=sleep))
    first.run_until_complete(sleeping.wait())
    left = dead.create_task(gate.acquire())
    dead.run_until_complete(asyncio.sleep(0))
    # As a program does that forgets to cancel its tasks.
    dead.call_exception_handler = lambda context: None
    dead.close()
    head.cancel()
    with pytest.raises(asyncio.CancelledError):
        first.run_until_complete(head)
    first.close()
    assert gate.waiting == 0
    gate.acquire_sync(sleep=clock.sleep_sync)
    left.get_coro().close()


async def test_a_waiting_call_may_be_closed_while_its_thread_holds_the_lock():
    """As the garbage collector does it, which may run at any allocation."""
    abandoned = []

    def clock():
        while abandoned:
            abandoned.pop().close()
        return 0.0

    gate = RateGate("rates", Rate("1/s"), clock=clock)
    await gate.acquire()

    async def never(seconds):
        await asyncio.get_running_loop().create_future()

    calls = [gate.acquire(sleep=never) for _ in range(2)]
    for call in calls:
        call.send(None)
    abandoned += calls
    with pytest.raises(RateExceededError):
        gate.acquire_sync(0.5)
    assert gate.waiting == 0


class Store:
    """Turns counted for several gates; it can be away."""

    def __init__(self, clock):
        self.counted = RateGate("shared", Rate("1/s"), clock=clock)
        self.away = False
        self.asked = 0

    async def take(self, name, interval_s, burst):
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            return None
        return self.counted._take(self.counted._clock())


async def test_processes_with_one_store_have_the_rate_together():
    clock = FakeClock()
    store = Store(clock)
    gates = [RateGate("rates", Rate("1/s"), shared=store, clock=clock) for _ in range(2)]
    times = []

    async def call(gate):
        await gate.acquire(sleep=clock.sleep)
        times.append(clock())

    await asyncio.gather(*(call(random.choice(gates)) for _ in range(6)))
    assert [round(at, 6) for at in times] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    with pytest.raises(TypeError, match="await acquire"):
        gates[0].acquire_sync()


async def test_while_the_store_is_away_a_process_goes_on_from_what_it_was_granted():
    clock = FakeClock()
    store = Store(clock)
    gate = RateGate("rates", Rate("1/s"), shared=store, clock=clock)
    await gate.acquire(sleep=clock.sleep)
    store.away = True
    await gate.acquire(sleep=clock.sleep)
    assert clock() == 1.0
    store.away = False
    with pytest.raises(RateExceededError):
        await gate.acquire(0.5, sleep=clock.sleep)
