import pytest

from rails.pawapay_bench import PawapayBench
from rails.rail_contract import RailContract


class TestPawapayKeepsTheContract(RailContract):
    @pytest.fixture
    async def bench(self, world, transport):
        return await PawapayBench.on(world, transport)
