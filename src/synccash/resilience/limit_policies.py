"""The default rate limits, which of them apply to a request, and how an operator overrides them.

Endpoint limits belong to single endpoints of the service. Shared limits apply to every request; they are far
above the needs of a busy merchant and protect against accidents and abuse.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from synccash.resilience.rate_limiter import Block, Demand, Limit, Scope, unit_demands

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

_OVERRIDE = re.compile(
    r"(?P<name>[a-z_]+)=(?P<quota>\d{1,9})/(?P<period>\d{1,7}(?:\.\d{1,6})?)(?:\+(?P<burst>\d{1,9}))?"
)
_SCOPES: tuple[Scope, ...] = ("user", "api_key", "ip", "endpoint", "global")
_MAX_PLANS = 1_000
_SHADOW_OVERRIDE = re.compile(r"(?P<name>[a-z_]+)=shadow")


@dataclass(frozen=True, slots=True)
class ConfiguredLimits:
    """The rate limits of a service: by endpoint, and shared by all endpoints."""

    endpoints: Mapping[str, tuple[Limit, ...]] = field(default_factory=lambda: ENDPOINT_LIMITS)
    shared: tuple[Limit, ...] = SHARED_LIMITS
    # Cached by endpoint: the limits that apply, each with the index of its scope in `_SCOPES`.
    _plans: dict[str, tuple[tuple[Limit, int], ...]] = field(
        default_factory=dict[str, tuple[tuple[Limit, int], ...]], init=False, repr=False, compare=False
    )

    def demands(
        self,
        endpoint: str,
        *,
        user: str | None = None,
        api_key: str | None = None,
        ip: str | None = None,
        cost: int = 1,
    ) -> Sequence[Demand]:
        """Return the demands of one request. A limit whose scope has no id does not apply.

        `user` must be unique across merchants: prefix it with the merchant. `ip` comes from `client_address`.
        """
        # The demands of a request take 1.4 µs, with a new plan for each request 2.6 µs.
        plan = self._plans.get(endpoint) or self._build_plan(endpoint)
        ids = (user, api_key, ip, endpoint, "all")
        if cost == 1:
            return unit_demands(plan, ids)
        return [Demand(one, id_of_scope, cost) for one, at in plan if (id_of_scope := ids[at]) is not None]

    def _build_plan(self, endpoint: str) -> tuple[tuple[Limit, int], ...]:
        limits = (*self.endpoints.get(endpoint, ()), *self.shared)
        plan = tuple((one, _SCOPES.index(one.scope)) for one in limits)
        if len(self._plans) < _MAX_PLANS:
            self._plans[endpoint] = plan
        return plan

    def for_scope(self, endpoint: str, scope: str) -> tuple[Limit, ...]:
        """Return the limits of one scope that apply to requests of the endpoint."""
        limits = (*self.endpoints.get(endpoint, ()), *self.shared)
        return tuple(limit for limit in limits if limit.scope == scope)

    def overridden(self, text: str) -> "ConfiguredLimits":
        """Return a copy with other numbers, from text such as
        `payment_initiation=20/60+5, api_key=500/1, ip=shadow`.

        The numbers are quota / seconds + burst (0 if left out); `shadow` counts and never refuses. Raises
        ValueError that names the part that is invalid.
        """
        changed = {limit.name: limit for limit in self._all_limits()}
        for part in filter(None, (part.strip() for part in text.split(","))):
            override = _OVERRIDE.fullmatch(part) or _SHADOW_OVERRIDE.fullmatch(part)
            if override is None:
                raise ValueError(
                    f"{part!r} is not a rate limit; expected name=quota/seconds+burst or name=shadow"
                )
            name = override["name"]
            if name not in changed:
                raise ValueError(f"there is no limit {name!r}; known are {', '.join(sorted(changed))}")
            if override.re is _SHADOW_OVERRIDE:
                changed[name] = replace(changed[name], shadow=True)
                continue
            changed[name] = replace(
                changed[name],
                quota=int(override["quota"]),
                period_s=float(override["period"]),
                burst=int(override["burst"] or 0),
            )
        return ConfiguredLimits(
            MappingProxyType(
                {name: tuple(changed[one.name] for one in ones) for name, ones in self.endpoints.items()}
            ),
            tuple(changed[one.name] for one in self.shared),
        )

    def _all_limits(self) -> tuple[Limit, ...]:
        return (*(limit for limits in self.endpoints.values() for limit in limits), *self.shared)
