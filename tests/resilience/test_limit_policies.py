"""The default rate limits, the client address behind proxies, and the rate-limit headers."""

import pytest

from synccash.resilience.client_address import client_address, trusted_networks
from synccash.resilience.limit_headers import limit_headers
from synccash.resilience.limit_policies import ConfiguredLimits
from synccash.resilience.rate_limiter import Demand, Limit, MemoryLimiter

TRUSTED = trusted_networks("10.0.0.0/8, fd00::/8")


@pytest.mark.parametrize(
    ("endpoint", "scope", "capacity", "period_s"),
    [
        ("payment_initiation", "user", 13, 60),
        ("payment_status", "user", 120, 60),
        ("refund_request", "user", 6, 300),
        ("health_check", "ip", 1_100, 60),
    ],
)
def test_the_endpoints_have_the_documented_limits(endpoint, scope, capacity, period_s):
    limit = ConfiguredLimits().for_scope(endpoint, scope)[0]
    assert (limit.name, limit.capacity, limit.period_s) == (endpoint, capacity, period_s)


def test_the_limits_of_every_scope_with_an_id_apply_to_a_request():
    limits = ConfiguredLimits()
    full = limits.demands("payment_initiation", user="m:ama", api_key="k", ip="192.0.2.1")
    assert [(one.limit.scope, one.id) for one in full] == [
        ("user", "m:ama"),
        ("api_key", "k"),
        ("ip", "192.0.2.1"),
        ("endpoint", "payment_initiation"),
        ("global", "all"),
    ]
    assert [one.limit.scope for one in limits.demands("payment_list", api_key="k")] == [
        "api_key",
        "endpoint",
        "global",
    ]


def test_an_operator_overrides_numbers_and_sets_shadow_mode():
    limits = ConfiguredLimits().overridden("payment_initiation=20/30+5, api_key=500/1, ip=shadow")
    changed = limits.for_scope("payment_initiation", "user")[0]
    assert (changed.quota, changed.period_s, changed.burst) == (20, 30, 5)
    assert changed.block is not None
    assert limits.for_scope("x", "api_key")[0].capacity == 500
    assert limits.for_scope("x", "ip")[0].shadow


@pytest.mark.parametrize("text", ["payment=1/1", "api_key", "api_key=0/1", "api_key=1/0", "api_key=-1/1"])
def test_an_invalid_override_is_refused(text):
    with pytest.raises(ValueError, match=r"limit|api_key"):
        ConfiguredLimits().overridden(text)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["10.9.9.9, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, rubbish"], "10.0.0.1"),
        ("10.0.0.1", ["rubbish, 203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("fd00::1", ["[2001:db8:1:2:3::4]:443"], "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", ["1.1.1.1"], "2001:db8:1:2::/64"),
        (None, ["1.1.1.1"], "unknown"),
    ],
)
def test_only_trusted_proxies_determine_the_client_address(peer, forwarded, client):
    assert client_address(peer, forwarded, TRUSTED) == client


def test_headers_show_the_clients_own_limits_and_retry_after():
    limiter = MemoryLimiter(clock_us=lambda: 1_700_000_000_000_000)
    user = Limit(name="p", scope="user", quota=2, period_s=60)
    shared = Limit(name="g", scope="global", quota=9, period_s=60)
    demands = [Demand(user, "ama"), Demand(shared, "all")]
    assert limit_headers(limiter.check(demands)) == (
        ("RateLimit-Policy", '"p";q=2;w=60'),
        ("RateLimit", '"p";r=1;t=30'),
    )
    limiter.check(demands)
    assert limit_headers(limiter.check(demands)) == (
        ("RateLimit-Policy", '"p";q=2;w=60'),
        ("RateLimit", '"p";r=0;t=30'),
        ("Retry-After", "30"),
    )
