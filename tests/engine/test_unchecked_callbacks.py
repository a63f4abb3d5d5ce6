"""While a callback on a closed attempt is unchecked, nothing new is sent for its order, since the rail may
have moved the money."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from engine.scripted import (
    ACCEPTED,
    FAILED,
    NO_ANSWER,
    NOT_FOUND,
    PENDING,
    SUCCEEDED,
    TENANT,
    UNREACHABLE,
    Desk,
    ScriptedRail,
)
from synccash.engine.dispatch.guarded_rail import GuardedRail
from synccash.payments.attempt import Attempt
from synccash.payments.errors import StateConflictError
from synccash.payments.inquiry_schedule import InquirySchedule
from synccash.payments.rail import NextAction, NextActionType, RailStatus, StatusAnswer

SILENT = StatusAnswer(status_at_rail=RailStatus.NO_INFORMATION)
_DUE_IN_S = "SELECT extract(epoch FROM due_at - now())::float8 FROM {} WHERE id = $1"


@pytest.fixture
def rails() -> Sequence[ScriptedRail]:
    return ScriptedRail("mtn_momo"), ScriptedRail("paystack", otp=True)


@pytest.fixture
def schedule() -> InquirySchedule:
    return InquirySchedule((1.0,), ((60.0, 1e6),))


async def attempts_of(desk: Desk, order_id: str) -> tuple[Attempt, ...]:
    return (await desk.case(order_id)).attempts


def sends(desk: Desk) -> int:
    return len(desk.first.sent) + len(desk.second.sent)


async def queued(desk: Desk, kind: str = "payments") -> str:
    """A queued order whose rails were unreachable; both rails accept orders from here on."""
    desk.first.answers, desk.second.answers = [UNREACHABLE], [UNREACHABLE]
    made = await (desk.pay() if kind == "payments" else desk.pay_out())
    assert (await desk.order(made["id"])).status_detail == "queued"
    desk.first.answers, desk.second.answers = [ACCEPTED], [ACCEPTED]
    return made["id"]


async def called_back(desk: Desk, attempt: Attempt) -> None:
    await desk.engine.take_callback(attempt.rail, attempt.callback_token)


@pytest.mark.parametrize("kind", ["payments", "payouts"])
@pytest.mark.parametrize("status_at_rail", [SILENT, PENDING], ids=["silent", "pending"])
async def test_nothing_is_sent_while_the_rail_does_not_report_the_attempts_outcome(
    desk: Desk, kind: str, status_at_rail: StatusAnswer
):
    order_id = await queued(desk, kind)
    (first, _) = await attempts_of(desk, order_id)
    desk.first.status_at_rail = status_at_rail
    await called_back(desk, first)
    before = sends(desk)
    for _ in range(3):
        await desk.work()
        assert sends(desk) == before
        assert (await desk.order(order_id)).status_detail == "queued"
    desk.first.standings[first.reference] = SUCCEEDED
    await desk.work()
    assert sends(desk) == before
    stands = await desk.case(order_id)
    assert stands.money_moved


@pytest.mark.parametrize("answer", [FAILED, NOT_FOUND], ids=["failed", "not found"])
async def test_the_order_continues_when_the_rail_reports_no_money(desk: Desk, answer: StatusAnswer):
    order_id = await queued(desk)
    (first, _) = await attempts_of(desk, order_id)
    desk.first.status_at_rail = SILENT
    await called_back(desk, first)
    await desk.work()
    before = sends(desk)
    desk.first.status_at_rail = answer
    await desk.work()
    assert sends(desk) == before + 1
    asked = len(desk.first.asked)
    assert (await desk.case(order_id)).live is not None
    desk.first.status_at_rail = PENDING
    await desk.work()
    assert [reference for reference, _ in desk.first.asked[asked:]].count(first.reference) == 0


async def test_an_order_without_unchecked_callbacks_waits_for_no_rail(desk: Desk):
    order_id = await queued(desk)
    desk.first.status_at_rail = SILENT
    before = sends(desk)
    await desk.work()
    assert sends(desk) == before + 1
    assert (await desk.case(order_id)).live is not None


async def test_an_inquiry_that_a_callback_brings_forward_checks_the_callback(desk: Desk):
    order_id: str = (await desk.pay())["id"]
    (first,) = await attempts_of(desk, order_id)
    await called_back(desk, first)
    desk.first.standings[first.reference] = FAILED
    desk.second.answers, desk.second.status_at_rail = [NO_ANSWER], NOT_FOUND
    await desk.work()
    desk.first.standings[first.reference] = SILENT
    before = sends(desk)
    await desk.pool.execute("UPDATE attempts SET quiet_since = now() - interval '1 minute'")
    await desk.work()
    assert sends(desk) == before + 1


async def test_an_unchecked_callback_is_inquired_with_growing_waits(desk: Desk):
    order_id = await queued(desk)
    (first, _) = await attempts_of(desk, order_id)
    desk.first.status_at_rail = SILENT
    await called_back(desk, first)
    for age_s, wait_s in ((0, 5), (40, 20), (100_000, 60)):
        await desk.pool.execute(
            "UPDATE attempts SET callback_at = now() - $1 * interval '1 second' WHERE id = $2",
            age_s,
            first.id,
        )
        await desk.work()
        assert await desk.pool.fetchval(_DUE_IN_S.format("payments"), order_id) == pytest.approx(
            wait_s, abs=2
        )


async def test_a_callback_holds_an_order_at_most_until_its_expiry(desk: Desk):
    order_id = await queued(desk)
    (first, _) = await attempts_of(desk, order_id)
    desk.first.status_at_rail = SILENT
    await called_back(desk, first)
    await desk.pool.execute("UPDATE payments SET expires_at = now() + interval '3 seconds'")
    await desk.work()
    assert await desk.pool.fetchval("SELECT due_at < expires_at + interval '1 second' FROM payments")
    await desk.pool.execute("UPDATE payments SET expires_at = now()")
    before = sends(desk)
    await called_back(desk, first)
    await desk.work()
    order = await desk.order(order_id)
    assert (order.status, order.status_detail) == ("failed", "expired")
    assert sends(desk) == before


async def test_money_of_an_unchecked_callback_is_found_after_the_expiry_and_refunded(desk: Desk):
    order_id = await queued(desk)
    (first, _) = await attempts_of(desk, order_id)
    desk.first.status_at_rail = SILENT
    await called_back(desk, first)
    await desk.pool.execute("UPDATE payments SET expires_at = now()")
    for _ in range(2):
        await desk.work()
    desk.first.status_at_rail = SUCCEEDED
    for _ in range(3):
        await desk.work()
    assert await desk.contradictions() == ["late_success"]
    assert [order.operation for order in desk.first.sent][-1] == "refund"


async def failed_over(desk: Desk) -> tuple[str, Attempt]:
    """A payment at its second rail, and the closed attempt at the first, whose callback is unchecked."""
    order_id: str = (await desk.pay())["id"]
    (first,) = await attempts_of(desk, order_id)
    desk.first.standings[first.reference] = FAILED
    await desk.work()
    desk.first.standings[first.reference] = SILENT
    await called_back(desk, first)
    return order_id, first


async def test_an_open_attempt_is_not_resent_while_a_callback_is_unchecked(desk: Desk):
    desk.second.answers, desk.second.status_at_rail = [NO_ANSWER], NOT_FOUND
    _, first = await failed_over(desk)
    before = sends(desk)
    for _ in range(3):
        await desk.work()
    assert sends(desk) == before
    desk.first.standings[first.reference] = FAILED
    for _ in range(2):
        await desk.work()
    assert sends(desk) > before


async def test_no_otp_is_sent_while_a_callback_is_unchecked(desk: Desk):
    asks = replace(ACCEPTED, next_action=NextAction(NextActionType.SUBMIT_OTP, "Dial *110#"))
    desk.second.answers = [asks]
    order_id, _ = await failed_over(desk)
    with pytest.raises(StateConflictError, match="callback"):
        await desk.engine.submit_otp(TENANT, order_id, "123456")
    assert desk.second.passwords == []


class TestWithThreeRails:
    @pytest.fixture
    def rails(self) -> Sequence[ScriptedRail]:
        return ScriptedRail("mtn_momo"), ScriptedRail("paystack"), ScriptedRail("pawapay")

    async def test_a_failed_attempt_waits_for_the_unchecked_callback_before_failover(self, desk: Desk):
        guarded = desk.engine.rails["pawapay"]
        assert isinstance(guarded, GuardedRail)
        third = guarded.connector
        assert isinstance(third, ScriptedRail)
        order_id, first = await failed_over(desk)
        desk.second.status_at_rail = FAILED
        for _ in range(2):
            await desk.work()
        order = await desk.order(order_id)
        assert (order.status, order.status_detail, third.sent) == ("processing", "queued", [])
        desk.first.standings[first.reference] = FAILED
        await desk.work()
        assert len(third.sent) == 1


class TestARefund:
    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"refund_review_after_s": 900.0}

    async def test_is_also_held_and_goes_under_review_in_time(self, desk: Desk):
        desk.first.status_at_rail = SUCCEEDED
        payment_id: str = (await desk.pay())["id"]
        await desk.work()
        desk.first.answers = [UNREACHABLE]
        refund_id: str = (await desk.refund(payment_id, 400))["id"]
        (attempt,) = await attempts_of(desk, refund_id)
        desk.first.answers, desk.first.status_at_rail = [ACCEPTED], SILENT
        await called_back(desk, attempt)
        before = sends(desk)
        await desk.work()
        assert (sends(desk), await desk.waiting()) == (before, [])
        await desk.pool.execute("UPDATE refunds SET created_at = now() - interval '901 seconds'")
        await desk.work()
        assert (sends(desk), await desk.waiting()) == (before, [(refund_id, "under_review")])
        desk.first.status_at_rail = NOT_FOUND
        await desk.work()
        assert sends(desk) == before + 1
        assert await desk.waiting() == []
