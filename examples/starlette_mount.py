"""An application with idempotent endpoints, mounted under a prefix of a Starlette application.

pip install synccash starlette uvicorn
uvicorn --app-dir examples starlette_mount:app
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from synccash.middleware import Endpoint, MemoryClaims, ResilienceMiddleware, one_tenant

orders: list[int] = []


async def order(request: Request) -> JSONResponse:
    """Take an order."""
    orders.append((await request.json())["item"])
    return JSONResponse({"order": len(orders)}, 201)


# The paths of the endpoints do not have the prefix of the mount.
shop = ResilienceMiddleware(
    Starlette(routes=[Route("/orders", order, methods=["POST"])]),
    endpoints=[Endpoint("POST", "/orders", "order", idempotent="required")],
    identify=one_tenant("shop"),
    claims=MemoryClaims(),
)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Wait for running orders at the end: mounted applications get no lifespan events of their own."""
    del app
    yield
    await shop.close()


app = Starlette(routes=[Mount("/api", app=shop)], lifespan=lifespan)
