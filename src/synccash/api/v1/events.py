"""`/events`: the events of a merchant, in the order of their commits."""

from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency as Given
from litestar.params import QueryParameter

from synccash.api.calls import Id, Json, Limit, answers, json, page
from synccash.api.ports import Endpoints, Reading
from synccash.api.problem import invalid
from synccash.api.route_scopes import BASE
from synccash.api.schemas.answers import EventPage, RedeliveryShown
from synccash.payments.document import event_body
from synccash.payments.errors import ObjectNotFoundError
from synccash.payments.request import Tenant


@get("/", responses=answers({200: EventPage}, 400, 422))
async def list_events(
    reading: Given[Reading],
    tenant: Given[Tenant],
    after: Annotated[
        str | None,
        QueryParameter(
            max_length=64, pattern=r"^[a-z0-9_]+$", description="The id of the last event that you have seen"
        ),
    ] = None,
    limit: Limit = 20,
) -> Json:
    """List events, oldest first. `after` is the id of the last event seen; no later event is left out."""
    found = await reading.events(tenant, after=after, limit=limit)
    if found is None:
        raise invalid(("after", "expected the id of one of your events in the same mode"))
    cursor = found[limit - 1].id if len(found) > limit else None
    return json(page([msgspec.Raw(event_body(event)) for event in found], limit, cursor))


@post("/{event_id:str}/redeliver", status_code=200, responses=answers({200: RedeliveryShown}))
async def redeliver_event(event_id: Id, endpoints: Given[Endpoints], tenant: Given[Tenant]) -> Json:
    """Send an event again to each enabled endpoint."""
    count = await endpoints.redeliver(tenant, event_id)
    if count is None:
        raise ObjectNotFoundError("event", event_id)
    return json({"id": event_id, "endpoints": count})


EVENTS = Router(f"{BASE}/events", tags=["events"], route_handlers=[list_events, redeliver_event])
