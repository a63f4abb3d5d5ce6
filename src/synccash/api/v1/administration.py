"""`/admin`: operators' calls about merchants, their balances, and orders of all merchants."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from litestar import Router, get, post
from litestar.di import NamedDependency as Given
from litestar.params import JSONBody, QueryParameter

from synccash.api.calls import AnyRequest, Id, Json, answers, json
from synccash.api.problem import invalid
from synccash.api.route_scopes import BASE
from synccash.api.schemas.administration_answers import (
    ApiKeyList,
    BalanceList,
    ContradictionList,
    GrantedCreditShown,
    HistoryShown,
    ListedPaymentPage,
    ListedPayoutPage,
    MerchantList,
    NewApiKeyShown,
    NewMerchantShown,
    OrderShown,
    ReconciliationList,
    ReconciliationShown,
    RevokedApiKeyShown,
    RotatedApiKeyShown,
    SuspensionShown,
    WaitingList,
)
from synccash.api.schemas.answers import ApprovalShown, BalanceShown
from synccash.api.schemas.operator_requests import (
    ApiKeyBody,
    CreditBody,
    CreditConfirmationBody,
    KeyRotationBody,
    MerchantBody,
)
from synccash.api.schemas.requests import DecisionBody
from synccash.api.v1.approvals import perform
from synccash.api.v1.management import Management
from synccash.payments.api_key import read_networks, read_scopes
from synccash.payments.approval import Action
from synccash.payments.document import moment
from synccash.payments.history import history_document
from synccash.payments.payer import Msisdn
from synccash.payments.payment import PaymentStatus, StatusDetail
from synccash.payments.request import Role

T = TypeVar("T")
_BODY_ERRORS = (400, 409, 415, 422)
_Text = Annotated[str | None, QueryParameter(max_length=64, description="Only those with this value")]
_Wallet = Annotated[str | None, QueryParameter(max_length=40, description="Only those of this mobile number")]
_PERIODS_MAX = 2_000
_Limit = Annotated[int, QueryParameter(ge=1, le=1000, description="Maximum number of entries")]


@get("/merchants", responses=answers({200: MerchantList}))
async def list_merchants(management: Given[Management], operator: Given[str]) -> Json:
    """Operator: list all merchants, oldest first."""
    del operator
    return json({"data": [_document(one) for one in await management.administration.merchants()]})


@post("/merchants", status_code=201, responses=answers({201: NewMerchantShown}, *_BODY_ERRORS))
async def add_merchant(
    data: JSONBody[MerchantBody], management: Given[Management], operator: Given[str]
) -> Json:
    """Operator: add a merchant."""
    return json(await management.administration.add_merchant(data.name, by=operator), 201)


@post(
    "/merchants/{merchant_id:str}/suspend",
    status_code=200,
    responses=answers({200: SuspensionShown}, *_BODY_ERRORS),
)
async def suspend_merchant(
    merchant_id: Id, data: JSONBody[DecisionBody], management: Given[Management], operator: Given[str]
) -> Json:
    """Operator: refuse a merchant's new payments, refunds and payouts. Open orders are completed."""
    return json(
        await management.administration.suspend_merchant(merchant_id, by=operator, reason=data.reason)
    )


@post(
    "/merchants/{merchant_id:str}/resume",
    status_code=200,
    responses=answers({200: SuspensionShown}, *_BODY_ERRORS),
)
async def resume_merchant(
    merchant_id: Id, data: JSONBody[DecisionBody], management: Given[Management], operator: Given[str]
) -> Json:
    """Operator: end a merchant's suspension."""
    return json(await management.administration.resume_merchant(merchant_id, by=operator, reason=data.reason))


@get("/api-keys", responses=answers({200: ApiKeyList}))
async def list_keys(management: Given[Management], operator: Given[str]) -> Json:
    """Operator: list all API keys without their secrets, oldest first."""
    del operator
    found = await management.administration.keys()
    return json({"data": [_document(one) for one in found]})


@post(
    "/api-keys",
    status_code=201,
    responses=answers({201: NewApiKeyShown, 202: ApprovalShown}, *_BODY_ERRORS),
)
async def create_key(
    request: AnyRequest, data: JSONBody[ApiKeyBody], management: Given[Management], operator: Given[str]
) -> Json:
    """Operator: create an API key. The secret is shown only now.

    202: it is a live key with payouts:write. A second operator has to approve it, and gets the secret.
    """
    del operator
    role = Role.ADMIN if data.merchant_id is None else Role.MERCHANT
    if role is Role.ADMIN and data.livemode:
        raise invalid(("livemode", "must be false for an admin key, which has no mode"))
    parameters = {
        "merchant_id": data.merchant_id,
        "livemode": data.livemode,
        "scopes": sorted(_read("scopes", lambda: read_scopes(data.scopes, role))),
        "name": data.name,
        "allowed_ips": [str(one) for one in _read("allowed_ips", lambda: read_networks(data.allowed_ips))],
        "expires_in_s": data.expires_in_s,
    }
    target = data.merchant_id or "admin"
    action = Action(name="key_create", target=target, parameters=parameters, reason=data.name)
    return await perform(request, management, action, 201)


