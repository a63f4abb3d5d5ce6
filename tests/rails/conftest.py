import aiohttp
import pytest

from sandbox.momo import World
from synccash.rails.transport import Transport


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
