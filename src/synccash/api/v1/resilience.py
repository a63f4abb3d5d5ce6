"""`/resilience`: the operator's view of breakers, limits and idempotency, and his hands on them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from litestar import Router, delete, get, post
from litestar.di import NamedDependency as Given
from litestar.params import JSONBody, PathParameter

from synccash.api.calls import Json, answers, json
from synccash.api.ports import Health
from synccash.api.problem import ProblemError, invalid, not_found
from synccash.api.schemas import DecisionBody
from synccash.payments.payer import Msisdn
from synccash.resilience.limit_policies import LimitBook
from synccash.resilience.rate_limiter import Decision, Demand, Limit, Standing

Name = Annotated[str, PathParameter()]
_SCOPES = ("user", "ip", "api_key", "endpoint", "global")
_WINDOW_S = 3_600.0


class Breakers(Protocol):
    """The breakers of the whole cluster."""

    async def all(self) -> Sequence[dict[str, Any]]: ...
    async def one(self, name: str) -> dict[str, Any] | None: ...
    async def reset(self, name: str, reason: str) -> Sequence[dict[str, Any]]: ...
    async def force_open(self, name: str, reason: str) -> Sequence[dict[str, Any]]: ...


class Limits(Protocol):
    """What of the limiter the operator may see and move."""

    async def peek(self, demands: Sequence[Demand]) -> Decision: ...
    async def unblock(self, limit: Limit, id: str) -> None: ...  # noqa: A002 - the field's word


class Claims(Protocol):
    """What the claims of a window of time have come to."""

    async def statistics(self, *, window_s: float) -> Any: ...


class Audit(Protocol):
    """Where every manual action is noted before it is done."""

    async def note(self, *, actor: str, action: str, target: str, reason: str) -> None: ...


class Tenants(Protocol):
    """All merchants in both modes, as the limits of users name them."""

    async def tenants(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Management:
    """What the operator's calls reach. `counted` gives what idempotency came to in this process."""

    breakers: Breakers
    limits: Limits
    book: LimitBook
    claims: Claims
    audit: Audit
    tenants: Tenants
    counted: Callable[[], dict[str, int]]


@get("/circuit-breakers", responses=answers({200: dict[str, Any]}))
async def list_breakers(management: Given[Management], operator: Given[str]) -> Json:
    """All breakers with their states and statistics."""
    del operator
    return json({"data": list(await management.breakers.all())})


@get("/circuit-breakers/{name:str}", responses=answers({200: dict[str, Any]}))
async def get_breaker(name: Name, management: Given[Management], operator: Given[str]) -> Json:
    """One breaker; a bare service means its collect breaker."""
    del operator
    return json(await _known(management, name))


@post("/circuit-breakers/{name:str}/reset", status_code=200, responses=answers({200: dict[str, Any]}))
async def reset_breaker(name: Name, management: Given[Management], operator: Given[str]) -> Json:
    """Close a breaker and forget what it has seen lately; a bare service means all its breakers."""
    await _known(management, name)
    await management.audit.note(actor=operator, action="breaker_reset", target=name, reason="")
    moved = await management.breakers.reset(name, f"reset by {operator}")
    return json({**await _known(management, name), "reset": [one["name"] for one in moved]})


@post(
    "/circuit-breakers/{name:str}/force-open",
    status_code=200,
    responses=answers({200: dict[str, Any]}, 400, 415, 422),
)
async def force_open_breaker(
    name: Name, data: JSONBody[DecisionBody], management: Given[Management], operator: Given[str]
) -> Json:
    """Refuse every new attempt until a reset. Inquiries go on."""
    await _known(management, name)
    await management.audit.note(actor=operator, action="breaker_force_open", target=name, reason=data.reason)
    await management.breakers.force_open(name, data.reason)
    return json(await _known(management, name))


async def _known(management: Management, name: str) -> dict[str, Any]:
    found = await management.breakers.one(name)
    if found is None:
        raise _unknown_breaker(name)
    return found


def _unknown_breaker(name: str) -> ProblemError:
    detail = f"there is no breaker {name!r}; GET /resilience/circuit-breakers lists them"
    return ProblemError(not_found(detail))


