"""A policy that was made by hand and added to a registry is listed, observed and reloaded as a named one."""

import gc
from dataclasses import replace

import pytest

from synccash.resilience import BreakerSettings, Bulkhead, CircuitBreaker, Policy, Retry
from synccash.resilience.breaker_settings import BreakerState
from synccash.resilience.events import CallFailed, CallRefused, Transition
from synccash.resilience.profiles import PROFILES, Profile
from synccash.resilience.registry import Registry
from synccash.resilience.testing import FakeClock
from synccash.resilience.verdict import Outcome, classify_by_evidence

MADE = BreakerSettings(failures=2)
STOCK = Profile(
    retry=Retry(attempts=4, strategy="immediate"),
    breaker=BreakerSettings(failures=7),
    attempt_timeout=1.0,
    total_timeout=9.0,
)
WITH_STOCK = {**PROFILES, "stock": STOCK}


def made(name: str = "stock", **parts) -> Policy:
    clock = FakeClock()
    given = {
        "retry": Retry(attempts=2, strategy="immediate", on=OSError),
        "breaker": MADE,
        "total_timeout": 5.0,
        "interrupt": False,
        "clock": clock,
        "sleep": clock.sleep,
        "sleep_sync": clock.sleep_sync,
    }
    return Policy(name, **{**given, **parts})


def down() -> None:
    calls.append(1)
    raise ConnectionRefusedError


calls: list[int] = []


def attempts_of(function) -> int:
    calls.clear()
    with pytest.raises(ConnectionRefusedError):
        function()
    return len(calls)


def test_an_added_policy_is_listed_with_its_breaker_and_budget():
    registry, policy = Registry(), made()
    assert registry.add(policy) is policy
    assert registry.policies() == [policy]
    assert registry.breakers() == {"stock": policy.breaker}
    assert registry.budgets() == {"stock": policy.budget}
    assert registry.policy("Stock") is policy
    assert registry.breaker("stock") is policy.breaker
    assert registry.budget("stock") is policy.budget


def test_a_registry_keeps_what_was_added_alive_and_never_drops_its_breaker():
    registry = Registry(most=2)
    registry.add(made(retry=None))
    gc.collect()
    for number in range(5):
        registry.breaker(f"other{number}")
        registry.budget(f"other{number}")
    (policy,) = registry.policies()
    assert policy.breaker in registry.breakers().values()
    assert policy.budget in registry.budgets().values()


def test_without_a_profile_of_its_name_it_keeps_what_it_was_made_with():
    registry, policy = Registry(), made()
    registry.add(policy)
    registry.reload({"*": STOCK})
    assert (policy.total_timeout, policy.breaker.settings) == (5.0, MADE)
    assert attempts_of(lambda: policy.call_sync(down)) == 2


def test_a_profile_of_its_name_applies_at_once_and_at_each_reload():
    registry, policy = Registry(WITH_STOCK), made()
    decorated_before = policy(down)
    registry.add(policy)
    decorated_after = policy(down)
    assert (policy.total_timeout, policy.breaker.settings.failures) == (9.0, 7)
    assert attempts_of(decorated_before) == 4
    registry.reload({**PROFILES, "stock": replace(STOCK, retry=replace(STOCK.retry, attempts=3))})
    policy.breaker.reset()
    assert [attempts_of(one) for one in (decorated_before, decorated_after)] == [3, 3]
    registry.reload(PROFILES)
    policy.breaker.reset()
    assert (policy.total_timeout, policy.breaker.settings) == (5.0, MADE)
    assert attempts_of(decorated_before) == 2


def test_a_profile_adds_no_part_that_the_policy_was_made_without():
    registry = Registry(WITH_STOCK)
    policy = registry.add(made(retry=None, breaker=None, total_timeout=None))
    assert (policy.breaker, policy.total_timeout, policy.attempt_timeout) == (None, None, None)
    assert attempts_of(lambda: policy.call_sync(down)) == 1
    assert registry.breakers() == {}


