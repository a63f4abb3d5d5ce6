"""`/refunds`: reads and resolves refunds. They are opened at `/payments/{id}/refunds`."""

from litestar import Router, get, post
from litestar.di import NamedDependency as Given
from litestar.params import JSONBody

from synccash.api.calls import Id, Json, answers, encoded_json, json
from synccash.api.ports import Reading
from synccash.api.schemas import RefundShown, ResolutionBody
from synccash.engine.engine import Engine
from synccash.engine.requests.review import Resolution
from synccash.payments.document import refund_document
from synccash.payments.errors import ObjectNotFoundError
from synccash.payments.payment import OrderKind
from synccash.payments.request import Tenant


@get("/{refund_id:str}", responses=answers({200: RefundShown}))
async def get_refund(refund_id: Id, reading: Given[Reading], tenant: Given[Tenant]) -> Json:
    """Return a refund in its present state."""
    case = await reading.refund(tenant, refund_id)
    if case is None:
        raise ObjectNotFoundError("refund", refund_id)
    return json(refund_document(case.order, case.attempts))


@post("/{refund_id:str}/resolve", status_code=200, responses=answers({200: RefundShown}, 400, 409, 415, 422))
async def resolve_refund(
    refund_id: Id, data: JSONBody[ResolutionBody], engine: Given[Engine], operator: Given[str]
) -> Json:
    """Operator: end a refund under review with the outcome that was found at the rail."""
    outcome = Resolution(data.outcome)
    return encoded_json(
        await engine.reviewing.resolve(
            OrderKind.REFUND, refund_id, outcome, by=operator, evidence=data.evidence, rail=data.rail
        )
    )


REFUNDS = Router("/refunds", tags=["refunds"], route_handlers=[get_refund, resolve_refund])
