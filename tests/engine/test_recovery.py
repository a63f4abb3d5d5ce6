"""After a restored backup, nothing is sent until the rails were searched for attempts the database lost."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from engine.scripted import (
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
from synccash.engine.progress.lost_attempts import SEARCHES_AT_ONCE
from synccash.payments.errors import PaymentInFlightError, StateConflictError
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.rail import Operation, RailStatus, StatusAnswer
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.recovery import PostgresRecovery

WALLET = "233241234567"
NO_INFORMATION = StatusAnswer(status_at_rail=RailStatus.NO_INFORMATION)
PAID = replace(SUCCEEDED, wallet=WALLET)
_BACKUP = (
    "payments",
    "attempts",
    "refunds",
    "payouts",
    "idempotency",
    "events",
    "timeline",
    "contradictions",
)


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"recovery_depth": 3}


class Backup:
    """A copy of all tables, and the way back to it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def take(self) -> None:
        for table in _BACKUP:
            await self.desk.pool.execute(f"CREATE TABLE saved_{table} AS TABLE {table}")

    async def restore(self) -> None:
        async with self.desk.pool.acquire() as connection, connection.transaction():
            # A restore writes rows as they were: no trigger is asked.
            for table in _BACKUP:
                await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            await connection.execute(f"TRUNCATE {', '.join(_BACKUP)} CASCADE")
            for table in _BACKUP:
                columns = ", ".join(
                    row["attname"]
                    for row in await connection.fetch(
                        "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 "
                        "AND NOT attisdropped AND attgenerated = '' AND attidentity = ''",
                        table,
                    )
                )
                await connection.execute(
                    f"INSERT INTO {table} ({columns}) SELECT {columns} FROM saved_{table}"
                )
                await connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        await recovery(self.desk).start(by="test", reason="a restored backup")
        await self.desk.engine.recovery.look()


def recovery(desk: Desk) -> PostgresRecovery:
    return PostgresRecovery(Database(desk.pool))


async def release(desk: Desk, *, after_s: float = 3_600.0) -> None:
    """End a recovery that has lasted for so long."""
    await desk.pool.execute("UPDATE recovery SET entered_at = now() - make_interval(secs => $1)", after_s)
    await recovery(desk).release(by="test")
    await desk.engine.recovery.look()


def nothing_is_found(desk: Desk) -> None:
    desk.first.status_at_rail = desk.second.status_at_rail = NOT_FOUND


async def sent(desk: Desk) -> int:
    return len(desk.first.sent) + len(desk.second.sent)


async def held_payment(desk: Desk, **changes: Any) -> str:
    """A payment that was asked for while a recovery is under way."""
    await recovery(desk).start(by="test", reason="a test")
    payment_id: str = (await desk.pay(**changes))["id"]
    return payment_id


async def test_during_a_recovery_orders_are_accepted_and_nothing_is_sent(desk: Desk):
    paid = await desk.pay(reference="before")
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    before = await sent(desk)
    await recovery(desk).start(by="test", reason="a test")
    payment = await desk.pay(reference="during")
    assert (payment["status"], payment["status_detail"]) == ("processing", "queued")
    payout = await desk.pay_out()
    assert (payout["status"], payout["status_detail"]) == ("processing", "queued")
    refund = await desk.refund(paid["id"], 100)
    assert (refund["status"], refund["status_detail"]) == ("processing", "queued")
    for _ in range(3):
        await desk.work()
    assert await sent(desk) == before


async def test_held_orders_are_sent_once_no_rail_knows_them(desk: Desk):
    payment_id = await held_payment(desk)
    payout_id = (await desk.pay_out())["id"]
    nothing_is_found(desk)
    await release(desk)
    await desk.work()
    assert await sent(desk) == 0
    await desk.work()
    assert await sent(desk) == 2
    desk.first.status_at_rail = desk.second.status_at_rail = SUCCEEDED
    await desk.work()
    assert (await desk.order(payment_id)).status == "succeeded"
    assert (await desk.order(payout_id)).status == "succeeded"


async def test_every_rail_is_asked_about_every_possible_attempt(desk: Desk):
    await held_payment(desk)
    nothing_is_found(desk)
    await release(desk)
    await desk.work()
    assert len({reference for reference, _ in desk.first.asked}) == 3
    assert desk.first.asked == desk.second.asked


