"""Paystack's connector against its sandbox: what the contract does not know of."""

import msgspec
import pytest

from rails.paystack_bench import PaystackBench
from rails.raw_server import answer, raw_server
from synccash.payments.failure import FailureCode
from synccash.payments.payer import Network
from synccash.payments.rail import AttemptDetails, NextActionType, Operation, RailStatus
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
    assert (await bench.inquire(order)).status_at_rail is RailStatus.PENDING
    taken = await bench.rail.submit_otp(order.account, order.reference, "123456", timeout_s=5.0)
    assert taken.evidence is Evidence.ACCEPTED
    assert (await bench.inquire(order)).status_at_rail is RailStatus.SUCCEEDED
    assert len(await bench.booked("debits", order)) == 1


async def test_a_charge_that_fails_over_its_voucher_is_refused_and_the_inquiry_says_so(bench):
    order = bench.order(network=Network.TELECEL, msisdn="233201234567")
    await bench.send(order)
    given = await bench.rail.submit_otp(order.account, order.reference, "999999", timeout_s=5.0)
    assert (given.evidence, given.failure.code) == (Evidence.REFUSED_FINAL, FailureCode.PAYER_DECLINED)
    ended = await bench.inquire(order)
    assert (ended.status_at_rail, ended.failure.code) == (RailStatus.FAILED, FailureCode.PAYER_DECLINED)
    assert await bench.booked("debits", order) == []


async def test_a_refund_is_found_while_the_transaction_is_being_reversed_and_after(bench):
    first, second = bench.order(), bench.order()
    slow, quick = await bench.refund_of(first), await bench.refund_of(second)
    await bench.script({"on": "money", "approve_after_ms": 60_000})
    for refund in (slow, quick):
        assert (await bench.send(refund)).evidence is Evidence.ACCEPTED
    assert (await bench.inquire(first)).status_at_rail is RailStatus.SUCCEEDED
    assert (await bench.inquire(slow)).status_at_rail is RailStatus.PENDING
    reversed_ = await bench.inquire(second)
    assert (reversed_.status_at_rail, reversed_.provider_code) == (RailStatus.NO_INFORMATION, "reversed")
    assert (await bench.inquire(quick)).status_at_rail is RailStatus.SUCCEEDED


async def test_whether_a_charge_still_waits_for_its_voucher_is_told_where_that_is_not_known(bench):
    order = bench.order(network=Network.TELECEL, msisdn="233201234567")
    await bench.send(order)

    async def told(**known):
        details = AttemptDetails(amount=order.amount, **known)
        return await bench.rail.inquire(
            order.account, order.operation, order.reference, timeout_s=5.0, details=details
        )

    assert (await told(transaction_id="1")).next_action is None
    waits = await told(otp_outcome_unknown=True)
    assert (waits.status_at_rail, waits.next_action.type) == (RailStatus.PENDING, NextActionType.SUBMIT_OTP)
    for _ in range(2):
        await bench.rail.submit_otp(order.account, order.reference, "123456", timeout_s=5.0)
    given = await told(otp_outcome_unknown=True)
    assert given.next_action is None or given.next_action.type is NextActionType.APPROVE_ON_PHONE
    assert len(await bench.booked("debits", order)) == 1


async def test_a_payer_is_asked_for_the_voucher_of_a_charge_whose_answer_was_lost(bench):
    order = bench.order(network=Network.TELECEL, msisdn="233201234567")
    await bench.script({"on": "money", "answer": "drop", "commit": True})
    assert (await bench.send(order)).evidence is Evidence.AMBIGUOUS
    told = await bench.inquire(order)
    assert (told.status_at_rail, told.next_action.type) == (RailStatus.PENDING, NextActionType.SUBMIT_OTP)
    assert told.reference == order.reference
    assert told.provider_transaction_id is not None


@pytest.mark.parametrize("charge", ["pending", "timeout", "send_otp", "failed"])
async def test_a_charge_that_has_not_decided_what_to_ask_for_is_asked_for_again(bench, charge):
    order = bench.order(network=Network.TELECEL, msisdn="233201234567")

    async def speak(line):
        word = charge if b"GET /charge/" in line.request else "ongoing"
        data = {"id": 61, "reference": order.reference, "status": word}
        await line.say(answer(200, msgspec.json.encode({"status": True, "data": data})))

    async with raw_server(speak) as paystack:
        rail = bench.connector_at(paystack.url)
        told = await rail.inquire(rail.account, order.operation, order.reference, timeout_s=5.0)
        unsure = await rail.inquire(
            rail.account,
            order.operation,
            order.reference,
            timeout_s=5.0,
            details=AttemptDetails(otp_outcome_unknown=True),
        )
    assert told.status_at_rail is RailStatus.PENDING
    assert told.provider_transaction_id == ("61" if charge in ("send_otp", "failed") else None)
    assert (unsure.status_at_rail is RailStatus.NO_INFORMATION) == (charge == "timeout")


async def test_a_payout_sent_twice_is_paid_once(bench):
    order = bench.order(Operation.PAYOUT, name="Ama Mensah")
    assert {(await bench.send(order)).evidence for _ in range(2)} == {Evidence.ACCEPTED}
    assert (await bench.inquire(order)).status_at_rail is RailStatus.SUCCEEDED
    assert len(await bench.booked("credits", order)) == 1
