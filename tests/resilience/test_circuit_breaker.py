"""The rules of the circuit breaker one by one, under a clock that only the test moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccash.resilience.circuit_breaker import BreakerSettings, BreakerState, CircuitBreaker
from synccash.resilience.errors import CircuitOpenError
from synccash.resilience.verdict import Outcome


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def breaker(**settings) -> tuple[CircuitBreaker, Clock]:
    clock = Clock()
    settings = {"failures": 3, "open_s": 30.0} | settings
    return CircuitBreaker("rail", BreakerSettings(**settings), clock=clock, random=lambda: 0.0), clock


def call(b: CircuitBreaker, outcome: Outcome = Outcome.OK, seconds: float = 0.0) -> None:
    b.record(b.acquire(), outcome, seconds)


def open_breaker(**settings) -> tuple[CircuitBreaker, Clock]:
    b, clock = breaker(**settings)
    for _ in range(3):
        call(b, Outcome.FAILED)
    assert b.state is BreakerState.OPEN
    return b, clock


def test_three_failures_in_a_row_open_the_breaker_and_the_error_has_the_open_time():
    b, clock = open_breaker()
    clock.now = 10.0
    with pytest.raises(CircuitOpenError) as refused:
        b.acquire()
    assert (refused.value.name, refused.value.retry_after) == ("rail", 20.0)
    assert "3 failures in a row" in str(refused.value)
    assert b.retry_after() == 20.0


def test_a_success_resets_the_count_of_failures_in_a_row():
    b, _ = breaker()
    for outcome in (Outcome.FAILED, Outcome.FAILED, Outcome.OK, Outcome.FAILED, Outcome.FAILED):
        call(b, outcome)
    assert b.state is BreakerState.CLOSED


def test_ignored_results_count_neither_as_success_nor_as_failure():
    b, _ = breaker()
    for outcome in (Outcome.FAILED, Outcome.FAILED, Outcome.IGNORED, Outcome.FAILED):
        call(b, outcome)
    assert b.state is BreakerState.OPEN


def test_a_half_open_breaker_allows_one_of_fifty_calls():
    b, clock = open_breaker()
    clock.now = 30.0
    b.acquire()
    for _ in range(49):
        with pytest.raises(CircuitOpenError) as refused:
            b.acquire()
        assert 0 < refused.value.retry_after <= 1.0
    assert b.statistics().blocked == 49


def test_a_successful_probe_closes_the_breaker_and_a_failed_one_doubles_the_open_time():
    b, clock = open_breaker()
    clock.now = 30.0
    call(b, Outcome.FAILED)
    assert b.retry_after() == 60.0
    clock.now = 90.0
    call(b, Outcome.OK)
    assert b.state is BreakerState.CLOSED
    for _ in range(3):
        call(b, Outcome.FAILED)
    assert b.retry_after() == 30.0, "after it has closed, the open time starts at open_s again"


def test_the_open_time_is_at_least_retry_after_and_at_most_open_max_s():
    b, clock = open_breaker(open_max_s=50.0)
    clock.now = 30.0
    b.record(b.acquire(), Outcome.FAILED, 0.0, retry_after=120.0)
    assert b.retry_after() == 50.0
    b, _ = breaker(open_max_s=50.0, failures=1)
    b.record(b.acquire(), Outcome.FAILED, 0.0, retry_after=40.0)
    assert b.retry_after() == 40.0


@given(st.floats(0, 1, exclude_max=True))
def test_randomness_adds_at_most_a_tenth_to_the_open_time(chance: float):
    b = CircuitBreaker("rail", BreakerSettings(failures=1, open_s=30.0), clock=Clock(), random=lambda: chance)
    call(b, Outcome.FAILED)
    assert 30.0 <= b.retry_after() <= 33.0


def test_a_cancelled_probe_frees_its_slot_and_does_not_change_the_state():
    b, clock = open_breaker()
    clock.now = 30.0
    b.release(b.acquire())
    assert b.state is BreakerState.HALF_OPEN
    call(b, Outcome.OK)
    assert b.state is BreakerState.CLOSED


def test_a_hung_probe_is_given_up_after_probe_hold_s_and_its_late_result_is_ignored():
    b, clock = open_breaker(probe_hold_s=5.0)
    clock.now = 30.0
    hung = b.acquire()
    with pytest.raises(CircuitOpenError):
        b.acquire()
    clock.now = 35.0
    second = b.acquire()
    b.record(hung, Outcome.OK, 5.0)
    assert b.state is BreakerState.HALF_OPEN
    b.record(second, Outcome.OK, 0.0)
    assert b.state is BreakerState.CLOSED


def test_cancelled_calls_do_not_open_the_breaker():
    b, _ = breaker(failures=1)
    for _ in range(10):
        b.release(b.acquire())
    assert b.state is BreakerState.CLOSED


def test_a_late_success_closes_neither_an_open_nor_a_half_open_breaker():
    b, clock = breaker()
    early = b.acquire()
    for _ in range(3):
        call(b, Outcome.FAILED)
    b.record(early, Outcome.OK, 1.0)
    assert b.state is BreakerState.OPEN
    clock.now = 30.0
    b.release(b.acquire())
    b.record(early, Outcome.OK, 1.0)
    assert b.state is BreakerState.HALF_OPEN


def test_late_failures_of_an_earlier_generation_do_not_open_the_breaker():
    b, clock = breaker()
    late = [b.acquire() for _ in range(5)]
    for _ in range(3):
        call(b, Outcome.FAILED)
    clock.now = 30.0
    call(b, Outcome.OK)
    for permit in late:
        b.record(permit, Outcome.FAILED, 9.0)
    assert b.state is BreakerState.CLOSED
    assert b.statistics().in_a_row == 0


def test_a_call_without_a_permit_can_open_the_breaker_but_not_close_it():
    b, clock = breaker()
    for _ in range(3):
        b.observe(Outcome.FAILED, 0.0)
    assert b.state is BreakerState.OPEN
    clock.now = 30.0
    b.observe(Outcome.OK, 0.0)
    assert b.state is BreakerState.HALF_OPEN
    assert b.acquire() < 0, "a call without a permit uses no probe slot"


def test_rates_apply_only_from_min_calls_on():
    b, _ = breaker(failures=None, failure_rate=0.5, window=10, min_calls=4)
    for _ in range(3):
        call(b, Outcome.FAILED)
    assert b.state is BreakerState.CLOSED
    call(b)
    assert b.state is BreakerState.CLOSED, "a success does not open the breaker"
    call(b, Outcome.FAILED)
    assert b.state is BreakerState.OPEN


def test_slow_successful_calls_open_the_breaker():
    b, _ = breaker(failures=None, slow_rate=0.5, slow_s=2.0, window=10, min_calls=4)
    for seconds in (0.1, 0.1, 2.0, 2.0):
        call(b, seconds=seconds)
    assert b.state is BreakerState.OPEN
    assert "took 2 s or more" in b.reason


@given(st.lists(st.tuples(st.sampled_from(Outcome), st.floats(0, 4)), max_size=60))
def test_the_window_counts_the_same_calls_as_a_naive_list(calls: list[tuple[Outcome, float]]):
    b, _ = breaker(failures=None, failure_rate=1.0, slow_rate=1.0, slow_s=2.0, window=7, min_calls=7)
    naive: list[tuple[Outcome, float]] = []
    for outcome, seconds in calls:
        if b.state is not BreakerState.CLOSED:
            break
        call(b, outcome, seconds)
        if outcome is not Outcome.IGNORED:
            naive = [*naive, (outcome, seconds)][-7:]
        failed = sum(o is Outcome.FAILED for o, _ in naive)
        slow = sum(s >= 2.0 for _, s in naive)
        if b.state is BreakerState.CLOSED:
            seen = b.statistics()
            assert (seen.window_calls, seen.window_failures, seen.window_slow) == (len(naive), failed, slow)
            assert not (len(naive) == 7 and (failed == 7 or slow == 7))
        else:
            assert len(naive) == 7
            assert 7 in (failed, slow)


def test_an_operator_can_force_the_breaker_open_and_reset_it_with_a_reason():
    b, clock = breaker()
    changes = []
    b.listen(lambda t: changes.append((t.before.value, t.after.value, t.reason)))
    b.force_open("maintenance at the rail")
    clock.now = 10_000.0
    with pytest.raises(CircuitOpenError, match="open until it is reset: maintenance at the rail") as refused:
        b.acquire()
    assert (refused.value.retry_after, b.statistics().retry_after) == (None, None), (
        "a forced open state has no end time"
    )
    b.reset("maintenance is over")
    call(b)
    assert changes == [
        ("closed", "forced_open", "maintenance at the rail"),
        ("forced_open", "closed", "maintenance is over"),
    ]


def test_in_shadow_mode_an_open_breaker_refuses_no_call():
    b, _ = open_breaker(mode="shadow")
    b.acquire()
    assert (b.state, b.retry_after()) == (BreakerState.OPEN, None)


def test_a_disabled_breaker_never_opens():
    b, _ = breaker(mode="disabled")
    for _ in range(10):
        call(b, Outcome.FAILED)
    assert b.state is BreakerState.CLOSED


@pytest.mark.parametrize(
    "wrong",
    [
        {"failures": 0},
        {"failure_rate": 0.0},
        {"slow_rate": 1.1},
        {"min_calls": 0},
        {"min_calls": 11, "window": 10},
        {"open_s": 0.0},
        {"open_s": 400.0},
        {"probes": 0},
        {"probes_at_once": 2},
    ],
)
def test_invalid_settings_raise_value_error(wrong: dict):
    with pytest.raises(ValueError, match=r"."):
        BreakerSettings(**wrong)