async def test_few_orders_are_searched_for_at_a_time_and_the_others_wait_unsent(desk: Desk):
    for n in range(SEARCHES_AT_ONCE + 2):
        await held_payment(desk, reference=f"order {n}")
    nothing_is_found(desk)
    await release(desk)
    going, answered = asyncio.Event(), desk.first.inquire
    asked: set[str] = set()

    async def inquire(*given: Any, **named: Any) -> StatusAnswer:
        asked.add(given[2])
        await going.wait()
        return await answered(*given, **named)

    desk.first.inquire = inquire
    cases = await desk.engine.order_store.take_due(limit=10, lease_s=15.0)
    running = [asyncio.create_task(desk.engine.worker.order_worker.advance(case)) for case in cases]
    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    while len(asked) < SEARCHES_AT_ONCE or len(done) < 2:
        done, _ = await asyncio.wait(running, timeout=0.01)
    assert (len(asked), len(done)) == (SEARCHES_AT_ONCE, 2)
    going.set()
    await asyncio.gather(*running)
    assert (await recovery(desk).state()).unsearched == 2
    assert await sent(desk) == 0
    for _ in range(2):
        await desk.work()
    assert await sent(desk) == SEARCHES_AT_ONCE + 2


async def test_an_order_requested_again_after_a_restore_gets_the_same_references(desk: Desk):
    backup = Backup(desk)
    await backup.take()
    first = await desk.pay(reference="order 17", rail="mtn_momo")
    reference = desk.first.sent[0].reference
    await backup.restore()
    again = await desk.pay(reference="order 17", rail="mtn_momo")
    assert again["id"] != first["id"]
    nothing_is_found(desk)
    desk.first.standings[reference] = PAID
    await release(desk)
    await desk.work()
    await desk.work()
    case = await desk.case(again["id"])
    assert [attempt.reference for attempt in case.attempts] == [reference]
    assert (await desk.order(again["id"])).status == "succeeded"
    assert await sent(desk) == 1


async def test_two_equal_refunds_of_one_payment_have_two_references(desk: Desk):
    desk.first.status_at_rail = SUCCEEDED
    payment = await desk.pay()
    await desk.work()
    await desk.refund(payment["id"], 100)
    await desk.refund(payment["id"], 100)
    refunds = [order for order in desk.first.sent if order.operation is Operation.REFUND]
    assert len({order.reference for order in refunds}) == 2


async def test_a_lost_payout_requested_again_is_found_and_not_paid_twice(desk: Desk):
    backup = Backup(desk)
    await backup.take()
    await desk.pay_out()
    [order] = desk.first.sent
    await backup.restore()
    again = await desk.pay_out()
    desk.first.standings[order.reference] = PAID
    nothing_is_found(desk)
    await release(desk)
    await desk.work()
    await desk.work()
    assert (await desk.order(again["id"])).status == "succeeded"
    assert await sent(desk) == 1


async def test_a_lost_failover_is_found_before_the_order_is_resent_to_the_first_rail(desk: Desk):
    backup = Backup(desk)
    desk.first.answers = [NO_ANSWER]
    payment = await desk.pay()
    await backup.take()
    # Lost: the first rail called it failed, and the second one collected it.
    desk.first.status_at_rail = FAILED
    await desk.work()
    [second] = desk.second.sent
    await backup.restore()
    desk.first.status_at_rail, desk.second.status_at_rail = NOT_FOUND, NOT_FOUND
    desk.second.standings[second.reference] = PAID
    await desk.work()
    await release(desk)
    for _ in range(3):
        await desk.work()
    case = await desk.case(payment["id"])
    assert (await desk.order(payment["id"])).status == "succeeded"
    assert [attempt.state for attempt in case.attempts] == ["declined", "succeeded"]
    assert await sent(desk) == 2


async def test_a_failure_that_allows_failover_does_not_end_an_order_in_a_recovery(desk: Desk):
    payment = await desk.pay()
    await recovery(desk).start(by="test", reason="a test")
    desk.first.status_at_rail = FAILED
    await desk.work()
    order = await desk.order(payment["id"])
    assert (order.status, order.status_detail) == ("processing", "queued")
    desk.second.status_at_rail = NOT_FOUND
    desk.first.status_at_rail = NOT_FOUND
    await release(desk)
    await desk.work()
    await desk.work()
    assert len(desk.second.sent) == 1


async def test_a_refusal_by_the_payer_ends_an_order_in_a_recovery(desk: Desk):
    payment = await desk.pay()
    await recovery(desk).start(by="test", reason="a test")
    desk.first.status_at_rail = replace(FAILED, failure=Failure(FailureCode.PAYER_DECLINED))
    await desk.work()
    assert (await desk.order(payment["id"])).status == "failed"


