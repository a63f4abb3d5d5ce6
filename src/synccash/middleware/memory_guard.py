"""Rate limits of one process for the resilience middleware."""

from collections.abc import Collection, Mapping, Sequence

from synccash.middleware.refusal import Refusal
from synccash.middleware.request_guard import GuardDecision, GuardedRequest
from synccash.resilience.limit_headers import raw_limit_headers
from synccash.resilience.rate_limiter import Demand, Limit, MemoryLimiter

_SCOPES = ("ip", "tenant", "api_key", "user", "endpoint", "global")


class MemoryGuard:
    """Counts requests in memory. `limits` apply to all requests, `endpoints` to endpoints by their names.

    A limit counts by its scope: `ip`, `tenant`, `api_key` or `user` of the caller, `endpoint`, or `global`.
    Where the caller has no tenant, API key or user, the address counts, so that leaving them out avoids no
    limit. There is no cache of answers, because the claims have them. Raises ValueError for a limit of any
    other scope, and for two different limits of one name and scope.

    Use one guard in one event loop. With several processes, each has limits of its own.
    """

    def __init__(
        self,
        *limits: Limit,
        endpoints: Mapping[str, Sequence[Limit]] | None = None,
        limiter: MemoryLimiter | None = None,
    ) -> None:
        self._limits = limits
        self._endpoints = endpoints or {}
        self._limiter = limiter or MemoryLimiter()
        known: dict[str, Limit] = {}
        for limit in (*limits, *(one for group in self._endpoints.values() for one in group)):
            if known.setdefault(limit.key, limit) != limit:
                raise ValueError(
                    f"two different limits are named {limit.name} and count by {limit.scope}: they would "
                    "share their counters; give each a name of its own"
                )
            if limit.scope not in _SCOPES:
                expected = ", ".join(_SCOPES)
                raise ValueError(
                    f"the limit {limit.name} counts by {limit.scope}; expected one of {expected}"
                )

    @property
    def endpoint_names(self) -> Collection[str]:
        """The endpoints that have limits of their own. The middleware checks that they exist."""
        return self._endpoints.keys()

    async def admit(self, request: GuardedRequest) -> GuardDecision:
        """Count a request against all its limits, or against none when one refuses it."""
        demands = [
            Demand(limit, name)
            for limit in (*self._limits, *self._endpoints.get(request.endpoint, ()))
            for name in _counted_by(limit, request)
        ]
        decision = self._limiter.check(demands)
        headers = raw_limit_headers(decision)
        if decision.allowed:
            return GuardDecision(headers=headers)
        refusal = Refusal(
            status=429,
            code="rate_limited",
            detail="Too many requests. Retry after Retry-After seconds.",
            retryable=True,
            retry_after_s=decision.retry_after_s,
        )
        return GuardDecision(refusal=refusal, headers=headers)

    def keep(self, answer_name: str, stored: bytes) -> None:
        """Store nothing: there is no cache."""


def _counted_by(limit: Limit, request: GuardedRequest) -> Sequence[str]:
    """Return the ids that a limit counts a request by: two where the caller names one user and the body
    another."""
    ip, tenant, api_key, user, body_user = request.caller
    match limit.scope:
        case "global":
            return ("",)
        case "endpoint":
            return (request.endpoint,)
        case "user":
            users = tuple(dict.fromkeys(one for one in (user, body_user) if one is not None))
            return users or (ip,)
        case "api_key":
            return (api_key or ip,)
        case "tenant":
            return (tenant or ip,)
        case _:
            return (ip,)
