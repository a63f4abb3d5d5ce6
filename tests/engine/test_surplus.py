"""A surplus is refunded with the timing of all orders; if the refund fails, it is reported for review."""

import asyncpg
import msgspec
import pytest

from engine.scripted import ACCEPTED, PENDING, SUCCEEDED, Desk
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.rail import RailStatus, SendAnswer, StatusAnswer
from synccash.resilience.evidence import Evidence
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.waiting import PostgresWaiting

AWAY = SendAnswer(evidence=Evidence.NOT_SENT, failure=Failure(FailureCode.PROVIDER_UNAVAILABLE, reroute=True))
BUSY = SendAnswer(
    evidence=Evidence.REFUSED_LATER, failure=Failure(FailureCode.PROVIDER_UNAVAILABLE, reroute=True)
)
LOST = SendAnswer(evidence=Evidence.AMBIGUOUS)
NO_FLOAT = Failure(FailureCode.MERCHANT_ACCOUNT_BLOCKED)
NEVER = SendAnswer(evidence=Evidence.REFUSED_FINAL, failure=NO_FLOAT)
NOT_FOUND = StatusAnswer(status_at_rail=RailStatus.NOT_FOUND)
FAILED = StatusAnswer(status_at_rail=RailStatus.FAILED, failure=NO_FLOAT)


async def paid_twice(desk: Desk, refund: SendAnswer, status_at_rail: StatusAnswer = PENDING) -> str:
    """A payment with a surplus; `refund` is the first rail's answer to its automatic refund."""
    desk.first.answers = [AWAY]
    payment_id: str = (await desk.pay())["id"]
    desk.second.status_at_rail = SUCCEEDED
    await desk.work()
    case = await desk.engine.order_store.payment(payment_id)
    assert case is not None
    first = case.attempts[0]
    desk.first.standings[first.reference] = SUCCEEDED
    desk.first.answers, desk.first.status_at_rail = [refund], status_at_rail
    await desk.engine.take_callback("mtn_momo", first.callback_token)
    for _ in range(3):
        await desk.work()
    return payment_id


async def waiting(desk: Desk) -> list[tuple[str, str, int]]:
    book = PostgresWaiting(Database(desk.pool))
    found = await book.oldest(10)
    counts = await book.counts()
    assert sum(one.count for (_, why), one in counts.items() if why != "contradiction") == len(found)
    return [(one["id"], one["why"], one["amount"]) for one in found]


async def refunds(desk: Desk) -> list[str]:
    return [row["status"] for row in await desk.pool.fetch("SELECT status FROM refunds ORDER BY created_at")]


def returned(desk: Desk) -> list[str]:
    """The references of all refunds that left."""
    return [order.reference for order in desk.first.sent if order.operation == "refund"]


@pytest.mark.parametrize("answer", [AWAY, BUSY], ids=["a rail that is away", "a rail that is busy"])
async def test_a_surplus_is_refunded_as_soon_as_its_rail_accepts_the_refund(desk: Desk, answer: SendAnswer):
    await paid_twice(desk, answer)
    assert await refunds(desk) == ["processing"]
    desk.first.answers, desk.first.status_at_rail = [ACCEPTED], SUCCEEDED
    for _ in range(2):
        await desk.work()
    assert await refunds(desk) == ["succeeded"]
    assert await waiting(desk) == []


async def test_a_lost_surplus_refund_is_resent_under_its_own_reference(desk: Desk):
    await paid_twice(desk, LOST, NOT_FOUND)
    await desk.work()
    assert len(returned(desk)) > 1
    assert len(set(returned(desk))) == 1
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    assert await refunds(desk) == ["succeeded"]


@pytest.mark.parametrize(("answer", "status_at_rail"), [(NEVER, PENDING), (ACCEPTED, FAILED)])
async def test_a_refused_surplus_refund_is_reported_and_not_retried(
    desk: Desk, answer: SendAnswer, status_at_rail: StatusAnswer
):
    payment_id = await paid_twice(desk, answer, status_at_rail)
    for _ in range(3):
        await desk.work()
    assert await refunds(desk) == ["failed"]
    assert len(returned(desk)) == 1
    assert await waiting(desk) == [(payment_id, "surplus", 1000)]
    told = await desk.pool.fetchval("SELECT data FROM events WHERE type = 'refund.failed'")
    assert msgspec.json.decode(told)["reason"] == "surplus"


