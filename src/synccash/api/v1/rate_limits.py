"""`/resilience/rate-limits`: reads, blocks and unblocks a key at an endpoint."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import delete, get, post
from litestar.di import NamedDependency as Given
from litestar.params import JSONBody, PathParameter, QueryParameter

from synccash.api.calls import OPTIONAL_BODY, AnyRequest, Json, answers, json
from synccash.api.problem import ProblemError, invalid, not_found
from synccash.api.schemas.requests import BlockBody, ReasonBody
from synccash.api.schemas.resilience_answers import BlockedKeyList, RateLimitsShown
from synccash.api.v1.management import Management, ReasonParameter, reason_of
from synccash.middleware.request_guard import HASHED_USER
from synccash.payments.document import moment
from synccash.payments.payer import Msisdn
from synccash.resilience.client_address import UNKNOWN, client_address
from synccash.resilience.rate_limiter import Demand, Limit, LimitStatus

Name = Annotated[str, PathParameter()]
_SCOPES = ("user", "ip", "api_key", "endpoint", "global")
_PATH = "/rate-limits/{key:str}/{endpoint:str}"


@get("/rate-limits", responses=answers({200: BlockedKeyList}, 422))
async def list_blocked_keys(
    management: Given[Management],
    operator: Given[str],
    limit: Annotated[int, QueryParameter(ge=1, le=1000, description="Maximum number of keys")] = 100,
) -> Json:
    """List the keys that are blocked now, those that stay blocked longest first. Users are hashed."""
    del operator
    found, complete = await management.limits.blocked(limit)
    names = {one.key: (name, one.name) for name, one in _endpoint_limits(management)}
    data = [
        {
            "key": f"{scope}:{_plain_address(one.id) if scope == 'ip' else one.id}",
            "endpoint": names[one.limit_key][0],
            "policy": names[one.limit_key][1],
            "blocked_until": moment(datetime.fromtimestamp(one.until_us / 1_000_000, UTC)),
        }
        for one in found
        if one.limit_key in names and (scope := one.limit_key.partition(":")[0])
    ]
    return json({"degraded": not complete, "data": data})


@get(_PATH, responses=answers({200: RateLimitsShown}, 422))
async def get_limits(key: Name, endpoint: Name, management: Given[Management], operator: Given[str]) -> Json:
    """Return the limits of a key: scope:id, such as `user:0241234567`, `ip:203.0.113.7` or `global:all`."""
    del operator
    demands = await _demands(management, key, endpoint)
    return await _shown(management, key, endpoint, demands, complete=True)


@delete(
    _PATH,
    status_code=200,
    responses=answers({200: RateLimitsShown}, 400, 415, 422),
    opt={OPTIONAL_BODY: ReasonBody},
)
async def unblock_key(
    request: AnyRequest,
    key: Name,
    endpoint: Name,
    management: Given[Management],
    operator: Given[str],
    reason: ReasonParameter = None,
) -> Json:
    """Remove a key's block and its use. `degraded` means that this is in force in one process only."""
    demands = await _demands(management, key, endpoint)
    reason_text = await reason_of(request, reason)
    await management.audit.note(
        actor=operator,
        action="rate_limit_unblock",
        target=f"{_masked(management, key)}/{endpoint}",
        reason=reason_text,
    )
    complete = await _each(demands, lambda one: management.limits.unblock(one.limit, one.id))
    return await _shown(management, key, endpoint, demands, complete=complete)


@post(f"{_PATH}/block", status_code=200, responses=answers({200: RateLimitsShown}, 400, 415, 422))
async def block_key(
    key: Name, endpoint: Name, data: JSONBody[BlockBody], management: Given[Management], operator: Given[str]
) -> Json:
    """Block a key for `duration` seconds, also at other endpoints that share the limit."""
    demands = await _demands(management, key, endpoint)
    await management.audit.note(
        actor=operator,
        action="rate_limit_block",
        target=f"{_masked(management, key)}/{endpoint}",
        reason=data.reason,
    )
    complete = await _each(demands, lambda one: management.limits.block(one.limit, one.id, data.duration))
    return await _shown(management, key, endpoint, demands, complete=complete)


