"""The engine's clock follows the order store's clock as far as the store's answers prove it."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from synccash.engine.store_clock import StoreClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class HandClock:
    """A process's clock that a test moves. Its wall time is wrong by `wrong_s`."""

    def __init__(self, wrong_s: float) -> None:
        self.true_s = 0.0
        self.wrong_s = wrong_s

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.true_s + self.wrong_s)

    def monotonic(self) -> float:
        return self.true_s

    async def sleep(self, seconds: float) -> None:
        self.true_s += seconds


def answered(clock: StoreClock, hand: HandClock, way_s: float, back_s: float) -> None:
    """One answer of the order store: `way_s` until it read its clock, `back_s` until the answer arrived."""
    asked_at = clock.unadjusted()
    hand.true_s += way_s
    as_of = NOON + timedelta(seconds=hand.true_s)
    hand.true_s += back_s
    clock.observe(as_of, asked_at)


def off_s(clock: StoreClock, hand: HandClock) -> float:
    return (clock.now() - NOON).total_seconds() - hand.true_s


WAYS = st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=8)


@given(st.floats(-400, 400), WAYS)
def test_the_clock_error_is_at_most_the_fastest_round_trip(wrong_s: float, ways: list[tuple[float, float]]):
    hand = HandClock(wrong_s)
    clock = StoreClock(hand)
    for way_s, back_s in ways:
        answered(clock, hand, way_s, back_s)
    quickest = min(way_s + back_s for way_s, back_s in ways)
    assert abs(off_s(clock, hand)) <= quickest + 1e-3


@given(WAYS)
def test_slow_answers_do_not_move_a_correct_clock(ways: list[tuple[float, float]]):
    hand = HandClock(0.0)
    clock = StoreClock(hand)
    for way_s, back_s in ways:
        answered(clock, hand, way_s, back_s)
    assert abs(off_s(clock, hand)) <= 1e-3


def test_the_store_clock_follows_a_corrected_process_clock():
    hand = HandClock(300.0)
    clock = StoreClock(hand)
    answered(clock, hand, 0.01, 0.01)
    hand.wrong_s = 0.0
    answered(clock, hand, 0.01, 0.01)
    assert abs(off_s(clock, hand)) <= 0.03
