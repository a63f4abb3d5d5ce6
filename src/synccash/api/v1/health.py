"""`/health`, outside the versioned path and without a key: for load balancers and for people.

Balancers and watchers ask with HEAD as well as with GET.
"""

import asyncio

from litestar import Router, route
from litestar.di import NamedDependency as Given

from synccash.api.calls import Json, answers, json
from synccash.api.ports import Health
from synccash.api.schemas import HealthShown, LiveShown


@route("/live", http_method=["GET", "HEAD"], responses=answers({200: LiveShown}))
async def live() -> Json:
    """The process answers."""
    return json({"status": "ok"})


@route(
    "/ready",
    http_method=["GET", "HEAD"],
    responses={**answers({200: HealthShown}), **answers({503: HealthShown})},
)
async def ready(health: Given[Health]) -> Json:
    """503 only without PostgreSQL. Everything else that is away makes it `degraded`, with its name."""
    database, valkey = await asyncio.gather(health.database(), health.valkey())
    rails = health.rails()
    degraded = [name for name, well in (("postgresql", database), ("valkey", valkey)) if not well]
    degraded += [name for name, standing in rails.items() if standing != "ok"]
    status = "unavailable" if not database else "degraded" if degraded else "ok"
    answer = json({"status": status, "degraded": degraded, "rails": rails}, 200 if database else 503)
    if not database:
        answer.headers["Retry-After"] = "1"
    return answer


HEALTH = Router("/health", tags=["health"], route_handlers=[live, ready])
