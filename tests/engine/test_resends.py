"""When and how often a reference is resent, and how an order ends that its rail lost."""

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
    UNREACHABLE,
    Desk,
    ScriptedRail,
)
from synccash.payments.inquiry_schedule import InquirySchedule
from synccash.payments.rail import Operation, RailStatus, StatusAnswer
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.recovery import PostgresRecovery

_QUIET = "UPDATE attempts SET quiet_since = now() - $1 * interval '1 second'"
_DUE_AT_EXPIRY = "SELECT due_at < expires_at + interval '1 second' FROM payments"
PATIENT = {
    "settle_s": 10.0,
    "resend_pause_max_s": 60.0,
    "schedule": InquirySchedule(steps=(900.0,), tail=((900.0, 86_400.0),)),
}
"""A ladder that alone would ask much later."""


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"settle_s": 10.0, "resend_pause_max_s": 60.0}


def final_not_found(rail: ScriptedRail) -> None:
    """Let the rail document that a reference which it cannot find will never move money."""
    able = replace(rail.capabilities.operations[Operation.COLLECT], not_found_is_final=True)
    operations = {**rail.capabilities.operations, Operation.COLLECT: able}
    rail.capabilities = replace(rail.capabilities, operations=operations)


async def lost(desk: Desk) -> str:
    """A payment with an unanswered first send, at a rail that answers not found."""
    desk.first.answers, desk.first.status_at_rail = [NO_ANSWER], NOT_FOUND
    payment_id: str = (await desk.pay())["id"]
    return payment_id


async def quiet_for(desk: Desk, seconds: float) -> int:
    """The rail has been left alone for so long: work once, and count what it was sent in all."""
    await desk.pool.execute(_QUIET, seconds)
    await desk.work()
    return len(desk.first.sent)


async def test_the_pauses_between_sends_of_a_reference_grow(desk: Desk):
    await lost(desk)
    sends = 1
    for pause_s in (10, 20, 40, 60, 60, 60, 60):
        assert await quiet_for(desk, pause_s - 1) == sends
        sends += 1
        assert await quiet_for(desk, pause_s + 1) == sends
    assert sends == 8
    assert await quiet_for(desk, 100_000) == 8
    assert len({order.reference for order in desk.first.sent}) == 1


@pytest.mark.parametrize("settings", [PATIENT], ids=["patient"])
async def test_the_next_inquiry_comes_when_the_next_send_is_allowed(desk: Desk):
    await lost(desk)
    await desk.pool.execute(_QUIET, 4.0)
    await desk.work()
    due_in = "SELECT extract(epoch FROM due_at - now())::float8 FROM payments"
    assert await desk.pool.fetchval(due_in) <= 6.0


@pytest.mark.parametrize("settings", [PATIENT], ids=["patient"])
async def test_an_unanswered_send_is_inquired_when_the_next_send_is_allowed(desk: Desk):
    await lost(desk)
    assert await quiet_for(desk, 11) == 2
    due_in = "SELECT extract(epoch FROM due_at - now())::float8 FROM payments"
    assert 10.0 < await desk.pool.fetchval(due_in) <= 20.0


@pytest.mark.parametrize("settings", [PATIENT], ids=["patient"])
async def test_a_send_unanswered_before_the_expiry_is_inquired_at_the_expiry(desk: Desk):
    await lost(desk)
    await desk.pool.execute("UPDATE payments SET expires_at = now() + interval '5 seconds'")
    assert await quiet_for(desk, 11) == 2
    assert await desk.pool.fetchval(_DUE_AT_EXPIRY)


async def test_an_unsent_try_is_not_counted_as_a_send(desk: Desk):
    payment_id = await lost(desk)
    desk.first.answers = [UNREACHABLE]
    for n in range(10):
        assert await quiet_for(desk, 11) == n + 2
    assert (await desk.case(payment_id)).attempts[0].sends == 1
    desk.first.answers, desk.first.status_at_rail = [ACCEPTED], SUCCEEDED
    await desk.work()
    assert (await desk.order(payment_id)).status == "succeeded"


async def test_an_expired_lost_payment_goes_under_review_and_inquiries_continue(desk: Desk):
    payment_id = await lost(desk)
    await desk.pool.execute("UPDATE payments SET expires_at = now()")
    assert await quiet_for(desk, 100) == 1
    assert (await desk.order(payment_id)).status_detail == "under_review"
    assert await desk.waiting() == [(payment_id, "under_review")]
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    assert (await desk.order(payment_id)).status == "succeeded"


@pytest.mark.parametrize("settings", [PATIENT], ids=["patient"])
async def test_a_lost_payment_is_due_at_its_expiry(desk: Desk):
    await lost(desk)
    await desk.pool.execute("UPDATE payments SET expires_at = now() + interval '3 seconds'")
    await desk.work()
    assert await desk.pool.fetchval(_DUE_AT_EXPIRY)


async def test_a_refund_that_used_up_its_sends_goes_under_review(desk: Desk):
    desk.first.status_at_rail = SUCCEEDED
    payment_id: str = (await desk.pay())["id"]
    await desk.work()
    desk.first.answers, desk.first.status_at_rail = [NO_ANSWER], NOT_FOUND
    refund_id: str = (await desk.refund(payment_id, 400))["id"]
    for _ in range(8):
        await quiet_for(desk, 100_000)
    assert len(desk.first.sent) == 1 + 8
    assert await desk.waiting() == [(refund_id, "under_review")]


