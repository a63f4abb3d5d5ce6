"""The retry schedule of deliveries."""

from hypothesis import given
from hypothesis import strategies as st

from synccash.payments.webhook import GIVE_UP_AFTER, next_try_s

CHANCE = st.floats(0, 1)


@given(CHANCE)
def test_the_waits_grow_until_the_event_is_three_days_old(chance: float):
    age_s, waits, tries = 0.0, [], 0
    while (wait_s := next_try_s(tries := tries + 1, age_s, chance)) is not None:
        waits.append(wait_s)
        age_s += wait_s
    assert waits == sorted(waits)
    assert 64 * 3_600 - 5_760 < age_s <= GIVE_UP_AFTER.total_seconds()
    assert 12 < tries < 25


@given(st.integers(1, 40), CHANCE)
def test_jitter_only_lengthens_a_wait(tries: int, chance: float):
    assert next_try_s(tries, 0.0, 0.0) <= next_try_s(tries, 0.0, chance)


def test_retry_after_can_lengthen_a_wait_but_not_shorten_it():
    assert next_try_s(1, 0.0, 0.0, 60.0) == 60.0
    assert next_try_s(5, 0.0, 0.0, 1.0) == 900.0
