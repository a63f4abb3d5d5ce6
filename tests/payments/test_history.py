"""What counts towards the goal, and what a history says about durations."""

from datetime import UTC, datetime, timedelta

import pytest

from synccash.payments.failure import FailureCode
from synccash.payments.history import (
    DURATION_BOUNDS_S,
    EndedOrders,
    GoalResult,
    duration_bucket,
    duration_quantile,
    goal_result,
    history_document,
    read_history,
    success_ratio,
)
from synccash.payments.payment import OrderKind


def some(orders: int, status: str = "succeeded", code: str = "", *, bucket: int = 0) -> EndedOrders:
    durations = [0] * (len(DURATION_BOUNDS_S) + 1)
    durations[bucket] = orders
    return EndedOrders(
        at=datetime(2026, 3, 1, tzinfo=UTC),
        livemode=True,
        kind=OrderKind.PAYMENT,
        rail="mtn_momo",
        network="mtn",
        status=status,
        failure_code=code,
        orders=orders,
        seconds=float(orders),
        durations=durations,
    )


@pytest.mark.parametrize(
    ("status", "code", "result"),
    [
        ("succeeded", "", GoalResult.MET),
        ("canceled", "", GoalResult.EXCLUDED),
        ("failed", FailureCode.INSUFFICIENT_FUNDS, GoalResult.EXCLUDED),
        ("failed", FailureCode.RISK_DECLINED, GoalResult.EXCLUDED),
        ("failed", FailureCode.PROVIDER_ERROR, GoalResult.MISSED),
        ("failed", FailureCode.EXPIRED, GoalResult.MISSED),
        ("failed", "a_code_of_a_later_version", GoalResult.MISSED),
        ("failed", "", GoalResult.MISSED),
    ],
)
def test_what_the_payer_or_the_merchant_ended_does_not_count(status, code, result):
    assert goal_result(status, code) is result


def test_the_ratio_leaves_out_what_does_not_count():
    ended = [some(998), some(2, "failed", "expired"), some(500, "failed", "insufficient_funds")]
    assert success_ratio(ended) == 0.998
    assert success_ratio([some(5, "canceled")]) is None


def test_a_quantile_is_interpolated_in_its_bucket():
    ended = [some(50, bucket=0), some(50, bucket=duration_bucket(15.0))]
    assert duration_quantile(ended, 0.5) == 0.5
    assert duration_quantile(ended, 0.75) == 15.0
    assert duration_quantile([some(3, bucket=duration_bucket(10**6))], 0.5) == DURATION_BOUNDS_S[-1]
    assert duration_quantile([], 0.5) is None


def test_a_history_is_read_as_it_was_shown():
    at = datetime(2026, 3, 1, tzinfo=UTC)
    ended = [some(3), some(2, "failed", "expired"), some(1, "canceled")]
    document = history_document(at, at + timedelta(hours=1), timedelta(minutes=1), ended)
    assert (document["step_s"], document["end"]) == (60, "2026-03-01T01:00:00.000Z")
    assert document["data"][0]["failure_code"] is None
    assert read_history(document) == ended
