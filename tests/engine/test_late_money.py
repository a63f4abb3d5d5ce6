"""Money that moves after its attempt was closed is found without a callback, and is refunded once if the
order does not need it. A reversal by a rail is reported and reopens nothing."""

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from engine.scripted import ACCEPTED, FAILED, NOT_FOUND, PENDING, SUCCEEDED, UNREACHABLE, Desk
from synccash.engine.store_clock import ObservedOrderStore
from synccash.payments.errors import StateConflictError
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payment import Payment
from synccash.payments.rail import InquiryPriority, Operation, RailStatus, SendAnswer, StatusAnswer
from synccash.resilience.evidence import Evidence
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.claims import PostgresClaims

TIMED_OUT = StatusAnswer(status_at_rail=RailStatus.FAILED, failure=Failure(FailureCode.PAYER_TIMEOUT))
REFUSED = StatusAnswer(status_at_rail=RailStatus.FAILED, failure=Failure(FailureCode.INSUFFICIENT_FUNDS))
NO_INFORMATION = StatusAnswer(status_at_rail=RailStatus.NO_INFORMATION)
BUSY = SendAnswer(
    evidence=Evidence.REFUSED_LATER, failure=Failure(FailureCode.PROVIDER_UNAVAILABLE, reroute=True)
)
NEVER = SendAnswer(evidence=Evidence.REFUSED_FINAL, failure=Failure(FailureCode.MERCHANT_ACCOUNT_BLOCKED))
_DUE_AT_AGE_S = """
SELECT extract(epoch FROM p.due_at - a.started_at)::float8
FROM payments p JOIN attempts a ON a.order_id = p.id WHERE a.operation = 'collect'
"""


