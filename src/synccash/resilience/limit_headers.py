"""A decision as header fields: `RateLimit`, `RateLimit-Policy` and `Retry-After`.

draft-ietf-httpapi-ratelimit-headers (the syntax of -10): structured-field lists of strings with parameters.
The draft still moves; this is the only place that knows it.
"""

from synccash.resilience.rate_limiter import Decision, Limit

_PUBLIC = ("user", "api_key", "ip")


def limit_headers(decision: Decision) -> tuple[tuple[str, str], ...]:
    """The fields for the limits of the caller's own; what all share is nobody's business, unless it refused.

    Seconds are rounded up, so that who comes back then is not early again.
    """
    fields: list[tuple[str, str]] = []
    lists = _lists(decision)
    if lists is not None:
        fields += (("RateLimit-Policy", lists[0]), ("RateLimit", lists[1]))
    binding = None if decision.allowed else decision.binding
    if binding is not None:
        fields.append(("Retry-After", str(max(1, _seconds(binding.retry_us)))))
    return tuple(fields)


def raw_limit_headers(decision: Decision) -> tuple[tuple[bytes, bytes], ...]:
    """The same as ASGI takes them, without `Retry-After`, which goes with the refusal."""
    lists = _lists(decision)
    if lists is None:
        return ()
    return (b"ratelimit-policy", lists[0].encode()), (b"ratelimit", lists[1].encode())


def _lists(decision: Decision) -> tuple[str, str] | None:
    """`RateLimit-Policy` and `RateLimit`, where there is anything to tell."""
    binding = None if decision.allowed else decision.binding
    policies: list[str] = []
    standings: list[str] = []
    for one in decision.standings:
        (limit, _, _), refuses, remaining, retry_us, reset_us, _ = one
        if limit.shadow or (limit.scope not in _PUBLIC and one is not binding):
            continue
        known = _POLICIES.get(id(limit))
        policies.append(_policy(limit) if known is None else known[1])
        left, wait_us = (0, retry_us) if refuses else (remaining, reset_us)
        standings.append(f'"{limit.name}";r={left};t={-(-wait_us // 1_000_000)}')
    return (", ".join(policies), ", ".join(standings)) if policies else None


# By identity: hashing a frozen value costs more than writing one. Limits are few and live for ever.
_POLICIES: dict[int, tuple[Limit, str]] = {}
_MOST_POLICIES = 1_000


def _policy(limit: Limit) -> str:
    if len(_POLICIES) >= _MOST_POLICIES:
        _POLICIES.clear()
    written = f'"{limit.name}";q={limit.capacity};w={max(1, _seconds(limit.period_us))}'
    _POLICIES[id(limit)] = limit, written
    return written


def _seconds(micros: int) -> int:
    return -(-micros // 1_000_000)
