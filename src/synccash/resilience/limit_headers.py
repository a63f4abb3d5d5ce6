"""A decision as header fields: `RateLimit`, `RateLimit-Policy` and `Retry-After`.

draft-ietf-httpapi-ratelimit-headers (the syntax of -10): structured-field lists of strings with parameters.
The draft still moves; this is the only place that knows it.
"""

from functools import lru_cache

from synccash.resilience.rate_limiter import Decision, Limit, Standing

_PUBLIC = ("user", "api_key", "ip")


def limit_headers(decision: Decision) -> tuple[tuple[str, str], ...]:
    """The fields for the limits of the caller's own; what all share is nobody's business, unless it refused.

    Seconds are rounded up, so that who comes back then is not early again.
    """
    shown = [
        one
        for one in decision.standings
        if not one.demand.limit.shadow and (one.demand.limit.scope in _PUBLIC or one is decision.binding)
    ]
    fields: list[tuple[str, str]] = []
    if shown:
        fields.append(("RateLimit-Policy", ", ".join([_policy(one.demand.limit) for one in shown])))
        fields.append(("RateLimit", ", ".join([_standing(one) for one in shown])))
    if not decision.allowed and decision.binding is not None:
        fields.append(("Retry-After", str(max(1, _seconds(decision.binding.retry_us)))))
    return tuple(fields)


def _policy(limit: Limit) -> str:
    return _written(limit.name, limit.capacity, limit.period_us)


@lru_cache(maxsize=1_000)
def _written(name: str, capacity: int, period_us: int) -> str:
    return f'"{name}";q={capacity};w={max(1, _seconds(period_us))}'


def _standing(standing: Standing) -> str:
    left = 0 if standing.refuses else standing.remaining
    wait_us = standing.retry_us if standing.refuses else standing.reset_us
    return f'"{standing.demand.limit.name}";r={left};t={_seconds(wait_us)}'


def _seconds(micros: int) -> int:
    return -(-micros // 1_000_000)
