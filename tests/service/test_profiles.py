"""The setting `profiles`: what an operator may change, and the error messages of invalid values."""

from pathlib import Path

import pytest

from synccash.processes.assembly.registry import build_registry
from synccash.rails.registry import RAILS
from synccash.resilience.profiles import DATABASE, PAYMENT_PROVIDER
from synccash.resilience.registry import Registry
from synccash.settings.loader import SettingsError, load_settings


def registry(text: str) -> Registry:
    return build_registry(load_settings({"SYNCCASH_PROFILES": text}).settings, lambda: 0.0)


def test_the_default_profiles_have_the_required_values():
    profiles = registry("")
    provider, fraud, database = (profiles.profile(name) for name in ("MTN_MOMO", "fraud", "database"))
    asked_for = [(one.retry.attempts, one.retry.base, one.retry.cap) for one in (provider, fraud, database)]
    assert asked_for == [(3, 2.0, 30.0), (2, 1.0, 10.0), (3, 0.5, 5.0)]
    opens = [(one.breaker.failures, one.breaker.open_s) for one in (provider, fraud)]
    assert opens == [(3, 30.0), (5, 60.0)]
    slow = provider.breaker
    assert (slow.slow_rate, slow.slow_s, slow.window, slow.min_calls) == (0.5, 4.0, 100, 10)


def test_the_more_specific_setting_wins_in_any_order():
    profiles = registry(
        "mtn_momo:status.retry.attempts=7, mtn_momo.retry.attempts=6\npayment_provider.retry.attempts=5,"
        " payment_provider.breaker.open_s=10, mtn_momo.total_timeout=20"
    )
    attempts = {name: profiles.profile(name).retry.attempts for name in ("paystack", "mtn_momo")}
    assert attempts == {"paystack": 5, "mtn_momo": 6}
    assert profiles.profile("mtn_momo:refund").retry.attempts == 6
    assert profiles.profile("mtn_momo:status").retry.attempts == 7
    assert profiles.breaker("MTN_MOMO").name == "mtn_momo:collect"
    assert profiles.breaker("MTN_MOMO:status").settings.open_s == 10.0
    assert (profiles.profile("mtn_momo").total_timeout, profiles.profile("paystack").total_timeout) == (
        20,
        60,
    )
    assert profiles.profile("database") == DATABASE


def test_every_kind_of_value_can_be_changed_and_rules_can_be_disabled():
    profile = registry(
        "payment_provider.retry.strategy=linear, payment_provider.retry.jitter=equal,"
        "payment_provider.breaker.failures=off, payment_provider.breaker.failure_rate=0.5,"
        "payment_provider.breaker.mode=shadow, payment_provider.breaker.window=50,"
        "payment_provider.breaker.slow_rate=off"
    ).profile("hubtel")
    assert (profile.retry.strategy, profile.retry.jitter) == ("linear", "equal")
    assert (profile.breaker.failures, profile.breaker.failure_rate, profile.breaker.window) == (None, 0.5, 50)
    assert (profile.breaker.mode, profile.breaker.slow_rate) == ("shadow", None)
    assert profile.retry.base == PAYMENT_PROVIDER.retry.base


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mtn_mono.retry.attempts=4", "unknown service 'mtn_mono'; did you mean mtn_momo?"),
        ("mtn_momo.retry.atempts=4", "mtn_momo has no 'retry.atempts'; did you mean retry.attempts?"),
        ("mtn_momo:collct.retry.attempts=4", "unknown operation 'collct'; did you mean collect?"),
        ("fraud:check.retry.attempts=4", "only rails have operations"),
        ("mtn_momo.retry.on=x", "mtn_momo has no 'retry.on'"),
        ("database.breaker.failures=4", "database has no 'breaker.failures'; expected one of retry.attempts"),
        ("mtn_momo.retry.attempts", "expected service.part.field=value"),
        ("mtn_momo=4", "expected service.part.field=value"),
        ("mtn_momo.retry.attempts=many", "Expected `int`"),
        ("mtn_momo.retry.attempts=off", "Expected `int`"),
        ("mtn_momo.retry.strategy=cubic", "Invalid enum value 'cubic'"),
        ("mtn_momo.retry.attempts=0", "mtn_momo: attempts must be at least 1"),
        ("mtn_momo.retry.cap=nan", "expected a finite number"),
        ("mtn_momo.breaker.open_s=900", "mtn_momo: expected 0 < open_s <= open_max_s"),
        ("mtn_momo.total_timeout=0", "mtn_momo: attempt_timeout and total_timeout must be above 0"),
    ],
)
def test_an_unusable_profile_is_refused_at_start_with_the_settings_name(text: str, told: str):
    with pytest.raises(SettingsError) as refused:
        load_settings({"SYNCCASH_PROFILES": text})
    assert str(refused.value).startswith("profiles (SYNCCASH_PROFILES): ")
    assert told in str(refused.value)


def test_other_structured_settings_are_validated_at_start(tmp_path: Path):
    file = tmp_path / "synccash.toml"
    file.write_text('rate_limits = "nonsense"\ntrusted_proxies = "everybody"\n')
    with pytest.raises(SettingsError) as refused:
        load_settings({}, file)
    assert "rate_limits (synccash.toml): 'nonsense' is not a rate limit" in str(refused.value)
    assert "trusted_proxies (synccash.toml)" in str(refused.value)


def test_every_rail_can_be_named():
    for rail in RAILS:
        found = load_settings(
            {"SYNCCASH_PROFILES": f"{rail}.breaker.open_s=10, {rail}:status.retry.attempts=1"}
        )
        assert registry(found.settings.profiles).profile(rail).breaker.open_s == 10
