"""Policies on plain functions, as decorators and round blocks, and the functions they refuse."""

import asyncio
import contextlib
import functools
import subprocess
import sys
import threading

import pytest

from synccash.resilience import BreakerSettings, Budget, Bulkhead, BulkheadFullError, Policy, Retry
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.errors import AttemptTimeoutError

LOST = OSError("lost")


async def no_wait(seconds: float) -> None:
    del seconds


def policy(**parts) -> Policy:
    return Policy("rail", sleep=no_wait, sleep_sync=lambda seconds: None, random=lambda: 0.0, **parts)


def test_a_plain_function_is_retried():
    failures = [LOST, LOST]

    @policy(retry=Retry(on=OSError))
    def fetch(word: str) -> str:
        if failures:
            raise failures.pop()
        return word

    assert fetch("done") == "done"


@pytest.mark.parametrize("parts", [{}, {"attempt_timeout": 5.0, "interrupt": False}], ids=["frame", "loop"])
def test_call_sync_of_a_coroutine_function_is_refused_and_not_counted(parts):
    async def fetch() -> str:
        return "never run"

    guarded = policy(retry=Retry(on=OSError), breaker=BreakerSettings(failures=1), **parts)
    with pytest.raises(TypeError, match=r"fetch is a coroutine function: use `await policy.call"):
        guarded.call_sync(fetch)
    counted = guarded.breaker.statistics()
    assert (counted.successes, counted.failures, counted.state.value) == (0, 0, "closed")


async def test_a_decorated_coroutine_function_keeps_its_name_and_is_retried():
    failures = [LOST]

    @policy(retry=Retry(on=OSError))
    async def fetch(word: str) -> str:
        if failures:
            raise failures.pop()
        return word

    assert (await fetch(word="done"), fetch.__name__) == ("done", "fetch")


async def test_a_block_is_retried():
    numbers = []
    async for attempt in policy(retry=Retry(on=OSError)).attempts():
        async with attempt as number:
            numbers.append(number)
            if number < 3:
                raise LOST
    assert numbers == [1, 2, 3]


async def test_the_last_error_of_a_block_is_raised():
    with pytest.raises(OSError, match="lost"):  # noqa: PT012 - the loop is what raises
        async for attempt in policy(retry=Retry(on=OSError, attempts=2)).attempts():
            async with attempt:
                raise OSError("lost")


def test_decorating_a_function_that_cannot_be_interrupted_or_repeated_is_refused():
    with pytest.raises(TypeError, match="can't be interrupted"):
        policy(attempt_timeout=1.0)(lambda: None)

    def numbers():
        yield 1

    with pytest.raises(TypeError, match="generator"):
        policy()(numbers)


async def test_a_full_bulkhead_refuses_calls_and_the_breaker_ignores_them():
    p = policy(bulkhead=Bulkhead(limit=1, queue=1), breaker=BreakerSettings(failures=1))
    done = asyncio.Event()
    running = [asyncio.create_task(p.call(done.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(BulkheadFullError):
        await p.call(done.wait)
    done.set()
    assert await asyncio.gather(*running) == [True, True]
    assert p.breaker is not None
    assert (p.breaker.statistics().failures, p.breaker.statistics().ignored) == (0, 1)


async def test_a_time_out_counts_as_a_failure_and_as_a_slow_call():
    settings = BreakerSettings(failures=None, slow_rate=1.0, slow_s=60.0, min_calls=1)
    p = policy(attempt_timeout=0.001, breaker=settings)
    with pytest.raises(AttemptTimeoutError):
        await p.call(asyncio.Event().wait)
    assert p.breaker is not None
    assert "took 60 s or more" in p.breaker.reason


async def test_retries_end_when_the_budget_is_used_up():
    calls = 0

    async def fail() -> None:
        nonlocal calls
        calls += 1
        raise OSError("lost")

    p = policy(
        retry=Retry(attempts=10, on=OSError), budget=Budget(per_second=0.2, most=2.0), clock=lambda: 0.0
    )
    with pytest.raises(OSError, match="lost") as caught:
        await p.call(fail)
    assert (calls, p.budget.statistics().refused) == (3, 1)
    assert "the retry budget is used up" in caught.value.__notes__[-1]


def test_counts_of_concurrent_threads_are_exact():
    p = policy(breaker=BreakerSettings(failures=None, failure_rate=1.0))

    def half(number: int) -> float:
        return 1 / (number % 2)

    def work() -> None:
        for number in range(1_000):
            with contextlib.suppress(ZeroDivisionError):
                p.call_sync(half, number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert p.breaker is not None
    seen = p.breaker.statistics()
    assert (seen.successes, p.budget.successes) == (2_000, 2_000)
    assert (seen.failures, p.budget.failures) == (2_000, 2_000)
    assert sum(seen.durations) == 4_000


async def test_the_budget_knows_the_attempts_of_the_last_call():
    failures = [LOST]

    async def fetch() -> None:
        if failures:
            raise failures.pop()

    p = policy(retry=Retry(on=OSError))
    seen = [p.budget.last_attempts]
    for _ in range(2):
        await p.call(fetch)
        seen.append(p.budget.last_attempts)
    assert seen == [0, 2, 1]


def test_a_time_window_drops_calls_older_than_window_s():
    now = [0.0]
    settings = BreakerSettings(failures=None, failure_rate=0.5, window_s=10.0, min_calls=4)
    p = Policy("rail", breaker=CircuitBreaker("rail", settings, clock=lambda: now[0]), clock=lambda: now[0])

    def fail() -> None:
        raise OSError("lost")

    for at in (0.0, 0.0, 0.0, 20.0):
        now[0] = at
        with pytest.raises(OSError, match="lost"):
            p.call_sync(fail)
    assert p.breaker is not None
    seen = p.breaker.statistics()
    assert (seen.state.value, seen.window_calls, seen.window_failures) == ("closed", 1, 1)


def test_the_last_failure_of_a_breaker_has_no_phone_number():
    p = policy(breaker=BreakerSettings())

    def fail() -> None:
        raise OSError("no route for 233241234567")

    with pytest.raises(OSError, match="no route"):
        p.call_sync(fail)
    assert p.breaker is not None
    assert str(p.breaker.statistics().last_failure) == "OSError: no route for …"


def test_importing_the_toolkit_loads_the_standard_library_only():
    code = (
        "import sys; before = set(sys.modules); import synccash.resilience; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    # Its errors go to this test's stderr.
    out = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert set(out.split()) - set(sys.stdlib_module_names) == {Policy.__module__.partition(".")[0]}


class AsyncCallable:
    async def __call__(self) -> str:
        return "done"


async def test_a_partial_of_an_object_with_an_async_call_method_is_awaited():
    assert await policy(retry=Retry(on=OSError))(functools.partial(AsyncCallable()))() == "done"


class GeneratorCallable:
    def __call__(self):
        yield 1


async def coroutine() -> None:
    """Is never called."""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (staticmethod(coroutine), "below @staticmethod"),
        (classmethod(coroutine), "below @classmethod"),
        (property(coroutine), "only a function"),
        (5, "only a function"),
        (GeneratorCallable(), "generator"),
        (functools.partial(GeneratorCallable()), "generator"),
    ],
)
def test_decorating_something_other_than_a_repeatable_function_is_refused(value, message):
    with pytest.raises(TypeError, match=f"rail: .*{message}"):
        policy()(value)
