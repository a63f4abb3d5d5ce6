"""`/payouts`: sends money to wallets; an operator's decisions about payouts."""

from litestar import Router, get, post
from litestar.di import NamedDependency as Given
from litestar.params import JSONBody

from synccash.api.calls import (
    AnyRequest,
    Id,
    Json,
    KeyHeader,
    answers,
    claim_of,
    encoded_json,
    json,
    origin_of,
    reply_response,
)
from synccash.api.ports import Reading
from synccash.api.problem import invalid
from synccash.api.route_scopes import BASE
from synccash.api.schemas.answers import ApprovalShown, PayoutShown
from synccash.api.schemas.requests import DecisionBody, PayoutBody, ResolutionBody
from synccash.api.v1.approvals import perform, resolution
from synccash.api.v1.management import Management
from synccash.engine.engine import Engine
from synccash.payments.approval import Action
from synccash.payments.audit import AuditNote
from synccash.payments.document import payout_document
from synccash.payments.errors import ObjectNotFoundError
from synccash.payments.payer import Msisdn
from synccash.payments.payment import OrderKind
from synccash.payments.payout import Payee
from synccash.payments.request import PayoutRequest, Tenant


@post("/", status_code=201, responses=answers({201: PayoutShown, 202: PayoutShown}, 400, 409, 415, 422))
async def create_payout(
    request: AnyRequest,
    data: JSONBody[PayoutBody],
    engine: Given[Engine],
    tenant: Given[Tenant],
    idempotency: KeyHeader = None,
) -> Json:
    """Send money to a payee. 202: the outcome of the request is not known yet."""
    del idempotency  # documented here; the middleware reads the header
    rails = engine.rails
    if data.rail is not None and data.rail not in rails:
        raise invalid(("rail", f"expected a rail that is set up: {', '.join(sorted(rails))}"))
    payout_request = PayoutRequest(
        tenant=tenant,
        amount=data.amount,
        currency=data.currency,
        payee=Payee(msisdn=Msisdn.parse(data.payee.msisdn), network=data.payee.network, name=data.payee.name),
        reference=data.reference,
        description=data.description,
        metadata=data.metadata,
        expires_in_s=data.expires_in,
        rail=data.rail,
        origin=origin_of(request),
    )
    return reply_response(await engine.pay_out(payout_request, claim_of(request)))


@get("/{payout_id:str}", responses=answers({200: PayoutShown}))
async def get_payout(payout_id: Id, reading: Given[Reading], tenant: Given[Tenant]) -> Json:
    """Return a payout in its present state."""
    case = await reading.payout(tenant, payout_id)
    if case is None:
        raise ObjectNotFoundError("payout", payout_id)
    return json(payout_document(case.order, case.attempts))


@post(
    "/{payout_id:str}/approve",
    status_code=200,
    responses=answers({200: PayoutShown, 202: ApprovalShown}, 400, 409, 415, 422),
)
async def approve_payout(
    request: AnyRequest,
    payout_id: Id,
    data: JSONBody[DecisionBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: approve a payout in risk review; it is then sent.

    202: it is large, and a second operator has to approve it.
    """
    del operator
    action = Action(name="payout_approve", target=payout_id, parameters={}, reason=data.reason)
    return await perform(request, management, action)


@post("/{payout_id:str}/decline", status_code=200, responses=answers({200: PayoutShown}, 400, 409, 415, 422))
async def decline_payout(
    payout_id: Id,
    data: JSONBody[DecisionBody],
    engine: Given[Engine],
    operator: Given[str],
) -> Json:
    """Operator: decline a payout in risk review; it ends as failed."""
    note = AuditNote(actor=operator, action="payout_decline", target=payout_id, reason=data.reason)
    return encoded_json(
        await engine.reviewing.decline(
            payout_id, by=operator, reason=data.reason, kind=OrderKind.PAYOUT, note=note
        )
    )


@post(
    "/{payout_id:str}/resolve",
    status_code=200,
    responses=answers({200: PayoutShown, 202: ApprovalShown}, 400, 409, 415, 422),
)
async def resolve_payout(
    request: AnyRequest,
    payout_id: Id,
    data: JSONBody[ResolutionBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: end a payout under review with the outcome that was found at the rail.

    202: a second operator has to approve it.
    """
    del operator
    return await perform(request, management, resolution("payout_resolve", payout_id, data))


PAYOUTS = Router(
    f"{BASE}/payouts",
    tags=["payouts"],
    route_handlers=[create_payout, get_payout, approve_payout, decline_payout, resolve_payout],
)
