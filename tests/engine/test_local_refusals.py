"""A connector's refusal before anything is sent does not affect rail health, and no order waits for it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from engine.scripted import ACCEPTED, NO_ANSWER, SUCCEEDED, UNREACHABLE, Desk, ScriptedRail
from synccash.engine.requests.review import Resolution
from synccash.payments.failure import FailureCode
from synccash.payments.inquiry_schedule import InquirySchedule
from synccash.payments.payment import OrderKind
from synccash.payments.rail import InquiryPriority, RailAccount, SendAnswer
from synccash.rails.answers import no_turn, refuse_other_account, unsent

NO_NETWORK = unsent(FailureCode.INVALID_PAYER, "unknown_network")
NEW = RailAccount(rail="mtn_momo", account="main", base_url="http://new", target_environment="t")


class OneAccount(ScriptedRail):
    """Sends for its present account only, as the connectors do."""

    async def send(self, order: Any, *, timeout_s: float) -> SendAnswer:
        if order.account != self.account:
            return refuse_other_account()
        return await super().send(order, timeout_s=timeout_s)


@pytest.fixture
def rails() -> Sequence[ScriptedRail]:
    return OneAccount("mtn_momo"), OneAccount("paystack")


async def paid(desk: Desk, reference: str) -> str:
    desk.first.status_at_rail = SUCCEEDED
    payment_id: str = (await desk.pay(reference))["id"]
    await desk.work()
    return payment_id


async def test_a_number_that_every_rail_refuses_fails_its_payment_and_opens_no_breaker(desk: Desk):
    desk.first.answers = desk.second.answers = [NO_NETWORK]
    for n in range(5):
        odd = await desk.pay(f"odd {n}")
        assert (odd["status"], odd["last_error"]["code"]) == ("failed", "invalid_payer")
    desk.first.answers = [ACCEPTED]
    assert (await desk.pay("good"))["status_detail"] == "awaiting_payer"


async def test_a_number_that_one_rail_refuses_goes_to_another_rail(desk: Desk):
    desk.first.answers = [NO_NETWORK]
    payment = await desk.pay()
    assert (payment["status_detail"], payment["rail"]) == ("awaiting_payer", "paystack")


async def test_a_payment_waits_for_an_unreachable_rail(desk: Desk):
    desk.first.answers, desk.second.answers = [UNREACHABLE], [NO_NETWORK]
    payment_id: str = (await desk.pay())["id"]
    assert (await desk.order(payment_id)).status_detail == "queued"
    desk.first.answers = [ACCEPTED]
    await desk.work()
    payment = await desk.order(payment_id)
    assert (payment.status_detail, payment.rail) == ("awaiting_payer", "mtn_momo")
    assert len(desk.second.sent) == 1, "a rail that cannot take the number is not tried again"


async def test_refunds_of_a_former_account_do_not_block_refunds_of_the_current_one(desk: Desk):
    old = [await paid(desk, f"old {n}") for n in range(4)]
    desk.first.account = NEW
    new = await paid(desk, "new")
    for payment_id in old:
        await desk.refund(payment_id, 1000)
    sent = len(desk.first.sent)
    await desk.refund(new, 1000)
    assert len(desk.first.sent) == sent + 1


async def test_a_refund_of_a_former_account_goes_under_review_and_opens_no_attempts(desk: Desk):
    payment_id = await paid(desk, "old")
    former, desk.first.account = desk.first.account, NEW
    refund_id: str = (await desk.refund(payment_id, 1000))["id"]
    assert await desk.waiting() == [(refund_id, "under_review")]
    for _ in range(3):
        await desk.work()
    assert len((await desk.case(refund_id)).attempts) == 1
    desk.first.account = former
    await desk.work()
    assert len((await desk.case(refund_id)).attempts) == 2


@pytest.mark.parametrize("outcome", Resolution)
async def test_an_operator_can_end_an_unsent_refund(desk: Desk, outcome: Resolution):
    payment_id = await paid(desk, "old")
    desk.first.account = replace(NEW)
    refund_id: str = (await desk.refund(payment_id, 1000))["id"]
    await desk.engine.reviewing.resolve(
        OrderKind.REFUND, refund_id, outcome, by="key_1", evidence="paid back at the counter"
    )
    assert (await desk.order(refund_id)).status == outcome.value
    left = 0 if outcome is Resolution.SUCCEEDED else 1000
    reserved = "SELECT amount_received - refund_reserved FROM attempts WHERE operation = 'collect'"
    assert await desk.pool.fetchval(reserved) == left


async def test_an_inquiry_without_a_turn_changes_nothing_and_is_repeated(desk: Desk):
    payment_id = (await desk.pay())["id"]
    before = await desk.order(payment_id)
    entries = await desk.pool.fetchval("SELECT count(*) FROM timeline WHERE order_id = $1", payment_id)
    desk.first.status_at_rail = no_turn("status_cap", again_in_s=5.0)
    for _ in range(20):
        await desk.work()
    assert len(desk.first.asked) == 20
    after = await desk.order(payment_id)
    assert (after.status, after.status_detail) == (before.status, before.status_detail)
    assert await desk.pool.fetchval("SELECT inquiries FROM attempts") == 0
    assert await desk.pool.fetchval("SELECT count(*) FROM timeline") == entries
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    assert (await desk.order(payment_id)).status == "succeeded"


async def test_an_expired_lost_order_whose_rail_was_not_asked_says_so_once(desk: Desk):
    desk.first.answers = [NO_ANSWER]
    payment_id = (await desk.pay())["id"]
    desk.first.status_at_rail = no_turn("status_cap", again_in_s=5.0)
    await desk.work()
    await desk.pool.execute("UPDATE payments SET expires_at = now()")
    for _ in range(3):
        await desk.work()
    assert await desk.waiting() == [(payment_id, "under_review")]
    codes = "SELECT data->>'code' FROM timeline WHERE order_id = $1 AND kind = 'inquired'"
    assert [row["?column?"] for row in await desk.pool.fetch(codes, payment_id)] == ["status_cap"]


async def test_an_inquiry_after_a_callback_stays_urgent_until_it_gets_a_turn(desk: Desk):
    await desk.pay()
    desk.first.status_at_rail = no_turn("status_cap", again_in_s=5.0)
    await desk.work()
    await desk.pool.execute("UPDATE attempts SET callback_at = now()")
    await desk.pool.execute("UPDATE payments SET hinted = true, due_at = '-infinity'")
    for _ in range(2):
        await desk.work()
    assert [details.priority for _, details in desk.first.asked] == [
        InquiryPriority.SCHEDULED,
        InquiryPriority.HINTED,
        InquiryPriority.HINTED,
    ]


@pytest.mark.parametrize("schedule", [InquirySchedule((300.0,), ((900.0, 1e6),))])
@pytest.mark.parametrize("called_back", [True, False])
async def test_an_inquiry_after_a_callback_that_got_no_turn_does_not_wait_for_the_schedule(
    desk: Desk, called_back: bool
):
    payment_id = (await desk.pay())["id"]
    await desk.pool.execute("UPDATE payments SET due_at = now()")
    if called_back:
        await desk.pool.execute("UPDATE attempts SET callback_at = now()")
    desk.first.status_at_rail = no_turn("status_cap", again_in_s=5.0)
    await desk.work()
    wait_s = "SELECT extract(epoch FROM due_at - now())::float8 FROM payments WHERE id = $1"
    waits_s: float = await desk.pool.fetchval(wait_s, payment_id)
    assert (waits_s <= 5.0) is called_back
