"""MTN MoMo's Open API: collections, refunds of them, payouts, and inquiries.

Source: MTN's developer portal (operations of Collection and Disbursement, "Common Error Codes", "Callback",
"Best practices").
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from synccash.payments.causes import Cause, CauseCode
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.money import to_major
from synccash.payments.payer import Network
from synccash.payments.rail import (
    AttemptDetails,
    CallbackAddress,
    Capabilities,
    Environment,
    FloatAnswer,
    Operation,
    OperationCapability,
    RailAccount,
    SendAnswer,
    SendOrder,
    StatusAnswer,
)
from synccash.rails.answers import cause_of_response, cause_of_silence, no_information, retry_after_s
from synccash.rails.authorization import basic_authorization, bearer_authorization
from synccash.rails.bearer import BearerTokens, Granted, NotGranted, Token
from synccash.rails.connector import PacedFloatConnector
from synccash.rails.http.transport import Exchange, Transport, TransportFailure
from synccash.rails.mtn_momo.answers import (
    judge_balance,
    judge_send,
    judge_status,
)
from synccash.rails.notes import clean_note
from synccash.rails.pacer import Clock, one_process
from synccash.resilience.evidence import Evidence
from synccash.settings.secret import Secret

NAME = "mtn_momo"
PROMPT_WINDOW_S = 300.0
"""A payer has five minutes to approve."""

_RESOURCES = {
    Operation.COLLECT: "requesttopay",
    Operation.REFUND: "refund",
    Operation.PAYOUT: "transfer",
}
_RENEW_TOKEN_BEFORE_S = 600.0  # as MTN recommends
_CREDENTIALS_REFUSED = frozenset({400, 401, 403, 404})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductCredentials:
    """The credentials of one product. A user id of the new platform is sent unchanged, with its `=`."""

    user: str = field(repr=False)
    key: Secret
    subscription_key: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class MtnMomoSettings:
    """One account with MTN. Without `disbursement` it only collects.

    `status_per_s`: MTN allows 10 status requests in a second, from all processes together.
    `inquiry_from_s`: MTN asks for the first inquiry after five minutes, unless a callback came.
    """

    base_url: str
    account: str
    target_environment: str
    platform: Literal["legacy", "new"]
    currency: Literal["GHS", "EUR"]
    environment: Environment
    collection: ProductCredentials
    disbursement: ProductCredentials | None = None
    status_per_s: float = 10.0
    inquiry_from_s: float = 300.0


@dataclass(frozen=True, slots=True)
class _Product:
    """The credentials and the access token of one product."""

    name: str
    credentials: ProductCredentials
    tokens: BearerTokens


class MtnMomo(PacedFloatConnector):
    """The connector of one MTN account. Refunds and payouts need credentials for disbursements."""

    def __init__(
        self,
        settings: MtnMomoSettings,
        transport: Transport,
        clock: Clock,
        inquirers: Callable[[], int] = one_process,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._products = {Operation.COLLECT: self._product("collection", settings.collection, clock)}
        if settings.disbursement is not None:
            outgoing = self._product("disbursement", settings.disbursement, clock)
            self._products |= {Operation.REFUND: outgoing, Operation.PAYOUT: outgoing}
        super().__init__(
            RailAccount(
                rail=NAME,
                account=settings.account,
                base_url=settings.base_url,
                target_environment=settings.target_environment,
                identity=_identity(settings),
            ),
            settings.environment,
            Capabilities(
                networks=frozenset({Network.MTN}),
                operations={operation: _capability(operation, settings) for operation in self._products},
                callback_address=CallbackAddress.PER_REQUEST,
            ),
            clock=clock,
            status_per_s=settings.status_per_s,
            inquirers=inquirers,
            requirement="credentials",
        )

    async def _send(self, order: SendOrder, timeout_s: float) -> SendAnswer:
        """Send once; a second time only after a 401, which proves that MTN refused the first request."""
        product = self._products[order.operation]
        headers = {"X-Reference-Id": order.reference}
        if order.callback_url:
            headers["X-Callback-Url"] = order.callback_url
        is_new_refund = order.operation is Operation.REFUND and self._settings.platform == "new"
        version = "v2_0" if is_new_refund else "v1_0"
        path = f"{product.name}/{version}/{_RESOURCES[order.operation]}"
        answer = await self._call(product, "POST", path, headers, self._body(order), timeout_s)
        if isinstance(answer, NotGranted):
            return SendAnswer(
                evidence=answer.evidence,
                failure=answer.failure,
                provider_code=answer.provider_code,
                retry_after_s=answer.retry_after_s,
                cause=answer.cause,
            )
        return judge_send(answer, order.operation)

    async def _inquire_paced(
        self,
        operation: Operation,
        reference: str,
        timeout_s: float,
        details: AttemptDetails,
        paced_s: float,
    ) -> StatusAnswer:
        product = self._products[operation]
        path = f"{product.name}/v1_0/{_RESOURCES[operation]}/{reference}"
        answer = await self._call(product, "GET", path, {}, None, timeout_s)
        if isinstance(answer, NotGranted):
            return no_information(answer.provider_code, answer.retry_after_s, cause=answer.cause)
        status = judge_status(answer, operation, reference, self._settings.currency, details)
        return replace(status, paced_s=paced_s)

    async def _read_float(self, timeout_s: float) -> FloatAnswer:
        """Ask MTN for the balance of the disbursement account."""
        product, path = self._products[Operation.PAYOUT], "disbursement/v1_0/account/balance"
        answer = await self._call(product, "GET", path, {}, None, timeout_s)
        if isinstance(answer, NotGranted):
            return FloatAnswer(provider_code=answer.provider_code, cause=answer.cause)
        return judge_balance(answer, self._settings.currency)

    def _product(self, name: str, credentials: ProductCredentials, clock: Clock) -> _Product:
        ask = partial(self._ask_token, name, credentials)
        tokens = BearerTokens(ask, clock, renew_before_s=_RENEW_TOKEN_BEFORE_S)
        return _Product(name, credentials, tokens)

    def _body(self, order: SendOrder) -> dict[str, object]:
        body: dict[str, object] = {
            "amount": to_major(order.amount),
            "currency": self._settings.currency,
            "externalId": order.reference,
            "payerMessage": clean_note(order.note),
            "payeeNote": clean_note(order.merchant_reference),
        }
        if order.operation is Operation.REFUND:
            return body | {"referenceIdToRefund": order.original_reference}
        party = "payer" if order.operation is Operation.COLLECT else "payee"
        return body | {party: {"partyIdType": "MSISDN", "partyId": order.msisdn}}

    async def _call(
        self,
        product: _Product,
        method: Literal["GET", "POST"],
        path: str,
        headers: dict[str, str],
        body: dict[str, object] | None,
        timeout_s: float,
    ) -> Exchange | TransportFailure | NotGranted:
        """Call with the product's token. After a 401, get one new token and call once more."""
        ends_at = self._clock.monotonic() + timeout_s
        was_refused = False
        while True:
            token = await product.tokens.get(ends_at - self._clock.monotonic()) or _NO_TOKEN_IN_TIME
            if not isinstance(token, Token):
                return replace(token, evidence=Evidence.REFUSED_LATER) if was_refused else token
            answer = await self._transport.request(
                method,
                f"{self._settings.base_url}/{path}",
                headers={
                    "Authorization": bearer_authorization(token.text),
                    "Ocp-Apim-Subscription-Key": product.credentials.subscription_key,
                    "X-Target-Environment": self._settings.target_environment,
                    **headers,
                },
                json=body,
                timeout_s=ends_at - self._clock.monotonic(),
            )
            if not isinstance(answer, Exchange) or answer.status != 401 or was_refused:
                return answer
            product.tokens.discard(token)
            was_refused = True

    async def _ask_token(
        self, product: str, credentials: ProductCredentials, timeout_s: float
    ) -> Granted | NotGranted:
        answer = await self._transport.request(
            "POST",
            f"{self._settings.base_url}/{product}/token/",
            headers={
                "Authorization": basic_authorization(credentials.user, credentials.key),
                "Ocp-Apim-Subscription-Key": credentials.subscription_key,
                "X-Target-Environment": self._settings.target_environment,
            },
            timeout_s=timeout_s,
        )
        return read_token(answer)


