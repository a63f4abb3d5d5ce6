"""Policies of a registry, and profiles that change while their policies and breakers are in use."""

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from synccash.resilience import BreakerSettings, CircuitBreaker, Outcome, Retry
from synccash.resilience.breaker_settings import BreakerState
from synccash.resilience.profiles import PROFILES, Profile
from synccash.resilience.providers import EnhancedRetryService
from synccash.resilience.registry import Registry
from synccash.resilience.testing import FakeClock
from synccash.resilience.verdict import Verdict

SMS = Profile(
    retry=Retry(attempts=2, strategy="immediate", on=OSError),
    breaker=BreakerSettings(failures=9, open_s=30.0),
)


def profiles(sms: Profile = SMS) -> dict[str, Profile]:
    return {**PROFILES, "sms": sms}


def registry(sms: Profile = SMS, *, clock: FakeClock | None = None) -> Registry:
    return Registry(profiles(sms), clock=clock or FakeClock(), random=lambda: 0.0)


def breaker(settings: BreakerSettings, clock: FakeClock | None = None) -> CircuitBreaker:
    return CircuitBreaker("sms", settings, clock=clock or FakeClock(), random=lambda: 0.0)


def fail(one: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        one.record(one.acquire(), Outcome.FAILED, 0.1)


class Down:
    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self) -> None:
        self.calls += 1
        raise ConnectionRefusedError

    def sync(self) -> None:
        self.calls += 1
        raise ConnectionRefusedError


def judge(result: object) -> Verdict:
    return Verdict(Outcome.FAILED, retry=True) if isinstance(result, Exception) else Verdict(Outcome.OK)


def test_a_policy_has_the_profile_breaker_and_budget_of_its_name():
    reg = registry()
    policy = reg.policy("SMS")
    assert policy is reg.policy("sms")
    assert policy.breaker is reg.breaker("sms")
    assert policy.budget is reg.budget("sms")
    assert (policy.attempt_timeout, policy.total_timeout) == (SMS.attempt_timeout, SMS.total_timeout)


async def test_a_profile_without_on_judges_by_evidence():
    reg = registry(replace(SMS, retry=replace(SMS.retry, on=None)))
    down = Down()
    with pytest.raises(ConnectionRefusedError):
        await reg.policy("sms").call(down)
    assert down.calls == 2


def test_policies_with_other_options_share_breaker_and_budget():
    reg = registry(replace(SMS, retry=replace(SMS.retry, on=None)))
    first, second = reg.policy("sms"), reg.policy("sms", idempotent=True, classify=judge, interrupt=False)
    assert first is not second
    assert first.breaker is second.breaker
    assert first.budget is second.budget
    assert set(reg.policies()) == {first, second}


def test_the_list_of_policies_holds_at_most_most_that_nobody_else_holds():
    reg = Registry(profiles(replace(SMS, retry=replace(SMS.retry, on=None))), most=3)
    held = reg.policy("sms")
    for _ in range(10):
        reg.policy("sms", classify=lambda result: judge(result))
    gc.collect()
    assert held in reg.policies()
    assert len(reg.policies()) <= 4
    reg.reload(profiles(replace(SMS, retry=replace(SMS.retry, on=None), attempt_timeout=0.5)))
    assert held.attempt_timeout == 0.5


def test_a_policy_whose_breaker_was_dropped_gets_the_new_one_when_it_is_asked_for():
    reg = Registry(profiles(), most=1)
    policy = reg.policy("sms")
    former = policy.breaker
    reg.breaker("other:get")
    assert reg.policy("sms") is policy
    assert policy.breaker is reg.breakers()[policy.name] is not former


def test_a_reload_reaches_a_policy_whose_breaker_was_dropped_and_creates_none():
    reg = Registry(profiles(), most=1)
    policy = reg.policy("sms")
    budget = policy.budget
    reg.breaker("other:get")
    reg.reload(profiles(replace(SMS, attempt_timeout=0.5, breaker=BreakerSettings(failures=2))))
    assert policy.attempt_timeout == 0.5
    assert policy.breaker is not None
    assert policy.breaker.settings.failures == 2
    assert policy.budget is budget
    assert set(reg.breakers()) == {"other:get"}


async def test_a_changed_profile_applies_to_the_next_call_of_every_form():
    reg = registry()
    policy, plain = reg.policy("sms"), reg.policy("sms", interrupt=False)
    down, decorated_down = Down(), Down()

    @policy
    async def decorated_call() -> None:
        await decorated_down()

    @plain
    def decorated_plain() -> None:
        decorated_down.sync()

    reg.reload(profiles(replace(SMS, retry=replace(SMS.retry, attempts=4))))
    with pytest.raises(ConnectionRefusedError):
        await policy.call(down)
    assert down.calls == 4
    with pytest.raises(ConnectionRefusedError):
        plain.call_sync(down.sync)
    assert down.calls == 8
    policy.breaker.reset()
    with pytest.raises(ConnectionRefusedError):
        await decorated_call()
    assert decorated_down.calls == 4
    policy.breaker.reset()
    with pytest.raises(ConnectionRefusedError):
        decorated_plain()
    assert decorated_down.calls == 8
    policy.breaker.reset()
    in_block = Down()

    async def run_block() -> None:
        async for attempt in policy.attempts():
            async with attempt:
                await in_block()

    with pytest.raises(ConnectionRefusedError):
        await run_block()
    assert in_block.calls == 4


async def test_a_call_that_runs_during_a_reload_keeps_its_settings():
    reg = registry()
    policy, entered, go_on = reg.policy("sms"), asyncio.Event(), asyncio.Event()
    calls = 0

    async def down() -> None:
        nonlocal calls
        calls += 1
        entered.set()
        await go_on.wait()
        raise ConnectionRefusedError

    running = asyncio.create_task(policy.call(down))
    await entered.wait()
    reg.reload(profiles(replace(SMS, retry=replace(SMS.retry, attempts=5))))
    go_on.set()
    with pytest.raises(ConnectionRefusedError):
        await running
    assert calls == 2
    assert policy.breaker is not None
    assert policy.breaker.statistics().failures == 2


