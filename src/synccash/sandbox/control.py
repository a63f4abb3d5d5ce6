"""Serves /control, the sandbox's own API: faults, scripts, books and floats of the simulated rails."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from synccash.sandbox.faults import BadBodyError, Faults, Script, revised
from synccash.sandbox.floats import FloatSetting, FloatWire
from synccash.sandbox.rail import Rail
from synccash.sandbox.wire import Reply

Changed = Callable[[Rail], Awaitable[None]]


def problem(status: int, detail: str, errors: list[dict[str, str]] | None = None, allow: str = "") -> Reply:
    """Return an error response as problem+json."""
    body = {"type": "about:blank", "status": status, "detail": detail, "errors": errors or []}
    headers = {"Allow": allow} if allow else {}
    return Reply(status, msgspec.json.encode(body), "application/problem+json", headers)


async def serve_control(
    rails: Mapping[str, Rail], method: str, path: str, raw: bytes, changed: Changed
) -> Reply:
    """Serve one request below /control. It awaits `changed` for a rail whose faults may have changed."""
    if path == "/reset":
        if method != "POST":
            return problem(405, "Use POST /control/reset.", allow="POST")
        for rail in rails.values():
            rail.reset()
            await changed(rail)
        return Reply.json(200, {"reset": list(rails)})
    name, _, resource = path.removeprefix("/").partition("/")
    rail = rails.get(name)
    if rail is None:
        return problem(404, f"There is no rail {name!r}; there are: {', '.join(rails)}.")
    try:
        body: object = msgspec.json.decode(raw) if raw.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return problem(400, f"The body is not JSON: {error}.")
    try:
        reply = _serve_rail(rail, method, resource, body)
    except BadBodyError as error:
        return problem(422, f"{resource} of {name}: {error}.", error.errors)
    await changed(rail)
    return reply


def _serve_rail(rail: Rail, method: str, resource: str, body: object) -> Reply:
    if resource == "float" and isinstance(rail.wire, FloatWire):
        return _serve_float(rail, rail.wire, method, body)
    match resource, method:
        case "book", "GET":
            return Reply.json(200, rail.book())
        case "faults", "GET":
            return Reply.json(200, rail.faults)
        case "faults", "PUT":
            rail.set_faults(revised(rail.faults, body))
            return Reply.json(200, rail.faults)
        case "faults", "DELETE":
            rail.set_faults(Faults())
            return Reply.json(200, rail.faults)
        case "script", "GET":
            return Reply.json(200, rail.script)
        case "script", "PUT":
            rail.set_script(revised(Script(), body))
            return Reply.json(200, rail.script)
        case "script", "DELETE":
            rail.set_script(Script())
            return Reply.json(200, rail.script)
        case _:
            return _of_the_rail(rail, method, resource, body)


def _serve_float(rail: Rail, wire: FloatWire, method: str, body: object) -> Reply:
    if method == "PUT":
        rail.set_float(wire, revised(FloatSetting(), body).pesewas)
    elif method != "GET":
        return problem(405, f"{method} is no method of float.", allow="GET, PUT")
    return Reply.json(200, FloatSetting(wire.float.available(rail.orders.values())))


_ALLOWED = {"book": "GET", "faults": "GET, PUT, DELETE", "script": "GET, PUT, DELETE"}


def _of_the_rail(rail: Rail, method: str, resource: str, body: object) -> Reply:
    if resource in _ALLOWED:
        return problem(405, f"{method} is no method of {resource}.", allow=_ALLOWED[resource])
    outcome = rail.wire.control(resource, method, body)
    if outcome is None:
        return problem(404, f"{rail.wire.rail_id} has no control resource {method} {resource!r}.")
    rail.learn(outcome.facts)
    return outcome.reply
