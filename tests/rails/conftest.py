import pytest

from synccash.rails.transport import Transport


@pytest.fixture
async def transport():
    transport = Transport()
    yield transport
    await transport.aclose()
