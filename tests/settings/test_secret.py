"""What a Secret compares with, and what of a URL is shown."""

import copy
from pathlib import Path

import pytest

from synccash.settings.loader import SECRETS, Settings, SettingsError, convert_settings, load_settings
from synccash.settings.secret import Secret, SecretUrl


def test_a_secret_equals_only_a_secret_with_the_same_text():
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("\udcff") != Secret("?")
    assert Secret("postgresql://h/d") == SecretUrl("postgresql://h/d")
    assert {Secret("a"): 1}[Secret("a")] == 1


def test_a_secret_is_true_when_it_has_a_text_and_a_copy_reveals_the_same():
    assert (bool(Secret("")), bool(Secret("a"))) == (False, True)
    assert copy.deepcopy(Secret("a")).reveal() == copy.copy(Secret("a")).reveal() == "a"


def test_the_length_of_a_secret_is_not_shown():
    assert repr(Secret("a")) == repr(Secret("a" * 40)) == "Secret('***')"
    assert f"{Secret('a'):>5}" == "  ***"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@h:5432/d?sslmode=require", "postgresql://u:***@h:5432/d?sslmode=require"),
        ("postgresql://u:p@/d?host=/run/pg&password=p", "postgresql://u:***@/d?host=/run/pg&password=***"),
        ("postgresql://u:p@h1:1,h2:2/d", "postgresql://u:***@h1:1,h2:2/d"),
        ("postgresql://u:p%2Fw@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p@w@h/d", "postgresql://u:***@h/d"),
        ("redis://:p@[::1]:6379/0", "redis://:***@[::1]:6379/0"),
        ("redis://token@h", "redis://***@h"),
        ("unix:///run/valkey.sock?db=0", "unix:///run/valkey.sock?db=0"),
        ("https://h/ask?token=p&p", "https://h/ask?token=***&***"),
        ("https://h/ask#p", "https://h/ask#***"),
        ("https://h/team@prod/ask", "https://h/team@prod/ask"),
        (
            "postgresql:///d?host=/run/pg&user=app@tenant&password=p@s",
            "postgresql:///d?host=/run/pg&user=app@tenant&password=***",
        ),
        ("unix:///run/valkey.sock?password=a@b", "unix:///run/valkey.sock?password=***"),
    ],
)
def test_a_url_is_shown_without_its_password_and_parameters(url: str, shown: str):
    assert str(SecretUrl(url)) == shown
    assert repr(SecretUrl(url)) == f"SecretUrl({shown!r})"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p/w@h/d",
        "postgresql://u:p#w@h/d",
        "redis://:p?w@h",
        "redis://:p",
        "u:p@h",
        "postgresql:///u:p@h/d",
        "postgresql://u:12?34@h/d",
        "p",
        "redis://u:p[@h",
    ],
)
def test_nothing_of_a_url_is_shown_where_the_password_cannot_be_told_from_the_host(url: str):
    assert str(SecretUrl(url)) == "***"


def test_an_error_of_another_program_is_shown_without_the_password_in_any_spelling():
    url = SecretUrl("postgresql://u:p%2Fw%20x@h/d?sslmode=prefer&sslpassword=q")
    told = "cannot open p%2Fw%20x, p/w x or q with sslmode=prefer"
    assert url.mask_in(told) == "cannot open ***, *** or *** with sslmode=prefer"


@pytest.mark.parametrize("text", ["null", "None", "true", "5", "", "é"])
def test_every_text_is_a_secret_from_the_environment_a_file_and_toml(tmp_path: Path, text: str):
    (tmp_path / "key").write_text(text + "\n", encoding="utf-8")
    (tmp_path / "synccash.toml").write_text(f'[fraud]\nkey = "{text}"\n', encoding="utf-8")
    given = {"SYNCCASH_ADMIN_KEY": text, "SYNCCASH_PAWAPAY_TOKEN_FILE": str(tmp_path / "key")}
    settings = load_settings(given, tmp_path / "synccash.toml").settings
    assert (settings.admin_key, settings.pawapay_token, settings.fraud_key) == (Secret(text),) * 3


def test_a_secret_that_is_no_text_is_refused_without_showing_it(tmp_path: Path):
    (tmp_path / "synccash.toml").write_text("admin_key = 123456\n[pawapay]\ntoken = [654321]\n")
    with pytest.raises(SettingsError) as refused:
        load_settings({}, tmp_path / "synccash.toml")
    assert "admin_key (synccash.toml): Expected `str | null`, got `int`" in str(refused.value)
    assert "pawapay_token (synccash.toml): Expected `str | null`, got `list`" in str(refused.value)
    assert "123456" not in str(refused.value)
    assert "654321" not in str(refused.value)


def test_a_secret_file_that_is_not_text_is_named(tmp_path: Path):
    (tmp_path / "key").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="SYNCCASH_ADMIN_KEY_FILE: the file is not UTF-8 text"):
        load_settings({"SYNCCASH_ADMIN_KEY_FILE": str(tmp_path / "key")})


def test_whole_settings_are_converted_with_their_secrets():
    settings = convert_settings({"admin_key": "a", "valkey_url": "redis://h", "port": "9"})
    assert settings.port == 9
    assert (settings.admin_key, settings.valkey_url) == (Secret("a"), SecretUrl("redis://h"))


def test_every_setting_with_the_name_of_a_secret_is_one():
    endings = ("_key", "_token", "_secret", "_password", "client_id")
    # `tls_key` is the path of a file.
    assert {name for name in Settings.__struct_fields__ if name.endswith(endings)} - {"tls_key"} <= SECRETS
    assert {"database_url", "valkey_url", "fraud_url"} <= SECRETS
