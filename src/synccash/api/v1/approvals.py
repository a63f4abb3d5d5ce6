"""`/approvals`: operators' actions that wait for a second operator."""

from typing import Annotated, Literal

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency as Given
from litestar.params import JSONBody, QueryParameter

from synccash.api.calls import AnyRequest, Id, Json, Limit, answers, encoded_json, json, principal_of
from synccash.api.route_scopes import BASE
from synccash.api.schemas.administration_answers import ApprovedShown
from synccash.api.schemas.answers import ApprovalPage, ApprovalShown
from synccash.api.schemas.requests import DecisionBody, PaymentResolutionBody, ResolutionBody
from synccash.api.v1.management import Management
from synccash.payments.approval import Action, Approval, ApprovalStatus, approval_document

_SHOWN = {200: ApprovalShown}
_Status = Literal["pending", "approved", "executed", "failed", "declined", "expired"]


async def perform(request: AnyRequest, management: Management, action: Action, status: int = 200) -> Json:
    """Execute an operator's action and return its result; 202 with the approval if it has to wait."""
    outcome = await management.four_eyes.perform(action, principal_of(request))
    if isinstance(outcome, Approval):
        return json(approval_document(outcome), 202)
    return encoded_json(outcome.document, status)


def resolution(name: str, order_id: str, data: ResolutionBody) -> Action:
    """Return the action that ends an order under review as `data` says."""
    received = data.amount_received if isinstance(data, PaymentResolutionBody) else None
    parameters = {"outcome": data.outcome, "rail": data.rail, "amount_received": received}
    return Action(
        name=name,
        target=order_id,
        parameters={key: value for key, value in parameters.items() if value is not None},
        reason=data.evidence,
    )


@get("/", responses=answers({200: ApprovalPage}, 422))
async def list_approvals(
    management: Given[Management],
    operator: Given[str],
    status: Annotated[_Status | None, QueryParameter(description="Only those in this status")] = None,
    limit: Limit = 50,
) -> Json:
    """Operator: list the newest approvals, newest first."""
    del operator
    wanted = None if status is None else ApprovalStatus(status)
    found = await management.four_eyes.approvals(wanted, limit)
    return json({"data": [approval_document(one) for one in found], "has_more": False, "next": None})


@get("/{approval_id:str}", responses=answers(_SHOWN))
async def get_approval(approval_id: Id, management: Given[Management], operator: Given[str]) -> Json:
    """Operator: return one approval."""
    del operator
    return json(approval_document(await management.four_eyes.approval(approval_id)))


@post(
    "/{approval_id:str}/approve", status_code=200, responses=answers({200: ApprovedShown}, 400, 409, 415, 422)
)
async def approve(
    request: AnyRequest,
    approval_id: Id,
    data: JSONBody[DecisionBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: approve another operator's action as the second one; it is executed at once.

    `result` is what the action itself answers.
    """
    del operator
    done = await management.four_eyes.approve(approval_id, principal_of(request), data.reason)
    shown = None if done.approval is None else approval_document(done.approval)
    return json({"approval": shown, "result": msgspec.Raw(done.document)})


@post("/{approval_id:str}/decline", status_code=200, responses=answers(_SHOWN, 400, 409, 415, 422))
async def decline(
    request: AnyRequest,
    approval_id: Id,
    data: JSONBody[DecisionBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: decline an action that waits; the one who requested it may do so too."""
    del operator
    declined = await management.four_eyes.decline(approval_id, principal_of(request), data.reason)
    return json(approval_document(declined))


APPROVALS = Router(
    f"{BASE}/approvals", tags=["approvals"], route_handlers=[list_approvals, get_approval, approve, decline]
)
