"""An idempotent endpoint of a WSGI application, such as one of Flask or Bottle, under an ASGI server.

pip install synccash asgiref uvicorn
uvicorn --app-dir examples wsgi_app:app
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from asgiref.wsgi import WsgiToAsgi

from synccash.middleware import Endpoint, MemoryClaims, ResilienceMiddleware, one_tenant

orders: list[int] = []


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Take an order. Any WSGI application can stand here."""
    orders.append(json.loads(environ["wsgi.input"].read())["item"])
    start_response("201 Created", [("Content-Type", "application/json")])
    return [json.dumps({"order": len(orders)}).encode()]


app = ResilienceMiddleware(
    WsgiToAsgi(shop),
    endpoints=[Endpoint("POST", "/orders", "order", idempotent="required")],
    identify=one_tenant("shop"),
    claims=MemoryClaims(),
)
