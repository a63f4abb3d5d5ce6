"""Edge cases of a recovery: gaps in found attempts, slow rails, races, wrong keys."""

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import pytest

from engine.scripted import FAILED, NOT_FOUND, PENDING, SUCCEEDED, TENANT, Desk
from engine.test_recovery import (
    NO_INFORMATION,
    PAID,
    Backup,
    held_payment,
    nothing_is_found,
    recovery,
    release,
    sent,
)
from engine.test_recovery import settings as settings
from synccash.administration.errors import AdministrationError
from synccash.administration.maintenance.recovery import release_recovery
from synccash.engine.progress.screening import Screening
from synccash.engine.requests.review import Resolution
from synccash.payments.case import PaymentCase
from synccash.payments.errors import PaymentInFlightError, StateConflictError
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.lifecycle import Routed
from synccash.payments.payment import OrderKind, Payment
from synccash.payments.rail import Environment, Operation, SendAnswer, SendOrder, StatusAnswer
from synccash.payments.risk import RiskDecision, RiskOutcome
from synccash.processes.service_guard import LocalLimiter, ServiceGuard
from synccash.resilience.evidence import Evidence
from synccash.settings.loader import Settings
from synccash.settings.request_limits import REQUEST_LIMITS
from synccash.stores.postgres.orders import recovery as statements


async def test_after_a_gap_in_found_attempts_the_next_one_follows_the_highest_number(desk: Desk):
    payment_id = await held_payment(desk, reference="order 17")
    nothing_is_found(desk)
    lost = desk.engine.worker.order_worker.attempts.as_if_lost_at
    case = await desk.case(payment_id)
    second, third = lost(case, "mtn_momo", 2), lost(case, "paystack", 3)
    desk.first.standings[second.reference] = FAILED
    await release(desk)
    await desk.work()
    desk.second.status_at_rail = FAILED
    for _ in range(3):
        await desk.work()
    case = await desk.case(payment_id)
    sequences = [attempt.sequence for attempt in case.attempts]
    assert sequences[:2] == [2, 3]
    assert third.reference in {attempt.reference for attempt in case.attempts}


async def test_a_reference_that_two_rails_may_pay_stays_under_review(desk: Desk):
    payment_id = await held_payment(desk, reference="order 17")
    nothing_is_found(desk)
    attempt = desk.engine.worker.order_worker.attempts.as_if_lost_at(
        await desk.case(payment_id), "mtn_momo", 1
    )
    desk.first.standings[attempt.reference] = PAID
    desk.second.standings[attempt.reference] = PAID
    await release(desk)
    for _ in range(4):
        await desk.work()
    assert await desk.contradictions() == ["found_twice"]
    assert (await desk.order(payment_id)).status_detail == "under_review"


async def test_a_refund_of_a_restored_payment_is_searched_for_also_after_the_release(desk: Desk):
    desk.first.status_at_rail = SUCCEEDED
    payment = await desk.pay()
    await desk.work()
    backup = Backup(desk)
    await backup.take()
    await desk.refund(payment["id"], 400)
    [order] = [order for order in desk.first.sent if order.operation is Operation.REFUND]
    await backup.restore()
    nothing_is_found(desk)
    desk.first.standings[order.reference] = SUCCEEDED
    await release(desk)
    desk.keys -= 1
    again = await desk.refund(payment["id"], 400)
    assert again["status"] == "processing"
    for _ in range(2):
        await desk.work()
    assert (await desk.order(again["id"])).status == "succeeded"
    assert len([order for order in desk.first.sent if order.operation is Operation.REFUND]) == 1


async def test_a_failure_whose_failover_meets_a_recovery_does_not_end_the_order(desk: Desk):
    payment = await desk.pay()
    await desk.pool.execute("UPDATE payments SET due_at = now()")
    [case] = await desk.engine.order_store.take_due(limit=1, lease_s=15.0)
    await recovery(desk).start(by="test", reason="a test")
    desk.first.status_at_rail = FAILED
    await desk.engine.worker.order_worker.advance(case)
    order = await desk.order(payment["id"])
    assert (order.status, order.status_detail) == ("processing", "queued")
    assert len(desk.second.sent) == 0