async def test_not_found_never_ends_a_payment_at_a_rail_that_does_not_call_it_final(desk: Desk):
    payment_id = await lost(desk)
    await desk.pool.execute("UPDATE payments SET expires_at = now()")
    for _ in range(10):
        await quiet_for(desk, 100_000)
    assert (await desk.order(payment_id)).status == "processing"


async def test_three_final_not_found_answers_end_an_expired_payment_and_rechecks_follow(
    desk: Desk,
):
    final_not_found(desk.first)
    payment_id = await lost(desk)
    await desk.pool.execute("UPDATE payments SET expires_at = now()")
    for status_at_rail in (NOT_FOUND, NOT_FOUND, PENDING):
        desk.first.status_at_rail = status_at_rail
        await quiet_for(desk, 100)
    assert (await desk.order(payment_id)).status == "processing", "an acknowledged attempt is not lost"


async def test_a_final_not_found_counts_only_from_the_account_of_the_send(desk: Desk):
    final_not_found(desk.first)
    payment_id = await lost(desk)
    await desk.pool.execute("UPDATE payments SET expires_at = now()")
    desk.first.account = replace(desk.first.account, account="another business")
    for _ in range(5):
        await quiet_for(desk, 100)
    assert (await desk.order(payment_id)).status_detail == "under_review"


async def test_a_final_not_found_ends_a_payment_only_once_a_recovery_is_over(desk: Desk):
    final_not_found(desk.first)
    payment_id = await lost(desk)
    await desk.pool.execute("UPDATE payments SET expires_at = now()")
    recovery = PostgresRecovery(Database(desk.pool))
    await recovery.start(by="test", reason="a test")
    for _ in range(5):
        await quiet_for(desk, 100)
    assert (await desk.order(payment_id)).status == "processing"
    desk.second.status_at_rail = NOT_FOUND
    await desk.pool.execute("UPDATE recovery SET entered_at = now() - interval '1 hour'")
    await recovery.release(by="test")
    await desk.engine.recovery.look()
    for _ in range(5):
        await quiet_for(desk, 100)
    assert (await desk.order(payment_id)).status == "failed"


async def test_money_that_arrives_after_a_final_not_found_is_refunded(desk: Desk):
    final_not_found(desk.first)
    payment_id = await lost(desk)
    await desk.pool.execute("UPDATE payments SET expires_at = now()")
    for heard in range(1, 4):
        await quiet_for(desk, 100)
        assert ((await desk.order(payment_id)).status == "failed") is (heard == 3)
    assert await desk.pool.fetchval("SELECT due_at IS NOT NULL FROM payments")
    desk.first.status_at_rail, desk.first.answers = SUCCEEDED, [ACCEPTED]
    for _ in range(3):
        await desk.work()
    assert await desk.contradictions() == ["late_success"]
    assert [order.operation for order in desk.first.sent][1:] == ["refund"]


async def test_nothing_is_resent_with_another_account(desk: Desk):
    await lost(desk)
    desk.first.account = replace(desk.first.account, account="another business")
    assert await quiet_for(desk, 100) == 1


@pytest.fixture
def rails() -> Sequence[ScriptedRail]:
    return ScriptedRail("mtn_momo"), ScriptedRail("paystack")


async def test_a_failure_reported_only_by_callback_causes_no_failover(desk: Desk):
    able = desk.first.capabilities.operations[Operation.COLLECT]
    able = replace(able, dedup_by_reference=False, failure_is_reported=False, prompt_window_s=600.0)
    operations = {**desk.first.capabilities.operations, Operation.COLLECT: able}
    desk.first.capabilities = replace(desk.first.capabilities, operations=operations)
    payment_id: str = (await desk.pay())["id"]
    (attempt,) = (await desk.case(payment_id)).attempts
    await desk.engine.order_store.hint(attempt.callback_token, FAILED.failure)
    await desk.pool.execute("UPDATE attempts SET started_at = started_at - interval '601 seconds'")
    desk.first.status_at_rail = PENDING
    await desk.work()
    assert (await desk.order(payment_id)).status == "processing", "the last send has asked the payer just now"
    await desk.pool.execute("UPDATE attempts SET quiet_since = quiet_since - interval '601 seconds'")
    for _ in range(2):
        await desk.work()
    assert (await desk.order(payment_id)).status == "failed"
    assert desk.second.sent == []


class TestAtASilentRail:
    @pytest.fixture
    def schedule(self) -> InquirySchedule:
        return InquirySchedule((0.0, 20.0), ((20.0, 1e6),))

    async def test_a_lost_payment_is_inquired_by_the_inquiry_schedule(self, desk: Desk):
        await lost(desk)
        desk.first.status_at_rail = StatusAnswer(status_at_rail=RailStatus.NO_INFORMATION)
        await quiet_for(desk, 100)
        due_in = "SELECT extract(epoch FROM due_at - now())::float8 FROM payments"
        assert await desk.pool.fetchval(due_in) == pytest.approx(20, abs=2)
