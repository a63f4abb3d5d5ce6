"""Names of breakers and budgets in the registry, and how many it holds."""

import pytest

from synccash.resilience import BreakerSettings, Retry
from synccash.resilience.profiles import PROFILES, Profile
from synccash.resilience.registry import Registry

SMS = Profile(retry=Retry(attempts=2), breaker=BreakerSettings(failures=9))


def test_profile_names_are_case_insensitive():
    registry = Registry({**PROFILES, "SMS": SMS})
    assert registry.breaker("sms").settings.failures == registry.breaker("Sms").settings.failures == 9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Registry({"sms": SMS}), r'needs "\*"'),
        (lambda: Registry(most=0), "at least 1"),
        (lambda: Registry().breaker(" "), "begins with its service"),
        (lambda: Registry(default_operation="send").breaker(" "), "begins with its service"),
        (lambda: Registry(default_operation=" "), "default_operation"),
        (lambda: Registry(default_operation="sms:send"), "default_operation"),
        (lambda: Registry().budget(":send"), "begins with its service"),
    ],
)
def test_invalid_registries_and_names_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_full_registry_drops_budgets_without_a_breaker_first():
    registry = Registry(most=3)
    registry.breaker("kept")
    kept = registry.budget("kept")
    for number in range(10):
        registry.budget(f"stray{number}")
    assert len(registry.budgets()) == 3
    assert registry.budget("kept") is kept


def test_a_bare_name_stays_bare_unless_the_registry_has_a_default_operation():
    bare, with_default = Registry(), Registry({**PROFILES, "SMS": SMS}, default_operation="Send")
    assert bare.breaker(" Push ").name == bare.full_name("PUSH") == "push"
    assert bare.breaker("push") is not bare.breaker("push:send")
    assert with_default.breaker("PUSH") is with_default.breaker("push:send")
    assert with_default.budget("push") is with_default.budget("PUSH:send")
    assert with_default.full_name("sms") == "sms", "a name that has a profile of its own stays bare"
