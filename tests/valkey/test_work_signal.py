"""The doorbell between processes, on a real Valkey."""

import asyncio
import contextlib
import secrets

import pytest
import redis

from synccash.stores.local_work_signal import LocalWorkSignal
from synccash.stores.valkey.client import ValkeyState, build_client, valkey_state
from synccash.stores.valkey.session import open_session
from synccash.stores.valkey.work_signal import ValkeyWorkSignal

LONG_S = 60.0
SHORT_S = 0.01


@contextlib.asynccontextmanager
async def started(url):
    async with open_session(url, secrets.token_hex(8)) as session:
        bell = ValkeyWorkSignal(session)
        bell.start()
        try:
            yield bell
        finally:
            await bell.close()


async def woken(bell):
    """Whether a ring, and not the time-out, ended the wait."""
    async with asyncio.timeout(LONG_S / 2):
        await bell.wait(LONG_S)


async def heard_from(ringing, listening):
    """Ring until it is heard: a listener is not known to have subscribed before."""
    waiting = asyncio.create_task(listening.wait(LONG_S))
    async with asyncio.timeout(LONG_S / 2):
        while not waiting.done():
            ringing.notify()
            await asyncio.wait([waiting], timeout=SHORT_S)


@pytest.fixture(params=["local", "valkey", "valkey that is away"])
async def bell(request, stoppable_valkey):
    if request.param == "local":
        yield LocalWorkSignal()
        return
    if request.param == "valkey that is away":
        stoppable_valkey.kill()
    async with started(stoppable_valkey.url) as bell:
        yield bell


async def test_a_ring_wakes_every_task_of_the_process(bell):
    waiting = [asyncio.create_task(bell.wait(LONG_S)) for _ in range(3)]
    await asyncio.sleep(0)
    bell.notify()
    done, _ = await asyncio.wait(waiting, timeout=LONG_S / 2)
    assert done == set(waiting)


async def test_a_ring_that_came_during_work_ends_the_next_wait_and_no_further_one():
    bell = LocalWorkSignal()
    await bell.wait(SHORT_S)
    bell.notify()
    await woken(bell)
    loop = asyncio.get_running_loop()
    before = loop.time()
    await bell.wait(SHORT_S)
    assert loop.time() - before >= SHORT_S * 0.9


async def test_a_ring_reaches_another_process(stoppable_valkey):
    async with started(stoppable_valkey.url) as one, started(stoppable_valkey.url) as other:
        await heard_from(one, other)
        await heard_from(other, one)


async def test_the_bell_is_heard_again_after_valkey_was_killed_and_came_back(stoppable_valkey):
    async with started(stoppable_valkey.url) as one, started(stoppable_valkey.url) as other:
        await heard_from(one, other)
        stoppable_valkey.kill()
        one.notify()
        await one.wait(SHORT_S)
        stoppable_valkey.start()
        await heard_from(one, other)
        await heard_from(other, one)


async def test_a_bell_that_was_closed_still_rings_in_its_own_process(stoppable_valkey):
    async with started(stoppable_valkey.url) as bell:
        await bell.close()
        await bell.wait(SHORT_S)
        bell.notify()
        await woken(bell)


async def test_a_bell_can_be_closed_at_any_moment_of_its_connecting(stoppable_valkey):
    for steps in range(40):
        async with asyncio.timeout(LONG_S / 2), started(stoppable_valkey.url):
            for _ in range(steps):
                await asyncio.sleep(0)


async def test_the_state_tells_how_valkey_fails(stoppable_valkey):
    async with build_client(stoppable_valkey.url) as client:
        assert await valkey_state(client) is ValkeyState.OK
        stoppable_valkey.freeze()
        assert await valkey_state(client) is ValkeyState.SILENT
        several = await asyncio.gather(*(valkey_state(client) for _ in range(8)))
        assert set(several) == {ValkeyState.SILENT}, "also when no connection is free"
        stoppable_valkey.thaw()
        stoppable_valkey.restart()
        assert await valkey_state(client) is ValkeyState.OK
        stoppable_valkey.kill()
        assert await valkey_state(client) is ValkeyState.AWAY


async def test_the_state_tells_that_valkey_refuses_the_user(stoppable_valkey):
    with redis.Redis.from_url(stoppable_valkey.url) as operator:
        operator.acl_setuser("guest", enabled=True, nopass=True)
        parts = stoppable_valkey.url.replace("unix://", "unix://guest:x@")
        async with build_client(parts) as client:
            assert await valkey_state(client) is ValkeyState.REFUSED
        operator.acl_deluser("guest")


def test_a_url_of_another_kind_is_refused_with_the_settings_name_and_without_its_password():
    with pytest.raises(ValueError, match="SYNCCASH_VALKEY_URL") as refused:
        build_client("http://:secret@localhost")
    assert "secret" not in str(refused.value)
