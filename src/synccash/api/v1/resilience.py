"""`/resilience`: the operator's calls on circuit breakers, rate limits, idempotency, floats and routes."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import Router, get, post
from litestar.di import NamedDependency as Given
from litestar.params import JSONBody, PathParameter, QueryParameter

from synccash.api.calls import OPTIONAL_BODY, AnyRequest, Json, answers, json
from synccash.api.ports import Health
from synccash.api.problem import ProblemError, not_found
from synccash.api.route_scopes import BASE
from synccash.api.schemas.requests import DecisionBody, ReasonBody
from synccash.api.schemas.resilience_answers import (
    BreakerList,
    BreakerResetShown,
    BreakerShown,
    FloatList,
    IdempotencyStatsShown,
    ResilienceHealthShown,
)
from synccash.api.v1.management import Management, ReasonParameter, reason_of
from synccash.api.v1.rate_limits import block_key, get_limits, list_blocked_keys, unblock_key
from synccash.api.v1.routes import dry_run, replay
from synccash.api.v1.troubles import (
    SENDS_HELD,
    breaker_notices,
    breaker_troubles,
    callback_troubles,
    database_trouble,
    trouble,
    valkey_trouble,
)
from synccash.payments.errors import StoreUnavailableError

Name = Annotated[str, PathParameter()]
_WINDOW_S = 3_600
_Window = Annotated[
    int,
    QueryParameter(
        ge=1,
        le=_WINDOW_S,
        description="Seconds that `claims` looks back; the call reads every claim of that time",
    ),
]
_NOTICES_S = 2.0
"""For how long health waits for its notices, which need PostgreSQL, in seconds."""


@get("/circuit-breakers", responses=answers({200: BreakerList}))
async def list_breakers(management: Given[Management], operator: Given[str]) -> Json:
    """List all breakers with their states and statistics."""
    del operator
    return json({"data": list(await management.breakers.all())})


@get("/circuit-breakers/{name:str}", responses=answers({200: BreakerShown}))
async def get_breaker(name: Name, management: Given[Management], operator: Given[str]) -> Json:
    """Return one breaker; a bare service means its collect breaker."""
    del operator
    return json(await _known(management, name))


@post(
    "/circuit-breakers/{name:str}/reset",
    status_code=200,
    responses=answers({200: BreakerResetShown}, 400, 415, 422),
    opt={OPTIONAL_BODY: ReasonBody},
)
async def reset_breaker(
    request: AnyRequest,
    name: Name,
    management: Given[Management],
    operator: Given[str],
    reason: ReasonParameter = None,
) -> Json:
    """Close a breaker and clear its recent results; a bare service means all its breakers."""
    await _known(management, name)
    reason_text = await reason_of(request, reason)
    await management.audit.note(actor=operator, action="breaker_reset", target=name, reason=reason_text)
    moved = await management.breakers.reset(
        name, f"reset by {operator}" + (f": {reason_text}" if reason_text else "")
    )
    return json({**await _known(management, name), "reset": [one["name"] for one in moved]})


@post(
    "/circuit-breakers/{name:str}/force-open",
    status_code=200,
    responses=answers({200: BreakerShown}, 400, 415, 422),
)
async def force_open_breaker(
    name: Name, data: JSONBody[DecisionBody], management: Given[Management], operator: Given[str]
) -> Json:
    """Refuse every new attempt until a reset. Inquiries continue."""
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
    detail = f"No circuit breaker is named {name!r}. GET /api/v1/resilience/circuit-breakers lists them."
    return ProblemError(not_found(detail))


@get("/idempotency/stats", responses=answers({200: IdempotencyStatsShown}))
async def idempotency_stats(
    management: Given[Management], operator: Given[str], window_s: _Window = _WINDOW_S
) -> Json:
    """Return what became of keys: in the last hour in PostgreSQL, and in this process since its start."""
    del operator
    found = await management.claims.statistics(window_s=window_s)
    return json({"window_s": float(window_s), "claims": dict(found), "process": management.counted()})


@get("/floats", responses=answers({200: FloatList}))
async def list_floats(management: Given[Management], operator: Given[str]) -> Json:
    """List what each rail's account can pay out, in pesewas, by the latest reading of this process."""
    del operator
    return json({"data": management.floats()})


@get("/health", responses=answers({200: ResilienceHealthShown}))
async def resilience_health(
    health: Given[Health], management: Given[Management], operator: Given[str]
) -> Json:
    """Return `ok`, `degraded` or `unavailable`, with each trouble and what to do about it; `notices` are no
    troubles."""
    del operator
    database_state, valkey_state, known, durability, notices = await asyncio.gather(
        health.database_state(),
        health.valkey_state(),
        management.breakers.all(),
        health.durability(),
        _notices(management),
    )
    database = database_trouble(database_state)
    now = datetime.now(UTC)
    troubles = breaker_troubles(known, now) + callback_troubles(health.silent_rails())
    notices += [*breaker_notices(known, now), *health.notices()]
    floats = management.floats()
    troubles += [
        trouble(f"{one['rail']}:float", "low", f"The float is below {one['alarm_below']} pesewas. Top it up.")
        for one in floats
        if one["is_low"]
    ]
    rail_statuses = health.rails() if database is None else {}
    for name in sorted(name for name, status in rail_statuses.items() if status == "unconfirmed"):
        detail = (
            "The credentials of this account have changed, so nothing new is sent to it. If they belong to "
            f"the same business, run `synccash rails confirm {name}`; if not, give them another label."
        )
        troubles.append(trouble(name, "unconfirmed", detail))
    troubles += [trouble(what, "warning", detail) for what, detail in health.warnings()]
    if (valkey := valkey_trouble(valkey_state)) is not None:
        troubles.append(valkey)
    if health.sends_held():
        troubles.insert(0, trouble("recovery", "active", SENDS_HELD))
    if database is not None:
        troubles.insert(0, database)
    status = "unavailable" if database is not None else "degraded" if troubles else "ok"
    states = {one["name"]: one["state"] for one in known}
    shown = {"status": status, "troubles": troubles, "breakers": states}
    return json({**shown, "notices": notices, "durability": durability, "floats": floats})


async def _notices(management: Management) -> list[dict[str, str]]:
    """Return what an operator should know although nothing is wrong. Nothing while PostgreSQL is away."""
    try:
        async with asyncio.timeout(_NOTICES_S):
            four_eyes, role = await asyncio.gather(management.four_eyes.notice(), management.role_notice())
    except (TimeoutError, StoreUnavailableError):
        return []
    found = [("four_eyes", "off", four_eyes), ("database_role", "owner", role)]
    return [
        {"what": what, "state": state, "detail": detail}
        for what, state, detail in found
        if detail is not None
    ]


RESILIENCE = Router(
    f"{BASE}/resilience",
    tags=["resilience"],
    route_handlers=[
        list_breakers,
        get_breaker,
        reset_breaker,
        force_open_breaker,
        list_blocked_keys,
        get_limits,
        unblock_key,
        block_key,
        idempotency_stats,
        list_floats,
        resilience_health,
        dry_run,
        replay,
    ],
)
