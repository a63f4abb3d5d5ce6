"""`/operators`: sign-in, enrolment and tokens of operators; an admin's calls about other operators."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency as Given
from litestar.params import JSONBody

from synccash.api.body import scope_of
from synccash.api.calls import AnyRequest, Id, Json, answers, json, operator_name, principal_of
from synccash.api.route_scopes import BASE
from synccash.api.schemas.administration_answers import (
    EnrolmentShown,
    NewOperatorTokenShown,
    OperatorList,
    OperatorShown,
    OperatorTokenList,
    PasswordChangedShown,
    RevokedTokenShown,
    SignedInShown,
    SignedOutShown,
    TotpSecretShown,
)
from synccash.api.schemas.answers import ApprovalShown
from synccash.api.schemas.operator_requests import (
    EnrolBody,
    OperatorBody,
    OperatorRoleBody,
    OperatorTokenBody,
    PasswordChangeBody,
    SignInBody,
)
from synccash.api.schemas.requests import DecisionBody
from synccash.api.v1.approvals import perform
from synccash.api.v1.management import Management
from synccash.middleware.authentication import bearer_secret
from synccash.payments.approval import Action, Approval, approval_document
from synccash.payments.document import moment
from synccash.payments.operator import (
    CODE_HALF,
    IssuedToken,
    OperatorToken,
    code_half_digest,
    new_enrolment_code,
    operator_document,
    whole_enrolment_code,
)

_BODY_ERRORS = (400, 415, 422)


@post("/sign-in", status_code=200, security=[], responses=answers({200: SignedInShown}, *_BODY_ERRORS))
async def sign_in(request: AnyRequest, data: JSONBody[SignInBody], management: Given[Management]) -> Json:
    """Sign in with password and TOTP code, without a key. The token is valid for 8 hours.

    `failed_before` counts the failed sign-ins since the one before.
    """
    found = await management.operators.sign_in(
        data.name, data.password, data.totp, management.address_of(scope_of(request))
    )
    return json(
        {
            **_token(found.token),
            "operator": operator_document(found.operator),
            "failed_before": found.failed_before,
        }
    )


@post("/enrol", status_code=200, security=[], responses=answers({200: TotpSecretShown}, *_BODY_ERRORS))
async def enrol(request: AnyRequest, data: JSONBody[EnrolBody], management: Given[Management]) -> Json:
    """Choose a password with an enrolment code, without a key. Returns the TOTP secret, once."""
    made = await management.operators.enrol(
        data.name, data.code, data.password, management.address_of(scope_of(request))
    )
    return json({"name": data.name, "totp_secret": made.secret, "totp_uri": made.uri})


@post("/sign-out", status_code=200, responses=answers({200: SignedOutShown}))
async def sign_out(request: AnyRequest, management: Given[Management], operator: Given[str]) -> Json:
    """Operator: revoke the token of this request."""
    del operator
    await management.operators.sign_out(operator_name(request), _token_hash(request))
    return json({"signed_out": True})


@post("/password", status_code=200, responses=answers({200: PasswordChangedShown}, *_BODY_ERRORS))
async def change_password(
    request: AnyRequest,
    data: JSONBody[PasswordChangeBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: change the own password. All other sessions end; API tokens stay valid."""
    del operator
    await management.operators.change_password(
        operator_name(request),
        data.password,
        data.totp,
        data.new_password,
        address=management.address_of(scope_of(request)),
        token=_token_hash(request),
    )
    return json({"changed": True})


@get("/tokens", responses=answers({200: OperatorTokenList}))
async def list_tokens(request: AnyRequest, management: Given[Management], operator: Given[str]) -> Json:
    """Operator: list the own sessions and API tokens that are valid."""
    del operator
    found = await management.operators.tokens(operator_name(request))
    return json({"data": [_token_document(one) for one in found]})


