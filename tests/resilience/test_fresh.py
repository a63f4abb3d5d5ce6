"""`fresh()` and the pytest plugin give policies at module level a state of their own in each test."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent

import pytest

from synccash.resilience import (
    AttemptTimeoutError,
    BreakerSettings,
    Budget,
    CircuitBreaker,
    Policy,
    Retry,
    remaining,
)
from synccash.resilience.breaker_settings import BreakerState
from synccash.resilience.claims import Granted
from synccash.resilience.errors import CircuitOpenError, RateExceededError
from synccash.resilience.memory_claims import MemoryClaims
from synccash.resilience.profiles import PROFILES
from synccash.resilience.rate import Rate
from synccash.resilience.rate_limiter import Limit, MemoryLimiter
from synccash.resilience.registry import Registry
from synccash.resilience.testing import FakeClock, fresh
from synccash.resilience.verdict import Outcome


def fail():
    raise ConnectionError("away")


def succeed():
    return "yes"


def breaking(**more):
    return Policy("rates", breaker=BreakerSettings(failures=1), **more)


def open_breaker(policy):
    with pytest.raises(ConnectionError):
        policy.call_sync(fail)
    assert policy.breaker.state is BreakerState.OPEN


def test_a_breaker_that_a_test_opened_is_closed_in_the_next_one_and_open_again_after_it():
    policy = breaking()
    decorated = policy(succeed)
    open_breaker(policy)
    with fresh():
        assert policy.breaker.state is BreakerState.CLOSED
        assert (decorated(), policy.call_sync(succeed)) == ("yes", "yes")
        assert policy.breaker.statistics().successes == 2
    with pytest.raises(CircuitOpenError):
        decorated()
    assert policy.breaker.statistics().successes == 0


def test_what_happens_in_the_block_leaves_no_trace():
    policy, healthy = breaking(), breaking()
    healthy.call_sync(succeed)
    before = policy.breaker.statistics(), healthy.breaker.statistics()
    with fresh():
        open_breaker(policy)
        open_breaker(healthy)
    assert (policy.breaker.statistics(), healthy.breaker.statistics()) == before
    assert policy.call_sync(succeed) == "yes"


def test_blocks_may_be_nested():
    policy = breaking()
    with fresh():
        open_breaker(policy)
        with fresh(policy):
            assert policy.call_sync(succeed) == "yes"
        assert policy.breaker.state is BreakerState.OPEN
    assert policy.breaker.state is BreakerState.CLOSED


def test_only_what_is_named_forgets():
    one, other = breaking(), breaking()
    open_breaker(one)
    open_breaker(other)
    with fresh(one):
        assert one.breaker.state is BreakerState.CLOSED
        assert other.breaker.state is BreakerState.OPEN


def test_the_block_ends_with_an_exception_too():
    policy = breaking()

    def test():
        with fresh():
            open_breaker(policy)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        test()
    assert policy.breaker.state is BreakerState.CLOSED


def test_retries_that_were_spent_may_be_made_again():
    policy = Policy(
        "rates",
        retry=Retry(attempts=2, base=0.0, on=ConnectionError),
        budget=Budget(share=0.1, per_second=0.0, most=1.0),
    )
    spend = partial(pytest.raises, ConnectionError)
    with spend():
        policy.call_sync(fail)
    left = policy.budget.statistics()
    assert left.retries == 1
    with fresh():
        with spend():
            policy.call_sync(fail)
        assert policy.budget.statistics() == left
    assert policy.budget.statistics() == left
    with spend():
        policy.call_sync(fail)
    assert policy.budget.statistics().refused == 1


def test_turns_of_a_rate_that_were_taken_are_free_again():
    clock = FakeClock()
    policy = Policy("rates", rate=Rate("1/h", queue=0), clock=clock, sleep_sync=clock.sleep_sync)
    policy.call_sync(succeed)
    with fresh():
        policy.call_sync(succeed)
        with pytest.raises(RateExceededError):
            policy.call_sync(succeed)
    with pytest.raises(RateExceededError):
        policy.call_sync(succeed)


def test_a_limiter_grants_its_quota_again():
    limiter = MemoryLimiter()
    limit = Limit(name="orders", scope="user", quota=1, period_s=3_600)
    assert limiter.hit(limit, "ama") == 0
    with fresh():
        assert limiter.hit(limit, "ama") == 0
        assert limiter.hit(limit, "ama") > 0
    assert limiter.hit(limit, "ama") > 0


async def test_an_idempotency_key_is_unknown_again():
    claims = MemoryClaims()
    first = await claims.claim("orders", "key", b"1", lease_s=60.0)
    with fresh():
        assert type(await claims.claim("orders", "key", b"2", lease_s=60.0)) is type(first)
    again = await claims.claim("orders", "key", b"2", lease_s=60.0)
    assert type(again) is not type(first)


def test_breakers_of_registries_forget_and_so_does_one_that_is_named():
    registry, alone = Registry(), CircuitBreaker("alone", BreakerSettings(failures=1))
    for breaker in (registry.breaker("sms"), alone):
        breaker.force_open("maintenance")
    with fresh(registry, alone):
        assert registry.breaker("sms").state is BreakerState.CLOSED
        assert alone.state is BreakerState.CLOSED
    assert registry.breaker("sms").state is BreakerState.FORCED_OPEN
    assert alone.state is BreakerState.FORCED_OPEN


def test_a_call_that_is_under_way_at_the_begin_or_end_changes_no_state():
    breaker = CircuitBreaker("rates", BreakerSettings(failures=1))
    from_before = breaker.acquire()
    with fresh(breaker):
        breaker.record(from_before, Outcome.FAILED, 0.1)
        assert breaker.state is BreakerState.CLOSED
        assert breaker.statistics().failures == 1
    breaker.record(from_before, Outcome.FAILED, 0.1)
    assert breaker.state is BreakerState.OPEN


def test_a_call_that_one_test_left_behind_does_not_open_the_breaker_of_the_next():
    breaker = CircuitBreaker("rates", BreakerSettings(failures=1))
    with fresh(breaker):
        left_behind = breaker.acquire()
    with fresh(breaker):
        breaker.record(left_behind, Outcome.FAILED, 0.1)
        assert breaker.state is BreakerState.CLOSED
        with fresh(breaker):
            breaker.record(left_behind, Outcome.FAILED, 0.1)
            assert breaker.state is BreakerState.CLOSED


def test_what_is_created_in_the_block_has_no_past_after_it():
    registry = Registry()
    with fresh():
        registry.breaker("sms").force_open("maintenance")
        policy = breaking()
        open_breaker(policy)
    assert registry.breaker("sms").state is BreakerState.CLOSED
    assert policy.breaker.state is BreakerState.CLOSED


def test_a_block_of_a_registry_also_covers_its_new_breakers():
    registry = Registry()
    with fresh(registry):
        registry.breaker("sms").force_open("maintenance")
    assert registry.breaker("sms").state is BreakerState.CLOSED


@pytest.mark.parametrize("first", [0, 1], ids=["first in, first out", "last in, first out"])
def test_blocks_of_several_threads_may_end_in_any_order(first: int):
    policy = breaking()
    healthy = breaking()
    open_breaker(policy)
    blocks = [fresh(), fresh()]
    for block in blocks:
        block.__enter__()
        open_breaker(policy)
        open_breaker(healthy)
    blocks.pop(first).__exit__(None, None, None)
    blocks.pop().__exit__(None, None, None)
    assert policy.breaker.state is BreakerState.OPEN
    assert healthy.breaker.state is BreakerState.CLOSED


def test_a_breaker_that_was_reconfigured_in_the_block_works_after_it():
    by_calls = BreakerSettings(failures=None, failure_rate=0.5, window=4, min_calls=2)
    breaker = CircuitBreaker("rates", by_calls)
    breaker.observe(Outcome.FAILED, 0.1)
    with fresh(breaker):
        breaker.reconfigure(replace(by_calls, window_s=60.0))
    assert breaker.settings.window_s == 60.0
    breaker.observe(Outcome.FAILED, 0.1)
    assert breaker.state is BreakerState.CLOSED  # the window began again
    breaker.observe(Outcome.FAILED, 0.1)
    assert breaker.state is BreakerState.OPEN


def test_listeners_and_settings_stay():
    heard = []
    policy = breaking(on_event=heard.append)
    with fresh():
        open_breaker(policy)
    assert heard


RETRYING = {"retry": Retry(attempts=3, base=10.0, jitter="none", on=ConnectionError)}


def test_a_fake_clock_reaches_policies_and_functions_that_they_decorate():
    policy = Policy("rates", total_timeout=60.0, interrupt=False, **RETRYING)
    decorated = policy(fail)
    clock = FakeClock()
    with fresh(clock=clock):
        for call in (decorated, partial(policy.call_sync, fail)):
            with pytest.raises(ConnectionError):
                call()
        assert policy.call_sync(remaining) == 60.0
    assert clock.slept == [10.0, 20.0] * 2


def test_after_the_block_a_policy_reads_and_waits_by_its_own_clock():
    own, other = FakeClock(), FakeClock()
    policy = Policy("rates", clock=own, sleep=own.sleep, sleep_sync=own.sleep_sync, **RETRYING)
    decorated = policy(fail)
    with fresh(clock=other):
        pass
    with pytest.raises(ConnectionError):
        decorated()
    assert (own.slept, other.slept) == ([10.0, 20.0], [])


async def test_time_outs_of_policies_at_module_level_pass_in_fake_time():
    policy = Policy("rates", attempt_timeout=5.0)
    clock = FakeClock()

    @policy
    async def hang() -> None:
        await asyncio.Event().wait()

    with fresh(clock=clock):
        with pytest.raises(AttemptTimeoutError):
            await hang()
        assert clock() == 5.0


def test_an_open_breaker_allows_a_probe_after_its_open_time_in_fake_time():
    policy = Policy("rates", breaker=BreakerSettings(failures=1, open_s=30.0), random=lambda: 0.0)
    clock = FakeClock()
    with fresh(clock=clock):
        open_breaker(policy)
        clock.move(30.0)
        assert policy.call_sync(succeed) == "yes"
        assert policy.breaker.state is BreakerState.CLOSED


def test_rates_limiters_and_claims_read_the_fake_clock():
    policy, limiter = Policy("rates", rate=Rate("1/h")), MemoryLimiter()
    limit = Limit(name="orders", scope="user", quota=1, period_s=3_600)
    clock = FakeClock()
    with fresh(clock=clock):
        for _ in range(2):
            policy.call_sync(succeed)
        assert clock.slept == [3_600.0]
        assert limiter.hit(limit, "ama") == 0
        assert limiter.hit(limit, "ama") == 3_600_000_000
        clock.move(3_600.0)
        assert limiter.hit(limit, "ama") == 0


async def test_a_lease_of_a_claim_ends_in_fake_time():
    store, clock = MemoryClaims(), FakeClock()
    with fresh(clock=clock):
        await store.claim("shop", "key", b"1", lease_s=10.0)
        clock.move(10.0)
        assert await store.claim("shop", "key", b"1", lease_s=10.0) == Granted(2, taken_over=True)


def test_what_a_registry_creates_in_the_block_reads_its_own_clock_after_it():
    own, other = FakeClock(), FakeClock()
    registry = Registry({"*": replace(PROFILES["*"], **RETRYING)}, clock=own)
    with fresh(clock=other):
        policy = registry.policy("rates", interrupt=False)
        with pytest.raises(ConnectionError):
            policy.call_sync(fail)
        assert (own.slept, other.slept) == ([], [10.0, 20.0])
        policy.breaker.force_open("maintenance")
    with pytest.raises(ConnectionError):
        policy.call_sync(fail)
    assert (own.slept, other.slept) == ([10.0, 20.0], [10.0, 20.0])


def test_blocks_with_clocks_may_be_nested_and_end_in_any_order():
    own = FakeClock()
    policy = Policy("rates", clock=own, sleep=own.sleep, sleep_sync=own.sleep_sync, **RETRYING)
    clocks = FakeClock(), FakeClock()
    first, second = (fresh(clock=clock) for clock in clocks)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(ConnectionError):
        policy.call_sync(fail)
    second.__exit__(None, None, None)
    with pytest.raises(ConnectionError):
        policy.call_sync(fail)
    assert [clock.slept for clock in (*clocks, own)] == [[], [10.0, 20.0], [10.0, 20.0]]


def test_a_reload_in_the_block_stays():
    registry = Registry({"*": replace(PROFILES["*"], **RETRYING)})
    policy = registry.policy("rates", interrupt=False)
    with fresh(clock=FakeClock()):
        registry.reload({"*": replace(PROFILES["*"], total_timeout=7.0, **RETRYING)})
    assert policy.total_timeout == 7.0


def test_only_policies_that_are_named_get_the_clock():
    own, clock = FakeClock(), FakeClock()
    one, other = (Policy(name, total_timeout=5.0, interrupt=False, clock=own) for name in ("one", "other"))

    def remaining_after_a_second() -> float | None:
        own.move(1.0)
        return remaining()

    with fresh(one, clock=clock):
        assert one.call_sync(remaining_after_a_second) == 5.0
        assert other.call_sync(remaining_after_a_second) == 4.0


def test_a_policy_that_only_decorates_forgets_too():
    """Nothing but the function holds it."""
    decorated = Policy("rates", breaker=BreakerSettings(failures=1))(fail)
    for _ in range(2):
        with fresh(), pytest.raises(ConnectionError):
            decorated()


def test_something_else_is_refused_by_name():
    with pytest.raises(TypeError, match=r"^fresh\(\) takes policies.* not 'rates'"), fresh("rates"):
        pass


def test_parts_that_nobody_uses_are_not_kept_alive():
    import gc
    import weakref

    policy = breaking()
    last = weakref.ref(policy)
    with fresh():
        pass
    del policy
    gc.collect()
    assert last() is None


APPLICATION = """
    from synccash.resilience import BreakerSettings, Policy

    payments = Policy("payments", breaker=BreakerSettings(failures=1))

    @payments
    def pay(works):
        if not works:
            raise ConnectionError("away")
        return "paid"
