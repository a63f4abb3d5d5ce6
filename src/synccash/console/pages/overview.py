"""The start page: what happens now, what is wrong, and what waits for somebody."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from litestar import get
from litestar.di import NamedDependency as Given
from litestar.response import Stream

from synccash.api.request_context import STREAMED
from synccash.api.roles import ROUTE_ROLES
from synccash.console.history import RANGES, payment_series
from synccash.console.snapshots import Viewer
from synccash.console.visit import Html, SignInNeededError, Site, Visit, session_of
from synccash.payments.errors import StoreUnavailableError

_HISTORY = "GET /admin/history"
"""The call with the counts of former days; charts are shown where the API has it."""
_CLAIMS_S = 60
"""The claims of so many seconds are counted for each snapshot, every two seconds."""
_COUNTS = ("window_calls", "window_failures", "window_slow", "blocked")


@get("/")
async def overview(visit: Given[Visit]) -> Html:
    """Show the overview with a first snapshot; the stream replaces it."""
    session = visit.signed_in
    snapshot = await load_snapshot(visit.site, Viewer(visit.scope, session.token, session.token_hash))
    return visit.page("overview.html", has_history=_HISTORY in ROUTE_ROLES, **snapshot)


@get("/overview/events", media_type="text/event-stream")
async def events(visit: Given[Visit]) -> Stream:
    """Stream snapshots of the overview."""
    if visit.session is None:
        raise SignInNeededError
    session, site = visit.session, visit.site
    visit.scope[STREAMED] = True
    viewer = Viewer(visit.scope, session.token, session.token_hash)

    async def is_signed_in(one: Viewer) -> bool:
        try:
            return await session_of(one.scope, site) is not None
        except StoreUnavailableError:
            return True  # No snapshot is read without the database either.

    stream: AsyncGenerator[bytes] = site.hub.stream(viewer, is_signed_in)
    # Proxies that buffer an answer would hold it back for ever.
    return Stream(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@get("/history")
async def history(visit: Given[Visit]) -> Html:
    """Return the charts of the payments of a time, for a part of the overview."""
    chosen = next((one for one in RANGES if one.name == visit.query("range")), RANGES[0])
    start = (datetime.now(UTC) - chosen.length).isoformat()
    step = int(chosen.step.total_seconds())
    found = await visit.api("GET", "admin", "history", query={"start": start, "step": step})
    series = payment_series(found)
    return visit.page("history.html", series=series, chosen=chosen, ranges=RANGES, goal=found["goal"])


def snapshot_loader(site: Site) -> Callable[[Viewer], Awaitable[str]]:
    """Return what renders a snapshot for all viewers, on behalf of one of them."""

    async def load(viewer: Viewer) -> str:
        snapshot = await load_snapshot(site, viewer)
        return site.environment.get_template("overview_live.html").render(**snapshot)

    return load


async def load_snapshot(site: Site, viewer: Viewer) -> dict[str, Any]:
    """Return what the overview shows."""

    async def read(*path: str, **query: Any) -> Any:
        return (await site.calls.call(viewer.scope, "GET", path, query=query, token=viewer.token)).document

    health, breakers, idempotency, recent = await asyncio.gather(
        read("resilience", "health"),
        read("resilience", "circuit-breakers"),
        read("resilience", "idempotency", "stats", window_s=_CLAIMS_S),
        site.parts.reading.recent(),
    )
    return {
        "health": health,
        "services": _services(breakers["data"]),
        "idempotency": idempotency,
        "recent": recent,
        "waiting": [(kind, why, n) for (kind, why), n in sorted(site.parts.waiting().items()) if n],
        "goal": site.parts.success_goal,
    }


def _services(breakers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is called through breakers, such as rails, with the breakers that are not closed. Those
    with trouble come first."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for one in breakers:
        by_name.setdefault(one["service"], []).append(one)
    found = [
        {
            "name": name,
            "troubled": [one for one in group if one["state"] != "closed"],
            **{count: sum(one["statistics"][count] for one in group) for count in _COUNTS},
        }
        for name, group in by_name.items()
    ]
    return sorted(found, key=lambda one: (not one["troubled"], one["name"]))


OVERVIEW_PAGES = (overview, events, history)
