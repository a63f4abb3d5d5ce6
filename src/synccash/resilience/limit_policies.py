"""The shipped limits as data, which of them a request meets, and how an operator changes them.

Endpoint limits are those of the service's endpoints; the shared ones are far above what a busy merchant
needs and there against accidents and abuse.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from synccash.resilience.rate_limiter import Block, Demand, Limit, Scope, units

_ABUSE = Block(violations=1_000, window_s=60.0, duration_s=60.0, cap_s=3_600.0)
_GUESSING = Block(violations=30, window_s=60.0, duration_s=60.0, cap_s=3_600.0)

ENDPOINT_LIMITS: Mapping[str, tuple[Limit, ...]] = MappingProxyType(
    {
        "payment_initiation": (
            Limit(name="payment_initiation", scope="user", quota=10, period_s=60, burst=3, block=_GUESSING),
        ),
        "payment_status": (Limit(name="payment_status", scope="user", quota=100, period_s=60, burst=20),),
        "refund_request": (Limit(name="refund_request", scope="user", quota=5, period_s=300, burst=1),),
        "health_check": (Limit(name="health_check", scope="ip", quota=1_000, period_s=60, burst=100),),
        "authentication": (
            Limit(name="unknown_key", scope="ip", quota=30, period_s=60, burst=30, block=_GUESSING),
        ),
    }
)
"""By endpoint; an endpoint that is not here has the shared limits alone."""

SHARED_LIMITS: tuple[Limit, ...] = (
    Limit(name="api_key", scope="api_key", quota=100, period_s=1, burst=100),
    Limit(name="ip", scope="ip", quota=200, period_s=1, burst=200, block=_ABUSE),
    Limit(name="endpoint", scope="endpoint", quota=5_000, period_s=1, burst=5_000),
    Limit(name="global", scope="global", quota=10_000, period_s=1, burst=10_000),
)
"""Met by every request that has an id of their scope."""

_WRITTEN = re.compile(
    r"(?P<name>[a-z_]+)=(?P<quota>\d{1,9})/(?P<period>\d{1,7}(?:\.\d{1,6})?)(?:\+(?P<burst>\d{1,9}))?"
)
_SCOPES: tuple[Scope, ...] = ("user", "api_key", "ip", "endpoint", "global")
_MOST_PLANS = 1_000
_SHADOW = re.compile(r"(?P<name>[a-z_]+)=shadow")


@dataclass(frozen=True, slots=True)
class ConfiguredLimits:
    """The limits in force."""

    endpoints: Mapping[str, tuple[Limit, ...]] = field(default_factory=lambda: ENDPOINT_LIMITS)
    shared: tuple[Limit, ...] = SHARED_LIMITS
    # By endpoint: the limits that a request meets, and where among `_SCOPES` the id of each is.
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
        """What one request asks for. A scope without an id asks for nothing.

        `user` has to be unique over merchants: put the merchant in front. `ip` comes from `client_address`.
        """
        plan = self._plans.get(endpoint) or self._planned(endpoint)
        ids = (user, api_key, ip, endpoint, "all")
        if cost == 1:
            return units(plan, ids)
        return [Demand(one, known, cost) for one, at in plan if (known := ids[at]) is not None]

    def _planned(self, endpoint: str) -> tuple[tuple[Limit, int], ...]:
        limits = (*self.endpoints.get(endpoint, ()), *self.shared)
        plan = tuple((one, _SCOPES.index(one.scope)) for one in limits)
        if len(self._plans) < _MOST_PLANS:
            self._plans[endpoint] = plan
        return plan

    def named(self, endpoint: str, scope: str) -> tuple[Limit, ...]:
        """The limits of one scope that a request to the endpoint meets."""
        met = (*self.endpoints.get(endpoint, ()), *self.shared)
        return tuple(limit for limit in met if limit.scope == scope)

    def overridden(self, text: str) -> "ConfiguredLimits":
        """The book with other numbers: `payment_initiation=20/60+5, api_key=500/1, ip=shadow`.

        That is quota / seconds + burst (without one: none); `shadow` counts and never refuses. Raises
        ValueError that names what cannot be read.
        """
        changed = {limit.name: limit for limit in self._all()}
        for part in filter(None, (part.strip() for part in text.split(","))):
            written = _WRITTEN.fullmatch(part) or _SHADOW.fullmatch(part)
            if written is None:
                raise ValueError(f"{part!r} is no limit; expected name=quota/seconds+burst or name=shadow")
            name = written["name"]
            if name not in changed:
                raise ValueError(f"there is no limit {name!r}; known are {', '.join(sorted(changed))}")
            if written.re is _SHADOW:
                changed[name] = replace(changed[name], shadow=True)
                continue
            changed[name] = replace(
                changed[name],
                quota=int(written["quota"]),
                period_s=float(written["period"]),
                burst=int(written["burst"] or 0),
            )
        return ConfiguredLimits(
            MappingProxyType(
                {name: tuple(changed[one.name] for one in ones) for name, ones in self.endpoints.items()}
            ),
            tuple(changed[one.name] for one in self.shared),
        )

    def _all(self) -> tuple[Limit, ...]:
        return (*(limit for limits in self.endpoints.values() for limit in limits), *self.shared)
