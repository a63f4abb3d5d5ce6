"""The share of one merchant: how many of its deliveries are under way, and how many begin in a second."""

from hypothesis import given
from hypothesis import strategies as st

from synccash.payments.request import Tenant
from synccash.webhooks.pacing import MerchantPacer

ONE, TEST_MODE, OTHER = (
    Tenant("m_1", livemode=True),
    Tenant("m_1", livemode=False),
    Tenant("m_2", livemode=True),
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def room(pacer: MerchantPacer, tenant: Tenant) -> int:
    share = pacer.shares().get(tenant)
    return pacer.most if share is None else share.room


def test_deliveries_under_way_use_up_a_merchants_share_and_no_other_merchants():
    pacer = MerchantPacer(3, 100.0, Clock())
    for _ in range(3):
        pacer.begin(ONE)
    assert (room(pacer, ONE), room(pacer, TEST_MODE), room(pacer, OTHER)) == (0, 3, 3)
    pacer.end(ONE)
    assert room(pacer, ONE) == 1


def test_a_merchants_rate_is_bounded_after_a_burst_of_one_second():
    clock = Clock()
    pacer = MerchantPacer(10, 4.0, clock)
    for _ in range(4):
        pacer.begin(ONE)
        pacer.end(ONE)
    assert room(pacer, ONE) == 0
    clock.now += 0.25
    assert room(pacer, ONE) == 1
    clock.now += 100.0
    assert room(pacer, ONE) == 4


def test_a_rate_below_one_a_second_still_delivers():
    clock = Clock()
    pacer = MerchantPacer(8, 0.1, clock)
    assert pacer.most == 1
    pacer.begin(ONE)
    pacer.end(ONE)
    clock.now += 9.9
    assert room(pacer, ONE) == 0
    clock.now += 0.2
    assert room(pacer, ONE) == 1


@given(
    at_once=st.integers(1, 8),
    per_s=st.floats(0.5, 50.0),
    steps=st.lists(
        st.tuples(st.floats(0.0, 2.0), st.integers(0, 8), st.sampled_from([ONE, OTHER])), max_size=60
    ),
)
def test_what_room_allows_never_exceeds_the_bounds(at_once, per_s, steps):
    clock = Clock()
    pacer = MerchantPacer(at_once, per_s, clock)
    under_way, begun = {ONE: 0, OTHER: 0}, {ONE: 0, OTHER: 0}
    for wait_s, ends, tenant in steps:
        clock.now += wait_s
        for _ in range(min(ends, under_way[tenant])):
            pacer.end(tenant)
            under_way[tenant] -= 1
        for _ in range(room(pacer, tenant)):
            pacer.begin(tenant)
            under_way[tenant] += 1
            begun[tenant] += 1
        assert under_way[tenant] <= at_once
        assert begun[tenant] <= max(1.0, per_s) + clock.now * per_s + 1e-6
