"""Which rate limits apply to a request, by its endpoint, and how an operator overrides their numbers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from synccash.resilience.rate_limiter import Demand, Limit, unit_demands

_OVERRIDE = re.compile(
    r"(?P<name>[a-z_]+)=(?P<quota>\d{1,9})/(?P<period>\d{1,7}(?:\.\d{1,6})?)(?:\+(?P<burst>\d{1,9}))?"
)
_MAX_PLANS = 1_000
_SHADOW_OVERRIDE = re.compile(r"(?P<name>[a-z_]+)=shadow")


@dataclass(frozen=True, slots=True)
class ConfiguredLimits:
    """Rate limits of an application: `endpoints` by the endpoint's name, and `shared` by all endpoints.

    >>> per_tenant = Limit(name="tenant", scope="tenant", quota=100, period_s=1)
    >>> per_device = Limit(name="search", scope="device", quota=5, period_s=60)
    >>> limits = ConfiguredLimits({"search": (per_device,)}, (per_tenant,))
    >>> demands = limits.demands("search", {"tenant": "shop", "device": "d1"})
    """

    endpoints: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict[str, tuple[Limit, ...]])
    shared: tuple[Limit, ...] = ()
    # Cached by endpoint: the limits that apply, each with the id that it has if the request gives none.
    _plans: dict[str, tuple[tuple[Limit, str | None], ...]] = field(
        default_factory=dict[str, tuple[tuple[Limit, str | None], ...]], init=False, repr=False, compare=False
    )

    def demands(self, endpoint: str, ids: Mapping[str, str | None], *, cost: int = 1) -> Sequence[Demand]:
        """Return the demands of one request. `ids`: what the request is counted by, by scope.

        A limit whose scope has no id does not apply. Unless `ids` has them, the id of the scope `endpoint` is
        the endpoint's name and that of `global` is "all".
        """
        # Without this cache, the demands of a request take twice as long.
        plan = self._plans.get(endpoint) or self._build_plan(endpoint)
        if cost == 1:
            return unit_demands(plan, ids)
        found = [(limit, ids.get(limit.scope, default)) for limit, default in plan]
        return [Demand(limit, id_, cost) for limit, id_ in found if id_ is not None]

    def _build_plan(self, endpoint: str) -> tuple[tuple[Limit, str | None], ...]:
        defaults = {"endpoint": endpoint, "global": "all"}
        limits = (*self.endpoints.get(endpoint, ()), *self.shared)
        plan = tuple((one, defaults.get(one.scope)) for one in limits)
        if len(self._plans) < _MAX_PLANS:
            self._plans[endpoint] = plan
        return plan

    def for_scope(self, endpoint: str, scope: str) -> tuple[Limit, ...]:
        """Return the limits of one scope that apply to requests of the endpoint."""
        limits = (*self.endpoints.get(endpoint, ()), *self.shared)
        return tuple(limit for limit in limits if limit.scope == scope)

    def overridden(self, text: str) -> "ConfiguredLimits":
        """Return a copy with other numbers, from text such as
        `search=20/60+5, api_key=500/1, ip=shadow`.

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
