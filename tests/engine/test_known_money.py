"""Known money blocks an order: once an attempt is known to have moved money, nothing that can move money is
sent for the order, and it is neither expired, canceled, approved nor declined."""

from collections.abc import Sequence
from dataclasses import replace

import asyncpg
import pytest

from engine.scripted import (
    ACCEPTED,
    FAILED,
    NO_ANSWER,
    NOT_FOUND,
    SUCCEEDED,
    TENANT,
    UNREACHABLE,
    Desk,
    ScriptedRail,
)
from synccash.engine.requests.review import Resolution
from synccash.payments.attempt import Attempt
from synccash.payments.errors import PaymentInFlightError, StateConflictError
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payment import OrderKind
from synccash.payments.rail import NextAction, NextActionType, RailStatus, SendAnswer, StatusAnswer
from synccash.resilience.evidence import Evidence

BUSY = SendAnswer(
    evidence=Evidence.REFUSED_LATER, failure=Failure(FailureCode.PROVIDER_UNAVAILABLE, reroute=True)
)
ASKS_OTP = replace(ACCEPTED, next_action=NextAction(NextActionType.SUBMIT_OTP, "Dial *110#"))


@pytest.fixture
def rails() -> Sequence[ScriptedRail]:
    return ScriptedRail("mtn_momo"), ScriptedRail("paystack", otp=True), ScriptedRail("pawapay")


async def attempts_of(desk: Desk, order_id: str) -> tuple[Attempt, ...]:
    return (await desk.case(order_id)).attempts


async def failed_over(desk: Desk, answer: SendAnswer = ACCEPTED) -> str:
    """A payment that the first rail called failed, and that is now at the second."""
    payment_id = (await desk.pay())["id"]
    (first,) = await attempts_of(desk, payment_id)
    desk.first.standings[first.reference] = FAILED
    desk.second.answers, desk.second.status_at_rail = (
        [answer],
        StatusAnswer(status_at_rail=RailStatus.NO_INFORMATION),
    )
    await desk.work()
    assert len(desk.second.sent) == 1
    return payment_id


async def queued(desk: Desk) -> str:
    """A payment that no rail could be reached for."""
    for rail in desk.rails:
        rail.answers = [UNREACHABLE]
    payment_id: str = (await desk.pay())["id"]
    assert (await desk.order(payment_id)).status_detail == "queued"
    return payment_id


async def sent(desk: Desk) -> int:
    return sum(len(rail.sent) for rail in desk.rails)


async def paid_payout(desk: Desk) -> str:
    """A payout that its first rail called failed and then paid, while the others were out of reach."""
    payout_id: str = (await desk.pay_out())["id"]
    (first,) = await attempts_of(desk, payout_id)
    desk.first.standings[first.reference] = FAILED
    for rail in desk.rails[1:]:
        rail.answers = [UNREACHABLE]
    await desk.work()
    await desk.rail_pays_late(desk.first, first)
    assert await desk.contradictions() == ["late_success"]
    for rail in desk.rails:
        rail.answers = [ACCEPTED]
    return payout_id


async def test_a_late_success_succeeds_while_a_second_attempt_is_open(desk: Desk):
    payment_id = await failed_over(desk)
    first, _ = await attempts_of(desk, payment_id)
    await desk.rail_pays_late(desk.first, first)
    payment = (await desk.case(payment_id)).order
    assert (payment.status, payment.paid_by, payment.rail) == ("succeeded", first.id, "mtn_momo")
    assert payment.amount_received == 1000


async def test_a_second_attempt_with_unknown_outcome_is_not_resent(desk: Desk):
    payment_id = await failed_over(desk, NO_ANSWER)
    first, _ = await attempts_of(desk, payment_id)
    await desk.rail_pays_late(desk.first, first)
    desk.second.status_at_rail = NOT_FOUND
    before = await sent(desk)
    for _ in range(3):
        await desk.work()
    assert await sent(desk) == before


async def test_a_second_attempt_that_fails_does_not_fail_over_to_a_third_rail(desk: Desk):
    payment_id = await failed_over(desk)
    first, _ = await attempts_of(desk, payment_id)
    await desk.rail_pays_late(desk.first, first)
    desk.second.status_at_rail = FAILED
    before = await sent(desk)
    for _ in range(2):
        await desk.work()
    assert await sent(desk) == before
    assert (await desk.order(payment_id)).status == "succeeded"