@post("/tokens", status_code=201, responses=answers({201: NewOperatorTokenShown}, *_BODY_ERRORS))
async def create_token(
    request: AnyRequest,
    data: JSONBody[OperatorTokenBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: create an API token with the own role. The secret is shown only now.

    One that is created with an API token expires no later than that token.
    """
    del operator
    made = await management.operators.create_token(
        operator_name(request), data.name, data.days, token=_token_hash(request)
    )
    return json({**_token(made), "name": data.name}, 201)


@post("/tokens/{token_id:str}/revoke", status_code=200, responses=answers({200: RevokedTokenShown}))
async def revoke_token(
    request: AnyRequest, token_id: Id, management: Given[Management], operator: Given[str]
) -> Json:
    """Operator: revoke an own session or API token. It may pass for 5 s more."""
    del operator
    await management.operators.revoke_token(operator_name(request), token_id)
    return json({"id": token_id, "revoked": True})


@get("/", responses=answers({200: OperatorList}))
async def list_operators(management: Given[Management], operator: Given[str]) -> Json:
    """Operator: list all operators, oldest first."""
    del operator
    return json({"data": [operator_document(one) for one in await management.operators.all()]})


@post("/", status_code=201, responses=answers({201: EnrolmentShown, 202: ApprovalShown}, *_BODY_ERRORS, 409))
async def create_operator(
    request: AnyRequest, data: JSONBody[OperatorBody], management: Given[Management], operator: Given[str]
) -> Json:
    """Operator: add an operator. The new one enrols with the code, which is valid for 24 hours.

    202: a second operator has to approve it. `enrolment_code_half` is the first half of the code, and the
    second operator gets the other: neither of them can enrol instead of the new one.
    """
    del operator
    action = Action(
        name="operator_create", target=data.name, parameters={"role": data.role}, reason=data.reason
    )
    return await _perform_with_code(request, management, action, 201)


@post(
    "/{name:str}/reset",
    status_code=200,
    responses=answers({200: EnrolmentShown, 202: ApprovalShown}, *_BODY_ERRORS, 409),
)
async def reset_operator(
    request: AnyRequest,
    name: Id,
    data: JSONBody[DecisionBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: end an operator's password, TOTP secret and tokens, and return a new enrolment code.

    202: a second operator has to approve it. `enrolment_code_half` is the first half of the code, and the
    second operator gets the other.
    """
    del operator
    action = Action(name="operator_reset", target=name, parameters={}, reason=data.reason)
    return await _perform_with_code(request, management, action, 200)


@post("/{name:str}/disable", status_code=200, responses=answers({200: OperatorShown}, *_BODY_ERRORS, 409))
async def disable_operator(
    name: Id, data: JSONBody[DecisionBody], management: Given[Management], operator: Given[str]
) -> Json:
    """Operator: end an operator's tokens and refuse further sign-ins."""
    return json(operator_document(await management.operators.disable(name, by=operator, reason=data.reason)))


@post(
    "/{name:str}/enable",
    status_code=200,
    responses=answers({200: OperatorShown, 202: ApprovalShown}, *_BODY_ERRORS, 409),
)
async def enable_operator(
    request: AnyRequest,
    name: Id,
    data: JSONBody[DecisionBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: let a disabled operator sign in again. 202: a second operator has to approve it."""
    del operator
    action = Action(name="operator_enable", target=name, parameters={}, reason=data.reason)
    return await perform(request, management, action)


@post(
    "/{name:str}/role",
    status_code=200,
    responses=answers({200: OperatorShown, 202: ApprovalShown}, *_BODY_ERRORS, 409),
)
async def set_operator_role(
    request: AnyRequest,
    name: Id,
    data: JSONBody[OperatorRoleBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: change the role of an operator. 202: a second operator has to approve it."""
    del operator
    action = Action(name="operator_role", target=name, parameters={"role": data.role}, reason=data.reason)
    return await perform(request, management, action)


async def _perform_with_code(
    request: AnyRequest, management: Management, action: Action, status: int
) -> Json:
    """Execute an action that makes an enrolment code, or return 202 with the first half of the code.

    Of two operators neither has the whole code, else one of them could enrol and be two people.
    """
    half = new_enrolment_code()
    parameters = {**action.parameters, CODE_HALF: code_half_digest(half)}
    outcome = await management.four_eyes.perform(
        replace(action, parameters=parameters), principal_of(request)
    )
    if isinstance(outcome, Approval):
        return json({**approval_document(outcome), "enrolment_code_half": half}, 202)
    made = msgspec.json.decode(outcome.document)
    made["enrolment_code"] = whole_enrolment_code(half, made.pop("enrolment_code_half"))
    return json(made, status)


def _token(made: IssuedToken) -> dict[str, Any]:
    return {"id": made.id, "token": made.secret, "expires_at": moment(made.expires_at)}


def _token_document(one: OperatorToken) -> dict[str, Any]:
    return {
        "id": one.id,
        "kind": one.kind,
        "name": one.name,
        "created_at": moment(one.created_at),
        "expires_at": moment(one.expires_at),
        "last_used_at": None if one.last_used_at is None else moment(one.last_used_at),
    }


def _token_hash(request: AnyRequest) -> bytes:
    return sha256(bearer_secret(scope_of(request)) or b"").digest()


OPERATORS = Router(
    f"{BASE}/operators",
    tags=["operators"],
    route_handlers=[
        sign_in,
        enrol,
        sign_out,
        change_password,
        list_tokens,
        create_token,
        revoke_token,
        list_operators,
        create_operator,
        reset_operator,
        disable_operator,
        enable_operator,
        set_operator_role,
    ],
)
