"""Property test: the memory limiter, the Lua script and a naive reference decide alike under one clock."""

from fractions import Fraction
from typing import get_args

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synccash.resilience.limits import Algorithm
from synccash.resilience.rate_limiter import Block, Demand, Limit, MemoryLimiter
from synccash.stores.valkey.limits.script import SOURCE, decode_reply, encode_requests

START = 1_700_000_000_000_000
US = 1_000_000

limits = st.builds(
    Limit,
    name=st.just("l"),
    scope=st.just("user"),
    quota=st.integers(1, 12),
    period_s=st.sampled_from([1.0, 7.0, 60.0, 86_400.0]),
    burst=st.integers(0, 4),
    algorithm=st.sampled_from(get_args(Algorithm)),
    shadow=st.sampled_from([False, False, False, True]),
    block=st.none()
    | st.builds(
        Block,
        violations=st.integers(1, 3),
        window_s=st.just(10.0),
        duration_s=st.just(2.0),
        cap_s=st.sampled_from([2.0, 7.0]),
    ),
)
steps = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 100_000, US, 2 * US, 3_500_001, 60 * US]),
        st.lists(
            st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.integers(0, 3)), min_size=1, max_size=3
        ),
    ),
    min_size=1,
    max_size=25,
)


class Reference:
    """A slow and simple limiter that stores every grant and counts all of them each time."""

    def __init__(self):
        self.grants = {}

    def fits(self, limit, key_id, now, cost):
        if cost == 0:
            return True
        grants = self.grants.get((limit.key, key_id), [])
        if limit.algorithm == "token_bucket":
            tokens, last = Fraction(limit.capacity), START
            for at, taken in [*grants, (now, cost)]:
                tokens = min(Fraction(limit.capacity), tokens + Fraction(at - last, limit.unit_us)) - taken
                last = at
            return tokens >= 0
        if limit.algorithm not in ("sliding_window", "fixed_window"):
            raise AssertionError(f"the reference does not implement {limit.algorithm}")
        window = now // limit.period_us
        here = sum(taken for at, taken in grants if at // limit.period_us == window)
        before = sum(taken for at, taken in grants if at // limit.period_us == window - 1)
        if limit.algorithm == "fixed_window":
            before = 0
        overlap = 1 - Fraction(now % limit.period_us, limit.period_us)
        return before * overlap + here + cost <= limit.capacity

    def check(self, demands, decided, now):
        fits = [self.fits(one.limit, one.id, now, one.cost) for one in demands]
        if not any(one.blocked_until_us for one in decided.statuses):
            assert [not one.refuses for one in decided.statuses] == fits
            assert decided.allowed == all(f or one.limit.shadow for f, one in zip(fits, demands, strict=True))
        if decided.allowed:
            for one, fit, status in zip(demands, fits, decided.statuses, strict=True):
                if fit and one.cost:
                    self.grants.setdefault((one.limit.key, one.id), []).append((now, one.cost))
                assert status.remaining <= one.limit.capacity


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.lists(limits, min_size=3, max_size=3), steps_taken=steps)
def test_memory_lua_and_a_naive_reference_make_the_same_decisions(valkey_url, chosen, steps_taken):
    chosen = [
        Limit(**{name: getattr(limit, name) for name in FIELDS}, name=f"l{number}")
        for number, limit in enumerate(chosen)
    ]
    now = START
    memory, reference = MemoryLimiter(clock_us=lambda: now), Reference()
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
        for batch in batches(steps_taken):
            now += batch[0][0]
            requests = [(demands_of(chosen, entries), None) for _, entries in batch]
            there = decode_reply(client.eval(SOURCE, *encode_requests(requests, now)), requests)
            for (demands, _), decided in zip(requests, there, strict=True):
                here = memory.check(demands)
                assert here == decided
                reference.check(demands, here, now)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chosen=st.lists(limits, min_size=3, max_size=3),
    steps_taken=steps,
    jumps=st.lists(st.sampled_from([0, 1, 7 * US, 3_600 * US]), min_size=25, max_size=25),
)
def test_memory_and_lua_decide_alike_when_the_clock_is_set_back(valkey_url, chosen, steps_taken, jumps):
    chosen = [
        Limit(**{name: getattr(limit, name) for name in FIELDS}, name=f"l{number}")
        for number, limit in enumerate(chosen)
    ]
    now = START
    memory = MemoryLimiter(clock_us=lambda: now)
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
        for batch, jump in zip(batches(steps_taken), jumps, strict=False):
            now += batch[0][0] - jump
            requests = [(demands_of(chosen, entries), None) for _, entries in batch]
            there = decode_reply(client.eval(SOURCE, *encode_requests(requests, now)), requests)
            assert [memory.check(demands) for demands, _ in requests] == list(there)


def test_the_script_fails_for_an_algorithm_that_it_does_not_implement_and_changes_nothing(valkey_url):
    known = Limit(name="known", scope="user", quota=1, period_s=60.0)
    window = Limit(name="window", scope="user", quota=1, period_s=60.0, algorithm="sliding_window")
    arguments = encode_requests([([Demand(known, "a")], None), ([Demand(window, "a")], None)], START)
    # The first two arguments after the keys are the time and the number of keys.
    at = 1 + arguments[0] + 2
    terms = msgspec.msgpack.decode(arguments[at])
    numbers = [index for index in range(3, len(terms), 12) if terms[index] == 1]
    terms[numbers[0]] = 3
    arguments[at] = msgspec.msgpack.encode(terms)
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
        with pytest.raises(redis.ResponseError, match="unknown rate-limit algorithm 3"):
            client.eval(SOURCE, *arguments)
        assert client.keys() == []


def test_an_algorithm_without_a_number_in_the_script_is_not_sent_as_another_one():
    limit = Limit(name="unsent", scope="user", quota=1, period_s=60.0)
    object.__setattr__(limit, "algorithm", "leaky_bucket")
    with pytest.raises(AssertionError, match="leaky_bucket"):
        encode_requests([([Demand(limit, "a")], None)], START)


def batches(steps_taken):
    """Groups the steps without a pause between them: one run of the script decides each group."""
    batch = []
    for step in steps_taken:
        if step[0] and batch:
            yield batch
            batch = []
        batch.append(step)
    yield batch


def demands_of(chosen, entries):
    # A request has at most one demand on each limit.
    unique = {number: (key_id, cost) for number, key_id, cost in entries}
    return [
        Demand(chosen[number], key_id, min(cost, chosen[number].capacity))
        for number, (key_id, cost) in unique.items()
    ]


FIELDS = ("scope", "quota", "period_s", "burst", "algorithm", "shadow", "block")
