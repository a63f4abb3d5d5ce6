"""The client follows the primary that Sentinels name: real Sentinels, and a primary that dies."""

import asyncio

import pytest

from synccash.stores.valkey.channel import ChannelListener
from synccash.stores.valkey.client import UNREACHABLE, build_client
from synccash.stores.valkey.connection import ValkeyConnection
from valkey_sentinels import watched

PATIENCE_S = 60.0


async def until_written(write) -> None:
    """Repeat a write while Valkey refuses it; a failover takes a moment."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await write()
            except UNREACHABLE:
                await asyncio.sleep(0.05)


async def until_received(client, received: asyncio.Queue[bytes]) -> bytes:
    """Publish until a message arrives: the listener connects to the new primary in its own time."""
    async with asyncio.timeout(PATIENCE_S):
        while received.empty():
            await until_written(lambda: client.publish("synccash:test", "hello"))
            await asyncio.sleep(0.05)
    return received.get_nowait()


@pytest.mark.parametrize("killed", [True, False])
async def test_commands_limits_and_messages_follow_the_primary_of_the_sentinels(killed):
    with watched() as valkey:
        client = build_client(valkey.url, deadline_s=2.0)
        limits = ValkeyConnection(valkey.url, deadline_s=2.0)
        received: asyncio.Queue[bytes] = asyncio.Queue()
        listening = asyncio.Event()
        channels = ChannelListener(client)
        channels.start()
        channels.subscribe("synccash:test", received.put_nowait, name="test", connected=listening.set)
        try:
            await asyncio.wait_for(listening.wait(), PATIENCE_S)
            await client.set("synccash:before", "1")
            await limits.call("SET", "synccash:limit", "1")
            former = await asyncio.to_thread(valkey.primary)
            # One Sentinel fewer: the others still agree.
            valkey.sentinels[0].kill()
            if killed:
                former.kill()
            else:
                await asyncio.to_thread(valkey.sentinels[1].run, "SENTINEL", "FAILOVER", "synccash")
            await asyncio.to_thread(valkey.wait_for_another_primary, former)
            if not killed:
                # Until then it takes writes, which are lost.
                await asyncio.to_thread(valkey.wait_until_demoted, former)
            await until_written(lambda: client.set("synccash:after", "1"))
            await until_written(lambda: limits.call("SET", "synccash:limit", "2"))
            present = await asyncio.to_thread(valkey.primary)
            assert present.port != former.port
            assert present.run("MGET", "synccash:after", "synccash:limit") == [b"1", b"2"]
            assert await until_received(client, received) == b"hello"
        finally:
            await channels.close()
            await limits.aclose()
            await client.aclose()


async def test_without_a_sentinel_a_command_fails_as_without_valkey():
    client = build_client("valkey+sentinel://127.0.0.1:9,127.0.0.1:10/synccash")
    with pytest.raises(UNREACHABLE, match="no Sentinel names a primary of synccash"):
        await client.ping()
    await client.aclose()