async def test_an_order_without_an_attempt_can_be_resolved_as_succeeded_at_a_named_rail(desk: Desk):
    payment_id = await held_payment(desk)
    desk.first.status_at_rail = desk.second.status_at_rail = NO_INFORMATION
    await release(desk)
    await desk.pool.execute("UPDATE payments SET expires_at = now()")
    await desk.work()
    assert await desk.waiting() == [(payment_id, "under_review")]
    await desk.engine.reviewing.resolve(
        OrderKind.PAYMENT,
        payment_id,
        Resolution.SUCCEEDED,
        by="ama",
        evidence="statement, line 7",
        rail="paystack",
    )
    order = await desk.order(payment_id)
    assert (order.status, order.rail, order.amount_received) == ("succeeded", "paystack", 1000)


async def test_recovery_waits_for_sends_that_may_be_in_flight(desk: Desk):
    payment_id = await held_payment(desk)
    nothing_is_found(desk)
    settings = desk.engine.worker.settings
    await release(desk, after_s=settings.lease_s + settings.settle_s - 10)
    for _ in range(2):
        await desk.work()
    assert (desk.first.asked, await sent(desk)) == ([], 0)
    assert (await desk.order(payment_id)).status_detail == "queued"
    await desk.pool.execute("UPDATE recovery SET entered_at = entered_at - interval '11 seconds'")
    for _ in range(2):
        await desk.work()
    assert await sent(desk) == 1


async def test_a_lost_attempt_is_refused_for_an_order_that_cannot_have_lost_one(desk: Desk):
    payment_id = (await desk.pay())["id"]
    desk.first.status_at_rail = replace(PENDING, refused_locally=True)
    await desk.work()
    await desk.pool.execute("UPDATE payments SET status_detail = 'under_review'")
    await desk.pool.execute("UPDATE attempts SET state = 'declined'")
    with pytest.raises(StateConflictError, match="no attempt of it was lost"):
        await desk.engine.reviewing.resolve(
            OrderKind.PAYMENT, payment_id, Resolution.SUCCEEDED, by="ama", evidence="x", rail="paystack"
        )


async def test_a_release_under_another_installation_key_is_refused_until_confirmed(
    desk: Desk, database_url: str
):
    await held_payment(desk)
    await release(desk)
    await desk.pay(reference="sent with a derived reference")
    other = Settings(database_url=database_url, installation_key="6d" * 32)
    same = Settings(database_url=database_url, installation_key="5c" * 32)
    for given, refused in ((other, True), (same, False)):
        await recovery(desk).start(by="test", reason="a test")
        with pytest.raises(AdministrationError, match="another installation") if refused else nullcontext():
            await asyncio.to_thread(release_recovery, given, "a test")
    await recovery(desk).start(by="test", reason="a test")
    await asyncio.to_thread(release_recovery, other, "the key is lost", other_key=True)
    assert not (await recovery(desk).recovery()).active


async def test_an_order_that_was_sent_under_another_key_is_not_searched_for(desk: Desk):
    payment = await desk.pay()
    await desk.pool.execute("UPDATE attempts SET reference_key = 'another', state = 'declined'")
    await desk.pool.execute("UPDATE payments SET status_detail = 'queued'")
    await recovery(desk).start(by="test", reason="a test")
    nothing_is_found(desk)
    await release(desk)
    for _ in range(2):
        await desk.work()
    assert await sent(desk) == 1
    assert (await desk.order(payment["id"])).status_detail == "queued"


