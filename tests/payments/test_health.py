"""Rail health: how samples are weighed, merged and aged."""

from hypothesis import given
from hypothesis import strategies as st

from synccash.payments.failure import Failure, FailureCode, WhoseProblem
from synccash.payments.health import (
    ASPECTS,
    HealthAspect,
    HealthSettings,
    HealthState,
    HealthStatus,
    Signals,
    Tally,
    failure_weight,
    health_of,
)

SETTINGS = HealthSettings()
SIGHTINGS = st.lists(st.tuples(st.sampled_from(ASPECTS), st.booleans(), st.floats(0, 120)), max_size=60)


def told(sightings, settings: HealthSettings = SETTINGS) -> Signals:
    signals = Signals(0.0)
    now = 0.0
    for aspect, well, after_s in sightings:
        now += after_s
        signals = signals.with_sample(aspect, now, settings, good=float(well), bad=float(not well))
    return signals


def score(signals: Signals, **changes) -> float:
    return health_of(signals, SETTINGS, **changes).score


def many(aspect: HealthAspect, good: int, bad: int) -> Signals:
    signals = Signals(0.0)
    for number in range(good + bad):
        well = number % (good + bad) < good
        signals = signals.with_sample(aspect, 0.0, SETTINGS, good=float(well), bad=float(not well))
    return signals


@given(SIGHTINGS)
def test_health_is_a_share_and_its_state_does_not_grow(sightings):
    signals = told(sightings)
    assert 0.0 <= score(signals) <= 1.0
    assert all(signals.of(a).good + signals.of(a).bad <= SETTINGS.memory + 1e-9 for a in ASPECTS)


@given(SIGHTINGS, st.sampled_from(ASPECTS))
def test_a_bad_sample_never_raises_health_and_a_good_one_never_lowers_it(sightings, aspect):
    before = told(sightings)
    worse = before.with_sample(aspect, before.at, SETTINGS, bad=1.0)
    better = before.with_sample(aspect, before.at, SETTINGS, good=1.0)
    assert score(worse) <= score(before) + 1e-9
    assert score(better) >= score(before) - 1e-9
    assert score(before, overdue=3) <= score(before)


@given(SIGHTINGS, st.floats(0, 3_600))
def test_health_recovers_without_new_bad_samples(sightings, later_s):
    signals = told(sightings)
    later = signals.as_of(signals.at + later_s, SETTINGS.half_life_s)
    assert score(later) >= score(signals) - 1e-9
    assert score(signals.as_of(signals.at + 3_600, SETTINGS.half_life_s)) == 1.0


@given(SIGHTINGS, SIGHTINGS)
def test_merging_the_samples_of_two_observers_is_commutative(some, others):
    one, another = told(some), told(others)
    this, that = one.combined_with(another, 30.0), another.combined_with(one, 30.0)
    assert this.at == that.at
    assert abs(score(this) - score(that)) < 1e-9


def test_a_few_failures_hardly_lower_health():
    assert score(many(HealthAspect.SEND, 0, 2)) == 1.0
    assert score(many(HealthAspect.SEND, 0, 4)) > 0.9
    assert score(many(HealthAspect.SEND, 95, 5)) == 1.0


def test_a_rail_failing_half_its_orders_is_avoided_within_10_and_degraded_within_100():
    assert score(many(HealthAspect.SEND, 5, 5)) < 1.0
    assert score(many(HealthAspect.SEND, 20, 20)) < SETTINGS.unhealthy_below
    assert score(many(HealthAspect.SEND, 50, 50)) < SETTINGS.degraded_below
    assert score(many(HealthAspect.END, 50, 50)) < SETTINGS.degraded_below


def test_an_avoided_rail_that_fails_half_its_probes_becomes_degraded():
    assert health_of(many(HealthAspect.SEND, 5, 5), SETTINGS).public < SETTINGS.degraded_below
    assert health_of(many(HealthAspect.SEND, 0, 1), SETTINGS).public > SETTINGS.degraded_below
    assert health_of(many(HealthAspect.SEND, 9, 1), SETTINGS).public > SETTINGS.recovered_above


def test_a_rail_that_was_healthy_all_day_is_detected_as_quickly():
    signals = many(HealthAspect.SEND, 10_000, 0)
    for number in range(90):
        signals = signals.with_sample(HealthAspect.SEND, 0.0, SETTINGS, good=number % 2, bad=1 - number % 2)
    assert score(signals) < SETTINGS.unhealthy_below


def test_orders_without_an_answer_count_before_they_time_out():
    well = many(HealthAspect.SEND, 1_000, 0)
    assert score(well, overdue=1) == 1.0
    assert score(well, overdue=100) < SETTINGS.degraded_below


def test_slow_answers_count_in_proportion_to_their_latency():
    assert [SETTINGS.slowness(s) for s in (0.1, 2.0, 3.5, 5.0, 60.0)] == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_unanswered_inquiries_degrade_a_rail_and_lost_callbacks_alone_do_not():
    lost, silent = score(many(HealthAspect.CALLBACK, 0, 1_000)), score(many(HealthAspect.INQUIRY, 0, 1_000))
    assert silent < SETTINGS.degraded_below < SETTINGS.unhealthy_below < lost < 1.0


def test_mistakes_of_payer_or_merchant_do_not_count_against_a_rail():
    for code in FailureCode:
        innocent = Failure(code).whose_problem in (WhoseProblem.PAYER, WhoseProblem.MERCHANT)
        # One amount was too much for our own account; the rail may pay the next.
        innocent |= code is FailureCode.FLOAT_TOO_LOW
        assert (failure_weight(Failure(code, reroute=True)) == Tally()) is innocent, code


def test_an_unclear_failure_that_is_mostly_insufficient_funds_hardly_counts():
    unclear = failure_weight(Failure(FailureCode.PROVIDER_ERROR))
    assert 0 < unclear.bad < failure_weight(Failure(FailureCode.PROVIDER_ERROR, reroute=True)).bad
    fifth_without_money = Signals(0.0)
    for number in range(100):
        kind = {"bad": unclear.bad} if number % 5 == 0 else {"good": 1.0}
        fifth_without_money = fifth_without_money.with_sample(HealthAspect.END, 0.0, SETTINGS, **kind)
    assert score(fifth_without_money) == 1.0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 5), st.booleans()), max_size=80))
def test_a_health_status_changes_only_after_consistent_samples_for_the_hold_time(looks):
    state, now, since = HealthState(), 0.0, None
    for health, step_s, is_open in looks:
        now += step_s
        healthy = state.status is HealthStatus.HEALTHY
        bad, good = is_open or health < SETTINGS.degraded_below, not is_open and health >= 0.9
        against = bad if healthy else good
        since = (now if since is None else since) if against else None
        after = state.after(health, now, SETTINGS, is_open=is_open)
        changed = after.status is not state.status
        assert changed is (since is not None and now - since >= SETTINGS.hold_s)
        since = None if changed else since
        state = after
