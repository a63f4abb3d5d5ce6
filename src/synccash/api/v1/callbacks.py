"""`/callbacks`: what rails call. Hints only: what a callback says is never believed."""

from litestar import Response, Router, route
from litestar.di import NamedDependency as Given

from synccash.api.calls import Id
from synccash.engine.engine import Engine


@route("/{rail:str}/{token:str}", http_method=["POST", "PUT"], status_code=200, include_in_schema=False)
async def take_callback(rail: Id, token: Id, engine: Given[Engine]) -> Response[bytes]:
    """Ask the rail about the attempt of this token, now. An unknown token is answered the same."""
    if token.isascii() and token.isprintable():
        await engine.take_callback(rail, token)
    return Response(b"", media_type="text/plain")


CALLBACKS = Router("/callbacks", route_handlers=[take_callback])
