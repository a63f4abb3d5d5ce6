"""`/payments`: collects money; reads, cancels and refunds payments; an operator's decisions about them."""

from typing import Annotated

from litestar import Router, get, post
from litestar.di import NamedDependency as Given
from litestar.params import JSONBody, QueryParameter

from synccash.api.body import HasScope
from synccash.api.calls import (
    AnyRequest,
    Id,
    Json,
    KeyHeader,
    Limit,
    answers,
    claim_of,
    encode_json,
    encoded_json,
    json,
    origin_of,
    read_cursor,
    reply_response,
    write_cursor,
)
from synccash.api.ports import PaymentFilter, Reading, WalletLimits
from synccash.api.problem import ProblemError, invalid
from synccash.api.route_scopes import BASE
from synccash.api.schemas.answers import (
    ApprovalShown,
    PaymentPage,
    PaymentShown,
    RefundPage,
    RefundShown,
    TimelineShown,
)
from synccash.api.schemas.requests import (
    DecisionBody,
    PasswordBody,
    PaymentBody,
    PaymentResolutionBody,
    RefundBody,
)
from synccash.api.v1.approvals import perform, resolution
from synccash.api.v1.management import Management
from synccash.engine.engine import Engine
from synccash.payments.approval import Action
from synccash.payments.audit import AuditNote
from synccash.payments.case import PaymentCase, UnreadablePayment
from synccash.payments.document import payment_document
from synccash.payments.errors import ObjectNotFoundError
from synccash.payments.merchant_view import merchant_entry_document
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.payment import Payment, PaymentStatus
from synccash.payments.request import PaymentRequest, RefundRequest, Reply, Tenant

_OPENED = {201: PaymentShown, 202: PaymentShown}
_MONEY_ERRORS = (400, 409, 415, 422)


@post("/", status_code=201, responses=answers(_OPENED, *_MONEY_ERRORS))
async def create_payment(
    request: AnyRequest,
    data: JSONBody[PaymentBody],
    engine: Given[Engine],
    tenant: Given[Tenant],
    idempotency: KeyHeader = None,
) -> Json:
    """Collect money from a payer. 202: the outcome of the request is not known yet."""
    del idempotency  # documented here; the middleware reads the header
    return reply_response(await collect(request, data, engine, tenant))


async def collect(request: HasScope, data: PaymentBody, engine: Engine, tenant: Tenant) -> Reply:
    """Collect money. Raises ProblemError 422 for a rail that is not set up, and the engine's errors."""
    rails = engine.rails
    if data.rail is not None and data.rail not in rails:
        raise invalid(("rail", f"expected a rail that is set up: {', '.join(sorted(rails))}"))
    payment_request = PaymentRequest(
        tenant=tenant,
        amount=data.amount,
        currency=data.currency,
        payer=Payer(Msisdn.parse(data.payer.msisdn), data.payer.network),
        reference=data.reference,
        description=data.description,
        metadata=data.metadata,
        expires_in_s=data.expires_in,
        rail=data.rail,
        origin=origin_of(request),
    )
    return await engine.initiate_payment(payment_request, claim_of(request))


@get("/", responses=answers({200: PaymentPage}, 400, 422))
async def list_payments(
    reading: Given[Reading],
    tenant: Given[Tenant],
    status: Annotated[PaymentStatus | None, QueryParameter(description="Only those in this status")] = None,
    reference: Annotated[
        str | None, QueryParameter(max_length=64, description="Only the one with this reference")
    ] = None,
    payer: Annotated[
        str | None, QueryParameter(max_length=40, description="Only those of this mobile number")
    ] = None,
    after: Annotated[
        str | None, QueryParameter(max_length=200, description="The `next` of the previous page")
    ] = None,
    limit: Limit = 20,
) -> Json:
    """List payments, newest first. `after` takes the `next` of the previous page. `unreadable` has the ids of
    payments that this version of the service cannot show, as during an upgrade."""
    try:
        msisdn = None if payer is None else Msisdn.parse(payer).digits
    except ValueError as error:
        raise invalid(("payer", str(error))) from error
    if reference is not None and "\0" in reference:
        raise invalid(("reference", "expected printable characters"))
    where = PaymentFilter(
        status=status, reference=reference, payer=msisdn, after=read_cursor(after), limit=limit
    )
    found = await reading.payments(tenant, where)
    shown = found[:limit]
    last = _placed(shown[-1]) if len(found) > limit else None
    return json(
        {
            "data": [
                payment_document(one.order, one.attempts)
                for one in shown
                if not isinstance(one, UnreadablePayment)
            ],
            "has_more": last is not None,
            "next": None if last is None else write_cursor(last.created_at, last.id),
            "unreadable": [one.id for one in shown if isinstance(one, UnreadablePayment)],
        }
    )


def _placed(found: PaymentCase | UnreadablePayment) -> Payment | UnreadablePayment:
    return found if isinstance(found, UnreadablePayment) else found.order


@get("/{payment_id:str}", responses=answers({200: PaymentShown}))
async def get_payment(payment_id: Id, reading: Given[Reading], tenant: Given[Tenant]) -> Json:
    """Return a payment in its present state."""
    return encoded_json(await shown_payment(payment_id, reading, tenant))


async def shown_payment(payment_id: str, reading: Reading, tenant: Tenant) -> bytes:
    """Return a payment as JSON. Raises ObjectNotFoundError."""
    case = await reading.payment(tenant, payment_id)
    if case is None:
        raise ObjectNotFoundError("payment", payment_id)
    return encode_json(payment_document(case.order, case.attempts))


