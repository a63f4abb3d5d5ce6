"""`/callbacks`: receives the rails' callbacks. They trigger an inquiry; their content is not trusted."""

from typing import Any

from litestar import Request, Response, Router, route
from litestar.di import NamedDependency as Given

from synccash.api.body import HasScope, scope_of
from synccash.api.calls import Id
from synccash.api.route_scopes import BASE
from synccash.engine.engine import Engine
from synccash.middleware.whole_body import BODY

IS_KNOWN = "synccash.callback_is_known"
"""Where the scope of a callback says whether it belongs to an attempt, once it was looked up."""


@route("/{rail:str}/{token:str}", http_method=["POST", "PUT"], status_code=200, include_in_schema=False)
async def take_callback(
    request: Request[Any, Any, Any], rail: Id, token: Id, engine: Given[Engine]
) -> Response[bytes]:
    """Have the rail asked about the attempt of this token now. An unknown token gets the same response."""
    await pass_on(request, rail, token, engine)
    return Response(b"", media_type="text/plain")


async def pass_on(request: HasScope, rail: str, token: str, engine: Engine) -> None:
    """Give a callback to the engine, and say in the scope whether it belongs to an attempt."""
    scope, is_known = scope_of(request), False
    if token.isascii() and token.isprintable():
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        is_known = await engine.take_callback(rail, token, headers, scope[BODY])
    scope[IS_KNOWN] = is_known


CALLBACKS = Router(f"{BASE}/callbacks", route_handlers=[take_callback])
