"""`/admin/audit`: reads and exports the audit log."""

from datetime import datetime
from typing import Annotated, Any

from litestar import Router, get
from litestar.di import NamedDependency as Given
from litestar.params import QueryParameter

from synccash.api.calls import Json, answers, json
from synccash.api.problem import invalid
from synccash.api.route_scopes import BASE
from synccash.api.v1.management import Management
from synccash.payments.document import moment

_SHOWN = {200: dict[str, Any]}
_Text = Annotated[str | None, QueryParameter(max_length=200, description="Only those with this value")]
_Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="Maximum number of entries")]
_POSITION_MAX = 2**63 - 1


@get("/", responses=answers(_SHOWN, 422))
async def list_audit(
    management: Given[Management],
    operator: Given[str],
    actor: _Text = None,
    action: _Text = None,
    target: _Text = None,
    since: Annotated[datetime | None, QueryParameter(description="Time of the oldest entry")] = None,
    before: Annotated[
        int | None, QueryParameter(ge=1, le=_POSITION_MAX, description="`next` of the previous page")
    ] = None,
    limit: _Limit = 50,
) -> Json:
    """Operator: list entries of the audit log, newest first."""
    del operator
    if since is not None and since.tzinfo is None:
        raise invalid(("since", "expected a time with its offset, such as 2026-01-31T00:00:00Z"))
    given = {"actor": actor, "action": action, "target": target}
    unprintable = [name for name, text in given.items() if text is not None and not text.isprintable()]
    if unprintable:
        raise invalid(*((name, "expected printable characters") for name in unprintable))
    found = await management.audit_log.entries(limit, since=since, before=before, **given)
    return json({**found, "data": [_document(one) for one in found["data"]]})


@get("/export", responses=answers(_SHOWN, 422))
async def export_audit(
    management: Given[Management],
    operator: Given[str],
    after: Annotated[
        int, QueryParameter(ge=0, le=_POSITION_MAX, description="`next` of the previous page")
    ] = 0,
    limit: _Limit = 1000,
) -> Json:
    """Operator: return the audit log page by page, oldest entry first, with its seals and the newest one's
    digest as `head`."""
    del operator
    found = await management.audit_log.export(after, limit)
    return json({**found, "data": [_document(one) for one in found["data"]]})


def _document(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "at": moment(entry["at"])}


AUDIT = Router(f"{BASE}/admin/audit", tags=["administration"], route_handlers=[list_audit, export_audit])