async def test_counting_and_releasing_read_open_orders_alone(desk: Desk):
    await desk.pay()
    await desk.pool.execute(
        """INSERT INTO payments SELECT (json_populate_record(p, json_build_object(
            'id', 'pay_' || n, 'reference', n, 'status', 'failed', 'status_detail', NULL, 'due_at', NULL,
            'lease_until', NULL))).* FROM payments p, generate_series(1, $1) n""",
        5_000,
    )
    await desk.pool.execute("ANALYZE payments")
    # The statements themselves, because EXPLAIN takes the text of one.
    for statement, arguments in ((statements._STATE, ()), (statements._RELEASE, ("test",))):
        rows = await desk.pool.fetch(f"EXPLAIN {statement}", *arguments)
        plan = "\n".join(row[0] for row in rows)
        assert "due_payments" in plan
        assert "Seq Scan on payments" not in plan


async def test_a_search_is_repeated_at_a_rail_that_did_not_answer(desk: Desk):
    payment_id = await held_payment(desk)
    nothing_is_found(desk)
    lost = desk.engine.worker.order_worker.attempts.as_if_lost_at
    third = lost(await desk.case(payment_id), "paystack", 3)
    desk.second.standings[third.reference] = NO_INFORMATION
    await release(desk)
    for _ in range(3):
        await desk.work()
    assert (len(desk.first.asked), len(desk.second.asked)) == (3, 2 + 3)
    del desk.second.standings[third.reference]
    for _ in range(2):
        await desk.work()
    assert await sent(desk) == 1
    assert (len(desk.first.asked), len(desk.second.asked)) == (3, 2 + 4)
    assert desk.engine.worker.order_worker.lost.unknown == {}


async def test_an_answer_from_before_a_recovery_is_never_used(desk: Desk):
    names: list[str] = []

    class Answers:
        def keep(self, key: str, stored: bytes) -> None:
            names.append(key)

    guard = ServiceGuard(
        LocalLimiter(), Answers(), REQUEST_LIMITS, (), recovery=lambda: desk.engine.recovery.known
    )
    await desk.engine.recovery.look()
    guard.keep("m_1\nkey", b"stored")
    await recovery(desk).start(by="test", reason="a test")
    await desk.engine.recovery.look()
    guard.keep("m_1\nkey", b"stored")
    assert len(names) == 1, "nothing is stored during a recovery"
    await release(desk)
    guard.keep("m_1\nkey", b"stored")
    # An older backup is restored, which counts the same recovery again.
    await desk.pool.execute("UPDATE recovery SET epoch = 0")
    await recovery(desk).start(by="test", reason="a test")
    await release(desk, after_s=60.0)
    assert desk.engine.recovery.known.epoch == 1
    guard.keep("m_1\nkey", b"stored")
    assert len(set(names)) == 3, "no answer is stored or found under a name from before a recovery"


class TestWithAFraudService:
    @pytest.fixture
    def asked(self) -> list[str]:
        return []

    @pytest.fixture
    def outcomes(self) -> list[RiskOutcome]:
        """What the service says, the last one again and again."""
        return [RiskOutcome.ALLOW]

    @pytest.fixture
    def screening(self, asked: list[str], outcomes: list[RiskOutcome]) -> Screening:
        async def ask(order: Routed) -> RiskDecision:
            asked.append(order.reference)
            return RiskDecision(outcomes.pop(0) if len(outcomes) > 1 else outcomes[0])

        return Screening(ask, cast("Any", None))

    async def test_orders_created_in_a_recovery_are_screened_after_it(self, desk: Desk, asked: list[str]):
        await recovery(desk).start(by="test", reason="a test")
        await desk.engine.recovery.look()
        await desk.pay(reference="order 17")
        await desk.pay_out(reference="wages 17")
        for _ in range(2):
            await desk.work()
        assert asked == []
        nothing_is_found(desk)
        await release(desk)
        for _ in range(2):
            await desk.work()
        assert sorted(asked) == ["order 17", "wages 17"]
        assert await sent(desk) == 2

    async def test_a_restored_order_that_was_sent_is_adopted_and_not_screened_again(
        self, desk: Desk, asked: list[str], outcomes: list[RiskOutcome]
    ):
        backup = Backup(desk)
        await backup.take()
        await desk.pay(reference="order 17", rail="mtn_momo")
        [order] = desk.first.sent
        await backup.restore()
        outcomes[:] = [RiskOutcome.DECLINE]
        again = await desk.pay(reference="order 17", rail="mtn_momo")
        nothing_is_found(desk)
        desk.first.standings[order.reference] = PAID
        await release(desk)
        for _ in range(2):
            await desk.work()
        assert (await desk.order(again["id"])).status == "succeeded"
        assert (asked, await sent(desk)) == (["order 17"], 1)

    async def test_a_refusal_during_a_recovery_does_not_end_the_order(
        self, desk: Desk, outcomes: list[RiskOutcome]
    ):
        outcomes[:] = [RiskOutcome.DECLINE]
        payment_id = await held_payment(desk)
        nothing_is_found(desk)
        await release(desk)
        await desk.work()
        await desk.pool.execute("UPDATE payments SET due_at = now()")
        [case] = await desk.engine.order_store.take_due(limit=1, lease_s=15.0)
        await recovery(desk).start(by="test", reason="a test")
        await desk.engine.worker.order_worker.advance(case)
        assert not (await desk.order(payment_id)).status.is_final


