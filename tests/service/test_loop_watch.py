"""The lag of the event loop is measured, and a block is logged with its route."""

import asyncio
import threading
import time

import pytest
from structlog.testing import capture_logs

from synccash.api.http_counts import HttpCounts
from synccash.api.problem import refuse
from synccash.api.request_context import InFlight, RequestContext
from synccash.observability.loop_watch import LoopWatch


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watch(clock):
    in_flight = InFlight(route_of=lambda method, path: "/things/{id}" if path.startswith("/things") else None)
    watch = LoopWatch(in_flight, clock)
    watch.begin()
    return watch


def lag(watch):
    (family,) = watch.collect()
    assert family.name == "synccash_loop_lag_seconds"
    return family.samples[0].value


def block(watch, clock, seconds):
    """Let the loop be late, and let the other thread look meanwhile."""
    clock.now += seconds
    looking = threading.Thread(target=watch.check)
    looking.start()
    looking.join()


async def serve(watch, app, path="/things/7"):
    async def receive():
        raise AssertionError

    async def send(message):
        del message

    context = RequestContext(
        app=app,
        refuse=refuse,
        new_id=lambda: path,
        counts=HttpCounts(),
        route_of=watch.in_flight.route_of,
        caller_ids=lambda scope: {},
        in_flight=watch.in_flight,
    )
    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    await context(scope, receive, send)


async def answer(send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_the_gauge_is_the_longest_lag_of_the_last_one_to_two_minutes(watch, clock):
    for lag_s in (0.0, 0.03, 0.01):
        clock.now += 0.1 + lag_s
        watch.tick()
    assert lag(watch) == pytest.approx(0.03)
    clock.now += 61
    watch._due = clock.now
    watch.tick()
    assert lag(watch) == pytest.approx(0.03), "of the window before"
    for _ in range(2):
        clock.now += 61
        watch._due = clock.now
        watch.tick()
    assert lag(watch) == 0.0


async def test_a_block_is_logged_with_its_route_and_its_code(watch, clock):
    async def blocking(scope, receive, send):
        block(watch, clock, 0.4)
        await answer(send)

    with capture_logs() as lines:
        await serve(watch, blocking)
        watch.tick()
    (line,) = [line for line in lines if line["event"] == "loop_blocked"]
    assert (line["route"], line["blocked_ms"]) == ("GET /things/{id}", 300)
    assert any("test_loop_watch.py" in frame and "block" in frame for frame in line["stack"].splitlines())
    assert lag(watch) == pytest.approx(0.3)


async def test_a_block_outside_a_request_names_the_requests_in_flight(watch, clock):
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def waiting(scope, receive, send):
        begun.set()
        await may_end.wait()
        await answer(send)

    request = asyncio.create_task(serve(watch, waiting))
    await begun.wait()
    with capture_logs() as lines:
        block(watch, clock, 0.36)
        watch.tick()
        may_end.set()
        await request
    (line,) = [line for line in lines if line["event"] == "loop_blocked"]
    assert (line["route"], line["routes_in_flight"]) == (None, ["GET /things/{id}"])
    assert watch.in_flight.scopes == {}


async def test_a_short_delay_is_not_logged(watch, clock):
    with capture_logs() as lines:
        block(watch, clock, 0.34)
        watch.tick()
    assert lines == []


async def test_what_blocked_the_loop_before_it_serves_is_forgotten(watch, clock):
    with capture_logs() as lines:
        block(watch, clock, 0.6)
        watch.begin()
        clock.now += 0.1
        watch.tick()
    assert (lines, lag(watch)) == ([], 0.0)


async def test_a_running_watch_sees_a_real_block():
    watch = LoopWatch()
    watch.start()
    try:
        with capture_logs() as lines:
            while watch._sample is None:  # blocks the loop until the thread has seen it
                pass
            async with asyncio.timeout(10):
                while not lines:  # noqa: ASYNC110 - a timer of the loop writes it
                    await asyncio.sleep(0.01)
    finally:
        watch.close()
    assert lines[0]["event"] == "loop_blocked"
    assert lag(watch) >= 0.25


class FailingOnce(InFlight):
    """Raises when it is read for the first time."""

    error: Exception | None = RuntimeError("the dictionary changed")

    def names(self):
        error, self.error = self.error, None
        if error is not None:
            raise error
        return super().names()


async def logged(lines, event):
    async with asyncio.timeout(10):
        while event not in [line["event"] for line in lines]:  # noqa: ASYNC110 - the watch writes it
            await asyncio.sleep(0.01)


async def test_a_watch_that_fails_reports_it_and_sees_the_next_block():
    in_flight = FailingOnce()
    watch = LoopWatch(in_flight)
    watch.start()
    try:
        with capture_logs() as lines:
            while watch._sample is None:  # blocks the loop until the thread has failed
                pass
            await logged(lines, "loop_watch_failed")
            await logged(lines, "loop_blocked")
            while watch._sample is None:
                pass
        assert in_flight.error is None
        assert watch._sample.stack != []
    finally:
        watch.close()


async def test_a_thread_that_has_ended_is_started_again():
    watch = LoopWatch()
    watch.start()
    ended = watch._thread
    try:
        with capture_logs() as lines:
            watch._stopping.set()
            ended.join()
            watch._stopping.clear()
            await logged(lines, "loop_watch_restarted")
            while watch._sample is None:  # blocks the loop until the new thread has seen it
                pass
    finally:
        watch.close()


async def test_a_tick_that_fails_is_reported_and_the_next_one_follows():

    def monotonic():
        if threading.current_thread() is threading.main_thread():
            raise OSError("no clock")
        return time.monotonic()

    watch = LoopWatch()
    watch.start()
    watch.monotonic = monotonic
    try:
        with capture_logs() as lines:
            await logged(lines, "loop_watch_failed")
            watch.monotonic, due = time.monotonic, watch._due
            async with asyncio.timeout(10):
                while watch._due == due:  # noqa: ASYNC110 - a timer of the loop sets it
                    await asyncio.sleep(0.01)
    finally:
        watch.close()
