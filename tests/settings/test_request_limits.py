"""The rate limits that the service applies unless an operator changes them, and their keys in Valkey."""

import pytest

from synccash.resilience.limits import Limit
from synccash.settings.request_limits import REQUEST_LIMITS
from synccash.stores.valkey.limits.script import state_key


@pytest.mark.parametrize(
    ("endpoint", "scope", "capacity", "period_s"),
    [
        ("payment_initiation", "user", 13, 60),
        ("payment_status", "user", 120, 60),
        ("refund_request", "user", 6, 300),
        ("health_check", "ip", 1_100, 60),
    ],
)
def test_the_endpoints_have_the_documented_limits(endpoint: str, scope: str, capacity: int, period_s: float):
    limit = REQUEST_LIMITS.for_scope(endpoint, scope)[0]
    assert (limit.name, limit.capacity, limit.period_s) == (endpoint, capacity, period_s)


def test_a_request_counts_against_its_endpoints_limits_and_the_shared_ones():
    ids = {"user": "m:ama", "api_key": "k", "ip": "192.0.2.1"}
    assert [(one.limit.scope, one.id) for one in REQUEST_LIMITS.demands("payment_initiation", ids)] == [
        ("user", "m:ama"),
        ("api_key", "k"),
        ("ip", "192.0.2.1"),
        ("endpoint", "payment_initiation"),
        ("global", "all"),
    ]


def test_an_operator_overrides_the_services_limits_by_name():
    limits = REQUEST_LIMITS.overridden("payment_initiation=20/30+5, api_key=500/1, ip=shadow")
    assert limits.for_scope("payment_initiation", "user")[0].capacity == 25
    assert limits.for_scope("x", "api_key")[0].capacity == 500
    assert limits.for_scope("x", "ip")[0].shadow
    with pytest.raises(ValueError, match="there is no limit 'payment'"):
        REQUEST_LIMITS.overridden("payment=1/1")


def test_counters_keep_their_valkey_keys():
    keys = [
        state_key(*demand[:2]) for demand in REQUEST_LIMITS.demands("payment_initiation", {"user": "ama"})
    ]
    assert keys == [
        "{synccash:rl}:user:payment_initiation:ama",
        "{synccash:rl}:endpoint:endpoint:payment_initiation",
        "{synccash:rl}:global:global:all",
    ]
    assert state_key(Limit(name="login", scope="tenant", quota=1, period_s=1), "shop") == (
        "{synccash:rl}:tenant:login:shop"
    )