async def test_an_order_is_not_sent_while_a_rail_does_not_answer_the_search(desk: Desk):
    payment_id = await held_payment(desk)
    desk.first.status_at_rail, desk.second.status_at_rail = NOT_FOUND, NO_INFORMATION
    await release(desk)
    for _ in range(3):
        await desk.work()
    assert await sent(desk) == 0
    assert (await desk.order(payment_id)).status_detail == "queued"
    assert (await recovery(desk).state()).unsearched == 1
    await desk.pool.execute("UPDATE payments SET expires_at = now()")
    await desk.work()
    assert await desk.waiting() == [(payment_id, "under_review")]
    desk.second.status_at_rail = NOT_FOUND
    await desk.work()
    await desk.work()
    order = await desk.order(payment_id)
    assert (order.status, order.status_detail) == ("failed", "expired")


async def test_an_order_does_not_expire_before_it_is_searched_for(desk: Desk):
    payment_id = await held_payment(desk)
    await desk.pool.execute("UPDATE payments SET expires_at = now()")
    await desk.work()
    assert (await desk.order(payment_id)).status_detail == "queued"


async def test_an_order_cannot_be_canceled_before_it_is_searched_for(desk: Desk):
    payment_id = await held_payment(desk)
    with pytest.raises(PaymentInFlightError):
        await desk.engine.cancel_payment(TENANT, payment_id)
    desk.first.status_at_rail = desk.second.status_at_rail = NO_INFORMATION
    await release(desk)
    await desk.work()
    with pytest.raises(PaymentInFlightError):
        await desk.engine.cancel_payment(TENANT, payment_id)


async def test_no_otp_is_sent_in_a_recovery(desk: Desk):
    from engine.test_orders import asked_for_otp

    payment_id = await asked_for_otp(desk)
    await recovery(desk).start(by="test", reason="a test")
    with pytest.raises(StateConflictError, match="recovered"):
        await desk.engine.submit_otp(TENANT, payment_id, "123456")
    assert desk.second.passwords == []


async def test_a_send_whose_commit_falls_in_a_recovery_is_not_sent(desk: Desk):
    await recovery(desk).start(by="test", reason="a test")
    # This process does not know of the recovery: PostgreSQL refuses the commit.
    assert not desk.engine.recovery.known.active
    await desk.pay()
    assert await sent(desk) == 0
    assert desk.engine.recovery.known.active


@pytest.mark.parametrize("status_at_rail", [PENDING, SUCCEEDED, FAILED])
async def test_a_found_attempt_of_another_payer_is_not_adopted(desk: Desk, status_at_rail: StatusAnswer):
    backup = Backup(desk)
    await backup.take()
    await desk.pay(reference="order 17", rail="mtn_momo")
    [order] = desk.first.sent
    await backup.restore()
    other = Payer(Msisdn.parse("0249999999"))
    again = await desk.pay(reference="order 17", rail="mtn_momo", payer=other)
    nothing_is_found(desk)
    desk.first.standings[order.reference] = replace(status_at_rail, wallet=WALLET)
    await release(desk)
    for _ in range(4):
        await desk.work()
    assert await desk.contradictions() == ["payer_differs"]
    assert (await desk.order(again["id"])).status_detail == "under_review"
    assert await sent(desk) == 1


async def test_every_rail_is_asked_even_if_the_merchant_pins_one(desk: Desk):
    backup = Backup(desk)
    await backup.take()
    await desk.pay(reference="order 17", rail="mtn_momo")
    [order] = desk.first.sent
    await backup.restore()
    again = await desk.pay(reference="order 17", rail="paystack")
    nothing_is_found(desk)
    desk.first.standings[order.reference] = PAID
    await release(desk)
    for _ in range(2):
        await desk.work()
    assert (await desk.order(again["id"])).status == "succeeded"
    assert await sent(desk) == 1


async def test_a_found_attempt_of_another_amount_does_not_pay_the_order(desk: Desk):
    backup = Backup(desk)
    await backup.take()
    await desk.pay(reference="order 17", rail="mtn_momo")
    [order] = desk.first.sent
    await backup.restore()
    again = await desk.pay(reference="order 17", rail="mtn_momo")
    nothing_is_found(desk)
    desk.first.standings[order.reference] = replace(PAID, amount=999)
    await release(desk)
    for _ in range(4):
        await desk.work()
    assert await desk.contradictions() == ["amount_differs"]
    assert (await desk.order(again["id"])).status_detail == "under_review"
    assert await sent(desk) == 1


