"""`/health`, outside the versioned path and without a key: for load balancers and operators."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from litestar import Router, get
from litestar.di import NamedDependency as Given

from synccash.api.calls import Json, answers, json
from synccash.api.ports import Health
from synccash.api.request_context import cancelled_from_outside
from synccash.api.schemas.answers import HealthShown, LiveShown
from synccash.api.v1.troubles import SENDS_HELD, database_trouble, valkey_trouble

log = structlog.get_logger("synccash.api")


@get("/live", responses=answers({200: LiveShown}))
async def live() -> Json:
    """Tell that the process is running."""
    return json({"status": "ok"})


@get("/ready", responses={**answers({200: HealthShown}), **answers({503: HealthShown})})
async def ready(health: Given[Health]) -> Json:
    """503 while PostgreSQL is unreachable or takes no writes, while its schema is of another version, and
    while the process stops. `degraded` names the other parts that fail too."""
    database_state, schema, valkey_state = await asyncio.gather(
        _server_state("postgresql", health.database_state),
        _schema(health),
        _server_state("valkey", health.valkey_state),
    )
    found = (database_trouble(database_state), valkey_trouble(valkey_state))
    servers = {one["what"]: one["detail"] for one in found if one is not None}
    reasons = _reasons(health, schema)
    takes_orders = database_state == "ok" and not reasons
    rails = _rails(health)
    degraded = [*servers, *reasons]
    if rails is None:
        rails = {}
        degraded.append("rails")
    held = {"recovery": SENDS_HELD} if health.sends_held() else {}
    degraded += held
    degraded += [name for name, rail_status in rails.items() if rail_status != "ok"]
    warnings = _warnings(health)
    degraded += warnings
    status = "unavailable" if not takes_orders else "degraded" if degraded else "ok"
    answer = json(
        {
            "status": status,
            "degraded": degraded,
            "rails": rails,
            "warnings": servers | held | reasons | warnings,
        },
        200 if takes_orders else 503,
    )
    if not takes_orders:
        answer.headers["Retry-After"] = "1"
    return answer


async def _server_state(name: str, check: Callable[[], Awaitable[str]]) -> str:
    """Return the state of a server; `away` when the check raises, so that the answer is 503 or 200, never
    500."""
    try:
        return await check()
    except (Exception, asyncio.CancelledError):
        if cancelled_from_outside():
            raise
        log.exception("health_check_failed", part=name)
        return "away"


async def _schema(health: Health) -> str | None:
    try:
        return await health.schema()
    except (Exception, asyncio.CancelledError):
        if cancelled_from_outside():
            raise
        log.exception("health_check_failed", part="schema")
        return "The version of the schema could not be read; see the log"


def _reasons(health: Health, schema: str | None) -> dict[str, str]:
    """Return why this process takes no orders although PostgreSQL may answer, by part."""
    reasons = {} if schema is None else {"schema": schema}
    if health.draining():
        reasons["draining"] = "This process was asked to stop. Send requests to another one"
    return reasons


def _rails(health: Health) -> dict[str, str] | None:
    try:
        return health.rails()
    except Exception:
        log.exception("health_check_failed", part="rails")
        return None


def _warnings(health: Health) -> dict[str, str]:
    try:
        return dict(health.warnings())
    except Exception:
        log.exception("health_check_failed", part="warnings")
        return {}


HEALTH = Router("/health", tags=["health"], route_handlers=[live, ready])