def _capability(operation: Operation, settings: MtnMomoSettings) -> OperationCapability:
    return OperationCapability(
        dedup_by_reference=True,
        prompt_window_s=PROMPT_WINDOW_S if operation is Operation.COLLECT else None,
        inquiry_from_s=settings.inquiry_from_s,
        # A 404 may stand for a request that MTN took and shows later, or on its other platform.
        not_found_is_final=False,
    )


def _identity(settings: MtnMomoSettings) -> str:
    """Return the API users of both products: they identify the account at MTN, and are no secret."""
    users = [settings.collection.user, *((settings.disbursement.user,) if settings.disbursement else ())]
    return "/".join(dict.fromkeys(users))


def read_token(answer: Exchange | TransportFailure) -> Granted | NotGranted:
    """Read the answer to a request for a token. Refused credentials are for the operator to correct."""
    if isinstance(answer, TransportFailure):
        return _no_token(FailureCode.PROVIDER_UNAVAILABLE, answer.fault.value, cause_of_silence(answer))
    why = f"token_http_{answer.status}"
    if answer.status in _CREDENTIALS_REFUSED:
        return _no_token(
            FailureCode.PROVIDER_ACCOUNT_BLOCKED,
            why,
            Cause(CauseCode.CREDENTIALS_REFUSED, f"HTTP {answer.status}"),
        )
    body = (answer.json_object() or {}) if answer.status == 200 else {}
    text: object = body.get("access_token")
    lifetime: object = body.get("expires_in")
    if isinstance(lifetime, str) and re.fullmatch(r"[0-9]{1,9}", lifetime, re.ASCII):
        lifetime = int(lifetime)
    if (
        isinstance(text, str)
        and re.fullmatch(r"[!-~]{1,8192}", text)
        and isinstance(lifetime, int | float)
        and 0 < lifetime < 10**9
    ):
        return Granted(Secret(text), float(lifetime))
    return _no_token(
        FailureCode.PROVIDER_UNAVAILABLE, why, cause_of_response(answer, None), retry_after_s(answer)
    )


def _no_token(code: FailureCode, why: str, cause: Cause, retry_after: float | None = None) -> NotGranted:
    return NotGranted(Failure(code, reroute=True, provider_code=why), why, retry_after, cause=cause)


_NO_TOKEN_IN_TIME = _no_token(
    FailureCode.PROVIDER_UNAVAILABLE, "token_timeout", Cause(CauseCode.TIMEOUT, "no access token")
)
