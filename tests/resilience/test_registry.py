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
        (lambda: Registry().budget(":collect"), "begins with its service"),
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
