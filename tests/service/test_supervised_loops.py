"""Background loops restart after an error and end on cancellation."""

import asyncio

import pytest
from structlog.testing import capture_logs

from synccash.stores.supervised_loops import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    STEADY_S,
    LoopSupervisor,
    end_loops,
)


class Time:
    """A clock that moves when somebody sleeps or works."""

    def __init__(self):
        self.now, self.slept = 0.0, []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def supervisor(time):
    return LoopSupervisor(clock=time, sleep=time.sleep)


def failing(*errors, on_call=lambda: None):
    """A loop that ends with each of the errors in turn, and then returns."""
    left = list(errors)

    async def run():
        on_call()
        if left:
            raise left.pop(0)

    return run


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the handler is closed"),
        OSError(),
        KeyError("x"),
        AssertionError(),
        asyncio.CancelledError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_any_error_restarts_the_loop_and_is_logged(supervisor, error):
    with capture_logs() as told:
        await supervisor.run("teller", failing(error))
    assert supervisor.restarts == {"teller": 1}
    (line,) = told
    assert (line["event"], line["loop"], line["error"]) == ("loop_restarted", "teller", type(error).__name__)
    assert line["exc_info"] is error


async def test_a_loop_that_returns_has_ended_and_is_counted_from_its_start(supervisor, time):
    await supervisor.run("teller", failing())
    assert (supervisor.restarts, time.slept) == ({"teller": 0}, [])


async def test_pauses_double_up_to_a_maximum(supervisor, time):
    await supervisor.run("teller", failing(*[OSError()] * 8))
    assert time.slept == [0.25, 0.5, 1.0, 2.0, 4.0, *[LONGEST_PAUSE_S] * 3]


async def test_a_loop_that_ran_long_enough_starts_with_the_first_pause(supervisor, time):
    def work():
        time.now += STEADY_S if len(time.slept) == 3 else 0.0

    await supervisor.run("teller", failing(*[OSError()] * 5, on_call=work))
    assert time.slept == [0.25, 0.5, 1.0, FIRST_PAUSE_S, 0.5]


async def test_a_cancelled_loop_ends(supervisor):
    running = asyncio.Event()

    async def run():
        running.set()
        await asyncio.Event().wait()

    loop = supervisor.start("teller", run)
    await running.wait()
    await loop.end()
    assert loop.task.cancelled()
    assert supervisor.restarts == {"teller": 0}


async def test_a_loop_can_be_ended_during_its_pause(time):
    paused = asyncio.Event()

    async def sleep(_):
        paused.set()
        await asyncio.Event().wait()

    supervisor = LoopSupervisor(clock=time, sleep=sleep)
    loop = supervisor.start("teller", failing(OSError()))
    await paused.wait()
    await loop.end()
    assert loop.task.cancelled()


async def test_a_cancellation_that_becomes_an_error_ends_the_loop(supervisor):
    running = asyncio.Event()

    async def run():
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise TimeoutError from None

    loop = supervisor.start("teller", run)
    await running.wait()
    await loop.end()
    assert loop.task.cancelled()
    assert supervisor.restarts == {"teller": 0}


async def test_a_cancellation_that_a_loop_suppresses_is_repeated(supervisor):
    running, swallowed = asyncio.Event(), []

    async def run():
        while True:
            running.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if swallowed:
                    raise
                swallowed.append(1)

    loops = [supervisor.start("teller", run)]
    await running.wait()
    await end_loops(loops)
    assert loops[0].task.cancelled()