def _endpoint_limits(management: Management) -> list[tuple[str, Limit]]:
    """Return each limit with an endpoint where it applies; any will do for one that is shared by all."""
    book = management.book
    limits = [(name, limit) for name, limits in book.endpoints.items() for limit in limits]
    shared = [(name, limit) for name in list(book.endpoints)[:1] for limit in book.shared]
    return [*shared, *limits[::-1]]


def _plain_address(id: str) -> str:  # noqa: A002 - the field's word
    """Return an address without the length of its network, whose slash would end a part of the path."""
    return id.partition("/")[0]


async def _each(demands: Sequence[Demand], act: Callable[[Demand], Awaitable[bool]]) -> bool:
    return all(await asyncio.gather(*map(act, demands)))


async def _shown(
    management: Management, key: str, endpoint: str, demands: Sequence[Demand], *, complete: bool
) -> Json:
    decision = await management.limits.peek(demands)
    limits = [_limit(one) for one in decision.statuses]
    degraded = decision.degraded or not complete
    return json({"key": key, "endpoint": endpoint, "degraded": degraded, "data": limits})


async def _demands(management: Management, key: str, endpoint: str) -> list[Demand]:
    """Return the demands of a key at an endpoint. A user without a merchant means that of every merchant."""
    scope, _, name = key.partition(":")
    if scope not in _SCOPES or not name:
        raise invalid(("key", f"expected scope:id with a scope of {', '.join(_SCOPES)}"))
    matching = management.book.for_scope(endpoint, scope)
    if not matching:
        raise ProblemError(not_found(f"No limit with scope {scope} applies to {endpoint}."))
    ids = [_address(name) if scope == "ip" else name]
    if scope == "user":
        tenant, user = _user_parts(name)
        tenants = await management.tenants.tenants() if tenant is None else [tenant]
        ids = [_user_id(management, one, user) for one in tenants]
    return [Demand(limit, id_, 0) for limit in matching for id_ in ids]


def _user_parts(name: str) -> tuple[str | None, str]:
    """Return the merchant with its mode, if the name has them, and the user."""
    parts = name.split(":", 2)
    if len(parts) < len(("merchant", "mode", "user")):
        return None, _normalized(name)
    return f"{parts[0]}:{parts[1]}", parts[2]


def _user_id(management: Management, tenant: str, user: str) -> str:
    """Return the id of a user's limits; a hashed user, as answers show it, stays as it is."""
    return f"{tenant}:{user}" if user.startswith(HASHED_USER) else management.limited_user(tenant, user)


def _masked(management: Management, key: str) -> str:
    """Return a key for the audit log, which no phone number enters."""
    scope, _, name = key.partition(":")
    if scope != "user":
        return key
    tenant, user = _user_parts(name)
    return f"user:{_user_id(management, tenant or '*:*', user)}"


def _normalized(user: str) -> str:
    """Return a mobile number in the form that limits use; anything else unchanged."""
    try:
        return Msisdn.parse(user).digits
    except ValueError:
        return user


def _address(text: str) -> str:
    """Return an address in the form that limits use: for IPv6 its network. Anything else unchanged."""
    found = client_address(text, (), ())
    return text if found == UNKNOWN else found


def _limit(one: LimitStatus) -> dict[str, Any]:
    """Return one limit. `reset` is in seconds from now, as in the headers; `blocked_until` is a time."""
    limit, until_us = one.demand.limit, one.blocked_until_us
    return {
        "policy": limit.name,
        "key": f"{limit.scope}:{one.demand.id}",
        "algorithm": limit.algorithm,
        "limit": limit.capacity,
        "quota": limit.quota,
        "period": limit.period_s,
        "burst": limit.burst,
        "remaining": one.remaining,
        "reset": one.reset_us / 1_000_000,
        "blocked_until": moment(datetime.fromtimestamp(until_us / 1_000_000, UTC)) if until_us else None,
        "shadow": limit.shadow,
    }
