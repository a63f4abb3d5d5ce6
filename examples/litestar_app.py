"""An idempotent endpoint in Litestar.

pip install synccash litestar uvicorn
uvicorn --app-dir examples litestar_app:app
"""

from litestar import Litestar, post
from litestar.params import JSONBody

from synccash.middleware import Endpoint, MemoryClaims, ResilienceMiddleware, one_tenant

orders: list[int] = []


@post("/orders")
async def order(data: JSONBody[dict[str, int]]) -> dict[str, int]:
    """Take an order."""
    orders.append(data["item"])
    return {"order": len(orders)}


# Around the application, so that requests are matched before Litestar routes them, and so that the middleware
# sees the shutdown.
app = ResilienceMiddleware(
    Litestar([order], logging_config=None),
    endpoints=[Endpoint("POST", "/orders", "order", idempotent="required")],
    identify=one_tenant("shop"),
    claims=MemoryClaims(),
)
