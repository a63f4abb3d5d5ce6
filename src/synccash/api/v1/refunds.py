"""`/refunds`: reads and resolves refunds. They are opened at `/payments/{id}/refunds`."""

from litestar import Router, get, post
from litestar.di import NamedDependency as Given
from litestar.params import JSONBody

from synccash.api.calls import AnyRequest, Id, Json, answers, json
from synccash.api.ports import Reading
from synccash.api.route_scopes import BASE
from synccash.api.schemas.answers import ApprovalShown, RefundShown
from synccash.api.schemas.requests import ResolutionBody
from synccash.api.v1.approvals import perform, resolution
from synccash.api.v1.management import Management
from synccash.payments.document import refund_document
from synccash.payments.errors import ObjectNotFoundError
from synccash.payments.request import Tenant


@get("/{refund_id:str}", responses=answers({200: RefundShown}))
async def get_refund(refund_id: Id, reading: Given[Reading], tenant: Given[Tenant]) -> Json:
    """Return a refund in its present state."""
    case = await reading.refund(tenant, refund_id)
    if case is None:
        raise ObjectNotFoundError("refund", refund_id)
    return json(refund_document(case.order, case.attempts))


@post(
    "/{refund_id:str}/resolve",
    status_code=200,
    responses=answers({200: RefundShown, 202: ApprovalShown}, 400, 409, 415, 422),
)
async def resolve_refund(
    request: AnyRequest,
    refund_id: Id,
    data: JSONBody[ResolutionBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: end a refund under review with the outcome that was found at the rail.

    202: a second operator has to approve it.
    """
    del operator
    return await perform(request, management, resolution("refund_resolve", refund_id, data))


REFUNDS = Router(f"{BASE}/refunds", tags=["refunds"], route_handlers=[get_refund, resolve_refund])
