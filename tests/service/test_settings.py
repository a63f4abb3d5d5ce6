from pathlib import Path
from typing import Any

import pytest

from synccash.payments.risk import Velocity
from synccash.processes.assembly.checks import check_settings
from synccash.settings.loader import SECRETS, Settings, SettingsError, load_settings
from synccash.settings.risk import payout_rules, risk_rules
from synccash.settings.secret import Secret


def test_the_environment_overrides_the_file_and_each_key_has_its_source(tmp_path: Path):
    file = tmp_path / "synccash.toml"
    file.write_text('port = 9000\nlog_level = "debug"\n[mtn_momo]\nbase_url = "http://localhost:1"\n')
    loaded = load_settings({"SYNCCASH_PORT": "9100", "PATH": "ignored"}, file)
    assert loaded.settings.port == 9100
    assert loaded.settings.mtn_momo_base_url == "http://localhost:1"
    assert loaded.sources == {
        "port": "SYNCCASH_PORT",
        "log_level": "synccash.toml",
        "mtn_momo_base_url": "synccash.toml",
    }


def test_an_unknown_key_is_refused_with_the_nearest_known_one():
    with pytest.raises(SettingsError, match=r"prot \(SYNCCASH_PROT\) is not a setting; did you mean port\?"):
        load_settings({"SYNCCASH_PROT": "1"})


def test_every_invalid_value_is_named_at_once_with_what_was_expected():
    with pytest.raises(SettingsError) as caught:
        load_settings({"SYNCCASH_PORT": "70000", "SYNCCASH_LOG_LEVEL": "loud", "SYNCCASH_LEASE_S": "soon"})
    message = str(caught.value)
    assert "port (SYNCCASH_PORT)" in message
    assert "expected one of debug, info, warning, error" in message
    assert "lease_s (SYNCCASH_LEASE_S)" in message


def test_a_secret_comes_from_a_file_and_is_never_shown(tmp_path: Path):
    secret = tmp_path / "key"
    secret.write_text("canary-secret\n")
    loaded = load_settings({"SYNCCASH_MTN_MOMO_COLLECTION_KEY_FILE": str(secret)})
    assert loaded.settings.mtn_momo_collection_key == Secret("canary-secret")
    shown = {name: value for name, value, _ in loaded.shown()}
    assert shown["mtn_momo_collection_key"] == "***"
    assert "canary" not in str(shown)


def test_a_missing_secret_file_is_named(tmp_path: Path):
    with pytest.raises(SettingsError, match="SYNCCASH_DATABASE_URL_FILE: cannot read the file"):
        load_settings({"SYNCCASH_DATABASE_URL_FILE": str(tmp_path / "absent")})


def test_a_broken_file_is_refused(tmp_path: Path):
    file = tmp_path / "synccash.toml"
    file.write_text("port = \n")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_settings({}, file)


def test_every_setting_that_could_open_an_account_is_masked():
    names = {name for name, _, _ in load_settings({}).shown()}
    assert names >= SECRETS
    assert {name for name in names if name.endswith(("_key", "_url")) and name not in SECRETS} == {
        "public_url",
        "api_url",
        "tls_key",
        "mtn_momo_base_url",
        "paystack_base_url",
        "hubtel_receive_url",
        "hubtel_status_url",
        "hubtel_send_url",
        "hubtel_send_status_url",
        "pawapay_base_url",
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"mtn_momo_base_url": "https://momo.example"}, "mtn_momo_collection_user is missing"),
        ({"lease_s": 5.0, "heartbeat_s": 4.0}, "heartbeat_s"),
        ({"rate_limits": "payment_initiation=soon"}, "rate_limits"),
        ({"trusted_proxies": "the office"}, "trusted_proxies"),
        ({"risk_blocked_payers": "0241234567, 12"}, "risk_blocked_payers"),
        ({"risk_tier_ceilings": "minimum=much"}, "TIER=PESEWAS"),
        ({"risk_tier_ceilings": "medium=1500000"}, "risk_default_tier"),
        ({"payout_blocked_payees": "12"}, "payout_blocked_payees"),
        ({"payout_merchants": "mer_1: ceiling 5"}, "expected `merchant=ID"),
        ({"payout_merchants": "merchant=mer_1: cieling 5"}, "did you mean ceiling"),
        ({"payout_merchants": "merchant=mer_1: ceiling much"}, "expected a whole number"),
        ({"payout_merchants": "merchant=m: ceiling 1; merchant=m: ceiling 2"}, "same merchant"),
        ({"payout_merchants": "merchant=m: ceiling 1, ceiling 2"}, "given twice"),
    ],
)
def test_settings_that_no_process_can_start_with_are_refused_before_the_start(
    given: dict[str, Any], told: str
):
    with pytest.raises(SettingsError, match=told):
        check_settings(Settings(**given))


def test_the_risk_rules_are_read_from_the_settings():
    rules = risk_rules(
        Settings(
            risk_blocked_payers="024 123 4567, +233501234567",
            risk_tier_ceilings="minimum=300000, enhanced=2500000",
            risk_merchant_max_payments=7,
            risk_payer_max_amount=100,
        )
    )
    assert rules.blocked_payers == {"233241234567", "233501234567"}
    assert (rules.tiers, rules.default_tier) == ({"minimum": 300_000, "enhanced": 2_500_000}, "minimum")
    assert (rules.merchant_count, rules.merchant_amount) == (Velocity(7, 3_600.0), None)
    assert rules.payer_amount == Velocity(100, 3_600.0)


def test_a_new_installation_has_low_payout_limits():
    rules = payout_rules(Settings(risk_blocked_payers="0241234567", risk_allowed_payers="0501234567"))
    general = rules.general
    assert (general.ceiling, general.payer_amount) == (100_000, Velocity(500_000, 86_400.0))
    assert general.merchant_amount == Velocity(2_000_000, 86_400.0)
    assert general.blocked_payers == {"233241234567"}
    assert (general.allowed_payers, rules.merchants) == (frozenset(), {})


def test_a_merchant_can_have_payout_limits_of_its_own():
    rules = payout_rules(
        Settings(
            payout_merchants="merchant=mer_1: ceiling 500000, payee_max_amount 2000000;"
            " merchant=mer_2: ceiling 5;"
        )
    )
    assert rules.of("mer_1").ceiling == 500_000
    assert rules.of("mer_1").payer_amount == Velocity(2_000_000, 86_400.0)
    assert rules.of("mer_1").merchant_amount == rules.general.merchant_amount
    assert (rules.of("mer_2").ceiling, rules.of("mer_3").ceiling) == (5, 100_000)
