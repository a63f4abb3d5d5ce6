"""OTPs, payouts, surplus refunds and failover through aggregators, over PostgreSQL and scripted rails."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from engine.conftest import OpenDesk
from engine.scripted import ACCEPTED, SUCCEEDED, TENANT, Desk
from synccash.payments.errors import OtpTriesExceededError, ReferenceAlreadyUsedError, StateConflictError
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payment import Payment, PaymentStatus
from synccash.payments.rail import NextAction, NextActionType, RailStatus, SendAnswer, StatusAnswer
from synccash.resilience.evidence import Evidence

ASKS_OTP = replace(ACCEPTED, next_action=NextAction(NextActionType.SUBMIT_OTP, "Dial *110#"))
AWAY = SendAnswer(evidence=Evidence.NOT_SENT, failure=Failure(FailureCode.PROVIDER_UNAVAILABLE, reroute=True))
SILENCE = SendAnswer(evidence=Evidence.AMBIGUOUS)
NO_FUNDS = SendAnswer(evidence=Evidence.REFUSED_FINAL, failure=Failure(FailureCode.INSUFFICIENT_FUNDS))


async def stands(desk: Desk, payment_id: str):
    case = await desk.engine.order_store.payment(payment_id)
    assert case is not None
    return case


async def asked_for_otp(desk: Desk) -> str:
    desk.second.answers = [ASKS_OTP]
    payment = await desk.pay(rail="paystack")
    assert (payment["status"], payment["next_action"]["type"]) == ("requires_action", "submit_otp")
    return payment["id"]


async def test_submitting_an_otp_starts_no_second_charge(desk: Desk):
    payment_id = await asked_for_otp(desk)
    await desk.engine.submit_otp(TENANT, payment_id, "123456")
    case = await stands(desk, payment_id)
    assert (case.order.status, case.order.status_detail) == ("processing", "awaiting_payer")
    assert desk.second.passwords == [(case.attempts[0].reference, "123456")]
    assert (len(desk.second.sent), len(case.attempts)) == (1, 1)
    with pytest.raises(StateConflictError):
        await desk.engine.submit_otp(TENANT, payment_id, "123456")


async def test_another_otp_is_accepted_after_a_wrong_one(desk: Desk):
    payment_id = await asked_for_otp(desk)
    refusal = Failure(FailureCode.PAYER_DECLINED, provider_code="invalid_otp")
    desk.second.otp_answer = SendAnswer(evidence=Evidence.REFUSED_FINAL, failure=refusal)
    await desk.engine.submit_otp(TENANT, payment_id, "000000")
    waiting = (await stands(desk, payment_id)).order
    assert waiting.status is PaymentStatus.REQUIRES_ACTION
    assert waiting.last_error == Failure(FailureCode.OTP_REFUSED, provider_code="invalid_otp")
    desk.second.otp_answer = ACCEPTED
    await desk.engine.submit_otp(TENANT, payment_id, "123456")
    assert (await stands(desk, payment_id)).order.last_error is None
    assert [otp for _, otp in desk.second.passwords] == ["000000", "123456"]


async def test_a_sixth_otp_for_a_payment_is_refused(desk: Desk):
    payment_id = await asked_for_otp(desk)
    desk.second.otp_answer = SendAnswer(evidence=Evidence.REFUSED_FINAL)
    for n in range(5):
        await desk.engine.submit_otp(TENANT, payment_id, f"00000{n}")
    with pytest.raises(OtpTriesExceededError):
        await desk.engine.submit_otp(TENANT, payment_id, "123456")
    assert len(desk.second.passwords) == 5
    assert (await stands(desk, payment_id)).order.status is PaymentStatus.REQUIRES_ACTION


async def test_otps_at_the_same_time_do_not_exceed_the_tries(desk: Desk):
    payment_id = await asked_for_otp(desk)
    desk.second.otp_answer = SendAnswer(evidence=Evidence.REFUSED_FINAL)
    for _ in range(4):
        submitted = [desk.engine.submit_otp(TENANT, payment_id, f"{n:06}") for n in range(20)]
        await asyncio.gather(*submitted, return_exceptions=True)
    assert len(desk.second.passwords) == 5


async def test_otps_at_two_processes_do_not_exceed_the_tries(desk: Desk, open_desk: OpenDesk):
    """PostgreSQL counts them, so Valkey may be away."""
    engines = [desk.engine, (await open_desk()).engine]
    payment_id = await asked_for_otp(desk)
    desk.second.otp_answer = SendAnswer(evidence=Evidence.REFUSED_FINAL)
    for n in range(8):
        submitted = [engine.submit_otp(TENANT, payment_id, f"{n:06}") for engine in engines]
        await asyncio.gather(*submitted, return_exceptions=True)
    assert len(desk.second.passwords) == 5
    for engine in engines:
        with pytest.raises(OtpTriesExceededError):
            await engine.submit_otp(TENANT, payment_id, "123456")


async def test_a_payment_that_is_not_admitted_gets_no_otp(desk: Desk):
    payment_id = await asked_for_otp(desk)
    admitted = []

    async def refuse(payment: Payment) -> None:
        admitted.append(payment.payer.msisdn.digits)
        raise PermissionError

    with pytest.raises(PermissionError):
        await desk.engine.submit_otp(TENANT, payment_id, "123456", refuse)
    case = await stands(desk, payment_id)
    assert (admitted, desk.second.passwords) == ([case.order.payer.msisdn.digits], [])
    await desk.engine.submit_otp(TENANT, payment_id, "123456")
    with pytest.raises(StateConflictError):
        await desk.engine.submit_otp(TENANT, payment_id, "123456", refuse)
    assert len(admitted) == 1, "a payment that waits for no password costs the wallet nothing"


async def test_an_otp_is_still_accepted_after_inquiries_that_answer_pending(desk: Desk):
    payment_id = await asked_for_otp(desk)
    await desk.work()
    assert len(desk.second.asked) > 0
    await desk.engine.submit_otp(TENANT, payment_id, "123456")
    assert len(desk.second.passwords) == 1


async def test_after_an_otp_with_unknown_outcome_only_inquiries_decide(desk: Desk):
    payment_id = await asked_for_otp(desk)
    desk.second.otp_answer = SILENCE
    await desk.engine.submit_otp(TENANT, payment_id, "123456")
    assert (await stands(desk, payment_id)).order.status_detail == "outcome_unknown"
    desk.second.status_at_rail = SUCCEEDED
    await desk.work()
    assert (await stands(desk, payment_id)).order.status is PaymentStatus.SUCCEEDED


async def test_a_lost_otp_is_accepted_again_when_the_rail_still_waits_for_one(desk: Desk):
    payment_id = await asked_for_otp(desk)
    desk.second.otp_answer = SILENCE
    await desk.engine.submit_otp(TENANT, payment_id, "123456")
    with pytest.raises(StateConflictError):
        await desk.engine.submit_otp(TENANT, payment_id, "123456")
    desk.second.status_at_rail = StatusAnswer(status_at_rail=RailStatus.NO_INFORMATION)
    for _ in range(2):
        await desk.work()
        assert (await stands(desk, payment_id)).order.status_detail == "outcome_unknown"
    desk.second.status_at_rail = StatusAnswer(
        status_at_rail=RailStatus.PENDING, next_action=ASKS_OTP.next_action
    )
    await desk.work()
    assert [details.otp_outcome_unknown for _, details in desk.second.asked] == [True, True, True]
    asked = (await stands(desk, payment_id)).order
    assert (asked.status, asked.next_action) == (PaymentStatus.REQUIRES_ACTION, ASKS_OTP.next_action)
    desk.second.otp_answer = ACCEPTED
    await desk.engine.submit_otp(TENANT, payment_id, "123456")
    await desk.work()
    assert desk.second.asked[-1][1].otp_outcome_unknown is False
    assert len(desk.second.passwords) == 2
    assert len(desk.second.sent) == 1


async def test_an_otp_that_the_rail_received_is_not_requested_again(desk: Desk):
    payment_id = await asked_for_otp(desk)
    desk.second.otp_answer = SILENCE
    await desk.engine.submit_otp(TENANT, payment_id, "123456")
    await desk.work()
    payment = (await stands(desk, payment_id)).order
    assert (payment.status, payment.status_detail) == ("processing", "awaiting_payer")


async def test_an_otp_is_refused_if_none_is_expected(desk: Desk):
    payment = await desk.pay()
    with pytest.raises(StateConflictError):
        await desk.engine.submit_otp(TENANT, payment["id"], "123456")


async def test_a_payout_is_sent_once_and_ends_by_the_rails_answer(desk: Desk):
    payout = await desk.pay_out()
    assert (payout["object"], payout["status"], payout["rail"]) == ("payout", "processing", "mtn_momo")
    assert desk.first.sent[0].name == "Ama"
    with pytest.raises(ReferenceAlreadyUsedError):
        await desk.pay_out()
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    case = await desk.engine.order_store.payout(payout["id"])
    assert case is not None
    assert case.order.status == "succeeded"
    assert (len(desk.first.sent), len(desk.second.sent)) == (1, 0)


async def test_a_payout_with_unknown_outcome_stays_at_its_rail_under_its_reference(desk: Desk):
    desk.first.answers = [SILENCE]
    desk.first.status_at_rail = StatusAnswer(status_at_rail=RailStatus.NOT_FOUND)
    payout = await desk.pay_out()
    assert payout["status_detail"] == "outcome_unknown"
    for _ in range(12):
        await desk.work()
    assert len({order.reference for order in desk.first.sent}) == 1
    assert len(desk.first.sent) == 8
    assert desk.second.sent == []


async def test_an_unsent_payout_fails_over_to_another_rail(desk: Desk):
    desk.first.answers = [AWAY]
    payout = await desk.pay_out()
    assert (payout["rail"], len(payout["attempts"])) == ("paystack", 2)


async def test_no_second_prompt_is_sent_while_the_first_may_still_be_open(desk: Desk):
    desk.first.answers = [SILENCE]
    payment = await desk.pay()
    for status_at_rail in (RailStatus.NOT_FOUND, RailStatus.NO_INFORMATION, RailStatus.PENDING):
        desk.first.status_at_rail = StatusAnswer(status_at_rail=status_at_rail)
        await desk.work()
    assert desk.second.sent == []
    assert len((await stands(desk, payment["id"])).attempts) == 1


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_refusal_by_the_payer_causes_no_failover(desk: Desk, at_once: bool):
    if at_once:
        desk.first.answers = [NO_FUNDS]
    payment = await desk.pay()
    desk.first.status_at_rail = StatusAnswer(status_at_rail=RailStatus.FAILED, failure=NO_FUNDS.failure)
    await desk.work()
    assert (await stands(desk, payment["id"])).order.status is PaymentStatus.FAILED
    assert desk.second.sent == []


async def gone_round(desk: Desk) -> str:
    """A payment whose first attempt was called dead, and whose second one succeeded."""
    desk.first.answers = [AWAY]
    payment = await desk.pay()
    desk.second.status_at_rail = SUCCEEDED
    await desk.work()
    assert (await stands(desk, payment["id"])).order.status is PaymentStatus.SUCCEEDED
    return payment["id"]


async def test_a_double_debit_is_a_contradiction_and_is_refunded_once(desk: Desk):
    payment_id = await gone_round(desk)
    first = (await stands(desk, payment_id)).attempts[0]
    desk.first.standings[first.reference] = SUCCEEDED
    desk.first.answers = [ACCEPTED]
    for _ in range(4):
        await desk.engine.take_callback("mtn_momo", first.callback_token)
        await desk.work()
    assert await desk.pool.fetchval("SELECT count(*) FROM contradictions") == 1
    assert await desk.pool.fetchval("SELECT count(*) FROM events WHERE type = 'payment.contradiction'") == 1
    back = desk.first.sent[1:]
    assert [(order.operation, order.original_reference) for order in back] == [("refund", first.reference)]
    assert [order.operation for order in desk.second.sent] == ["collect"]
    assert (await stands(desk, payment_id)).order.amount_refunded == 0


async def paid_twice(desk: Desk) -> str:
    payment_id = await gone_round(desk)
    first = (await stands(desk, payment_id)).attempts[0]
    desk.first.standings[first.reference] = SUCCEEDED
    desk.first.answers = [ACCEPTED]
    await desk.engine.take_callback("mtn_momo", first.callback_token)
    for _ in range(2):
        await desk.work()
    assert await desk.pool.fetchval("SELECT count(*) FROM contradictions") == 1
    return payment_id


async def by_hand(desk: Desk, payment_id: str):
    return await desk.engine.return_surplus(payment_id, by="key_1", reason="ticket 7")


@pytest.mark.parametrize("surplus_refund", ["manual"])
async def test_under_the_manual_policy_a_surplus_stays_until_an_operator_refunds_it(desk: Desk):
    payment_id = await paid_twice(desk)
    assert [order.operation for order in desk.first.sent] == ["collect"]
    assert await desk.pool.fetchval("SELECT count(*) FROM events WHERE type = 'payment.contradiction'") == 1
    first = await by_hand(desk, payment_id)
    again = await by_hand(desk, payment_id)
    assert [case.order.id for case in first] == [case.order.id for case in again]
    desk.first.status_at_rail = SUCCEEDED
    for _ in range(2):
        await desk.work()
    assert [order.operation for order in desk.first.sent] == ["collect", "refund"]
    assert [case.order.status for case in await by_hand(desk, payment_id)] == ["succeeded"]
    noted = await desk.pool.fetchval("SELECT data FROM timeline WHERE kind = 'refund_created'")
    facts = msgspec.json.decode(noted)
    assert (facts["by"], facts["reason"], facts["amount"]) == ("key_1", "ticket 7", 1000)
    types = {row["type"] for row in await desk.pool.fetch("SELECT type FROM events")}
    assert {"refund.processing", "refund.succeeded"} <= types


async def test_an_automatic_surplus_refund_is_not_repeated_by_hand(desk: Desk):
    payment_id = await paid_twice(desk)
    await desk.work()
    (shown,) = await by_hand(desk, payment_id)
    await desk.work()
    assert shown.order.surplus
    assert [order.operation for order in desk.first.sent] == ["collect", "refund"]


async def test_a_payment_without_a_surplus_has_no_surplus_refund(desk: Desk):
    with pytest.raises(StateConflictError, match="no surplus to return"):
        await by_hand(desk, await gone_round(desk))


async def test_a_merchants_refund_refunds_the_debit_that_pays_the_payment(desk: Desk):
    payment_id = await gone_round(desk)
    first, second = (await stands(desk, payment_id)).attempts
    desk.first.standings[first.reference] = SUCCEEDED
    await desk.engine.take_callback("mtn_momo", first.callback_token)
    await desk.work()
    refund = await desk.refund(payment_id, 400)
    assert refund["rail"] == "paystack"
    assert desk.second.sent[-1].original_reference == second.reference


async def test_a_hint_for_a_closed_attempt_is_checked_before_another_attempt_opens(desk: Desk):
    desk.first.answers, desk.second.answers = [AWAY], [AWAY]
    payment = await desk.pay()
    assert payment["status_detail"] == "queued"
    first = (await stands(desk, payment["id"])).attempts[0]
    desk.first.standings[first.reference] = SUCCEEDED
    sent = len(desk.first.sent) + len(desk.second.sent)
    await desk.engine.take_callback("mtn_momo", first.callback_token)
    await desk.work()
    case = await stands(desk, payment["id"])
    assert (case.order.status, case.order.amount_received) == (PaymentStatus.SUCCEEDED, 1000)
    assert len(desk.first.sent) + len(desk.second.sent) == sent
    assert await desk.pool.fetchval("SELECT count(*) FROM contradictions") == 1


async def test_without_a_refund_key_at_the_rail_one_refund_is_open_and_is_never_resent(desk: Desk):
    payment = await desk.pay(rail="paystack")
    desk.second.status_at_rail = SUCCEEDED
    await desk.work()
    desk.second.answers = [SILENCE]
    desk.second.status_at_rail = StatusAnswer(status_at_rail=RailStatus.NOT_FOUND)
    await desk.refund(payment["id"], 300)
    with pytest.raises(StateConflictError, match="under way"):
        await desk.refund(payment["id"], 300)
    for _ in range(3):
        await desk.work()
    assert [order.operation for order in desk.second.sent] == ["collect", "refund"]
    reference, details = desk.second.asked[-1]
    assert reference == desk.second.sent[1].reference
    assert details.original_reference == desk.second.sent[0].reference
    desk.second.status_at_rail = SUCCEEDED
    await desk.work()
    assert (await stands(desk, payment["id"])).order.amount_refunded == 300
