"""What live mode refuses, and how each refusal is allowed by name."""

import pytest

from synccash.settings.live_mode import database_hosts, insecure_settings, is_local_host, refuse_insecure
from synccash.settings.loader import Settings, SettingsError, load_settings
from synccash.settings.secret import SecretUrl

GOOD = {
    "paystack_environment": "live",
    "paystack_secret_key": "sk_live_canary",
    "paystack_email": "pay@shop.example",
    "public_url": "https://pay.shop.example",
    "database_url": "postgresql://service:pw@db.internal/synccash?sslmode=verify-full",
}
WEAK = [
    ("database_sslmode", {"database_url": "postgresql://service:pw@db.internal/synccash"}),
    ("database_sslmode", {"database_url": "postgresql://service:pw@db.internal/synccash?sslmode=require"}),
    ("database_sslmode", {"database_url": "postgresql://s:pw@/synccash?host=/run/postgresql,db.internal"}),
    ("database_sslmode", {"migration_database_url": "postgresql://owner:pw@10.0.0.7:5432/synccash"}),
    ("public_url_localhost", {"public_url": "http://localhost:8000"}),
    ("public_url_localhost", {"public_url": "https://127.0.0.1"}),
    ("rail_http", {"paystack_base_url": "http://paystack.example"}),
    ("test_credentials", {"paystack_secret_key": "sk_test_canary"}),
    ("test_credentials", {"paystack_base_url": "https://sandbox.paystack.example"}),
    ("test_credentials", {"paystack_base_url": "https://localhost:8103"}),
]


def test_good_settings_are_accepted_in_live_mode():
    refuse_insecure(Settings(**GOOD))


@pytest.mark.parametrize(("name", "weak"), WEAK)
def test_a_weak_setting_is_refused_and_allowed_by_its_name(name, weak):
    settings = Settings(**GOOD | weak)
    assert {one.name for one in insecure_settings(settings)} == {name}
    with pytest.raises(SettingsError, match=f"To allow it: SYNCCASH_ALLOW_INSECURE={name}") as refused:
        refuse_insecure(settings)
    assert "canary" not in str(refused.value)
    assert next(iter(weak)) in str(refused.value)
    refuse_insecure(Settings(**GOOD | weak, allow_insecure=name))


@pytest.mark.parametrize(("name", "weak"), WEAK)
def test_test_mode_accepts_what_live_mode_refuses(name, weak):
    refuse_insecure(Settings(**GOOD | weak | {"paystack_environment": "test"}))


def test_all_refusals_are_listed_at_once():
    weak = {"public_url": "http://localhost:8000", "database_url": "postgresql://s@db.internal/synccash"}
    with pytest.raises(SettingsError) as refused:
        refuse_insecure(Settings(**GOOD | weak))
    assert str(refused.value).count("To allow it:") == 2


def test_an_unknown_allowance_is_refused_with_the_nearest_one():
    with pytest.raises(SettingsError, match="did you mean rail_http"):
        load_settings({"SYNCCASH_ALLOW_INSECURE": "rails_http"})


def test_a_list_of_the_file_is_the_same_as_a_text_with_commas(tmp_path):
    file = tmp_path / "synccash.toml"
    file.write_text('allow_insecure = ["rail_http", "database_sslmode"]\n')
    assert load_settings({}, file).settings.allow_insecure == "rail_http, database_sslmode"


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql:///synccash", ("",)),
        ("postgresql://s:p@/synccash?host=/run/postgresql", ("/run/postgresql",)),
        ("postgresql://s:p@db-1:5432,db-2:5432/synccash", ("db-1", "db-2")),
        ("postgresql://s:p@[2001:db8::1]:5432/synccash", ("2001:db8::1",)),
        ("postgresql://s:p@[::1]/synccash", ("::1",)),
    ],
)
def test_the_hosts_of_a_database_url_are_read(url, hosts):
    assert database_hosts(SecretUrl(url)) == hosts


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("localhost", True),
        ("api.localhost", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("/run/postgresql", True),
        (None, True),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("db.internal", False),
    ],
)
def test_loopback_addresses_and_sockets_are_local(host, is_local):
    assert is_local_host(host) is is_local
