"""What the toolkit gives to other people's tests, and the registry that they may replace."""

import pytest

from synccash.resilience import BreakerSettings, Policy, Retry
from synccash.resilience.profiles import PAYMENT_PROVIDER, PROFILES, Profile
from synccash.resilience.registry import Registry
from synccash.resilience.testing import FakeClock, attempts, no_wait


def flaky(times):
    left = iter(range(times))

    async def call():
        if next(left, None) is not None:
            raise ConnectionError("no")
        return "yes"

    return call


def policy(**more):
    return Policy("rail", retry=Retry(attempts=4, base=8.0, jitter="none", on=ConnectionError), **more)


async def test_a_fake_clock_waits_at_once_and_remembers_for_how_long():
    clock = FakeClock(100.0)
    assert await policy(clock=clock, sleep=clock.sleep).call(flaky(2)) == "yes"
    assert clock.slept == [8.0, 16.0]
    assert clock() == 124.0
    with pytest.raises(ValueError, match="never goes back"):
        clock.move(-1)


async def test_without_waiting_every_policy_repeats_at_once():
    with no_wait():
        assert await policy().call(flaky(3)) == "yes"


async def test_with_one_attempt_no_policy_repeats():
    clock = FakeClock()
    with attempts(1), pytest.raises(ConnectionError):
        await policy(clock=clock, sleep=clock.sleep).call(flaky(1))
    assert await policy(clock=clock, sleep=clock.sleep).call(flaky(1)) == "yes"


def test_plain_functions_too():
    clock = FakeClock()
    left = [1, 1]

    def call():
        if left:
            left.pop()
            raise ConnectionError("no")
        return "yes"

    assert policy(clock=clock, sleep_sync=clock.sleep_sync).call_sync(call) == "yes"
    assert clock.slept == [8.0, 16.0]


def small():
    profiles = {**PROFILES, "*": Profile(retry=PAYMENT_PROVIDER.retry, breaker=BreakerSettings(failures=1))}
    return Registry(profiles, most=3, clock=FakeClock())


def test_a_full_registry_forgets_the_closed_breaker_that_was_longest_unused_and_never_an_open_one():
    registry = small()
    registry.breaker("a").force_open("mended tomorrow")
    registry.breaker("b")
    registry.breaker("c")
    registry.breaker("b")
    registry.breaker("d")
    assert sorted(registry.breakers()) == ["a:collect", "b:collect", "d:collect"]


def test_a_registry_of_refusing_breakers_says_what_is_wrong():
    registry = small()
    for name in "abc":
        registry.breaker(name).force_open("down")
    with pytest.raises(ValueError, match="made from requests"):
        registry.breaker("d")


def test_policies_of_one_name_share_one_budget():
    registry = small()
    assert registry.budget("MTN_MOMO") is registry.budget("mtn_momo:collect")