async def test_a_commit_based_on_a_read_before_a_recovery_ends_no_order(desk: Desk):
    payment_id = await held_payment(desk)
    nothing_is_found(desk)
    await release(desk)
    await desk.work()
    case = await desk.case(payment_id)
    decisions = desk.engine.worker.order_worker.decisions
    nowhere = desk.engine.worker.order_worker.attempts.route(case.order, frozenset(desk.engine.rails))
    await recovery(desk).start(by="test", reason="a test")
    assert nowhere.chosen is None
    commits = (decisions.expire(case), decisions.routed(case, nowhere, ()))
    assert [await desk.engine.order_store.record(commit) for commit in commits] == [False, False]
    await release(desk)
    # The order is not searched for yet since the second recovery.
    assert [await desk.engine.order_store.record(commit) for commit in commits] == [False, False]


@pytest.mark.parametrize("status_at_rail", [NOT_FOUND, SUCCEEDED])
async def test_a_found_attempt_without_a_payer_goes_under_review(desk: Desk, status_at_rail: StatusAnswer):
    payment_id = await held_payment(desk, reference="order 17")
    nothing_is_found(desk)
    attempt = desk.engine.worker.order_worker.attempts.as_if_lost_at(
        await desk.case(payment_id), "mtn_momo", 1
    )
    desk.first.standings[attempt.reference] = SUCCEEDED
    desk.second.standings[attempt.reference] = status_at_rail
    await release(desk)
    for _ in range(3):
        await desk.work()
    assert (await desk.order(payment_id)).status_detail == "under_review"


async def test_a_rail_of_the_other_mode_is_not_searched(desk: Desk):
    await held_payment(desk)
    nothing_is_found(desk)
    desk.second.environment = Environment.LIVE
    await release(desk)
    await desk.work()
    assert len(desk.first.asked) == 3
    assert desk.second.asked == []


async def test_a_payment_is_not_canceled_on_a_read_from_before_a_recovery(desk: Desk):
    payment_id = await held_payment(desk)
    nothing_is_found(desk)
    await release(desk)
    await desk.work()
    read = desk.engine.order_store.payment
    began = False

    async def read_before_the_recovery(order_id: str) -> PaymentCase | None:
        nonlocal began
        case = await read(order_id)
        if not began:
            began = True
            await recovery(desk).start(by="test", reason="a test")
        return case

    desk.engine.collecting.order_store.payment = read_before_the_recovery
    with pytest.raises(PaymentInFlightError):
        await desk.engine.cancel_payment(TENANT, payment_id)
    assert not (await desk.order(payment_id)).status.is_final


