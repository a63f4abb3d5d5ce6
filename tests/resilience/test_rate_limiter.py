"""The in-memory rate limiter, under a clock that only the test moves."""

from typing import get_args

import pytest

from synccash.resilience.limit_headers import limit_headers
from synccash.resilience.limits import Algorithm, relevant_until
from synccash.resilience.rate_limiter import Block, Demand, Limit, MemoryLimiter

START = 1_700_000_000_000_000
US = 1_000_000
PAYMENTS = Limit(name="payment_initiation", scope="user", quota=10, period_s=60, burst=3)


class Clock:
    now = START

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def limiter(clock):
    return MemoryLimiter(clock_us=clock)


def test_ten_a_minute_with_a_burst_of_three_allows_thirteen_and_then_ten_a_minute(limiter, clock):
    assert sum(limiter.check([Demand(PAYMENTS, "ama")]).allowed for _ in range(50)) == 13
    granted = 0
    for _ in range(600):
        clock.now += US
        granted += limiter.check([Demand(PAYMENTS, "ama")]).allowed
    assert granted == 100
    assert limiter.check([Demand(PAYMENTS, "kofi")]).allowed


def test_hit_takes_from_the_same_bucket_as_check(limiter, clock):
    assert [limiter.hit(PAYMENTS, "ama") for _ in range(13)] == [0] * 13
    assert not limiter.check([Demand(PAYMENTS, "ama")]).allowed
    wait = limiter.hit(PAYMENTS, "ama")
    clock.now += wait - 1
    assert limiter.hit(PAYMENTS, "ama") == 1
    clock.now += 1
    assert limiter.hit(PAYMENTS, "ama") == 0


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_a_refused_request_is_allowed_exactly_after_retry_us(limiter, clock, algorithm):
    limit = Limit(name="l", scope="user", quota=7, period_s=60, algorithm=algorithm)
    refused = 0
    for _ in range(30):
        decision = limiter.check([Demand(limit, "ama", 2)])
        if not decision.allowed:
            refused += 1
            wait = decision.statuses[0].retry_us
            clock.now += wait - 1
            assert not limiter.check([Demand(limit, "ama", 2)]).allowed
            clock.now += 1
            assert limiter.check([Demand(limit, "ama", 2)]).allowed
    assert refused > 5


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
@pytest.mark.parametrize("form", ["check", "hit"])
@pytest.mark.parametrize(("back_s", "granted"), [(10, 0), (3_600, 10)])
def test_a_clock_that_is_set_back_closes_no_limit_for_long(limiter, clock, algorithm, form, back_s, granted):
    limit = Limit(name="l", scope="ip", quota=10, period_s=60, algorithm=algorithm)

    def is_granted():
        return limiter.check([Demand(limit, "a")]).allowed if form == "check" else not limiter.hit(limit, "a")

    assert sum(is_granted() for _ in range(50)) == 10
    clock.now -= back_s * US
    assert sum(is_granted() for _ in range(50)) == granted
    clock.now += 2 * 60 * US
    assert sum(is_granted() for _ in range(50)) == 10


def test_a_refusal_takes_nothing_from_the_limits_that_had_room(limiter):
    narrow = Limit(name="narrow", scope="user", quota=1, period_s=60)
    wide = Limit(name="wide", scope="api_key", quota=5, period_s=60)
    both = [Demand(narrow, "ama"), Demand(wide, "key")]
    assert limiter.check(both).allowed
    refused = limiter.check(both)
    assert not refused.allowed
    assert refused.binding.demand.limit is narrow
    assert refused.retry_after_s == 60
    assert refused.statuses[1].remaining == 4


def test_a_limit_in_shadow_mode_refuses_nothing_and_reports_that_it_would_have(limiter):
    shadow = Limit(name="l", scope="user", quota=1, period_s=60, shadow=True)
    assert not limiter.check([Demand(shadow, "ama")]).shadowed
    would = limiter.check([Demand(shadow, "ama")])
    assert would.allowed
    assert would.shadowed


def test_blocks_double_up_to_the_cap_and_start_again_after_cap_s_without_a_block(limiter, clock):
    block = Block(violations=2, window_s=10, duration_s=10, cap_s=40)
    limit = Limit(name="l", scope="ip", quota=1, period_s=1_000, block=block)
    limiter.check([Demand(limit, "a")])

    def blocked_for():
        limiter.check([Demand(limit, "a")])
        refused = limiter.check([Demand(limit, "a")])
        assert refused.newly_blocked == 1
        duration = refused.statuses[0].blocked_until_us - clock.now
        clock.now += duration
        return duration // US

    assert [blocked_for() for _ in range(4)] == [10, 20, 40, 40]
    clock.now += 40 * US
    assert blocked_for() == 10


def test_an_operator_blocks_and_unblocks_a_key(limiter, clock):
    limiter.block(PAYMENTS, "ama", 5)
    blocked = limiter.check([Demand(PAYMENTS, "ama")])
    assert not blocked.allowed
    assert blocked.statuses[0].blocked_until_us == clock.now + 5 * US
    limiter.unblock(PAYMENTS, "ama")
    assert limiter.check([Demand(PAYMENTS, "ama")]).allowed


def test_the_number_of_keys_is_capped_without_dropping_a_key_in_use(clock):
    limiter = MemoryLimiter(clock_us=clock, most_keys=100)
    limit = Limit(name="l", scope="ip", quota=2, period_s=60)
    while limiter.hit(limit, "attacker") == 0:
        pass
    for number in range(1_000):
        limiter.hit(limit, f"other {number}")
    assert limiter.hit(limit, "attacker") > 0
    assert len(limiter) <= 101
    clock.now += 60 * US
    assert all(limiter.hit(limit, f"later {number}") == 0 for number in range(90))


@pytest.mark.parametrize(
    "numbers",
    [{"quota": 0, "period_s": 1}, {"quota": 2, "period_s": 1e-6}, {"quota": 10**9, "period_s": 86_400}],
)
def test_limits_that_cannot_be_counted_exactly_are_refused(numbers):
    with pytest.raises(ValueError, match="l: "):
        Limit(name="l", scope="ip", **numbers)


def test_a_cost_that_can_never_fit_is_refused():
    with pytest.raises(ValueError, match="can never fit"):
        Demand(PAYMENTS, "ama", 14)


def test_an_unknown_algorithm_is_refused_where_the_limit_is_defined():
    with pytest.raises(ValueError, match="login: unknown algorithm 'leaky_bucket'; expected one of token_"):
        Limit(name="login", scope="user", quota=1, period_s=1.0, algorithm="leaky_bucket")


def test_an_algorithm_without_an_implementation_fails_instead_of_using_another_one(limiter):
    limit = Limit(name="login", scope="user", quota=1, period_s=1.0)
    object.__setattr__(limit, "algorithm", "leaky_bucket")
    with pytest.raises(AssertionError, match="leaky_bucket"):
        limiter.check([Demand(limit, "ama")])
    with pytest.raises(AssertionError, match="leaky_bucket"):
        relevant_until(limit, (0, 0, 0))
    known = Limit(name="login", scope="user", quota=1, period_s=1.0)
    decision = limiter.check([Demand(known, "ama")])
    status = decision.statuses[0]
    unknown = status._replace(demand=status.demand._replace(limit=limit))
    with pytest.raises(AssertionError, match="leaky_bucket"):
        limit_headers(decision._replace(statuses=(unknown,)))
