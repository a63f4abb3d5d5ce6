"""Paystack's connector against its sandbox: what the contract does not know of."""

import pytest

from rails.paystack_bench import PaystackBench
from synccash.payments.payer import Network
from synccash.payments.rail import NextActionType, Operation, Standing, Traces
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


async def test_whether_a_charge_still_waits_for_its_voucher_is_told_where_that_is_not_known(bench):
    order = bench.order(network=Network.TELECEL, msisdn="233201234567")
    await bench.send(order)

    async def told(**known):
        traces = Traces(amount=order.amount, **known)
        return await bench.rail.inquire(
            order.account, order.operation, order.reference, timeout_s=5.0, traces=traces
        )

    assert (await told()).next_action is None
    waits = await told(password_untold=True)
    assert (waits.standing, waits.next_action.type) == (Standing.PENDING, NextActionType.SUBMIT_OTP)
    for _ in range(2):
        await bench.rail.submit_otp(order.account, order.reference, "123456", timeout_s=5.0)
    given = await told(password_untold=True)
    assert given.next_action is None or given.next_action.type is NextActionType.APPROVE_ON_PHONE
    assert len(await bench.booked("debits", order)) == 1


async def test_a_payout_sent_twice_is_paid_once(bench):
    order = bench.order(Operation.PAYOUT, name="Ama Mensah")
    assert {(await bench.send(order)).evidence for _ in range(2)} == {Evidence.ACCEPTED}
    assert (await bench.inquire(order)).standing is Standing.SUCCEEDED
    assert len(await bench.booked("credits", order)) == 1
