from pathlib import Path

import pytest

from synccash.settings import SECRETS, SettingsError, load_settings


def test_the_environment_wins_over_the_file_and_each_key_tells_its_source(tmp_path: Path):
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


def test_every_bad_value_is_named_at_once_with_what_was_expected():
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
    assert loaded.settings.mtn_momo_collection_key == "canary-secret"
    shown = {name: value for name, value, _ in loaded.shown()}
    assert shown["mtn_momo_collection_key"] == "***"
    assert "canary" not in str(shown)


def test_a_secret_file_that_is_not_there_is_named(tmp_path: Path):
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
        "fraud_url",
        "public_url",
        "mtn_momo_base_url",
        "paystack_base_url",
        "hubtel_receive_url",
        "hubtel_status_url",
        "hubtel_send_url",
        "hubtel_send_status_url",
        "pawapay_base_url",
    }
