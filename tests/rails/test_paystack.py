"""Paystack's connector against its sandbox: what the contract does not know of."""

import pytest

from rails.paystack_bench import PaystackBench
from synccash.payments.payer import Network
from synccash.payments.rail import NextActionType, Operation, Standing
from synccash.resilience.evidence import Evidence


@pytest.fixture
async def bench(world, transport):
    return await PaystackBench.on(world, transport)


async def test_a_telecel_payer_is_debited_once_the_voucher_is_given(bench):
    order = bench.order(network=Network.TELECEL, msisdn="233201234567")
    asked = await bench.send(order)
    assert asked.next_action.type is NextActionType.SUBMIT_OTP
    wrong = await bench.rail.submit_otp(order.account, order.reference, "000000", timeout_s=5.0)
    assert wrong.evidence is Evidence.REFUSED_FINAL
    assert (await bench.inquire(order)).standing is Standing.PENDING
    taken = await bench.rail.submit_otp(order.account, order.reference, "123456", timeout_s=5.0)
    assert taken.evidence is Evidence.ACCEPTED
    assert (await bench.inquire(order)).standing is Standing.SUCCEEDED
    assert len(await bench.booked("debits", order)) == 1


async def test_a_payout_sent_twice_is_paid_once(bench):
    order = bench.order(Operation.PAYOUT, name="Ama Mensah")
    assert {(await bench.send(order)).evidence for _ in range(2)} == {Evidence.ACCEPTED}
    assert (await bench.inquire(order)).standing is Standing.SUCCEEDED
    assert len(await bench.booked("credits", order)) == 1
