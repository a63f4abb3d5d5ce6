"""`/admin`: what operators do about orders of all merchants."""

from datetime import UTC

from litestar import Router, post
from litestar.di import NamedDependency as Given
from litestar.params import JSONBody

from synccash.api.calls import AnyRequest, Id, Json, answers, encoded_json, json, origin_of
from synccash.api.ports import Endpoints
from synccash.api.route_scopes import BASE
from synccash.api.schemas.administration_answers import (
    ClosedContradictionsShown,
    InquiryShown,
    WebhookRecoveryShown,
)
from synccash.api.schemas.answers import ApprovalShown, PaymentShown, RedeliveryShown, RefundShown
from synccash.api.schemas.operator_requests import OperatorRefundBody, WebhookRecoveryBody
from synccash.api.schemas.requests import DecisionBody
from synccash.api.v1.approvals import perform
from synccash.api.v1.management import Management
from synccash.engine.engine import Engine
from synccash.payments.approval import Action
from synccash.payments.document import moment
from synccash.payments.request import Tenant

_BODY_ERRORS = (400, 409, 415, 422)


@post(
    "/orders/{order_id:str}/inquire",
    status_code=200,
    responses=answers({200: InquiryShown}, *_BODY_ERRORS),
)
async def inquire(
    order_id: Id,
    data: JSONBody[DecisionBody],
    engine: Given[Engine],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: ask the rail about an order now, as after a callback. It moves no money."""
    found = await management.administration.inquire(order_id, by=operator, reason=data.reason)
    engine.work_signal.notify()
    return json(found)


@post(
    "/payments/{payment_id:str}/cancel",
    status_code=200,
    responses=answers({200: PaymentShown}, *_BODY_ERRORS),
)
async def cancel_any_payment(
    payment_id: Id,
    data: JSONBody[DecisionBody],
    engine: Given[Engine],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: cancel a merchant's payment, as long as no money can have moved."""
    tenant = await management.administration.payment_owner(payment_id)
    await management.audit.note(
        actor=operator, action="payment_cancel", target=payment_id, reason=data.reason
    )
    return encoded_json(await engine.cancel_payment(tenant, payment_id))


@post(
    "/payments/{payment_id:str}/refund",
    status_code=200,
    responses=answers({200: RefundShown, 202: ApprovalShown}, *_BODY_ERRORS),
)
async def refund_any_payment(
    request: AnyRequest,
    payment_id: Id,
    data: JSONBody[OperatorRefundBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: refund a merchant's payment, in part or in full, from the merchant's balance.

    202: it is much, and a second operator has to approve it.
    """
    del operator
    parameters = {"amount": data.amount, "key": data.key, "request_id": origin_of(request).request_id}
    action = Action(
        name="payment_refund",
        target=payment_id,
        parameters={name: value for name, value in parameters.items() if value is not None},
        reason=data.reason,
    )
    return await perform(request, management, action)


@post(
    "/events/{event_id:str}/redeliver",
    status_code=200,
    responses=answers({200: RedeliveryShown}, *_BODY_ERRORS),
)
async def redeliver_any_event(
    event_id: Id,
    data: JSONBody[DecisionBody],
    endpoints: Given[Endpoints],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: send a merchant's event again to each enabled endpoint."""
    tenant = await management.administration.event_owner(event_id)
    await management.audit.note(actor=operator, action="event_redeliver", target=event_id, reason=data.reason)
    return json({"id": event_id, "endpoints": await endpoints.redeliver(tenant, event_id) or 0})


@post(
    "/orders/{order_id:str}/close-contradictions",
    status_code=200,
    responses=answers({200: ClosedContradictionsShown}, *_BODY_ERRORS),
)
async def close_contradictions(
    order_id: Id, data: JSONBody[DecisionBody], management: Given[Management], operator: Given[str]
) -> Json:
    """Operator: take an order's contradictions off the list once they are dealt with. It moves no money."""
    return json(
        await management.administration.close_contradictions(order_id, by=operator, reason=data.reason)
    )


@post(
    "/merchants/{merchant_id:str}/recover-webhooks",
    status_code=200,
    responses=answers({200: WebhookRecoveryShown}, *_BODY_ERRORS),
)
async def recover_webhooks(
    merchant_id: Id,
    data: JSONBody[WebhookRecoveryBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: send again what was not delivered of a merchant's events since a time.

    It sends to enabled endpoints: what was given up, and what waits for another try. At most 1,000 deliveries
    at once, oldest first; with `has_more`, repeat the call.
    """
    tenant = Tenant(merchant_id, data.livemode)
    since = data.since if data.since.tzinfo else data.since.replace(tzinfo=UTC)
    found = await management.administration.recover_webhooks(tenant, since, by=operator, reason=data.reason)
    looked_since = found["looked_since"]
    return json({**found, "looked_since": None if looked_since is None else moment(looked_since)})


ORDER_ACTIONS = Router(
    f"{BASE}/admin",
    tags=["administration"],
    route_handlers=[
        inquire,
        cancel_any_payment,
        refund_any_payment,
        redeliver_any_event,
        close_contradictions,
        recover_webhooks,
    ],
)
