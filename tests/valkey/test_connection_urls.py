"""The connection of the rate limits reads the options of a Valkey URL as the shared client does."""

import ssl

import pytest

from synccash.stores.valkey.client import build_client
from synccash.stores.valkey.connection import ValkeyConnection

URLS = [
    "valkey://user:pass%2Fword@valkey.internal:7000/3",
    "valkeys://:password@valkey.internal:7000/1",
    "valkey+sentinel://user:password@sentinel-1,sentinel-2:26380/synccash/2",
    "valkeys+sentinel://:password@sentinel-1/synccash?ssl_cert_reqs=none&sentinel_password=other",
    "redis://valkey.internal",
    "redis://user:pass%2Fword@valkey.internal:7000/3",
    "unix:///run/valkey.sock?db=2",
    "unix://:password@/run/valkey.sock",
    "rediss://:password@valkey.internal:7000/1",
    "rediss://valkey.internal?ssl_cert_reqs=none",
    "rediss://valkey.internal?ssl_check_hostname=false&ssl_min_version=772",
    "rediss://valkey.internal?ssl_cert_reqs=optional&ssl_ciphers=ECDHE-RSA-AES256-GCM-SHA384",
]


def context_of(described) -> dict[str, object] | None:
    if not hasattr(described, "ssl_context"):
        return None
    context: ssl.SSLContext = described.ssl_context.get()
    return {
        "verify_mode": context.verify_mode,
        "check_hostname": context.check_hostname,
        "minimum_version": context.minimum_version,
        "ciphers": [cipher["name"] for cipher in context.get_ciphers()],
    }


def target_of(described) -> dict[str, object]:
    names = ("host", "port", "path", "db", "username")
    return {name: getattr(described, name, None) for name in names}


@pytest.mark.parametrize("url", URLS)
def test_both_connect_to_the_same_server_under_the_same_options(url: str):
    shared = build_client(url).connection_pool.make_connection()
    limits = ValkeyConnection(url)
    assert target_of(limits._described) == target_of(shared)
    assert limits._password.reveal() == (shared.password or "")
    assert context_of(limits._described) == context_of(shared)


def test_tls_options_of_the_url_change_the_context():
    context = ValkeyConnection("rediss://valkey.internal?ssl_cert_reqs=none")._described.ssl_context.get()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    context = ValkeyConnection("rediss://valkey.internal?ssl_min_version=772")._described.ssl_context.get()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize("kind", [build_client, ValkeyConnection])
def test_both_reject_other_schemes_without_quoting_the_url(kind):
    with pytest.raises(ValueError, match="expected valkey://, valkeys://") as raised:
        kind("http://:hunter2@valkey.internal")
    assert "hunter2" not in str(raised.value)


def test_a_url_of_sentinels_has_their_addresses_and_options():
    url = (
        "valkeys+sentinel://user:password@one,two:26380,[2001:db8::1]/cash/2"
        "?sentinel_username=watcher&sentinel_password=other&ssl_ca_certs=/etc/ca.pem"
    )
    sentinels = build_client(url).connection_pool.make_connection().sentinels
    assert sentinels.service == "cash"
    assert sentinels.addresses == [("one", 26379), ("two", 26380), ("2001:db8::1", 26379)]
    options = {name: sentinels.options.get(name) for name in ("username", "password", "ssl", "ssl_ca_certs")}
    assert options == {"username": "watcher", "password": "other", "ssl": True, "ssl_ca_certs": "/etc/ca.pem"}
    assert "other" not in repr(sentinels)


@pytest.mark.parametrize(
    "url", ["valkey+sentinel://one,two", "valkey+sentinel:///cash", "sentinel://one/cash"]
)
def test_a_url_of_sentinels_without_hosts_or_service_is_refused(url):
    with pytest.raises(ValueError, match="sentinel://HOST,HOST/SERVICE"):
        build_client(url)