async def test_a_second_attempt_that_also_succeeds_is_refunded_in_full(desk: Desk):
    payment_id = await failed_over(desk)
    first, second = await attempts_of(desk, payment_id)
    await desk.rail_pays_late(desk.first, first)
    desk.second.standings[second.reference] = SUCCEEDED
    for _ in range(3):
        await desk.work()
    assert await desk.contradictions() == ["late_success", "second_success"]
    back = [order for order in desk.second.sent if order.operation == "refund"]
    assert [(order.amount, order.original_reference) for order in back] == [(1000, second.reference)]


async def test_a_late_success_of_another_amount_does_not_pay_and_goes_under_review(desk: Desk):
    payment_id = await queued(desk)
    first = (await attempts_of(desk, payment_id))[0]
    await desk.rail_pays_late(desk.first, first, amount=1)
    desk.first.answers = [ACCEPTED]
    before = await sent(desk)
    for _ in range(3):
        await desk.work()
    payment = await desk.order(payment_id)
    assert (payment.status, payment.status_detail) == ("processing", "under_review")
    assert (await attempts_of(desk, payment_id))[0].amount_received == 1
    assert await sent(desk) == before
    assert await desk.waiting() == [(payment_id, "under_review")]


async def test_another_currency_does_not_pay_and_is_reported_once(desk: Desk):
    payment_id = (await desk.pay())["id"]
    desk.first.status_at_rail = replace(SUCCEEDED, amount=1000, currency="NGN")
    for _ in range(3):
        await desk.work()
    assert (await desk.order(payment_id)).status_detail == "under_review"
    assert await desk.contradictions() == ["currency_differs"]
    (attempt,) = await attempts_of(desk, payment_id)
    assert (attempt.money_moved, attempt.amount_received) == (True, 0)


async def test_an_attempt_that_moved_another_amount_is_not_resent_after_not_found(desk: Desk):
    desk.first.answers = [NO_ANSWER]
    payment_id = (await desk.pay())["id"]
    desk.first.status_at_rail = replace(SUCCEEDED, amount=1)
    await desk.work()
    desk.first.status_at_rail = NOT_FOUND
    for _ in range(3):
        await desk.work()
    assert len(desk.first.sent) == 1
    assert await desk.contradictions() == ["amount_differs"]
    assert (await desk.order(payment_id)).status_detail == "under_review"


async def test_a_failed_attempt_that_moved_another_amount_is_ended_by_an_operator_only(desk: Desk):
    payment_id = (await desk.pay())["id"]
    desk.first.status_at_rail = replace(SUCCEEDED, amount=1)
    await desk.work()
    desk.first.status_at_rail = FAILED
    for _ in range(3):
        await desk.work()
    assert (await desk.order(payment_id)).status_detail == "under_review"
    assert await desk.contradictions() == ["amount_differs", "reversed"]
    assert await sent(desk) == 1
    await desk.engine.reviewing.resolve(
        OrderKind.PAYMENT, payment_id, Resolution.FAILED, by="key_1", evidence="ticket 7"
    )
    assert (await desk.order(payment_id)).status == "failed"


async def test_the_right_amount_after_another_amount_is_not_a_second_payment(desk: Desk):
    payment_id = (await desk.pay())["id"]
    desk.first.status_at_rail = replace(SUCCEEDED, amount=1)
    await desk.work()
    desk.first.status_at_rail = SUCCEEDED
    for _ in range(3):
        await desk.work()
    assert (await desk.order(payment_id)).status == "succeeded"
    assert await desk.contradictions() == ["amount_differs"]
    assert await sent(desk) == 1


@pytest.mark.parametrize("amount", [1000, 1], ids=["the amount", "another amount"])
async def test_no_otp_is_sent_for_a_second_attempt(desk: Desk, amount: int):
    payment_id = await failed_over(desk, ASKS_OTP)
    assert (await desk.order(payment_id)).status == "requires_action"
    first, _ = await attempts_of(desk, payment_id)
    await desk.rail_pays_late(desk.first, first, amount=amount)
    with pytest.raises(StateConflictError):
        await desk.engine.submit_otp(TENANT, payment_id, "123456")
    desk.second.status_at_rail = StatusAnswer(
        status_at_rail=RailStatus.PENDING, next_action=ASKS_OTP.next_action
    )
    await desk.work()
    with pytest.raises(StateConflictError):
        await desk.engine.submit_otp(TENANT, payment_id, "123456")
    assert desk.second.passwords == []