async def test_an_operator_can_retry_a_failed_surplus_refund(desk: Desk):
    payment_id = await paid_twice(desk, NEVER)
    desk.first.answers, desk.first.status_at_rail = [ACCEPTED], SUCCEEDED
    for _ in range(2):
        (case,) = await desk.engine.return_surplus(payment_id, by="key_1", reason="the float is full again")
        assert case.order.status == "processing"
    assert await waiting(desk) == []
    for _ in range(2):
        await desk.work()
    assert await refunds(desk) == ["failed", "succeeded"]
    (case,) = await desk.engine.return_surplus(payment_id, by="key_1", reason="once more")
    assert case.order.status == "succeeded"
    assert len(returned(desk)) == len(set(returned(desk))) == 2


@pytest.mark.parametrize("surplus_refund", ["manual"])
async def test_a_surplus_that_waits_for_an_operator_is_listed(desk: Desk):
    payment_id = await paid_twice(desk, ACCEPTED, SUCCEEDED)
    assert await waiting(desk) == [(payment_id, "surplus", 1000)]
    await desk.engine.return_surplus(payment_id, by="key_1", reason="the payer called")
    assert await waiting(desk) == []


async def test_a_merchants_own_refund_is_not_a_surplus(desk: Desk):
    desk.first.status_at_rail = SUCCEEDED
    payment = await desk.pay()
    await desk.work()
    await desk.refund(payment["id"], 400)
    assert await waiting(desk) == []


async def test_every_order_that_needs_an_operator_is_listed(desk: Desk):
    desk.first.status_at_rail = StatusAnswer(status_at_rail=RailStatus.SUCCEEDED, amount=900)
    paid, sent = await desk.pay(), await desk.pay_out()
    await desk.work()
    assert {(order_id, why) for order_id, why, _ in await waiting(desk)} == {
        (paid["id"], "under_review"),
        (sent["id"], "under_review"),
    }
    looks = [one["next_look_at"] for one in await PostgresWaiting(Database(desk.pool)).oldest(10)]
    assert all(looks)


@pytest.mark.parametrize("reported", [None, 700])
async def test_a_late_success_in_another_currency_on_an_ended_payment_is_listed(
    desk: Desk, reported: int | None
):
    payment_id: str = (await desk.pay())["id"]
    (first,) = (await desk.case(payment_id)).attempts
    desk.first.standings[first.reference] = FAILED
    await desk.work()
    assert (await desk.order(payment_id)).status == "failed"
    assert await waiting(desk) == []
    await desk.rail_pays_late(desk.first, first, currency="NGN", amount=reported)
    assert await desk.contradictions() == ["late_success"]
    assert await waiting(desk) == [(payment_id, "currency_differs", 1000)]
    counts = await PostgresWaiting(Database(desk.pool)).counts()
    assert {name: one.count for name, one in counts.items()} == {
        ("payment", "currency_differs"): 1,
        ("payment", "contradiction"): 1,
    }
    assert returned(desk) == []
    told = await desk.pool.fetchval("SELECT data FROM timeline WHERE kind = 'contradiction'")
    assert msgspec.json.decode(told)["reported"] == reported


async def test_reversed_money_in_another_currency_is_not_listed(desk: Desk):
    payment_id: str = (await desk.pay())["id"]
    (first,) = (await desk.case(payment_id)).attempts
    desk.first.standings[first.reference] = FAILED
    await desk.work()
    await desk.rail_pays_late(desk.first, first, currency="NGN")
    desk.first.standings[first.reference] = FAILED
    await desk.engine.take_callback("mtn_momo", first.callback_token)
    await desk.work()
    assert await desk.contradictions() == ["late_success", "reversed"]
    assert await waiting(desk) == []


async def test_a_late_success_of_zero_on_an_ended_payment_is_not_listed(desk: Desk):
    payment_id: str = (await desk.pay())["id"]
    (first,) = (await desk.case(payment_id)).attempts
    desk.first.standings[first.reference] = FAILED
    await desk.work()
    await desk.rail_pays_late(desk.first, first, amount=0)
    assert await waiting(desk) == []


_SURPLUS = """
INSERT INTO refunds (id, merchant_id, livemode, payment_id, attempt_id, amount, currency, created_at,
    updated_at, status, rail, surplus, exclusive, version, fence, due_at, move_id)
SELECT 're_former', p.merchant_id, p.livemode, p.id, a.id, a.amount, p.currency, now(), now(),
    'processing', a.rail, true, false, 1, 1, now(), 're_former'
FROM payments p JOIN attempts a ON a.order_id = p.id WHERE a.id = $1
"""


async def test_postgresql_refuses_a_surplus_refund_of_the_debit_that_pays_the_payment(desk: Desk):
    """As a process of the former release would, which does not know by what the payment is paid."""
    desk.first.status_at_rail = SUCCEEDED
    payment_id: str = (await desk.pay())["id"]
    await desk.work()
    (paid,) = (await desk.case(payment_id)).attempts
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await desk.pool.execute(_SURPLUS, paid.id)
    assert refused.value.constraint_name == "what_pays_is_no_surplus"
