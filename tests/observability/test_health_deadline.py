"""A health check answers in time, whatever the server that it asks does."""

import asyncio

import pytest

from synccash.observability.health import within


async def test_a_check_in_time_returns_its_result():
    async def check():
        return 7

    assert await within(5.0, check()) == 7


async def test_a_check_that_waits_for_its_own_cancellation_is_not_waited_for():
    canceled, is_answered = asyncio.Event(), asyncio.Event()

    async def check():
        try:
            await asyncio.Event().wait()
        finally:
            canceled.set()
            await is_answered.wait()

    with pytest.raises(TimeoutError):
        await within(0.0, check())
    is_answered.set()


async def test_an_error_of_the_check_is_its_own():
    async def check():
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        await within(5.0, check())
