"""The rate limits of the service's requests, before an operator overrides them.

Endpoint limits belong to single endpoints of the service. Shared limits apply to every request; they are far
above the needs of a busy merchant and protect against accidents and abuse.

Scopes: `user` (unique across merchants: prefixed with the merchant), `api_key`, `ip` (from `client_address`),
`endpoint` and `global`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from synccash.resilience.limit_policies import ConfiguredLimits
from synccash.resilience.rate_limiter import Block, Limit

_ABUSE = Block(violations=1_000, window_s=60.0, duration_s=60.0, cap_s=3_600.0)
_GUESSING = Block(violations=30, window_s=60.0, duration_s=60.0, cap_s=3_600.0)

ENDPOINT_LIMITS: Mapping[str, tuple[Limit, ...]] = MappingProxyType(
    {
        "payment_initiation": (
            Limit(name="payment_initiation", scope="user", quota=10, period_s=60, burst=3, block=_GUESSING),
        ),
        "payment_status": (Limit(name="payment_status", scope="user", quota=100, period_s=60, burst=20),),
        "payment_otp": (Limit(name="payment_otp", scope="user", quota=10, period_s=600, block=_GUESSING),),
        "refund_request": (Limit(name="refund_request", scope="user", quota=5, period_s=300, burst=1),),
        "health_check": (Limit(name="health_check", scope="ip", quota=1_000, period_s=60, burst=100),),
        "operator_sign_in": (
            Limit(name="operator_sign_in", scope="ip", quota=20, period_s=60, burst=10, block=_GUESSING),
        ),
        "authentication": (
            Limit(name="unknown_key", scope="ip", quota=30, period_s=60, burst=30, block=_GUESSING),
        ),
    }
)
"""Limits by endpoint. An endpoint without an entry has only the shared limits."""

SHARED_LIMITS: tuple[Limit, ...] = (
    Limit(name="api_key", scope="api_key", quota=100, period_s=1, burst=100),
    Limit(name="ip", scope="ip", quota=200, period_s=1, burst=200, block=_ABUSE),
    Limit(name="endpoint", scope="endpoint", quota=5_000, period_s=1, burst=5_000),
    Limit(name="global", scope="global", quota=10_000, period_s=1, burst=10_000),
)
"""Limits of every request that has an id for their scope."""

REQUEST_LIMITS = ConfiguredLimits(ENDPOINT_LIMITS, SHARED_LIMITS)
"""The limits that are in force unless the setting `rate_limits` changes them."""