@get("/{payment_id:str}/timeline", responses=answers({200: TimelineShown}))
async def get_timeline(payment_id: Id, reading: Given[Reading], tenant: Given[Tenant]) -> Json:
    """Return everything that was decided about a payment and its refunds, oldest first."""
    entries = await reading.timeline(tenant, payment_id)
    if entries is None:
        raise ObjectNotFoundError("payment", payment_id)
    return json(
        {"data": [merchant_entry_document(entry) for entry in entries], "has_more": False, "next": None}
    )


@post("/{payment_id:str}/cancel", status_code=200, responses=answers({200: PaymentShown}, 409))
async def cancel_payment(payment_id: Id, engine: Given[Engine], tenant: Given[Tenant]) -> Json:
    """Cancel a payment, as long as no money can have moved."""
    return encoded_json(await engine.cancel_payment(tenant, payment_id))


@post("/{payment_id:str}/otp", status_code=200, responses=answers({200: PaymentShown}, 400, 409, 415, 422))
async def submit_otp(
    payment_id: Id,
    data: JSONBody[PasswordBody],
    engine: Given[Engine],
    tenant: Given[Tenant],
    wallet_limits: Given[WalletLimits],
) -> Json:
    """Submit the payer's one-time password. When the rail refuses it, the payment stays `requires_action`,
    the timeline says so (`otp_answered`), and another may be submitted, at most five for a payment; one more
    gets 409 `otp_tries_exceeded`."""

    async def admit(payment: Payment) -> None:
        refusal = await wallet_limits.check_otp(tenant, payment.payer.msisdn.digits)
        if refusal is not None:
            raise ProblemError(refusal)

    return encoded_json(await engine.submit_otp(tenant, payment_id, data.otp, admit))


@post(
    "/{payment_id:str}/refunds",
    status_code=201,
    responses=answers({201: RefundShown, 202: RefundShown}, *_MONEY_ERRORS),
)
async def create_refund(
    request: AnyRequest,
    payment_id: Id,
    data: JSONBody[RefundBody],
    engine: Given[Engine],
    tenant: Given[Tenant],
    idempotency: KeyHeader = None,
) -> Json:
    """Refund a payment, in part or in full."""
    del idempotency  # documented here; the middleware reads the header
    refund_request = RefundRequest(
        tenant=tenant,
        payment_id=payment_id,
        amount=data.amount,
        reason=data.reason,
        origin=origin_of(request),
    )
    return reply_response(await engine.refund_payment(refund_request, claim_of(request)))


@post(
    "/{payment_id:str}/approve", status_code=200, responses=answers({200: PaymentShown}, 400, 409, 415, 422)
)
async def approve_payment(
    payment_id: Id,
    data: JSONBody[DecisionBody],
    engine: Given[Engine],
    operator: Given[str],
) -> Json:
    """Operator: approve a payment in risk review; it is then sent."""
    note = AuditNote(actor=operator, action="payment_approve", target=payment_id, reason=data.reason)
    return encoded_json(
        await engine.reviewing.approve(payment_id, by=operator, reason=data.reason, note=note)
    )


@post(
    "/{payment_id:str}/decline", status_code=200, responses=answers({200: PaymentShown}, 400, 409, 415, 422)
)
async def decline_payment(
    payment_id: Id,
    data: JSONBody[DecisionBody],
    engine: Given[Engine],
    operator: Given[str],
) -> Json:
    """Operator: decline a payment in risk review; it ends as failed."""
    note = AuditNote(actor=operator, action="payment_decline", target=payment_id, reason=data.reason)
    return encoded_json(
        await engine.reviewing.decline(payment_id, by=operator, reason=data.reason, note=note)
    )


@post(
    "/{payment_id:str}/resolve",
    status_code=200,
    responses=answers({200: PaymentShown, 202: ApprovalShown}, 400, 409, 415, 422),
)
async def resolve_payment(
    request: AnyRequest,
    payment_id: Id,
    data: JSONBody[PaymentResolutionBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: end a payment under review with the outcome that was found at the rail.

    `amount_received` (pesewas) is what the rail collected, if that differs from the payment's amount; no more
    than this can be refunded. 202: a second operator has to approve it.
    """
    del operator
    if data.outcome == "failed" and data.amount_received is not None:
        raise invalid(
            ("amount_received", "must be absent when outcome is failed: a failed payment received no money")
        )
    return await perform(request, management, resolution("payment_resolve", payment_id, data))


@post(
    "/{payment_id:str}/return-surplus",
    status_code=200,
    responses=answers({200: RefundPage, 202: ApprovalShown}, 400, 409, 415, 422),
)
async def return_surplus(
    request: AnyRequest,
    payment_id: Id,
    data: JSONBody[DecisionBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: refund what was collected beyond the payment. A repeat returns the same refunds, and opens
    another one for each that has failed. 202: it is much, and a second operator has to approve it."""
    del operator
    action = Action(
        name="payment_return_surplus",
        target=payment_id,
        parameters={"request_id": origin_of(request).request_id},
        reason=data.reason,
    )
    return await perform(request, management, action)


PAYMENTS = Router(
    f"{BASE}/payments",
    tags=["payments"],
    route_handlers=[
        create_payment,
        list_payments,
        get_payment,
        get_timeline,
        cancel_payment,
        submit_otp,
        create_refund,
        approve_payment,
        decline_payment,
        resolve_payment,
        return_surplus,
    ],
)