async def test_a_payment_that_received_another_amount_is_not_canceled_and_does_not_expire(desk: Desk):
    payment_id = await queued(desk)
    first = (await attempts_of(desk, payment_id))[0]
    await desk.rail_pays_late(desk.first, first, amount=1)
    with pytest.raises(PaymentInFlightError):
        await desk.engine.cancel_payment(TENANT, payment_id)
    await desk.pool.execute("UPDATE payments SET expires_at = now()")
    for _ in range(2):
        await desk.work()
    assert (await desk.order(payment_id)).status_detail == "under_review"


@pytest.mark.parametrize("decision", ["approve", "decline"])
async def test_a_payment_with_known_money_can_be_neither_approved_nor_declined(desk: Desk, decision: str):
    payment_id = await queued(desk)
    first = (await attempts_of(desk, payment_id))[0]
    await desk.rail_pays_late(desk.first, first, amount=1)
    # No path of the engine leads here: the guard is for the one that a later change may open.
    await desk.pool.execute("UPDATE payments SET status_detail = 'risk_review'")
    with pytest.raises(StateConflictError, match="known to have moved"):
        await getattr(desk.engine.reviewing, decision)(payment_id, by="key_1", reason="known buyer")


async def test_a_payout_known_as_paid_is_neither_resent_nor_expired(desk: Desk):
    payout_id = await paid_payout(desk)
    before = await sent(desk)
    await desk.work()
    assert (await desk.order(payout_id)).status_detail == "under_review"
    await desk.pool.execute("UPDATE payouts SET expires_at = now()")
    for _ in range(2):
        await desk.work()
    payout = await desk.order(payout_id)
    assert (payout.status, payout.status_detail) == ("processing", "under_review")
    assert await sent(desk) == before


async def test_a_refund_known_as_paid_is_not_resent(desk: Desk):
    desk.first.status_at_rail = SUCCEEDED
    payment_id = (await desk.pay())["id"]
    await desk.work()
    desk.first.answers = [BUSY]
    refund_id = (await desk.refund(payment_id, 400))["id"]
    first = (await attempts_of(desk, refund_id))[0]
    await desk.rail_pays_late(desk.first, first)
    desk.first.answers = [ACCEPTED]
    before = await sent(desk)
    for _ in range(3):
        await desk.work()
    assert await sent(desk) == before
    assert (await desk.order(refund_id)).status_detail == "under_review"


@pytest.mark.parametrize("outcome", Resolution)
async def test_an_order_under_review_without_a_live_attempt_is_resolved(desk: Desk, outcome: Resolution):
    payout_id = await paid_payout(desk)
    await desk.engine.reviewing.resolve(
        OrderKind.PAYOUT, payout_id, outcome, by="key_1", evidence="line 7 of the statement"
    )
    assert (await desk.order(payout_id)).status == outcome.value
    assert await desk.waiting() == []


async def test_an_underpaid_payment_is_resolved_and_its_money_refunded(desk: Desk):
    payment_id = await queued(desk)
    first = (await attempts_of(desk, payment_id))[0]
    await desk.rail_pays_late(desk.first, first, amount=1)
    await desk.engine.reviewing.resolve(
        OrderKind.PAYMENT, payment_id, Resolution.FAILED, by="key_1", evidence="the payer's statement"
    )
    desk.first.answers = [ACCEPTED]
    for _ in range(2):
        await desk.work()
    back = [order for order in desk.first.sent if order.operation == "refund"]
    assert [(order.amount, order.original_reference) for order in back] == [(1, first.reference)]