"""
TESTS = """
    import pytest
    from application import pay, payments

    def test_an_outage():
        with pytest.raises(ConnectionError):
            pay(works=False)

    def test_a_payment():
        assert pay(works=True) == "paid"

    class TestFixtures:
        @pytest.fixture
        def opened(self):
            with pytest.raises(ConnectionError):
                pay(works=False)

        def test_a_fixture_belongs_to_the_test(self, opened):
            assert payments.breaker.state.value == "open"

        async def test_in_an_event_loop(self, fake_clock):
            await fake_clock.sleep(3600.0)
            assert pay(works=True) == "paid"

        def test_with_a_clock_for_all_policies(self, policy_clock):
            with pytest.raises(ConnectionError):
                pay(works=False)
            policy_clock.move(3600.0)
            assert pay(works=True) == "paid"
"""
MARKED = TESTS.replace("def test_a_payment():", "def test_a_payment(fresh_policies):").split("    class")[0]


def run_pytest(folder: Path, tests: str, *options: str) -> tuple[int, str]:
    (folder / "application.py").write_text(dedent(APPLICATION))
    (folder / "test_application.py").write_text(dedent(tests))
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    plugin = fresh.__module__.replace("testing", "pytest_plugin")
    is_installed = plugin in {entry.value for entry in entry_points(group="pytest11")}
    loaded = () if is_installed else ("-p", plugin)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *loaded, "-q", *options]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout


def test_without_the_plugin_the_second_test_fails(tmp_path: Path):
    code, printed = run_pytest(tmp_path, TESTS)
    assert code == 1
    assert "FAILED test_application.py::test_a_payment" in printed


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_with_its_setting_each_test_begins_anew(tmp_path: Path, workers: tuple[str, ...]):
    code, printed = run_pytest(tmp_path, TESTS, "-o", "synccash_fresh_policies=true", *workers)
    assert code == 0, printed
    assert "5 passed" in printed


def test_with_its_fixture_one_test_begins_anew(tmp_path: Path):
    code, printed = run_pytest(tmp_path, MARKED)
    assert code == 0, printed
