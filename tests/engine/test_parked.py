"""Orders after the end of their inquiry schedule go under review, and inquiries continue daily or monthly."""

from dataclasses import replace

import pytest

from engine.scripted import ACCEPTED, PENDING, SUCCEEDED, UNREACHABLE, Desk
from synccash.engine.requests.review import Resolution
from synccash.payments.case import PaymentCase
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.inquiry_schedule import InquirySchedule
from synccash.payments.payment import OrderKind, StatusDetail
from synccash.payments.rail import NextAction, NextActionType, RailStatus, SendAnswer, StatusAnswer
from synccash.resilience.evidence import Evidence

SILENT = StatusAnswer(status_at_rail=RailStatus.NO_INFORMATION)
NOT_FOUND = StatusAnswer(status_at_rail=RailStatus.NOT_FOUND)
FAILED = StatusAnswer(
    status_at_rail=RailStatus.FAILED, failure=Failure(FailureCode.PROVIDER_ERROR, reroute=True)
)
LOST = SendAnswer(evidence=Evidence.AMBIGUOUS)
DAY_S = 86_400
_DUE_IN_S = "SELECT extract(epoch FROM due_at - now()) FROM {} WHERE lease_until IS NULL"


@pytest.fixture
def schedule() -> InquirySchedule:
    return InquirySchedule((0.0,), ((0.0, 60.0),))


async def days_pass(desk: Desk, days: float) -> None:
    await desk.pool.execute(
        "UPDATE attempts SET started_at = started_at - $1 * interval '1 day'", float(days)
    )


async def due_in_s(desk: Desk, table: str = "payments") -> float:
    return float(await desk.pool.fetchval(_DUE_IN_S.format(table)))


async def parked(desk: Desk, status_at_rail: StatusAnswer) -> str:
    payment_id = (await desk.pay())["id"]
    desk.first.status_at_rail = status_at_rail
    await desk.work()
    await days_pass(desk, 3)
    await desk.work()
    payment = (await stands(desk, payment_id)).order
    assert payment.status_detail is StatusDetail.UNDER_REVIEW
    return payment_id


async def stands(desk: Desk, payment_id: str) -> PaymentCase:
    case = await desk.engine.order_store.payment(payment_id)
    assert case is not None
    return case


@pytest.mark.parametrize("last", [SILENT, PENDING], ids=["a silent rail", "a rail that still waits"])
async def test_a_parked_payment_is_inquired_every_day_and_ends_by_the_rails_answer(
    desk: Desk, last: StatusAnswer
):
    payment_id = await parked(desk, last)
    for _ in range(2):
        assert DAY_S - 60 < await due_in_s(desk) <= DAY_S
        await desk.work()
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    assert (await stands(desk, payment_id)).order.status == "succeeded"


async def test_an_order_parked_for_a_month_is_inquired_every_month(desk: Desk):
    await parked(desk, SILENT)
    await days_pass(desk, 30)
    await desk.work()
    assert 29 * DAY_S < await due_in_s(desk) <= 30 * DAY_S


async def test_an_old_payment_that_the_rail_does_not_find_is_not_resent(desk: Desk):
    desk.first.answers = [LOST]
    await parked(desk, SILENT)
    desk.first.status_at_rail = NOT_FOUND
    await desk.work()
    assert len(desk.first.sent) == 1


async def test_an_old_refund_that_the_rail_does_not_find_is_not_resent(desk: Desk):
    payment_id = (await desk.pay())["id"]
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    desk.first.answers, desk.first.status_at_rail = [LOST], SILENT
    await desk.refund(payment_id, 400)
    await days_pass(desk, 3)
    desk.first.status_at_rail = NOT_FOUND
    await desk.work()
    assert [order.operation for order in desk.first.sent] == ["collect", "refund"]
    assert await desk.pool.fetchval("SELECT status_detail FROM refunds") == "under_review"
    assert DAY_S - 60 < await due_in_s(desk, "refunds") <= DAY_S


async def test_a_payment_whose_otp_never_comes_is_parked(desk: Desk):
    asks = replace(ACCEPTED, next_action=NextAction(NextActionType.SUBMIT_OTP, "Dial *110#"))
    desk.second.answers = [asks]
    payment = await desk.pay(rail="paystack")
    assert payment["status"] == "requires_action"
    await days_pass(desk, 3)
    await desk.work()
    assert (await stands(desk, payment["id"])).order.status_detail is StatusDetail.UNDER_REVIEW
    desk.second.status_at_rail = FAILED
    await desk.work()
    assert (await stands(desk, payment["id"])).order.status == "failed"


async def test_a_wrong_amount_is_reported_once_and_inquired_every_day(desk: Desk):
    payment_id = (await desk.pay())["id"]
    desk.first.status_at_rail = replace(SUCCEEDED, amount=900)
    for _ in range(3):
        await desk.work()
        assert DAY_S - 60 < await due_in_s(desk) <= DAY_S
    told = "SELECT count(*) FROM timeline WHERE order_id = $1 AND kind = 'amount_differs'"
    assert await desk.pool.fetchval(told, payment_id) == 1


async def test_the_rail_is_inquired_once_more_after_an_operator_resolves_an_order_as_failed(desk: Desk):
    payment_id = await parked(desk, SILENT)
    await desk.engine.reviewing.resolve(
        OrderKind.PAYMENT, payment_id, Resolution.FAILED, by="key_1", evidence="their support"
    )
    desk.first.status_at_rail = SUCCEEDED
    for _ in range(3):
        await desk.work()
    assert await desk.pool.fetchval("SELECT kind FROM contradictions") == "late_success"
    assert [order.operation for order in desk.first.sent] == ["collect", "refund"]


