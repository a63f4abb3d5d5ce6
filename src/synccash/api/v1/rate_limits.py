"""`/resilience/rate-limits`: how a key stands at an endpoint, and the operator's hands on it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import delete, get, post
from litestar.di import NamedDependency as Given
from litestar.params import JSONBody, PathParameter

from synccash.api.calls import AnyRequest, Json, answers, json
from synccash.api.problem import ProblemError, invalid, not_found
from synccash.api.schemas import BlockBody
from synccash.api.v1.management import Management, Why, reason_of
from synccash.payments.document import moment
from synccash.payments.payer import Msisdn
from synccash.resilience.client_address import UNKNOWN, client_address
from synccash.resilience.rate_limiter import Demand, LimitStatus

Name = Annotated[str, PathParameter()]
_SCOPES = ("user", "ip", "api_key", "endpoint", "global")
_PATH = "/rate-limits/{key:str}/{endpoint:str}"


@get(_PATH, responses=answers({200: dict[str, Any]}, 422))
async def get_limits(key: Name, endpoint: Name, management: Given[Management], operator: Given[str]) -> Json:
    """How a key stands. `key` is scope:id, such as `user:0241234567`, `ip:203.0.113.7` or `global:all`."""
    del operator
    demands = await _demands(management, key, endpoint)
    return await _shown(management, key, endpoint, demands, told=True)


@delete(_PATH, status_code=200, responses=answers({200: dict[str, Any]}, 400, 415, 422))
async def unblock_key(
    request: AnyRequest,
    key: Name,
    endpoint: Name,
    management: Given[Management],
    operator: Given[str],
    reason: Why = None,
) -> Json:
    """Lift a key's block and forget what it has used. `degraded`: only one process could be told."""
    demands = await _demands(management, key, endpoint)
    why = await reason_of(request, reason)
    await management.audit.note(
        actor=operator, action="rate_limit_unblock", target=f"{key}/{endpoint}", reason=why
    )
    told = await _each(demands, lambda one: management.limits.unblock(one.limit, one.id))
    return await _shown(management, key, endpoint, demands, told=told)


@post(f"{_PATH}/block", status_code=200, responses=answers({200: dict[str, Any]}, 400, 415, 422))
async def block_key(
    key: Name, endpoint: Name, data: JSONBody[BlockBody], management: Given[Management], operator: Given[str]
) -> Json:
    """Shut a key out for `duration` seconds. What an endpoint shares with others is shut there too."""
    demands = await _demands(management, key, endpoint)
    await management.audit.note(
        actor=operator, action="rate_limit_block", target=f"{key}/{endpoint}", reason=data.reason
    )
    told = await _each(demands, lambda one: management.limits.block(one.limit, one.id, data.duration))
    return await _shown(management, key, endpoint, demands, told=told)


async def _each(demands: Sequence[Demand], act: Callable[[Demand], Awaitable[bool]]) -> bool:
    return all(await asyncio.gather(*map(act, demands)))


async def _shown(
    management: Management, key: str, endpoint: str, demands: Sequence[Demand], *, told: bool
) -> Json:
    decision = await management.limits.peek(demands)
    standings = [_standing(one) for one in decision.statuses]
    degraded = decision.degraded or not told
    return json({"key": key, "endpoint": endpoint, "degraded": degraded, "data": standings})


async def _demands(management: Management, key: str, endpoint: str) -> list[Demand]:
    """The limits that a key meets at an endpoint. A user without his merchant is looked for at each."""
    scope, _, name = key.partition(":")
    if scope not in _SCOPES or not name:
        raise invalid(("key", f"expected scope:id with a scope of {', '.join(_SCOPES)}"))
    met = management.book.for_scope(endpoint, scope)
    if not met:
        raise ProblemError(not_found(f"No limit with scope {scope} applies to {endpoint}."))
    ids = [_address(name) if scope == "ip" else name]
    if scope == "user" and name.count(":") < len(("mode", "user")):
        user = _normal(name)
        ids = [f"{tenant}:{user}" for tenant in await management.tenants.tenants()]
    return [Demand(limit, id_, 0) for limit in met for id_ in ids]


def _normal(user: str) -> str:
    """A mobile number in the form that the limits use; anything else as it is."""
    try:
        return Msisdn.parse(user).digits
    except ValueError:
        return user


def _address(text: str) -> str:
    """An address in the form that the limits use: of IPv6 its network. Anything else as it is."""
    found = client_address(text, (), ())
    return text if found == UNKNOWN else found


def _standing(one: LimitStatus) -> dict[str, Any]:
    """Times as in the headers: `reset` in seconds from now, `blocked_until` as a moment."""
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
