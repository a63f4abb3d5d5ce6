"""Limits by endpoint and scope, the client address behind proxies, and the rate-limit headers."""

import pytest

from synccash.resilience.client_address import client_address, trusted_networks
from synccash.resilience.limit_headers import limit_headers
from synccash.resilience.limit_policies import ConfiguredLimits
from synccash.resilience.rate_limiter import Block, Demand, Limit, MemoryLimiter

TRUSTED = trusted_networks("10.0.0.0/8, fd00::/8")


LOGIN = Limit(name="login", scope="user", quota=10, period_s=60, burst=3, block=Block(violations=30))
LIMITS = ConfiguredLimits(
    {"login": (LOGIN, Limit(name="device", scope="device", quota=5, period_s=60))},
    (
        Limit(name="api_key", scope="api_key", quota=100, period_s=1),
        Limit(name="endpoint", scope="endpoint", quota=5_000, period_s=1),
        Limit(name="global", scope="global", quota=10_000, period_s=1),
    ),
)


def test_configured_limits_have_no_limits_of_their_own():
    assert ConfiguredLimits() == ConfiguredLimits({}, ())
    assert ConfiguredLimits().demands("login", {"user": "ama"}) == []


def test_the_limits_of_every_scope_with_an_id_apply_to_a_request():
    full = LIMITS.demands("login", {"user": "ama", "device": "d", "api_key": "k", "ip": "192.0.2.1"})
    assert [(one.limit.scope, one.id, one.cost) for one in full] == [
        ("user", "ama", 1),
        ("device", "d", 1),
        ("api_key", "k", 1),
        ("endpoint", "login", 1),
        ("global", "all", 1),
    ]
    some = LIMITS.demands("search", {"user": "ama", "api_key": None}, cost=2)
    assert [(one.limit.scope, one.id, one.cost) for one in some] == [
        ("endpoint", "search", 2),
        ("global", "all", 2),
    ]


def test_given_ids_replace_those_of_the_endpoint_and_of_everybody():
    ids = {"endpoint": "GET search", "global": "region 1"}
    assert [one.id for one in LIMITS.demands("search", ids)] == ["GET search", "region 1"]


def test_an_operator_overrides_numbers_and_sets_shadow_mode():
    limits = LIMITS.overridden("login=20/30+5, api_key=500/1, global=shadow")
    changed = limits.for_scope("login", "user")[0]
    assert (changed.quota, changed.period_s, changed.burst) == (20, 30, 5)
    assert changed.block is not None
    assert limits.for_scope("x", "api_key")[0].capacity == 500
    assert limits.for_scope("x", "global")[0].shadow


@pytest.mark.parametrize("text", ["logon=1/1", "api_key", "api_key=0/1", "api_key=1/0", "api_key=-1/1"])
def test_an_invalid_override_is_refused(text):
    with pytest.raises(ValueError, match=r"limit|api_key"):
        LIMITS.overridden(text)


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


def test_headers_show_a_limit_of_any_scope_but_those_that_all_clients_share():
    limiter = MemoryLimiter(clock_us=lambda: 1_700_000_000_000_000)
    scopes = ("tenant", "device", "endpoint", "global", "ip")
    demands = [Demand(Limit(name=one, scope=one, quota=2, period_s=60), "x") for one in scopes]
    (_, policies), _ = limit_headers(limiter.check(demands))
    assert policies == '"tenant";q=2;w=60, "device";q=2;w=60, "ip";q=2;w=60'


@pytest.mark.parametrize("scope", ["", "Tenant", "1st", "a:b", "a b", "user\n", "a" * 33])
def test_a_scope_that_is_not_a_lower_case_word_is_refused(scope):
    with pytest.raises(ValueError, match="scope"):
        Limit(name="x", scope=scope, quota=1, period_s=1)
