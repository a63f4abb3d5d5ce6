"""The test helpers of the toolkit, and the default registry that tests may replace."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from synccash.resilience import AttemptTimeoutError, BreakerSettings, Policy, Retry, overrides
from synccash.resilience.profiles import PAYMENT_PROVIDER, PROFILES, Profile
from synccash.resilience.providers import (
    default_registry,
    enhanced_retry_service,
    get_provider_circuit_breaker,
    retry_payment_provider_call,
)
from synccash.resilience.registry import Registry
from synccash.resilience.testing import FakeClock, attempts, no_wait, replaced_registry


def flaky(times, error=ConnectionError):
    left = iter(range(times))

    async def call():
        if next(left, None) is not None:
            raise error("no")
        return "yes"

    return call


def policy(**more):
    return Policy("rail", retry=Retry(attempts=4, base=8.0, jitter="none", on=ConnectionError), **more)


async def test_a_fake_clock_moves_instead_of_waiting_and_records_the_waits():
    clock = FakeClock(100.0)
    assert await policy(clock=clock, sleep=clock.sleep).call(flaky(2)) == "yes"
    assert clock.slept == [8.0, 16.0]
    assert clock() == 124.0
    with pytest.raises(ValueError, match="never goes back"):
        clock.move(-1)


async def test_with_no_wait_every_policy_retries_at_once():
    with no_wait():
        assert await policy().call(flaky(3)) == "yes"


async def test_with_one_attempt_no_policy_retries():
    clock = FakeClock()
    with attempts(1), pytest.raises(ConnectionError):
        await policy(clock=clock, sleep=clock.sleep).call(flaky(1))
    assert await policy(clock=clock, sleep=clock.sleep).call(flaky(1)) == "yes"


def test_overlapping_blocks_may_end_in_any_order():
    """Blocks of two threads or tasks may overlap without being nested."""
    get_provider_circuit_breaker("kept")
    for make in (no_wait, lambda: attempts(1), replaced_registry):
        first, second = make(), make()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert (not overrides.waiting, overrides.attempts == 1, "kept:collect" not in breakers()) == (
            make is no_wait,
            make not in (no_wait, replaced_registry),
            make is replaced_registry,
        ), "the second block is still in force"
        second.__exit__(None, None, None)
        assert (overrides.waiting, overrides.attempts, "kept:collect" in breakers()) == (True, None, True)


def breakers():
    return default_registry.breakers()


def test_the_smallest_of_nested_attempt_limits_applies():
    with attempts(2):
        with attempts(5):
            assert overrides.attempts == 2
        with attempts(1):
            assert overrides.attempts == 1
        assert overrides.attempts == 2


def test_a_fake_clock_replaces_waits_of_plain_functions():
    clock = FakeClock()
    left = [1, 1]

    def call():
        if left:
            left.pop()
            raise ConnectionError("no")
        return "yes"

    assert policy(clock=clock, sleep_sync=clock.sleep_sync).call_sync(call) == "yes"
    assert clock.slept == [8.0, 16.0]


def small_registry():
    profiles = {**PROFILES, "*": Profile(retry=PAYMENT_PROVIDER.retry, breaker=BreakerSettings(failures=1))}
    return Registry(profiles, most=3, clock=FakeClock())


def test_a_full_registry_drops_the_least_recently_used_closed_breaker():
    registry = small_registry()
    registry.breaker("a").force_open("mended tomorrow")
    registry.breaker("b")
    registry.breaker("c")
    registry.breaker("b")
    registry.breaker("d")
    assert sorted(registry.breakers()) == ["a", "b", "d"]


def test_a_registry_full_of_open_breakers_refuses_new_names():
    registry = small_registry()
    for name in "abc":
        registry.breaker(name).force_open("down")
    with pytest.raises(ValueError, match="made from requests"):
        registry.breaker("d")


def test_all_spellings_of_a_name_share_one_budget():
    registry = small_registry()
    assert registry.budget("SMS") is registry.budget(" sms")


def test_all_threads_get_the_same_breaker():
    registry = Registry()
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(registry.breaker, f"rail{number % 50}") for number in range(4_000)]
    assert len({id(one.result()) for one in asked}) == 50


def test_a_profile_is_found_by_operation_then_service_then_default():
    def profile(failures):
        return Profile(retry=PAYMENT_PROVIDER.retry, breaker=BreakerSettings(failures=failures))

    registry = Registry({"*": profile(1), "sms": profile(2), "mail:*": profile(3), "mail:status": profile(4)})
    names = ["other", "SMS", "sms:bulk", "mail", "mail:send", "Mail:Status"]
    found = {breaker.name: breaker.settings.failures for breaker in map(registry.breaker, names)}
    assert found == {
        "other": 1,
        "sms": 2,
        "sms:bulk": 2,
        "mail": 3,
        "mail:send": 3,
        "mail:status": 4,
    }


async def test_the_default_registry_is_replaced_for_a_block_however_it_was_imported():
    before = get_provider_circuit_breaker("replaced")
    with replaced_registry(small_registry()) as registry:
        assert get_provider_circuit_breaker("replaced") is registry.breaker("replaced")
        assert get_provider_circuit_breaker("replaced") is not before
        for call in (retry_payment_provider_call, enhanced_retry_service.retry_payment_provider_call):
            with pytest.raises(ConnectionResetError):
                await call(refuse, "replaced", {})
            assert default_registry.breaker("replaced").state.value == "open"
            registry.breaker("replaced").reset()
    assert get_provider_circuit_breaker("replaced") is before
    assert (before.statistics().failures, registry.breaker("replaced").statistics().failures) == (0, 2)


async def refuse(data):
    raise ConnectionResetError


def test_a_replaced_registry_names_breakers_as_the_default_one_does():
    name = get_provider_circuit_breaker("MTN_MOMO").name
    with replaced_registry():
        assert get_provider_circuit_breaker("MTN_MOMO").name == name == "mtn_momo:collect"


async def test_provider_calls_are_counted_in_the_registrys_budget():
    with replaced_registry() as registry, no_wait():
        call = flaky(2, ConnectionRefusedError)
        assert await retry_payment_provider_call(lambda data: call(), "MTN_MOMO", {}) == "yes"
    seen = registry.budgets()["mtn_momo:collect"].statistics()
    assert (seen.successes, seen.retries, seen.last_attempts) == (1, 2, 3)


async def test_provider_calls_use_the_registrys_present_breaker():
    with replaced_registry(small_registry()) as registry:
        first = registry.breaker("a")
        await retry_payment_provider_call(echo, "a", {})
        for name in "bcd":
            registry.breaker(name)
        await retry_payment_provider_call(echo, "a", {})
        assert registry.breaker("a") is not first
        assert registry.breaker("a").statistics().successes == 1


async def echo(data):
    return data


async def test_sleeps_at_the_same_time_overlap_and_end_in_their_order():
    clock, ended = FakeClock(), []

    async def sleep(seconds):
        await clock.sleep(seconds)
        ended.append((seconds, clock()))

    await asyncio.gather(*(sleep(seconds) for seconds in (3.0, 1.0, 2.0, 1.0)))
    assert ended == [(1.0, 1.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]
    assert clock.slept == [3.0, 1.0, 2.0, 1.0]


async def test_callers_that_back_off_together_wait_once():
    clock = FakeClock()
    one = policy(clock=clock, sleep=clock.sleep)
    await asyncio.gather(*(one.call(flaky(1)) for _ in range(5)))
    assert clock() == 8.0


@pytest.mark.parametrize("limit", [{"attempt_timeout": 2.0}, {"total_timeout": 2.0}])
async def test_time_outs_of_a_policy_count_fake_time(limit):
    clock = FakeClock()
    one = Policy("rail", clock=clock, sleep=clock.sleep, **limit)

    async def slow():
        await clock.sleep(10.0)

    async def quick():
        await clock.sleep(1.0)
        return "yes"

    assert await one.call(quick) == "yes"
    for call in (slow, asyncio.Event().wait):
        began = clock()
        with pytest.raises(AttemptTimeoutError):
            await one.call(call)
        assert clock() == began + 2.0


async def test_a_cancelled_sleep_does_not_move_the_clock():
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(100.0))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await clock.sleep(1.0)
    assert clock() == 1.0


def test_one_clock_serves_one_event_loop_after_the_other():
    clock = FakeClock()

    async def leave_a_sleep():
        asyncio.get_running_loop().create_task(clock.sleep(5.0))
        await asyncio.sleep(0)

    asyncio.run(leave_a_sleep())
    asyncio.run(clock.sleep(1.0))
    assert clock() == 1.0


async def test_a_sleep_ends_when_the_clock_is_moved_by_hand():
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(5.0))
    await asyncio.sleep(0)
    clock.move(7.0)
    await task
    assert clock() == 7.0
