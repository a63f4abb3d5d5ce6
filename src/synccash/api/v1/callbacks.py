"""`/callbacks`: receives the rails' callbacks. They trigger an inquiry; their content is not trusted."""

from typing import Any

from litestar import Request, Response, Router, route
from litestar.di import NamedDependency as Given

from synccash.api.calls import Id
from synccash.engine.engine import Engine


@route("/{rail:str}/{token:str}", http_method=["POST", "PUT"], status_code=200, include_in_schema=False)
async def take_callback(
    request: Request[Any, Any, Any], rail: Id, token: Id, engine: Given[Engine]
) -> Response[bytes]:
    """Have the rail asked about the attempt of this token now. An unknown token gets the same response."""
    if token.isascii() and token.isprintable():
        headers = {name.lower(): value for name, value in request.headers.items()}
        await engine.take_callback(rail, token, headers, await request.body())
    return Response(b"", media_type="text/plain")


CALLBACKS = Router("/callbacks", route_handlers=[take_callback])
