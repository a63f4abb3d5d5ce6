"""The registry: its names, and how much it keeps."""

import pytest

from synccash.resilience import BreakerSettings, Retry
from synccash.resilience.profiles import PROFILES, Profile
from synccash.resilience.registry import Registry

SMS = Profile(retry=Retry(attempts=2), breaker=BreakerSettings(failures=9))


def test_profiles_are_found_however_their_names_are_written():
    registry = Registry({**PROFILES, "SMS": SMS})
    assert registry.breaker("sms").settings.failures == registry.breaker("Sms").settings.failures == 9


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: Registry({"sms": SMS}), r'needs "\*"'),
        (lambda: Registry(most=0), "at least 1"),
        (lambda: Registry().breaker(" "), "begins with its service"),
        (lambda: Registry().budget(":collect"), "begins with its service"),
    ],
)
def test_what_names_nothing_is_refused(made, told):
    with pytest.raises(ValueError, match=told):
        made()


def test_budgets_are_bounded_as_breakers_are_and_those_of_breakers_stay_longest():
    registry = Registry(most=3)
    registry.breaker("kept")
    kept = registry.budget("kept")
    for number in range(10):
        registry.budget(f"stray{number}")
    assert len(registry.budgets()) == 3
    assert registry.budget("kept") is kept
