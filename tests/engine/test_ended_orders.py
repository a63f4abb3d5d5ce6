"""Orders count for metrics once, when the commit of their end is written."""

from dataclasses import replace
from datetime import timedelta

from payment_samples import NOW, PAYMENT, PAYOUT
from synccash.engine.ended_orders import EndedLabels, EndedOrderCounts
from synccash.payments.case import Event
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.history import GoalResult, duration_bucket
from synccash.payments.payment import OutgoingStatus, PaymentStatus


def ends(order, after_s=12.0) -> tuple[Event, ...]:
    return (
        Event(
            id="evt_1",
            merchant_id=order.merchant_id,
            livemode=order.livemode,
            type=f"{order.kind.value}.{order.status.value}",
            created_at=NOW + timedelta(seconds=after_s),
            object_id=order.id,
            object_version=2,
            data=b"{}",
        ),
    )


def test_an_end_counts_by_its_labels_towards_the_goal_and_with_its_duration():
    counts = EndedOrderCounts()
    paid = replace(PAYMENT, status=PaymentStatus.SUCCEEDED, rail="mtn_momo")
    counts.count(paid, ends(paid))
    assert counts.orders == {EndedLabels("test", "payment", "mtn_momo", "mtn", "succeeded", ""): 1}
    assert counts.goals["test", "payment", GoalResult.MET] == 1
    durations = counts.durations["payment", "succeeded"]
    assert (durations.seconds, durations.buckets[duration_bucket(12.0)]) == (12.0, 1)


def test_a_failure_has_its_code_and_counts_by_whose_problem_it_is():
    counts = EndedOrderCounts()
    for code in (FailureCode.FLOAT_TOO_LOW, FailureCode.INVALID_PAYER):
        lost = replace(PAYOUT, livemode=True, status=OutgoingStatus.FAILED, last_error=Failure(code))
        counts.count(lost, ends(lost))
    assert {one.failure_code for one in counts.orders} == {"float_too_low", "invalid_payer"}
    assert counts.goals["live", "payout", GoalResult.MISSED] == 1
    assert counts.goals["live", "payout", GoalResult.EXCLUDED] == 1


def test_commits_that_end_nothing_do_not_count():
    counts = EndedOrderCounts()
    open_payment = replace(PAYMENT, status=PaymentStatus.PROCESSING)
    counts.count(open_payment, ends(open_payment))
    counts.count(replace(PAYMENT, status=PaymentStatus.SUCCEEDED), ())
    assert (counts.orders, sum(counts.goals.values())) == ({}, 0)


def test_a_contradiction_counts_whether_the_order_ends_by_it_or_not():
    counts = EndedOrderCounts()
    counts.count(PAYMENT, (), "paid_twice")
    assert counts.contradictions == {"payment": 1, "refund": 0, "payout": 0}
