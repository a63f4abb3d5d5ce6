"""Orders at a rail that is no longer configured wait for it without errors."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from engine.scripted import ACCEPTED, SUCCEEDED, TENANT, Desk
from synccash.payments.errors import StateConflictError
from synccash.payments.inquiry_schedule import InquirySchedule
from synccash.payments.rail import NextAction, NextActionType, SendAnswer
from synccash.resilience.evidence import Evidence

LOST = SendAnswer(evidence=Evidence.AMBIGUOUS)


@pytest.mark.parametrize("answer", [ACCEPTED, LOST])
async def test_a_payment_at_an_unconfigured_rail_is_inquired_when_the_rail_is_back(
    desk: Desk, answer: SendAnswer
):
    desk.first.answers = [answer]
    await desk.pay()
    rail = desk.engine.rails.pop("mtn_momo")  # type: ignore[attr-defined]
    with capture_logs() as logs:
        for _ in range(3):
            await desk.work()
    assert [entry for entry in logs if entry["log_level"] in ("error", "critical")] == []
    assert len(desk.first.sent) == 1
    assert desk.second.sent == []
    desk.engine.rails["mtn_momo"] = rail  # type: ignore[index]
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    assert await desk.pool.fetchval("SELECT status FROM payments") == "succeeded"


async def test_a_refund_waits_for_the_rail_of_the_debit(desk: Desk):
    payment = await desk.pay()
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    desk.first.answers = [LOST]
    await desk.refund(payment["id"], 400)
    rail = desk.engine.rails.pop("mtn_momo")  # type: ignore[attr-defined]
    for _ in range(2):
        await desk.work()
    assert await desk.pool.fetchval("SELECT status_detail FROM refunds") == "under_review"
    with pytest.raises(StateConflictError, match="configure it again"):
        await desk.refund(payment["id"], 100)
    desk.engine.rails["mtn_momo"] = rail  # type: ignore[index]
    await desk.work()
    assert await desk.pool.fetchval("SELECT status FROM refunds") == "succeeded"


async def test_an_otp_for_an_unconfigured_rail_is_not_sent(desk: Desk):
    asks = replace(ACCEPTED, next_action=NextAction(NextActionType.SUBMIT_OTP, "Dial *110#"))
    desk.second.answers = [asks]
    payment = await desk.pay(rail="paystack")
    del desk.engine.rails["paystack"]  # type: ignore[attr-defined]
    await desk.engine.submit_otp(TENANT, payment["id"], "123456")
    assert await desk.pool.fetchval("SELECT status FROM payments") == "requires_action"


@pytest.mark.parametrize(
    ("tries", "age_s", "wait_s"),
    [(0, 0.0, 5), (1, 60.0, 15), (9, 600.0, 900), (99, 1e5, 3600), (999, 1e9, 3600)],
)
def test_a_refund_that_no_rail_accepts_is_retried_with_growing_waits(tries: int, age_s: float, wait_s: float):
    schedule = InquirySchedule(steps=(5, 15), tail=((900, 86_400), (3_600, 259_200)))
    assert schedule.endless_wait_s(tries, age_s) == wait_s