async def test_an_ended_payment_is_rechecked_until_the_silent_rail_answers(desk: Desk):
    payment_id = (await desk.pay())["id"]
    first = (await stands(desk, payment_id)).attempts[0]
    desk.first.standings[first.reference] = FAILED
    desk.second.status_at_rail = SUCCEEDED
    await desk.work()
    desk.first.standings[first.reference] = SILENT
    await desk.work()
    await days_pass(desk, 3)
    for _ in range(2):
        await desk.work()
        assert (await stands(desk, payment_id)).order.status == "succeeded"
        assert DAY_S - 60 < await due_in_s(desk) <= DAY_S
    desk.first.standings[first.reference] = SUCCEEDED
    await desk.work()
    assert await desk.pool.fetchval("SELECT kind FROM contradictions") == "late_success"


async def test_an_ended_payment_with_an_unchanged_answer_is_rechecked_to_the_end_of_its_schedule(
    desk: Desk,
):
    payment_id = (await desk.pay())["id"]
    first = (await stands(desk, payment_id)).attempts[0]
    desk.first.standings[first.reference] = FAILED
    desk.second.status_at_rail = SUCCEEDED
    for _ in range(3):
        await desk.work()
    assert (await stands(desk, payment_id)).order.status == "succeeded"
    due_in = "SELECT extract(epoch FROM p.due_at - a.started_at)::float8 FROM payments p, attempts a"
    for age, recheck in (("0", 900), ("16 minutes", 7_200), ("3 hours", 86_400), ("2 days", 259_200)):
        await desk.pool.execute(f"UPDATE attempts SET started_at = now() - interval '{age}'")
        await desk.work()
        assert await desk.pool.fetchval(due_in) == pytest.approx(recheck, abs=1)
    await desk.pool.execute("UPDATE attempts SET started_at = now() - interval '4 days'")
    await desk.work()
    assert await desk.pool.fetchval("SELECT due_at FROM payments") is None


class TestARefundThatNeverLeaves:
    """A rail that is out of reach takes no refund, and there is no other to try."""

    async def _unsent(self, desk: Desk) -> str:
        payment_id = (await desk.pay())["id"]
        desk.first.status_at_rail = SUCCEEDED
        await desk.work()
        desk.first.answers, desk.first.status_at_rail = [UNREACHABLE], SILENT
        refund_id: str = (await desk.refund(payment_id, 400))["id"]
        return refund_id

    async def _owed_for(self, desk: Desk, seconds: float) -> None:
        since = "UPDATE refunds SET created_at = now() - $1 * interval '1 second'"
        await desk.pool.execute(since, seconds)
        await desk.work()

    async def test_goes_under_review_after_15_minutes(self, desk: Desk):
        refund_id = await self._unsent(desk)
        await self._owed_for(desk, 890)
        assert (await desk.order(refund_id)).status_detail == "queued"
        assert await desk.waiting() == []
        await self._owed_for(desk, 901)
        assert await desk.waiting() == [(refund_id, "under_review")]

    async def test_is_retried_as_often_as_before(self, desk: Desk):
        refund_id = await self._unsent(desk)
        await self._owed_for(desk, 901)
        for _ in range(3):
            tried = len((await desk.case(refund_id)).attempts)
            await desk.work()
            assert len((await desk.case(refund_id)).attempts) == tried + 1
            assert await due_in_s(desk, "refunds") <= 60
            assert await desk.waiting() == [(refund_id, "under_review")]

    async def test_leaves_review_once_its_rail_accepted_it(self, desk: Desk):
        refund_id = await self._unsent(desk)
        await self._owed_for(desk, 901)
        desk.first.answers, desk.first.status_at_rail = [ACCEPTED], PENDING
        await desk.work()
        assert (await desk.order(refund_id)).status_detail is None
        assert await desk.waiting() == []
        desk.first.status_at_rail = SUCCEEDED
        await desk.work()
        assert (await desk.order(refund_id)).status == "succeeded"

    async def test_is_not_resent_after_an_operator_ended_it(self, desk: Desk):
        refund_id = await self._unsent(desk)
        await self._owed_for(desk, 901)
        desk.first.answers = [ACCEPTED]
        await desk.engine.reviewing.resolve(
            OrderKind.REFUND, refund_id, Resolution.FAILED, by="key_1", evidence="paid back in cash"
        )
        before = len(desk.first.sent)
        for _ in range(2):
            await desk.work()
        assert len(desk.first.sent) == before

    async def test_goes_under_review_even_if_an_earlier_send_may_have_arrived(self, desk: Desk):
        payment_id = (await desk.pay())["id"]
        desk.first.status_at_rail = SUCCEEDED
        await desk.work()
        desk.first.answers, desk.first.status_at_rail = [LOST], NOT_FOUND
        refund_id: str = (await desk.refund(payment_id, 400))["id"]
        desk.first.answers = [UNREACHABLE]
        await self._owed_for(desk, 890)
        assert await desk.waiting() == []
        before = len(desk.first.sent)
        await self._owed_for(desk, 901)
        await self._owed_for(desk, 901)
        assert await desk.waiting() == [(refund_id, "under_review")]
        assert len(desk.first.sent) == before + 2
