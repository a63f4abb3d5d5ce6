"""Decisions of rules, a fraud service and operators about payments, over PostgreSQL and scripted rails."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from engine.scripted import SUCCEEDED, Desk
from synccash.engine.progress.screening import OutagePolicy, Screening
from synccash.engine.requests.review import Resolution
from synccash.payments.errors import ObjectNotFoundError, StateConflictError
from synccash.payments.payment import OrderKind, Payment
from synccash.payments.risk import RiskDecision, RiskOutcome, RiskRules

REVIEW = pytest.mark.parametrize("rules", [RiskRules(review_from=1_000)])


class Oracle:
    """A fraud service with a scripted answer; without one it is down."""

    def __init__(self, outcome: RiskOutcome | None, outage: OutagePolicy | None = None) -> None:
        self.outcome = outcome
        self.asked: list[str] = []
        self.screening = Screening(self.ask, outage or OutagePolicy())

    async def ask(self, payment: Payment) -> RiskDecision:
        self.asked.append(payment.id)
        if self.outcome is None:
            raise ConnectionError
        return RiskDecision(self.outcome, ("fraud:told",))


async def stands(desk: Desk, payment_id: str) -> Payment:
    case = await desk.engine.order_store.payment(payment_id)
    assert case is not None
    return case.order


async def decided(desk: Desk, payment_id: str, deed: str) -> None:
    await getattr(desk.engine.reviewing, deed)(payment_id, by="key_admin", reason="a known buyer")


async def noted(desk: Desk, kind: str) -> dict:
    return msgspec.json.decode(await desk.pool.fetchval("SELECT data FROM timeline WHERE kind = $1", kind))


def sent(desk: Desk) -> int:
    return len(desk.first.sent) + len(desk.second.sent)


@REVIEW
async def test_a_payment_in_review_is_sent_once_after_approval(desk: Desk):
    payment = await desk.pay()
    assert (payment["status"], payment["status_detail"]) == ("processing", "risk_review")
    await desk.work()
    assert sent(desk) == 0
    await decided(desk, payment["id"], "approve")
    await desk.work()
    assert (sent(desk), (await stands(desk, payment["id"])).status_detail) == (1, "awaiting_payer")
    assert await noted(desk, "approved") == {"by": "key_admin", "reason": "a known buyer"}
    with pytest.raises(StateConflictError, match="awaiting_payer"):
        await decided(desk, payment["id"], "approve")
    with pytest.raises(StateConflictError):
        await decided(desk, payment["id"], "decline")


@REVIEW
async def test_a_payment_declined_in_review_ends_unsent(desk: Desk):
    payment = await desk.pay()
    await decided(desk, payment["id"], "decline")
    await desk.work()
    after = await stands(desk, payment["id"])
    assert (after.status, after.last_error.code, sent(desk)) == ("failed", "risk_declined", 0)
    assert await noted(desk, "declined") == {"by": "key_admin", "reason": "a known buyer"}
    assert await desk.pool.fetchval("SELECT count(*) FROM events WHERE type = 'payment.failed'") == 1


@REVIEW
async def test_of_two_concurrent_decisions_one_is_accepted(desk: Desk):
    payment = await desk.pay()
    told = await asyncio.gather(
        *(decided(desk, payment["id"], deed) for deed in ("approve", "decline")), return_exceptions=True
    )
    assert [type(one) for one in told if one is not None] == [StateConflictError]
    await desk.work()
    declined = (await stands(desk, payment["id"])).status == "failed"
    assert sent(desk) == (0 if declined else 1)


@REVIEW
async def test_a_payment_without_a_review_decision_expires(desk: Desk):
    payment = await desk.pay()
    await desk.pool.execute("UPDATE payments SET expires_at = now()")
    await desk.work()
    after = await stands(desk, payment["id"])
    assert (after.status, after.status_detail, sent(desk)) == ("failed", "expired", 0)


@pytest.mark.parametrize("rules", [RiskRules(ceiling=999)])
async def test_a_payment_declined_by_a_rule_fails_at_once_with_its_reasons(desk: Desk):
    payment = await desk.pay()
    assert (payment["status"], payment["last_error"]["code"]) == ("failed", "risk_declined")
    assert await noted(desk, "risk_assessed") == {"outcome": "decline", "reasons": ["above_ceiling"]}
    assert sent(desk) == 0


async def test_a_decision_about_an_unknown_payment_is_refused(desk: Desk):
    with pytest.raises(ObjectNotFoundError):
        await decided(desk, "pay_nobody", "approve")


@pytest.mark.parametrize(
    ("screening", "status", "detail", "sends"),
    [
        (Oracle(RiskOutcome.ALLOW).screening, "processing", "awaiting_payer", 1),
        (Oracle(RiskOutcome.REVIEW).screening, "processing", "risk_review", 0),
        (Oracle(RiskOutcome.DECLINE).screening, "failed", None, 0),
        (Oracle(None).screening, "processing", "awaiting_payer", 1),
        (Oracle(None, OutagePolicy(outcome=RiskOutcome.REVIEW)).screening, "processing", "risk_review", 0),
        (Oracle(None, OutagePolicy(outcome=RiskOutcome.DECLINE)).screening, "failed", None, 0),
        (Oracle(None, OutagePolicy(decline_above=999)).screening, "failed", None, 0),
        (Oracle(None, OutagePolicy(decline_above=1_000)).screening, "processing", "awaiting_payer", 1),
    ],
    ids=["allow", "review", "decline", "down", "down: review", "down: decline", "down: above", "down: below"],
)
async def test_the_fraud_services_verdict_or_its_outage_policy_applies_to_payments(
    desk: Desk, status: str, detail: str | None, sends: int
):
    payment = await desk.pay()
    assert (payment["status"], payment["status_detail"], sent(desk)) == (status, detail, sends)
    assert (await noted(desk, "screened"))["outcome"] in ("allow", "review", "decline")


@pytest.mark.parametrize("screening", [Oracle(RiskOutcome.REVIEW).screening])
async def test_a_payment_that_the_fraud_service_doubts_continues_after_approval(desk: Desk):
    payment = await desk.pay()
    await decided(desk, payment["id"], "approve")
    await desk.work()
    assert (sent(desk), (await stands(desk, payment["id"])).status_detail) == (1, "awaiting_payer")


async def under_review(desk: Desk) -> str:
    """A payment whose rail reports another amount: only an operator can end it."""
    payment = await desk.pay()
    desk.first.status_at_rail = replace(SUCCEEDED, amount=1)
    await desk.work()
    assert (await stands(desk, payment["id"])).status_detail == "under_review"
    return payment["id"]


async def resolved(desk: Desk, payment_id: str, outcome: Resolution) -> None:
    await desk.engine.reviewing.resolve(
        OrderKind.PAYMENT, payment_id, outcome, by="key_admin", evidence="statement, line 118"
    )


@pytest.mark.parametrize("outcome", Resolution)
async def test_a_payment_under_review_ends_as_the_operator_resolves_it(desk: Desk, outcome: Resolution):
    payment_id = await under_review(desk)
    await resolved(desk, payment_id, outcome)
    assert (await stands(desk, payment_id)).status == outcome.value
    assert (await noted(desk, "resolved"))["reason"] == "statement, line 118"
    with pytest.raises(StateConflictError):
        await resolved(desk, payment_id, outcome)


async def test_an_underpaid_payment_counts_and_refunds_at_most_the_amount_received(desk: Desk):
    payment_id = await under_review(desk)
    await desk.engine.reviewing.resolve(
        OrderKind.PAYMENT, payment_id, Resolution.SUCCEEDED, by="key_admin", evidence="line 118", received=1
    )
    case = await desk.engine.order_store.payment(payment_id)
    assert (case.order.status, case.order.amount_received) == ("succeeded", 1)
    (attempt,) = case.attempts
    assert (attempt.amount, attempt.amount_received) == (1000, 1)
    with pytest.raises(StateConflictError, match="only 1 pesewas"):
        await desk.refund(payment_id, 2)


async def test_a_success_after_a_wrong_resolution_is_a_contradiction_and_is_refunded(desk: Desk):
    payment_id = await under_review(desk)
    await resolved(desk, payment_id, Resolution.FAILED)
    desk.first.status_at_rail = SUCCEEDED
    (attempt,) = (await desk.engine.order_store.payment(payment_id)).attempts
    await desk.engine.take_callback("mtn_momo", attempt.callback_token)
    for _ in range(3):
        await desk.work()
    assert (await stands(desk, payment_id)).status == "failed"
    assert await desk.pool.fetchval("SELECT count(*) FROM events WHERE type = 'payment.contradiction'") == 2
    back = [order for order in desk.first.sent if order.operation == "refund"]
    assert [(order.amount, order.original_reference) for order in back] == [(1000, attempt.reference)]


async def test_only_orders_under_review_can_be_resolved(desk: Desk):
    payment = await desk.pay()
    with pytest.raises(StateConflictError):
        await resolved(desk, payment["id"], Resolution.SUCCEEDED)
