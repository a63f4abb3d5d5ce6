"""`/refunds`: money on its way back. A refund is made under its payment."""

from litestar import Router, get, post
from litestar.di import NamedDependency as Given
from litestar.params import JSONBody

from synccash.api.calls import Id, Json, answers, json, raw_json
from synccash.api.ports import Reading
from synccash.api.schemas import RefundShown, ResolutionBody
from synccash.engine.engine import Engine
from synccash.engine.requests.review import Resolution
from synccash.payments.case import RefundCase
from synccash.payments.document import refund_document
from synccash.payments.errors import ObjectNotFoundError
from synccash.payments.request import Tenant


@get("/{refund_id:str}", responses=answers({200: RefundShown}))
async def get_refund(refund_id: Id, reading: Given[Reading], tenant: Given[Tenant]) -> Json:
    """A refund as it stands now."""
    case = await reading.refund(tenant, refund_id)
    if case is None:
        raise ObjectNotFoundError("refund", refund_id)
    return json(refund_document(case.refund, case.attempts))


@post("/{refund_id:str}/resolve", status_code=200, responses=answers({200: RefundShown}, 400, 409, 415, 422))
async def resolve_refund(
    refund_id: Id, data: JSONBody[ResolutionBody], engine: Given[Engine], operator: Given[str]
) -> Json:
    """Operator: end a refund under review as it was found at the rail."""
    outcome = Resolution(data.outcome)
    return raw_json(
        await engine.reviewing.resolve(
            RefundCase, refund_id, outcome, by=operator, evidence=data.evidence, rail=data.rail
        )
    )


REFUNDS = Router("/refunds", tags=["refunds"], route_handlers=[get_refund, resolve_refund])