async def test_a_reference_found_at_two_rails_goes_under_review(desk: Desk):
    payment_id = await held_payment(desk, reference="order 17")
    nothing_is_found(desk)
    attempt = desk.engine.worker.order_worker.attempts.as_if_lost_at(
        await desk.case(payment_id), "mtn_momo", 1
    )
    desk.first.standings[attempt.reference] = replace(FAILED, wallet=WALLET)
    desk.second.standings[attempt.reference] = PAID
    await release(desk)
    await desk.work()
    assert await desk.contradictions() == ["found_twice"]
    assert (await desk.order(payment_id)).status_detail == "under_review"


async def test_a_found_second_attempt_of_another_payer_is_reported(desk: Desk):
    payment_id = await held_payment(desk, reference="order 17")
    nothing_is_found(desk)
    attempt = desk.engine.worker.order_worker.attempts.as_if_lost_at(
        await desk.case(payment_id), "paystack", 2
    )
    desk.second.standings[attempt.reference] = replace(SUCCEEDED, wallet="233240000000")
    await release(desk)
    for _ in range(2):
        await desk.work()
    assert await desk.contradictions() == ["payer_differs"]
    assert (await desk.order(payment_id)).status_detail == "under_review"


async def test_a_refund_that_was_lost_is_adopted_and_not_sent_again(desk: Desk):
    desk.first.status_at_rail = SUCCEEDED
    payment = await desk.pay()
    await desk.work()
    backup = Backup(desk)
    await backup.take()
    refund = await desk.refund(payment["id"], 400)
    [order] = [order for order in desk.first.sent if order.operation is Operation.REFUND]
    await backup.restore()
    # The merchant asks again under the same key.
    desk.keys -= 1
    again = await desk.refund(payment["id"], 400)
    assert again["id"] != refund["id"]
    nothing_is_found(desk)
    desk.first.standings[order.reference] = SUCCEEDED
    await release(desk)
    await desk.work()
    await desk.work()
    assert (await desk.order(again["id"])).status == "succeeded"
    assert len([order for order in desk.first.sent if order.operation is Operation.REFUND]) == 1


async def test_an_idempotency_key_always_names_the_same_refund(desk: Desk):
    desk.first.status_at_rail = SUCCEEDED
    payment = await desk.pay()
    await desk.work()
    await desk.refund(payment["id"], 100)
    await desk.pool.execute("DELETE FROM idempotency")
    desk.keys -= 1
    from synccash.payments.errors import ReferenceAlreadyUsedError

    with pytest.raises(ReferenceAlreadyUsedError):
        await desk.refund(payment["id"], 100)


class TestWithARailThatDoesNotDeduplicate:
    @pytest.fixture
    def rails(self) -> Sequence[ScriptedRail]:
        unsafe = ScriptedRail("hubtel")
        able = unsafe.capabilities.operations
        operations = {name: replace(one, dedup_by_reference=False) for name, one in able.items()}
        unsafe.capabilities = replace(unsafe.capabilities, operations=operations)
        return unsafe, ScriptedRail("paystack")

    async def test_an_order_from_before_the_release_is_sent_only_to_a_rail_that_deduplicates(
        self, desk: Desk
    ):
        await held_payment(desk)
        nothing_is_found(desk)
        await release(desk)
        desk.second.answers = [UNREACHABLE]
        for _ in range(3):
            await desk.work()
        assert desk.first.sent == []
        assert desk.second.sent != []

    async def test_an_order_pinned_to_a_rail_without_deduplication_is_parked(self, desk: Desk):
        payment_id = await held_payment(desk, rail="hubtel")
        nothing_is_found(desk)
        await release(desk)
        for _ in range(3):
            await desk.work()
        assert await sent(desk) == 0
        assert await desk.waiting() == [(payment_id, "under_review")]

    async def test_a_refund_that_the_rail_does_not_report_goes_under_review_at_once(self, desk: Desk):
        desk.first.status_at_rail = SUCCEEDED
        payment = await desk.pay(rail="hubtel")
        await desk.work()
        await recovery(desk).start(by="test", reason="a test")
        await desk.engine.recovery.look()
        refund = await desk.refund(payment["id"], 100)
        desk.first.status_at_rail = NO_INFORMATION
        await release(desk)
        await desk.work()
        assert await desk.waiting() == [(refund["id"], "under_review")]
        assert len(desk.first.sent) == 1

    async def test_a_new_order_is_sent_to_the_rail_without_deduplication(self, desk: Desk):
        await held_payment(desk)
        nothing_is_found(desk)
        await release(desk)
        await desk.pay(reference="a new one", rail="hubtel")
        assert len(desk.first.sent) == 1
