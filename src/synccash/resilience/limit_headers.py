"""A decision as header fields: `RateLimit`, `RateLimit-Policy` and `Retry-After`.

draft-ietf-httpapi-ratelimit-headers (the syntax of -10): structured-field lists of strings with parameters.
The draft still moves; this is the only place that knows it.
"""

from synccash.resilience.rate_limiter import Decision, Limit

_PUBLIC = ("user", "api_key", "ip")
_NAMES = ("RateLimit-Policy", "RateLimit")


def limit_headers(decision: Decision) -> tuple[tuple[str, str], ...]:
    """The fields for the limits of the caller's own; what all share is nobody's business, unless it refused.

    Seconds are rounded up, so that who comes back then is not early again.
    """
    raw = raw_limit_headers(decision)
    fields = [(name, value.decode()) for name, (_, value) in zip(_NAMES, raw, strict=False)]
    binding = None if decision.allowed else decision.binding
    if binding is not None:
        fields.append(("Retry-After", str(max(1, _seconds(binding.retry_us)))))
    return tuple(fields)


def raw_limit_headers(decision: Decision) -> tuple[tuple[bytes, bytes], ...]:
    """The same as ASGI takes them, without `Retry-After`, which goes with the refusal."""
    binding = None if decision.allowed else decision.binding
    policies = standings = ""
    for one in decision.standings:
        (limit, _, _), refuses, remaining, retry_us, reset_us, _ = one
        _, public, policy, begin = _WRITTEN.get(id(limit)) or _written(limit)
        if not public and one is not binding:
            continue
        left, wait_us = (0, retry_us) if refuses else (remaining, reset_us)
        standing = f"{begin}{left};t={-(-wait_us // 1_000_000)}"
        if policies:
            policies, standings = f"{policies}, {policy}", f"{standings}, {standing}"
        else:
            policies, standings = policy, standing
    if not policies:
        return ()
    return _POLICY_FIELDS.get(policies) or _policy_field(policies), (b"ratelimit", standings.encode())


# By identity: hashing a frozen value costs more than writing one. Limits are few and live for ever.
_WRITTEN: dict[int, tuple[Limit, bool, str, str]] = {}
_POLICY_FIELDS: dict[str, tuple[bytes, bytes]] = {}
_MOST_WRITTEN = 1_000


def _written(limit: Limit) -> tuple[Limit, bool, str, str]:
    """Whether a limit is told to whoever is within it, its policy, and what its standing begins with."""
    if len(_WRITTEN) >= _MOST_WRITTEN:
        _WRITTEN.clear()
    public = limit.scope in _PUBLIC and not limit.shadow
    policy = f'"{limit.name}";q={limit.capacity};w={max(1, _seconds(limit.period_us))}'
    written = _WRITTEN[id(limit)] = limit, public, policy, f'"{limit.name}";r='
    return written


def _policy_field(policies: str) -> tuple[bytes, bytes]:
    if len(_POLICY_FIELDS) >= _MOST_WRITTEN:
        _POLICY_FIELDS.clear()
    written = _POLICY_FIELDS[policies] = b"ratelimit-policy", policies.encode()
    return written


def _seconds(micros: int) -> int:
    return -(-micros // 1_000_000)
