import asyncio

import aiohttp
import pytest
import uvloop

from sandbox.momo import World
from synccash.rails.http.transport import Transport

ON_BOTH_LOOPS = {"test_http_connections.py", "test_transport.py"}


def pytest_asyncio_loop_factories(config, item):
    """Processes run on uvloop, and commands on the loop of asyncio; both run the transport."""
    del config
    factories = {"asyncio": asyncio.new_event_loop}
    return factories | ({"uvloop": uvloop.new_event_loop} if item.path.name in ON_BOTH_LOOPS else {})


@pytest.fixture
async def transport():
    transport = Transport()
    yield transport
    await transport.aclose()


@pytest.fixture
async def world(tmp_path):
    """A running sandbox of all rails, in a time that only the test moves, whose payers approve at once."""
    # A connection of its own for each request: what is done to one must not reach the next request.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        world = await World(tmp_path / "sandbox", session).start()
        for rail in world.sandbox.rail_urls:
            answer = await world.control("PUT", f"{rail}/faults", {"approve_after_ms": 0})
            assert answer.status == 200, answer.body
        yield world
        await world.stop()
