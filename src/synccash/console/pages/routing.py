"""Routing rules as a dry run over the last hour's orders, before they are saved as settings."""

from typing import Any

from litestar import get, post
from litestar.di import NamedDependency as Given

from synccash.console.management_calls import CallRefusedError
from synccash.console.visit import Html, Visit

RULES = ("preferences", "costs", "splits")
_WEIGHTS = ("cost_weight", "preference_step")


@get("/routing")
async def routing(visit: Given[Visit]) -> Html:
    """Show the routing rules in force."""
    session = visit.signed_in
    del session
    return _page(visit, _in_force(visit))


@post("/routing")
async def replay(visit: Given[Visit]) -> Html:
    """Show what other rules would have done with the last hour's orders. Nothing is changed."""
    session = visit.signed_in
    del session
    given = {name: visit.form.get(name, "") for name in (*RULES, *_WEIGHTS)}
    body: dict[str, Any] = {name: " ".join(given[name].split()) for name in RULES}
    try:
        body |= {name: float(given[name]) for name in _WEIGHTS if given[name]}
    except ValueError:
        return _page(visit, given, 422, problem="The weights are numbers from 0 to 1, such as 0.05.")
    try:
        found = await visit.api("POST", "resilience", "routes", "replay", body=body)
    except CallRefusedError as error:
        if error.status != 422:
            raise
        lines = [f"{one['field']}: {one['message']}" for one in error.errors] or [str(error)]
        return _page(visit, given, 422, problem="; ".join(lines))
    return _page(visit, given, found=found, changed=_changed(visit, body))


def _in_force(visit: Visit) -> dict[str, str]:
    settings = {name: value for name, value, _ in visit.site.parts.settings}
    return {name: settings.get(f"routing_{name}", "") for name in (*RULES, *_WEIGHTS)}


def _changed(visit: Visit, body: dict[str, Any]) -> list[str]:
    """Return the settings that differ from those in force, as lines of an environment file."""
    now = _in_force(visit)
    return [
        f"SYNCCASH_ROUTING_{name.upper()}={_quoted(str(value))}"
        for name, value in body.items()
        if str(value) != now[name]
    ]


def _quoted(value: str) -> str:
    return f'"{value}"'


def _page(
    visit: Visit,
    rules: dict[str, str],
    status: int = 200,
    *,
    problem: str | None = None,
    found: dict[str, Any] | None = None,
    changed: list[str] | None = None,
) -> Html:
    return visit.page(
        "routing.html", status, rules=rules, problem=problem, found=found, changed=changed or []
    )


ROUTING_PAGES = (routing, replay)