def test_a_reload_keeps_state_counts_and_open_time_of_breakers():
    clock = FakeClock()
    reg = registry(clock=clock)
    live = reg.breaker("sms")
    fail(live, 3)
    reg.reload(profiles(replace(SMS, breaker=replace(SMS.breaker, failures=4))))
    assert reg.breaker("sms") is live
    assert live.statistics().failures == 3
    fail(live)
    assert live.state is BreakerState.OPEN
    reg.reload(profiles(replace(SMS, breaker=replace(SMS.breaker, failures=4, open_s=1.0))))
    assert live.retry_after() == 30.0
    live.reset()
    fail(live, 4)
    assert live.retry_after() == 1.0


def test_profiles_that_do_not_fit_change_nothing():
    reg = registry(replace(SMS, retry=replace(SMS.retry, on=None)))
    policy = reg.policy("sms", classify=judge)
    other = replace(SMS, retry=replace(SMS.retry, on=OSError), attempt_timeout=1.0)
    with pytest.raises(ValueError, match="takes no on="):
        reg.reload(profiles(other))
    with pytest.raises(ValueError, match=r'needs "\*"'):
        reg.reload({"sms": SMS})
    assert policy.attempt_timeout == SMS.attempt_timeout
    assert reg.profile("sms").attempt_timeout == SMS.attempt_timeout


def test_listeners_do_not_run_under_the_registrys_lock():
    reg = registry()
    live = reg.breaker("sms")
    locks_held: list[bool] = []
    live.listen(lambda transition: locks_held.append(reg._lock._is_owned()))  # pyright: ignore
    fail(live, 9)
    reg.reload(profiles(replace(SMS, breaker=replace(SMS.breaker, mode="disabled"))))
    assert locks_held == [False, False]
    assert live.state is BreakerState.CLOSED


async def test_the_documented_provider_functions_use_reloaded_profiles():
    reg = Registry({"*": replace(SMS, retry=replace(SMS.retry, on=None))})
    service, down = EnhancedRetryService(reg), Down()

    async def call(data: object) -> None:
        await down()

    with pytest.raises(ConnectionRefusedError):
        await service.retry_payment_provider_call(call, "SMS", {})
    reg.reload({"*": replace(SMS, retry=replace(SMS.retry, on=None, attempts=1))})
    with pytest.raises(ConnectionRefusedError):
        await service.retry_payment_provider_call(call, "SMS", {})
    assert down.calls == 3


# Settings of a live breaker.


@pytest.mark.parametrize("mode", ["normal", "shadow"])
def test_fewer_probes_than_have_succeeded_close_a_half_open_breaker(mode):
    clock = FakeClock()
    one = breaker(BreakerSettings(failures=1, open_s=1.0, probes=3), clock)
    fail(one)
    clock.move(1.0)
    for _ in range(2):
        one.record(one.acquire(), Outcome.OK, 0.1)
    assert one.state is BreakerState.HALF_OPEN
    one.reconfigure(BreakerSettings(failures=1, open_s=1.0, probes=2, mode=mode))
    assert one.state is BreakerState.CLOSED


def test_a_breaker_that_gets_disabled_closes_unless_an_operator_opened_it():
    one, forced = breaker(BreakerSettings(failures=1)), breaker(BreakerSettings(failures=1))
    fail(one)
    forced.force_open("maintenance")
    for each in (one, forced):
        each.reconfigure(BreakerSettings(failures=1, mode="disabled"))
    assert one.state is BreakerState.CLOSED
    assert forced.state is BreakerState.FORCED_OPEN


@pytest.mark.parametrize("window", [{"window": 20}, {"window_s": 60.0}])
def test_a_new_window_counts_calls_from_now_on(window):
    one = breaker(BreakerSettings(failures=None))
    for _ in range(50):
        one.record(one.acquire(), Outcome.OK, 0.1)
    one.reconfigure(BreakerSettings(failures=None, failure_rate=0.5, min_calls=10, **window))
    fail(one, 9)
    assert one.state is BreakerState.CLOSED
    assert one.statistics().window_calls == 9
    fail(one)
    assert one.state is BreakerState.OPEN


def test_an_unchanged_window_keeps_its_calls():
    settings = BreakerSettings(failures=None, failure_rate=0.5, min_calls=10, window=20)
    one = breaker(settings)
    fail(one, 9)
    one.reconfigure(replace(settings, open_s=5.0))
    fail(one)
    assert one.state is BreakerState.OPEN
    assert one.retry_after() == 5.0


def test_slow_calls_count_by_the_new_limit():
    one = breaker(BreakerSettings(failures=None))
    one.reconfigure(BreakerSettings(failures=None, slow_rate=0.5, slow_s=0.001, min_calls=2))
    assert one.fast_below_s == 0.001
    for _ in range(2):
        one.record(one.acquire(), Outcome.OK, 0.004)
    assert one.state is BreakerState.OPEN


def test_reloads_from_several_threads_leave_one_set_of_profiles_in_force():
    reg = registry()
    policy = reg.policy("sms")
    sets = [
        profiles(replace(SMS, attempt_timeout=float(n), breaker=replace(SMS.breaker, failures=n)))
        for n in range(1, 9)
    ]
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(reg.reload, sets * 20):
            pass
    assert policy.breaker is not None
    assert policy.breaker.settings == reg.profile("sms").breaker
    assert policy.attempt_timeout == reg.profile("sms").attempt_timeout
