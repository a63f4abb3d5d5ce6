"""Calls that are written wrongly get a clear error at once, run at most once, and do not count."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from synccash.resilience import BreakerSettings, Bulkhead, Policy, Retry
from synccash.resilience.rate import Rate

runs: list[str] = []


@pytest.fixture(autouse=True)
def no_runs() -> None:
    runs.clear()


def policy(**parts: Any) -> Policy:
    retry = Retry(attempts=3, base=0.0, on=Exception)
    return Policy("rates", **{"retry": retry, "breaker": BreakerSettings(failures=1), **parts})


def assert_nothing_counted(one: Policy) -> None:
    assert one.breaker is not None
    seen = one.breaker.statistics()
    assert (seen.state.value, seen.successes, seen.failures, seen.probes_running) == ("closed", 0, 0, 0)
    assert one.budget.retries == 0


def plain() -> str:
    runs.append("plain")
    return "done"


async def coroutine(word: str = "done") -> str:
    return word


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class Awaitable:
    """Like what aiohttp's `session.get()` returns."""

    def __await__(self):
        yield from asyncio.sleep(0).__await__()


PARTS = pytest.mark.parametrize(
    "parts",
    [{}, {"attempt_timeout": 5.0}, {"bulkhead": Bulkhead(limit=1)}],
    ids=["plain", "timed", "bulkhead"],
)


@PARTS
async def test_awaiting_the_call_of_a_plain_function(parts):
    one = policy(**parts)
    with pytest.raises(TypeError) as caught:
        await one.call(plain)
    assert caught.value.__notes__ == ["rates: plain is a plain function? call it with policy.call_sync"]
    assert runs == ["plain"]
    assert_nothing_counted(one)


@PARTS
async def test_calling_a_coroutine_instead_of_its_function(parts):
    one = policy(**parts)
    with pytest.raises(TypeError) as caught:
        await one.call(coroutine())
    assert caught.value.__notes__ == [
        "rates: pass the function and its arguments: policy.call(coroutine, …), not policy.call(coroutine(…))"
    ]
    assert_nothing_counted(one)


@PARTS
async def test_calling_with_wrong_arguments_or_an_async_generator(parts):
    one = policy(**parts)
    with pytest.raises(TypeError, match="unexpected keyword argument 'day'"):
        await one.call(coroutine, day=1)
    with pytest.raises(TypeError, match="async_generator"):
        await one.call(async_generator)
    with pytest.raises(TypeError, match="unexpected keyword argument 'day'"):
        policy(bulkhead=parts.get("bulkhead")).call_sync(plain, day=1)
    assert_nothing_counted(one)


async def test_a_type_error_inside_the_function_is_no_misuse():
    async def fail() -> None:
        runs.append("run")
        len(1)  # pyright: ignore[reportArgumentType]

    one = policy()
    with pytest.raises(TypeError):
        await one.call(fail)
    assert len(runs) == 3


async def test_a_misuse_inside_a_nested_policy_is_not_repeated_by_the_outer_one():
    inner = Policy("inner")
    with pytest.raises(TypeError):
        await policy().call(inner.call, plain)
    assert runs == ["plain"]


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (coroutine, "coroutine is a coroutine function: use `await policy.call"),
        (generator, "generator returned a generator, which has not run yet"),
        (async_generator, "async_generator returned a generator"),
        (Awaitable, "Awaitable returned Awaitable, which must be awaited"),
    ],
)
@pytest.mark.parametrize("bulkhead", [None, Bulkhead(limit=1)])
def test_a_plain_call_whose_result_has_not_run_yet_is_refused(fn, message, bulkhead):
    one = policy(bulkhead=bulkhead)
    for _ in range(2):
        with pytest.raises(TypeError, match=f"rates: {message}"):
            one.call_sync(fn)
    assert_nothing_counted(one)


@PARTS
def test_a_policy_is_refused_at_once_where_no_asyncio_loop_runs(parts):
    """As under trio, which runs the coroutine itself."""
    one = policy(**parts)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"no asyncio event loop is running here.*trio"):
            one.call(coroutine).send(None)  # pyright: ignore[reportAttributeAccessIssue]
    assert_nothing_counted(one)
    assert asyncio.run(one.call(coroutine)) == "done"


def test_a_policy_with_a_rate_uses_no_turn_where_no_asyncio_loop_runs():
    one = policy(rate=Rate("1/h"))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no asyncio event loop is running here"):
            one.call(coroutine).send(None)  # pyright: ignore[reportAttributeAccessIssue]
    assert_nothing_counted(one)
    assert asyncio.run(one.call(coroutine)) == "done"


async def leave_out_async_with(one: Policy, error: Exception | None) -> None:
    async for attempt in one.attempts():
        del attempt
        runs.append("run")
        if error is not None:
            raise error


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [(None, RuntimeError, "write `async with attempt:`"), (OSError("down"), OSError, "down")],
    ids=["when the loop goes on", "when the block raises"],
)
async def test_leaving_out_async_with_raises_or_warns(error, raised, message):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(raised, match=message):
            await leave_out_async_with(policy(), error)
        gc.collect()
    assert [(one.category, "the block ran without the policy" in str(one.message)) for one in warned] == [
        (RuntimeWarning, True)
    ]
    assert runs == ["run"]


async def test_attempts_serve_one_loop():
    attempts = policy().attempts()
    async for attempt in attempts:
        async with attempt:
            runs.append("run")
    with pytest.raises(RuntimeError, match="serves one loop"):
        [one async for one in attempts]
    assert runs == ["run"]


async def test_attempts_that_are_never_looped_over_are_no_mistake():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy().attempts()
        gc.collect()


async def test_a_block_that_is_left_early_keeps_no_slot():
    one = policy(bulkhead=Bulkhead(limit=1))
    async for attempt in one.attempts():
        async with attempt:
            break
    assert await one.call(coroutine) == "done"
