import aiohttp
import pytest

from sandbox import hubtel as hubtel_client
from sandbox import pawapay as pawapay_client
from sandbox import paystack as paystack_client
from sandbox.momo import World, listening


@pytest.fixture
async def session():
    # A connection of its own for each request: what is done to one must not reach the next request.
    connector = aiohttp.TCPConnector(force_close=True)
    timeout = aiohttp.ClientTimeout(total=30)
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


@pytest.fixture
async def paystack(world, session):
    await world.control("PUT", "paystack/faults", {"approve_after_ms": 0})
    return paystack_client.Merchant(world, session)


@pytest.fixture
async def hubtel(world, session):
    merchants = {"pos_sales_id": hubtel_client.POS, "prepaid_deposit_id": hubtel_client.PREPAID}
    answer = await world.control("PUT", "hubtel/credentials", hubtel_client.KEYS | merchants)
    assert answer.status == 200, answer.body
    await world.control("PUT", "hubtel/faults", {"approve_after_ms": 0})
    return hubtel_client.Merchant(world, session)


@pytest.fixture
async def pawapay(world, session):
    await world.control("PUT", "pawapay/faults", {"approve_after_ms": 0})
    return pawapay_client.Merchant(world, session)
