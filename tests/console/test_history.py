"""The charts of the overview: ended payments become series, also for times without any."""

from synccash.console.history import payment_series

BOUNDS = [1.0, 5.0, 60.0]


def ended(at, orders, result="met", durations=(0, 0, 0, 0), kind="payment"):
    return {"at": at, "kind": kind, "orders": orders, "result": result, "durations": list(durations)}


def answer(*data):
    times = {"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T12:03:00Z"}
    return {**times, "step_s": 60, "bounds_s": BOUNDS, "data": list(data)}


def test_each_period_has_its_rate_success_and_duration():
    series = payment_series(
        answer(
            ended("2026-03-01T12:00:00Z", 90, "met", (80, 10, 0, 0)),
            ended("2026-03-01T12:00:00Z", 10, "missed", (0, 0, 10, 0)),
            ended("2026-03-01T12:00:00Z", 20, "excluded", (20, 0, 0, 0)),
            ended("2026-03-01T12:02:00Z", 6, "met", (0, 0, 0, 6)),
        )
    )
    assert series["rate"] == [2.0, 0.0, 0.1]
    assert series["success"] == [90.0, None, 100.0]
    assert series["p95"] == [60.0, None, 60.0]
    assert [round(at - series["at"][0]) for at in series["at"]] == [0, 60, 120]


def test_the_time_before_the_first_payment_is_shown_too():
    series = payment_series(answer(ended("2026-03-01T12:02:00Z", 6)))
    assert series["rate"] == [0.0, 0.0, 0.1]


def test_refunds_and_payouts_are_not_counted():
    series = payment_series(answer(ended("2026-03-01T12:01:00Z", 5, kind="payout")))
    assert set(series["rate"]) == {0.0}


def test_a_time_without_payments_has_periods():
    assert payment_series(answer())["rate"] == [0.0, 0.0, 0.0]