async def test_an_order_for_which_nothing_was_sent_cannot_be_resolved_as_succeeded(desk: Desk):
    desk.first.status_at_rail = SUCCEEDED
    payment_id = (await desk.pay())["id"]
    await desk.work()
    refund_id = (await desk.refund(payment_id, 400))["id"]
    await desk.pool.execute("DELETE FROM attempts WHERE order_id = $1", refund_id)
    await desk.pool.execute("UPDATE refunds SET status_detail = 'under_review'")
    with pytest.raises(StateConflictError, match="nothing was ever sent"):
        await desk.engine.reviewing.resolve(
            OrderKind.REFUND, refund_id, Resolution.SUCCEEDED, by="key_1", evidence="statement"
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE attempts SET sends = sends + 1 WHERE sequence = 2",
        "UPDATE payments SET status = 'canceled'",
        "UPDATE payments SET status = 'failed', status_detail = 'expired'",
        "INSERT INTO attempts (id, order_id, sequence, operation, rail, account, base_url,"
        " target_environment, reference, callback_token, amount, opened_fence, started_at, state, sends,"
        " inquiries, amount_received, refund_reserved) SELECT 'att_9', order_id, 9, operation, rail, account,"
        " base_url, target_environment, gen_random_uuid(), 'token 9', amount, 9, now(), 'not_sent', 1, 0,"
        " 0, 0"
        " FROM attempts WHERE sequence = 1",
    ],
    ids=["a send", "a cancelation", "an expiry", "another attempt"],
)
async def test_postgresql_refuses_statements_that_break_the_known_money_rule(desk: Desk, statement: str):
    payment_id = await queued(desk)
    first = (await attempts_of(desk, payment_id))[0]
    await desk.rail_pays_late(desk.first, first, amount=1)
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await desk.pool.execute(statement)
    assert refused.value.constraint_name == "known_money_stops_everything"


async def test_resolving_as_succeeded_selects_the_attempt_with_known_money(desk: Desk):
    payment_id = await failed_over(desk)
    first, second = await attempts_of(desk, payment_id)
    await desk.rail_pays_late(desk.first, first, amount=990)
    await desk.engine.reviewing.resolve(
        OrderKind.PAYMENT, payment_id, Resolution.SUCCEEDED, by="key_1", evidence="statement", received=990
    )
    payment = (await desk.case(payment_id)).order
    assert (payment.status, payment.paid_by, payment.amount_received) == ("succeeded", first.id, 990)
    desk.second.standings[second.reference] = SUCCEEDED
    for _ in range(3):
        await desk.work()
    back = [order for order in desk.second.sent if order.operation == "refund"]
    assert [(order.amount, order.original_reference) for order in back] == [(1000, second.reference)]
    assert [order for order in desk.first.sent if order.operation == "refund"] == []


async def test_another_amount_on_a_paid_payment_is_refunded(desk: Desk):
    payment_id = await failed_over(desk)
    first, second = await attempts_of(desk, payment_id)
    await desk.rail_pays_late(desk.first, first)
    desk.second.standings[second.reference] = replace(SUCCEEDED, amount=990)
    for _ in range(3):
        await desk.work()
    back = [order for order in desk.second.sent if order.operation == "refund"]
    assert [(order.amount, order.original_reference) for order in back] == [(990, second.reference)]


async def test_a_payment_paid_after_a_reported_failure_can_be_refunded(desk: Desk):
    payment_id = (await desk.pay())["id"]
    for status_at_rail in (replace(SUCCEEDED, amount=1), FAILED, SUCCEEDED):
        desk.first.status_at_rail = status_at_rail
        await desk.work()
    assert (await desk.order(payment_id)).status == "succeeded"
    assert (await desk.refund(payment_id, 1000))["status"] == "processing"


async def test_other_attempts_are_rechecked_while_known_money_is_under_review(desk: Desk):
    payment_id = await failed_over(desk)
    first, second = await attempts_of(desk, payment_id)
    await desk.rail_pays_late(desk.first, first, amount=990)
    timed_out = Failure(FailureCode.PAYER_TIMEOUT)
    desk.second.standings[second.reference] = StatusAnswer(
        status_at_rail=RailStatus.FAILED, failure=timed_out
    )
    await desk.work()
    due_in = "SELECT extract(epoch FROM due_at - now())::float8 FROM payments"
    assert await desk.pool.fetchval(due_in) <= 900
    desk.second.standings[second.reference] = SUCCEEDED
    await desk.work()
    payment = (await desk.case(payment_id)).order
    assert (payment.status, payment.paid_by) == ("succeeded", second.id)
