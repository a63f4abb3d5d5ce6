import aiohttp
import pytest

from sandbox.momo import World, listening


@pytest.fixture
async def session():
    # A connection of its own for each request: what is done to one must not reach the next request.
    connector = aiohttp.TCPConnector(force_close=True)
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield session


@pytest.fixture
async def ear():
    async with listening() as ear:
        yield ear


@pytest.fixture
async def world(tmp_path, session):
    """A running sandbox whose payers approve at once."""
    world = await World(tmp_path / "sandbox", session).start()
    await world.faults(approve_after_ms=0)
    yield world
    await world.stop()


@pytest.fixture
async def merchant(world):
    return await world.merchant()