@pytest.mark.parametrize("pinned", [None, "mtn_momo"])
async def test_a_refused_send_during_a_recovery_does_not_end_the_order(desk: Desk, pinned: str | None):
    answered = desk.first.send

    async def send(order: SendOrder, *, timeout_s: float) -> SendAnswer:
        await recovery(desk).start(by="test", reason="a test")
        return await answered(order, timeout_s=timeout_s)

    desk.first.send = send
    failure = Failure(FailureCode.PROVIDER_ERROR, reroute=True)
    desk.first.answers = [SendAnswer(evidence=Evidence.REFUSED_FINAL, failure=failure)]
    payment = await desk.pay(rail=pinned)
    order = await desk.order(payment["id"])
    assert (order.status, order.status_detail) == ("processing", "queued")
    assert desk.second.sent == []


async def test_an_order_is_not_declined_on_a_read_from_before_a_recovery(desk: Desk):
    payment_id = (await desk.pay())["id"]
    await desk.pool.execute("UPDATE attempts SET state = 'declined'")
    await desk.pool.execute("UPDATE payments SET status_detail = 'risk_review'")
    read = desk.engine.order_store.payment
    began = False

    async def read_before_the_recovery(order_id: str) -> PaymentCase | None:
        nonlocal began
        case = await read(order_id)
        if not began:
            began = True
            await recovery(desk).start(by="test", reason="a test")
        return case

    desk.engine.collecting.order_store.payment = read_before_the_recovery
    with pytest.raises(StateConflictError, match="recovered"):
        await desk.engine.reviewing.decline(payment_id, by="ama", reason="a test")
    assert not (await desk.order(payment_id)).status.is_final


async def test_a_refund_from_before_the_release_is_not_sent_if_it_could_be_executed_twice(desk: Desk):
    desk.second.status_at_rail = SUCCEEDED
    payment = await desk.pay(rail="paystack")
    await desk.work()
    await recovery(desk).start(by="test", reason="a test")
    await desk.engine.recovery.look()
    refund = await desk.refund(payment["id"], 100)
    nothing_is_found(desk)
    await release(desk)
    for _ in range(3):
        await desk.work()
    assert await desk.waiting() == [(refund["id"], "under_review")]
    assert await sent(desk) == 1


async def test_a_process_unaware_of_a_recovery_sends_no_refund_during_it(desk: Desk):
    desk.first.status_at_rail = SUCCEEDED
    payment = await desk.pay()
    await desk.work()
    await recovery(desk).start(by="test", reason="a test")
    assert not desk.engine.recovery.known.active
    await desk.refund(payment["id"], 100)
    assert await sent(desk) == 1


async def test_of_the_found_attempts_the_one_that_moved_money_stays_open(desk: Desk):
    payment_id = await held_payment(desk, reference="order 17")
    nothing_is_found(desk)
    lost, case = desk.engine.worker.order_worker.attempts.as_if_lost_at, await desk.case(payment_id)
    desk.first.standings[lost(case, "mtn_momo", 1).reference] = PAID
    desk.second.standings[lost(case, "paystack", 2).reference] = replace(PENDING, wallet=PAID.wallet)
    await release(desk)
    for _ in range(2):
        await desk.work()
    order = await desk.order(payment_id)
    assert (order.status, order.rail) == ("succeeded", "mtn_momo")
    states = [attempt.state for attempt in (await desk.case(payment_id)).attempts]
    assert states == ["succeeded", "declined"]


async def test_a_surplus_refund_is_named_by_its_debits_reference(desk: Desk):
    desk.first.status_at_rail = SUCCEEDED
    payment = await desk.pay()
    await desk.work()
    case = await desk.case(payment["id"])
    assert isinstance(case.order, Payment)
    debit = case.attempts[0]
    restored = replace(debit, id="att_of_the_restored_row")
    openings = desk.engine.refunding.refunds
    first, again = openings.of_surplus(case, debit), openings.of_surplus(case, restored)
    assert first.order.identity == again.order.identity