def test_state_and_slots_in_use_survive_a_reload():
    registry = Registry()
    policy = registry.add(made(retry=None, bulkhead=Bulkhead(limit=1)))
    policy.breaker.force_open("maintenance")
    budget = policy.budget
    registry.reload(WITH_STOCK)
    assert policy.breaker.state is BreakerState.FORCED_OPEN
    assert policy.budget is budget
    policy.breaker.reset()

    def reload_inside() -> str:
        registry.reload(PROFILES)
        with pytest.raises(Exception, match="stock"):
            policy.call_sync(str)
        return "done"

    assert policy.call_sync(reload_inside) == "done"


def test_a_profile_that_the_policy_cannot_have_changes_nothing():
    registry = Registry()
    policy = registry.add(made(retry=Retry(attempts=2), classify=classify_by_evidence))
    named = registry.policy("sms")
    judged = replace(STOCK, retry=Retry(on=OSError))
    with pytest.raises(ValueError, match="stock: classify"):
        registry.reload({"*": replace(STOCK, attempt_timeout=0.5), "stock": judged})
    assert policy.total_timeout == 5.0
    assert named.attempt_timeout != 0.5


def test_its_events_go_to_its_own_hook_and_to_that_of_the_registry():
    own, all_of_them = [], []
    registry = Registry(on_event=all_of_them.append)
    policy = registry.add(made(retry=None, breaker=BreakerSettings(failures=1), on_event=own.append))
    attempts_of(lambda: policy.call_sync(down))
    with pytest.raises(Exception, match="stock"):
        policy.call_sync(down)
    for heard in (own, all_of_them):
        assert [type(event) for event in heard if not isinstance(event, CallFailed)] == [
            Transition,
            CallRefused,
        ]


def test_watchers_see_its_breaker():
    registry, seen = Registry(), []
    registry.watch(seen.append)
    policy = registry.add(made())
    assert seen == [policy.breaker]


def test_a_policy_with_the_breaker_and_budget_of_the_registry_follows_its_profiles():
    registry = Registry(PROFILES)
    policy = registry.add(made(breaker=registry.breaker("stock"), budget=registry.budget("stock")))
    registry.reload({"*": STOCK})
    assert policy.breaker.settings == STOCK.breaker


def test_two_added_policies_may_share_a_breaker():
    registry, shared = Registry(), CircuitBreaker("warehouse", MADE)
    for name in ("stock", "orders"):
        registry.add(made(name, breaker=shared))
    registry.reload({**PROFILES, "warehouse": STOCK})
    assert shared.settings == STOCK.breaker
    registry.reload(PROFILES)
    assert shared.settings == MADE
    shared.observe(Outcome.OK, 0.1)
    assert registry.breakers() == {"warehouse": shared}


@pytest.mark.parametrize(
    ("prepare", "make", "message"),
    [
        (lambda registry: registry.add(made()), made, "has a policy stock already"),
        (lambda registry: registry.breaker("stock"), made, r"breaker=registry\.breaker\('stock'\)"),
        (
            lambda registry: registry.budget("stock"),
            lambda: made(breaker=None),
            r"budget=registry\.budget\('stock'\)",
        ),
        (lambda _: None, lambda: made("Stock"), "writes 'Stock' as 'stock'"),
        (lambda _: None, lambda: made(breaker=CircuitBreaker("Other")), "writes 'Other' as 'other'"),
    ],
    ids=["twice", "another breaker", "another budget", "name", "name of the breaker"],
)
def test_what_would_hide_another_one_is_refused_and_changes_nothing(prepare, make, message):
    registry, policy = Registry(WITH_STOCK), make()
    prepare(registry)
    before = registry.policies(), registry.breakers(), registry.budgets()
    with pytest.raises(ValueError, match=message):
        registry.add(policy)
    assert (registry.policies(), registry.breakers(), registry.budgets()) == before
    assert policy.total_timeout == 5.0


def test_a_policy_of_the_registry_cannot_be_added():
    registry = Registry()
    with pytest.raises(ValueError, match="has a policy stock already"):
        registry.add(registry.policy("stock"))


def test_options_of_an_added_policy_cannot_be_asked_for():
    registry = Registry()
    registry.add(made())
    with pytest.raises(ValueError, match="the options it was made with"):
        registry.policy("stock", idempotent=True)
