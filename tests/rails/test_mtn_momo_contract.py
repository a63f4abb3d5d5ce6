import pytest

from rails.mtn_bench import MtnBench
from rails.rail_contract import RailContract


class TestMtnMomoKeepsTheContract(RailContract):
    @pytest.fixture
    async def bench(self, world, transport):
        return await MtnBench.on(world, transport)