class ChangedUnderLease:
    """Passes all calls on; the first payment that is leased is changed at once, as its refund does."""

    def __init__(self, desk: Desk) -> None:
        observed = desk.engine.order_store
        assert isinstance(observed, ObservedOrderStore)
        self.pool, self.inner, self.leased = desk.pool, observed.inner, False
        observed.inner = cast("Any", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def take_due(self, **limits: Any) -> Any:
        cases = await self.inner.take_due(**limits)
        if cases and not self.leased:
            self.leased = True
            await self.pool.execute("UPDATE payments SET version = version + 1, amount_refunded = 1")
        return cases

    async def released(self) -> bool:
        return self.leased and await self.pool.fetchval("SELECT lease_until FROM payments") is None


async def ended(desk: Desk, status_at_rail: StatusAnswer) -> str:
    payment_id: str = (await desk.pay())["id"]
    desk.first.status_at_rail = status_at_rail
    await desk.work()
    assert (await desk.order(payment_id)).status == "failed"
    return payment_id


async def due_at_age_s(desk: Desk) -> float | None:
    return await desk.pool.fetchval(_DUE_AT_AGE_S)


async def age(desk: Desk, interval: str) -> None:
    await desk.pool.execute(f"UPDATE attempts SET started_at = now() - interval '{interval}'")


async def test_a_late_approval_is_found_without_a_callback(desk: Desk):
    payment_id = await ended(desk, TIMED_OUT)
    assert await due_at_age_s(desk) == pytest.approx(900, abs=1)
    desk.first.status_at_rail = SUCCEEDED
    await age(desk, "16 minutes")
    await desk.work()
    assert desk.first.asked[-1][1].priority is InquiryPriority.AFTER_END
    assert await desk.contradictions() == ["late_success"]
    assert (await desk.order(payment_id)).status == "failed"
    for _ in range(2):
        await desk.work()
    back = [order for order in desk.first.sent if order.operation == "refund"]
    assert [order.amount for order in back] == [1000]


async def test_rechecks_run_after_15_minutes_2_hours_1_day_and_3_days_and_then_end(desk: Desk):
    await ended(desk, TIMED_OUT)
    for interval, at_age_s in (("16 minutes", 7_200), ("3 hours", 86_400), ("2 days", 259_200)):
        await age(desk, interval)
        await desk.work()
        assert await due_at_age_s(desk) == pytest.approx(at_age_s, abs=1)
    await age(desk, "4 days")
    await desk.work()
    assert await due_at_age_s(desk) is None


async def test_a_recheck_without_an_answer_is_repeated(desk: Desk):
    await ended(desk, TIMED_OUT)
    desk.first.status_at_rail = NO_INFORMATION
    await age(desk, "4 days")
    await desk.work()
    assert await due_at_age_s(desk) is not None
    desk.first.status_at_rail = TIMED_OUT
    await desk.work()
    assert await due_at_age_s(desk) is None


async def test_not_found_for_a_known_payment_does_not_answer_a_recheck(desk: Desk):
    await ended(desk, TIMED_OUT)
    desk.first.status_at_rail = NOT_FOUND
    await age(desk, "4 days")
    await desk.work()
    assert await due_at_age_s(desk) is not None


async def test_a_refusal_by_the_payer_needs_no_recheck(desk: Desk):
    await ended(desk, REFUSED)
    assert await due_at_age_s(desk) is None


async def test_a_late_success_of_zero_is_reported_once(desk: Desk):
    payment_id = await ended(desk, TIMED_OUT)
    (attempt,) = (await desk.case(payment_id)).attempts
    await desk.rail_pays_late(desk.first, attempt, amount=0)
    for _ in range(3):
        await desk.work()
    assert await desk.contradictions() == ["late_success"]


async def paid_by_the_second(desk: Desk) -> str:
    desk.first.answers = [UNREACHABLE]
    payment_id: str = (await desk.pay())["id"]
    desk.second.status_at_rail = SUCCEEDED
    await desk.work()
    desk.first.answers = [ACCEPTED]
    return payment_id


async def test_a_surplus_refund_starts_when_the_refund_that_blocks_it_ends(desk: Desk):
    able = replace(desk.first.capabilities.operations[Operation.REFUND], dedup_by_reference=False)
    operations = {**desk.first.capabilities.operations, Operation.REFUND: able}
    desk.first.capabilities = replace(desk.first.capabilities, operations=operations)
    payment_id = await paid_by_the_second(desk)
    first = (await desk.case(payment_id)).attempts[0]
    await desk.pool.execute(
        "INSERT INTO refunds (id, merchant_id, livemode, payment_id, attempt_id, amount, currency,"
        " created_at, updated_at, status, version, fence, due_at, move_id, exclusive)"
        " VALUES ('re_by_hand', 'm_1', false, $1, $2, 1, 'GHS', now(), now(), 'processing', 1, 1,"
        " 'infinity', 'by hand', true)",
        payment_id,
        first.id,
    )
    await desk.rail_pays_late(desk.first, first)
    await desk.work()
    assert await desk.pool.fetchval("SELECT count(*) FROM refunds WHERE surplus") == 0
    await desk.pool.execute("UPDATE refunds SET status = 'failed', due_at = NULL WHERE id = 're_by_hand'")
    await desk.work()
    assert await desk.pool.fetchval("SELECT count(*) FROM refunds WHERE surplus") == 1


async def test_the_surplus_is_the_debit_that_does_not_pay_the_payment(desk: Desk):
    desk.first.answers = desk.second.answers = [UNREACHABLE]
    payment_id: str = (await desk.pay())["id"]
    first, second = (await desk.case(payment_id)).attempts
    await desk.rail_pays_late(desk.second, second)
    payment = await desk.order(payment_id)
    assert isinstance(payment, Payment)
    assert (payment.status, payment.paid_by) == ("succeeded", second.id)
    desk.first.answers = desk.second.answers = [ACCEPTED]
    desk.second.status_at_rail = SUCCEEDED
    await desk.refund(payment_id, 1000)
    await desk.work()
    await desk.rail_pays_late(desk.first, first)
    for _ in range(2):
        await desk.work()
    back = await desk.pool.fetch("SELECT attempt_id, amount FROM refunds ORDER BY created_at")
    assert [(row["attempt_id"], row["amount"]) for row in back] == [(second.id, 1000), (first.id, 1000)]


async def test_a_debit_is_refunded_once_even_after_claims_expire(desk: Desk):
    payment_id = await paid_by_the_second(desk)
    first, second = (await desk.case(payment_id)).attempts
    desk.first.answers = [NEVER]
    await desk.rail_pays_late(desk.first, first)
    for _ in range(2):
        await desk.work()
    assert await desk.pool.fetchval("SELECT status FROM refunds") == "failed"
    await desk.pool.execute(
        "UPDATE idempotency SET status = coalesce(status, 202), body = coalesce(body, '')"
    )
    claims = PostgresClaims(Database(desk.pool))
    await claims.sweep(older_than_s=0.0, limit=100)
    assert await desk.pool.fetchval("SELECT count(*) FROM idempotency") == 1
    await desk.engine.take_callback("paystack", second.callback_token)
    for _ in range(2):
        await desk.work()
    assert await desk.pool.fetchval("SELECT count(*) FROM refunds") == 1


async def test_a_reversed_transfer_is_reported_once_and_reopens_nothing(desk: Desk):
    payout_id: str = (await desk.pay_out())["id"]
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    (attempt,) = (await desk.case(payout_id)).attempts
    desk.first.status_at_rail = replace(FAILED, provider_code="reversed")
    for _ in range(2):
        await desk.engine.take_callback("mtn_momo", attempt.callback_token)
        await desk.work()
    assert await desk.contradictions() == ["reversed"]
    assert (await desk.order(payout_id)).status == "succeeded"
    assert (len(desk.first.sent), len(desk.second.sent)) == (1, 0)


async def test_a_reversed_debit_is_not_refunded(desk: Desk):
    payment_id: str = (await desk.pay())["id"]
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    (attempt,) = (await desk.case(payment_id)).attempts
    desk.first.status_at_rail = FAILED
    await desk.engine.take_callback("mtn_momo", attempt.callback_token)
    await desk.work()
    assert await desk.contradictions() == ["reversed"]
    with pytest.raises(StateConflictError, match="reversed this debit itself"):
        await desk.refund(payment_id, 100)


async def test_a_reversal_without_our_refund_is_reported_once_and_not_refunded(desk: Desk):
    payment_id: str = (await desk.pay())["id"]
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    (attempt,) = (await desk.case(payment_id)).attempts
    desk.first.status_at_rail = replace(NO_INFORMATION, provider_code="reversed", went_back=True)
    for _ in range(2):
        await desk.engine.take_callback("mtn_momo", attempt.callback_token)
        await desk.work()
    assert await desk.contradictions() == ["reversed"]
    assert (await desk.order(payment_id)).status == "succeeded"
    with pytest.raises(StateConflictError, match="reversed this debit itself"):
        await desk.refund(payment_id, 100)


async def test_a_reversal_by_our_own_refund_is_no_contradiction(desk: Desk):
    payment_id: str = (await desk.pay())["id"]
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    (attempt,) = (await desk.case(payment_id)).attempts
    await desk.refund(payment_id, attempt.amount)
    await desk.work()
    refunded = replace(NO_INFORMATION, went_back=True, perhaps_refunded=True)
    desk.first.standings[attempt.reference] = refunded
    await desk.engine.take_callback("mtn_momo", attempt.callback_token)
    for _ in range(2):
        await desk.work()
    assert await desk.contradictions() == []


async def test_a_debit_is_inquired_again_after_its_refund_failed(desk: Desk):
    payment_id: str = (await desk.pay())["id"]
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    (attempt,) = (await desk.case(payment_id)).attempts
    desk.first.status_at_rail = NO_INFORMATION
    refund_id: str = (await desk.refund(payment_id, attempt.amount))["id"]
    await desk.work()
    # No callback announces that the rail has returned the money by itself.
    desk.first.standings[attempt.reference] = replace(NO_INFORMATION, went_back=True, perhaps_refunded=True)
    desk.first.status_at_rail = FAILED
    (sent,) = (await desk.case(refund_id)).attempts
    await desk.engine.take_callback("mtn_momo", sent.callback_token)
    for _ in range(2):
        await desk.work()
    assert (await desk.order(refund_id)).status == "failed"
    assert await desk.contradictions() == ["reversed"]


async def test_a_payment_changed_by_its_refund_under_a_lease_is_still_released(desk: Desk):
    payment_id: str = (await desk.pay())["id"]
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    (attempt,) = (await desk.case(payment_id)).attempts
    await desk.engine.take_callback("mtn_momo", attempt.callback_token)
    store = ChangedUnderLease(desk)
    working = asyncio.create_task(desk.engine.worker.run())
    async with asyncio.timeout(30):
        while not await store.released():  # noqa: ASYNC110 - the worker sets no event
            await asyncio.sleep(0.01)
    # The payment was not released by the end of its lease and a second worker.
    assert (desk.engine.worker.taken, desk.engine.worker.taken_over) == (1, 0)
    desk.engine.worker.stop()
    await working


async def test_a_reversal_is_reported_after_the_process_that_received_its_callback_crashed(desk: Desk):
    payment_id: str = (await desk.pay())["id"]
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    (attempt,) = (await desk.case(payment_id)).attempts
    desk.first.status_at_rail = FAILED
    await desk.engine.take_callback("mtn_momo", attempt.callback_token)
    assert len(await desk.engine.order_store.take_due(limit=10, lease_s=0.0)) == 1
    await desk.work()
    assert await desk.contradictions() == ["reversed"]


async def test_a_second_callback_of_a_success_changes_nothing(desk: Desk):
    payment_id: str = (await desk.pay())["id"]
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    (attempt,) = (await desk.case(payment_id)).attempts
    before = await desk.order(payment_id)
    for _ in range(2):
        await desk.engine.take_callback("mtn_momo", attempt.callback_token)
        await desk.work()
    after = await desk.order(payment_id)
    assert replace(after, fence=before.fence) == before
    assert await due_at_age_s(desk) is None


@pytest.mark.parametrize("unclear", [NO_INFORMATION, PENDING], ids=["no information", "pending"])
async def test_a_callback_is_inquired_until_the_rail_answers(desk: Desk, unclear: StatusAnswer):
    desk.first.answers = [BUSY]
    payment_id: str = (await desk.pay())["id"]
    desk.second.status_at_rail = REFUSED
    await desk.work()
    first = (await desk.case(payment_id)).attempts[0]
    desk.first.standings[first.reference] = unclear
    await desk.engine.take_callback("mtn_momo", first.callback_token)
    for _ in range(3):
        await desk.work()
    desk.first.standings[first.reference] = SUCCEEDED
    await desk.work()
    assert await desk.contradictions() == ["late_success"]


@pytest.mark.parametrize("unclear", [NO_INFORMATION, PENDING], ids=["no information", "pending"])
async def test_a_reversal_is_inquired_until_the_rail_answers(desk: Desk, unclear: StatusAnswer):
    payout_id: str = (await desk.pay_out())["id"]
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    (attempt,) = (await desk.case(payout_id)).attempts
    desk.first.status_at_rail = unclear
    await desk.engine.take_callback("mtn_momo", attempt.callback_token)
    for _ in range(3):
        await desk.work()
    desk.first.status_at_rail = FAILED
    await desk.work()
    assert await desk.contradictions() == ["reversed"]


async def test_a_reversal_callback_survives_a_crash_of_its_worker(desk: Desk):
    payout_id: str = (await desk.pay_out())["id"]
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    (attempt,) = (await desk.case(payout_id)).attempts
    desk.first.status_at_rail = FAILED
    await desk.engine.take_callback("mtn_momo", attempt.callback_token)
    taken = await desk.engine.order_store.take_due(limit=1, lease_s=0.001)
    assert [case.hinted for case in taken] == [True]
    await desk.work()
    assert await desk.contradictions() == ["reversed"]


async def test_a_partly_refunded_debit_can_be_reversed(desk: Desk):
    payment_id: str = (await desk.pay())["id"]
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    (attempt,) = (await desk.case(payment_id)).attempts
    await desk.refund(payment_id, 10)
    await desk.work()
    desk.first.standings[attempt.reference] = FAILED
    await desk.engine.take_callback("mtn_momo", attempt.callback_token)
    await desk.work()
    assert await desk.contradictions() == ["reversed"]
    with pytest.raises(StateConflictError, match="reversed this debit itself"):
        await desk.refund(payment_id, 990)
