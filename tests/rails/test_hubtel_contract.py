import pytest

from rails.hubtel_bench import HubtelBench
from rails.rail_contract import RailContract


class TestHubtelKeepsTheContract(RailContract):
    @pytest.fixture
    async def bench(self, world, transport):
        return await HubtelBench.on(world, transport)