@post(
    "/api-keys/{api_key_id:str}/rotate",
    status_code=200,
    responses=answers({200: RotatedApiKeyShown, 202: ApprovalShown}, *_BODY_ERRORS),
)
async def rotate_key(
    request: AnyRequest,
    api_key_id: Id,
    data: JSONBody[KeyRotationBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: replace an API key by one with the same scopes and addresses, shown only now.

    202: it is a live key with payouts:write. A second operator has to approve it, and gets the secret.
    """
    del operator
    action = Action(name="key_rotate", target=api_key_id, parameters={"overlap_s": data.overlap_s}, reason="")
    return await perform(request, management, action)


@post("/api-keys/{api_key_id:str}/revoke", status_code=200, responses=answers({200: RevokedApiKeyShown}, 409))
async def revoke_key(api_key_id: Id, management: Given[Management], operator: Given[str]) -> Json:
    """Operator: revoke an API key. It may pass for 5 s more."""
    return json(await management.administration.revoke_key(api_key_id, by=operator))


@get("/balances", responses=answers({200: BalanceList}, 422))
async def list_balances(management: Given[Management], operator: Given[str], merchant: _Text = None) -> Json:
    """Operator: list all balances that have entries, or those of one merchant."""
    del operator
    return json({"data": await management.administration.balances(_printable("merchant", merchant))})


@post(
    "/balances/credit",
    status_code=200,
    responses=answers({200: GrantedCreditShown, 202: ApprovalShown}, *_BODY_ERRORS),
)
async def grant_credit(
    request: AnyRequest, data: JSONBody[CreditBody], management: Given[Management], operator: Given[str]
) -> Json:
    """Operator: grant a merchant a credit of `amount` pesewas; a negative amount takes credit back.

    A repeat with the same `key` grants nothing more. 202: a second operator has to approve it.
    """
    del operator
    parameters = {"livemode": data.livemode, "currency": data.currency, "amount": data.amount}
    if data.key is not None:
        parameters["key"] = data.key
    action = Action(name="balance_credit", target=data.merchant_id, parameters=parameters, reason=data.reason)
    return await perform(request, management, action)


@post(
    "/balances/confirm",
    status_code=200,
    responses=answers({200: BalanceShown, 202: ApprovalShown}, *_BODY_ERRORS),
)
async def confirm_credit(
    request: AnyRequest,
    data: JSONBody[CreditConfirmationBody],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Operator: replace the provisional credit of an upgrade by one of `credit` pesewas.

    202: it is more than the provisional one, and a second operator has to approve it.
    """
    del operator
    parameters = {"livemode": data.livemode, "currency": data.currency, "amount": data.credit}
    action = Action(
        name="balance_confirm", target=data.merchant_id, parameters=parameters, reason=data.reason
    )
    return await perform(request, management, action)


@get("/payments", responses=answers({200: ListedPaymentPage}, 422))
async def list_all_payments(
    management: Given[Management],
    operator: Given[str],
    merchant: _Text = None,
    status: Annotated[PaymentStatus | None, QueryParameter(description="Only those in this status")] = None,
    detail: Annotated[StatusDetail | None, QueryParameter(description="Only those in this detail")] = None,
    rail: _Text = None,
    reference: _Text = None,
    wallet: _Wallet = None,
    after: _Text = None,
    limit: _Limit = 20,
) -> Json:
    """Operator: list payments of all merchants, newest first. `after` is the id of the last one before."""
    filters = _filters(merchant, status, detail, rail, reference, wallet, after)
    return _page(await management.administration.list_orders("payments", by=operator, limit=limit, **filters))


@get("/payouts", responses=answers({200: ListedPayoutPage}, 422))
async def list_all_payouts(
    management: Given[Management],
    operator: Given[str],
    merchant: _Text = None,
    status: Annotated[PaymentStatus | None, QueryParameter(description="Only those in this status")] = None,
    detail: Annotated[StatusDetail | None, QueryParameter(description="Only those in this detail")] = None,
    rail: _Text = None,
    reference: _Text = None,
    wallet: _Wallet = None,
    after: _Text = None,
    limit: _Limit = 20,
) -> Json:
    """Operator: list payouts of all merchants, newest first. `after` is the id of the last one before."""
    filters = _filters(merchant, status, detail, rail, reference, wallet, after)
    return _page(await management.administration.list_orders("payouts", by=operator, limit=limit, **filters))


@get("/waiting", responses=answers({200: WaitingList}, 422))
async def list_waiting(management: Given[Management], operator: Given[str], limit: _Limit = 50) -> Json:
    """Operator: list what waits for a decision, longest waiting first."""
    del operator
    return json({"data": [_document(one) for one in await management.administration.waiting(limit)]})


@get("/contradictions", responses=answers({200: ContradictionList}, 422))
async def list_contradictions(
    management: Given[Management], operator: Given[str], limit: _Limit = 50
) -> Json:
    """Operator: list what rails reported against their former answers and nobody has closed, oldest first."""
    del operator
    return json({"data": [_document(one) for one in await management.administration.contradictions(limit)]})


@get("/reconciliations", responses=answers({200: ReconciliationList}, 422))
async def list_reconciliations(
    management: Given[Management], operator: Given[str], limit: _Limit = 50
) -> Json:
    """Operator: list the latest results of `synccash reconcile`, newest first."""
    del operator
    found = await management.administration.reconciliations(limit)
    return json({"data": [_document(one) for one in found]})


@get("/reconciliations/{reconciliation_id:str}", responses=answers({200: ReconciliationShown}))
async def get_reconciliation(
    reconciliation_id: Id, management: Given[Management], operator: Given[str]
) -> Json:
    """Operator: return a result of `synccash reconcile` with its first 1,000 differences."""
    del operator
    return json(_document(await management.administration.reconciliation(reconciliation_id)))


@get("/history", responses=answers({200: HistoryShown}, 422))
async def read_history(
    management: Given[Management],
    operator: Given[str],
    start: Annotated[datetime | None, QueryParameter(description="Default: an hour before `end`")] = None,
    end: Annotated[datetime | None, QueryParameter(description="Default: now")] = None,
    step: Annotated[int, QueryParameter(ge=60, le=86_400, multiple_of=60, description="Seconds")] = 60,
) -> Json:
    """Operator: count the orders that ended in each period of `step` seconds, with their durations.

    `start` is rounded down to a whole minute, `end` up to one. Counts are kept for 35 days, and are about 10
    seconds old. Periods in which no order ended are left out.
    """
    del operator
    last = _minute("end", (end or datetime.now(UTC)) + timedelta(minutes=1, microseconds=-1))
    first = last - timedelta(hours=1) if start is None else _minute("start", start)
    if not first < last:
        raise invalid(("start", "must be before `end`"))
    if last - first > timedelta(seconds=step) * _PERIODS_MAX:
        raise invalid(("step", f"gives more than {_PERIODS_MAX} periods; choose a longer one"))
    found = await management.administration.history(first, last, timedelta(seconds=step))
    return json(history_document(first, last, timedelta(seconds=step), found))


@get("/orders/{order_id:str}", responses=answers({200: OrderShown}))
async def get_order(order_id: Id, management: Given[Management], operator: Given[str]) -> Json:
    """Operator: return a payment, refund or payout with its attempts and its whole timeline."""
    found = await management.administration.order(order_id, by=operator)
    if "refunds" in found:
        found = {**found, "refunds": [_document(one) for one in found["refunds"]]}
    return json(found)


def _minute(name: str, at: datetime) -> datetime:
    if at.tzinfo is None:
        raise invalid((name, "expected a time with its zone, such as 2026-03-01T12:00:00Z"))
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def _filters(
    merchant: str | None,
    status: PaymentStatus | None,
    detail: StatusDetail | None,
    rail: str | None,
    reference: str | None,
    wallet: str | None,
    after: str | None,
) -> dict[str, Any]:
    try:
        msisdn = None if wallet is None else Msisdn.parse(wallet).digits
    except ValueError as error:
        raise invalid(("wallet", str(error))) from error
    return {
        "status": status,
        "detail": detail,
        "wallet": msisdn,
        "merchant": _printable("merchant", merchant),
        "rail": _printable("rail", rail),
        "reference": _printable("reference", reference),
        "after": _printable("after", after),
    }


def _document(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as the API shows it: with times in RFC 3339."""
    return {name: moment(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _page(found: Mapping[str, Any]) -> Json:
    return json({**found, "data": [_document(one) for one in found["data"]]})


def _read(name: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except ValueError as error:
        raise invalid((name, str(error))) from error


def _printable(name: str, text: str | None) -> str | None:
    """Return a query parameter. Raises ProblemError 422: PostgreSQL takes no NUL."""
    if text is not None and not text.isprintable():
        raise invalid((name, "expected printable characters"))
    return text


ADMINISTRATION = Router(
    f"{BASE}/admin",
    tags=["administration"],
    route_handlers=[
        list_merchants,
        add_merchant,
        suspend_merchant,
        resume_merchant,
        list_keys,
        create_key,
        rotate_key,
        revoke_key,
        list_balances,
        grant_credit,
        confirm_credit,
        list_all_payments,
        list_all_payouts,
        list_waiting,
        list_contradictions,
        list_reconciliations,
        get_reconciliation,
        read_history,
        get_order,
    ],
)