@get("/rate-limits/{key:str}/{endpoint:str}", responses=answers({200: dict[str, Any]}, 422))
async def get_limits(key: Name, endpoint: Name, management: Given[Management], operator: Given[str]) -> Json:
    """How a key stands. `key` is scope:id, such as `user:0241234567`, `ip:203.0.113.7` or `global:all`."""
    del operator
    return await _limits_shown(management, key, endpoint, await _demands(management, key, endpoint))


@delete(
    "/rate-limits/{key:str}/{endpoint:str}", status_code=200, responses=answers({200: dict[str, Any]}, 422)
)
async def unblock_key(key: Name, endpoint: Name, management: Given[Management], operator: Given[str]) -> Json:
    """Lift a key's block and forget what it has used."""
    demands = await _demands(management, key, endpoint)
    target = f"{key}/{endpoint}"
    await management.audit.note(actor=operator, action="rate_limit_unblock", target=target, reason="")
    for demand in demands:
        await management.limits.unblock(demand.limit, demand.id)
    return await _limits_shown(management, key, endpoint, demands)


async def _limits_shown(management: Management, key: str, endpoint: str, demands: Sequence[Demand]) -> Json:
    decision = await management.limits.peek(demands)
    standings = [_standing(one) for one in decision.standings]
    return json({"key": key, "endpoint": endpoint, "degraded": decision.degraded, "data": standings})


async def _demands(management: Management, key: str, endpoint: str) -> list[Demand]:
    """The limits that a key meets at an endpoint. A user without his merchant is looked for at each."""
    scope, _, name = key.partition(":")
    if scope not in _SCOPES or not name:
        raise invalid(("key", f"expected scope:id with a scope of {', '.join(_SCOPES)}"))
    met = management.book.named(endpoint, scope)
    if not met:
        raise ProblemError(not_found(f"no limit of scope {scope} is met by {endpoint}"))
    ids = [name]
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


def _standing(one: Standing) -> dict[str, Any]:
    limit = one.demand.limit
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
        "blocked_until": one.blocked_until_us / 1_000_000 if one.blocked_until_us else None,
        "shadow": limit.shadow,
    }


@get("/idempotency/stats", responses=answers({200: dict[str, Any]}))
async def idempotency_stats(management: Given[Management], operator: Given[str]) -> Json:
    """What keys have come to: in the last hour by PostgreSQL, and since its start in this process."""
    del operator
    found = await management.claims.statistics(window_s=_WINDOW_S)
    return json({"window_s": _WINDOW_S, "claims": dict(found), "process": management.counted()})


@get("/health", responses=answers({200: dict[str, Any]}))
async def resilience_health(
    health: Given[Health], management: Given[Management], operator: Given[str]
) -> Json:
    """`ok`, `degraded` or `unavailable`, and in words what it is and what to do about it."""
    del operator
    database, valkey, known = await asyncio.gather(
        health.database(), health.valkey(), management.breakers.all()
    )
    troubles = [
        {
            "what": one["name"],
            "state": one["state"],
            "detail": one["reason"],
            "retry_after": one["retry_after"],
        }
        for one in known
        if one["state"] != "closed"
    ]
    if not valkey:
        detail = "limits are counted in each process, answers come from PostgreSQL; look after Valkey"
        troubles.append({"what": "valkey", "state": "away", "detail": detail, "retry_after": None})
    if not database:
        detail = "nothing is accepted: look after PostgreSQL first"
        troubles.insert(0, {"what": "postgresql", "state": "away", "detail": detail, "retry_after": None})
    status = "unavailable" if not database else "degraded" if troubles else "ok"
    states = {one["name"]: one["state"] for one in known}
    return json({"status": status, "troubles": troubles, "breakers": states})


RESILIENCE = Router(
    "/resilience",
    tags=["resilience"],
    route_handlers=[
        list_breakers,
        get_breaker,
        reset_breaker,
        force_open_breaker,
        get_limits,
        unblock_key,
        idempotency_stats,
        resilience_health,
    ],
)
