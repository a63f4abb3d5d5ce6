import pytest

from rails.paystack_bench import PaystackBench
from rails.rail_contract import RailContract


class TestPaystackKeepsTheContract(RailContract):
    @pytest.fixture
    async def bench(self, world, transport):
        return await PaystackBench.on(world, transport)
