"""Paystack: mobile money of all three networks, with one-time passwords, refunds and transfers.

Source: Paystack's documentation (Charge, Refunds, Transfers, Webhooks).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from synccash.payments.payer import Network
from synccash.payments.rail import (
    AttemptDetails,
    CallbackAddress,
    CallbackNote,
    Capabilities,
    Environment,
    FloatAnswer,
    Operation,
    OperationCapability,
    RailAccount,
    RailStatus,
    SendAnswer,
    SendOrder,
    StatusAnswer,
)
from synccash.rails.account_identity import hashed_key
from synccash.rails.answers import OTHER_ACCOUNT, no_information, not_asked, refuse_other_account
from synccash.rails.authorization import bearer_authorization
from synccash.rails.callback_token import is_account_token
from synccash.rails.connector import Connector, channel_of
from synccash.rails.http.transport import Exchange, Transport, TransportFailure
from synccash.rails.pacer import Clock
from synccash.rails.paystack.answers import (
    PROMPT_WINDOW_S,
    REFUNDS_PER_PAGE,
    judge_balance,
    judge_otp,
    judge_refunds,
    judge_send,
    judge_status,
    recipient_code,
    transaction_id,
)
from synccash.rails.paystack.callbacks import read_event
from synccash.settings.secret import Secret

NAME = "paystack"
_PROVIDERS = {Network.MTN: "mtn", Network.TELECEL: "vod", Network.AT: "atl"}
_TELCOS = {Network.MTN: "MTN", Network.TELECEL: "VOD", Network.AT: "ATL"}
_CURRENCY = "GHS"
_NO_NETWORK = "unknown_network"
_NO_NAME = "Mobile money customer"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaystackSettings:
    """One account with Paystack.

    `email`: Paystack requires an address of the customer; this one is sent for all customers.
    `callback_token` ends the address in Paystack's dashboard; without one no event is read.
    `inquiry_from_s`: Paystack asks for the first inquiry no earlier than 10 s after a charge.
    """

    base_url: str
    account: str
    environment: Environment
    secret_key: Secret
    email: str
    callback_token: Secret | None = None
    inquiry_from_s: float = 10.0


class Paystack(Connector):
    """The connector of one Paystack account: also an OtpRail, a FloatRail and a CallbackReader."""

    def __init__(self, settings: PaystackSettings, transport: Transport, clock: Clock) -> None:
        self._settings = settings
        self._transport = transport
        self._clock = clock
        collect = OperationCapability(
            dedup_by_reference=True,
            prompt_window_s=PROMPT_WINDOW_S,
            otp=True,
            inquiry_from_s=settings.inquiry_from_s,
            # "Not found" means that no charge was made yet. Paystack documents neither its answer for an
            # unknown reference nor that a charge still on its way cannot follow.
            not_found_is_final=False,
        )
        super().__init__(
            RailAccount(
                rail=NAME,
                account=settings.account,
                base_url=settings.base_url,
                target_environment="test" if settings.secret_key.reveal().startswith("sk_test_") else "live",
                identity=hashed_key(NAME, settings.secret_key),
            ),
            settings.environment,
            Capabilities(
                networks=frozenset(_PROVIDERS),
                operations={
                    Operation.COLLECT: collect,
                    # A refund has no reference of ours: it is found by its note, and never sent again.
                    Operation.REFUND: OperationCapability(dedup_by_reference=False),
                    Operation.PAYOUT: OperationCapability(dedup_by_reference=True),
                },
                callback_address=CallbackAddress.PER_ACCOUNT,
                signed_callbacks=True,
            ),
            currency=_CURRENCY,
            refunds_by_transaction_id=True,
        )

    async def _send(self, order: SendOrder, timeout_s: float) -> SendAnswer:
        match order.operation:
            case Operation.REFUND:
                path, body = "refund", _refund(order)
            case Operation.COLLECT:
                path, body = "charge", self._charge(order)
                if isinstance(body, SendAnswer):
                    return body
            case Operation.PAYOUT:
                return await self._pay_out(order, timeout_s)
        return judge_send(await self._call("POST", path, timeout_s, body), order.operation, order.reference)

    async def submit_otp(
        self, account: RailAccount, reference: str, otp: str, *, timeout_s: float
    ) -> SendAnswer:
        """Submit the voucher of a collection that waits for it; see `synccash.engine.ports.OtpRail`."""
        if not self._serves(account, Operation.COLLECT):
            return refuse_other_account()
        body = {"otp": otp, "reference": reference}
        answer = await self._call("POST", "charge/submit_otp", timeout_s, body)
        return judge_otp(answer, reference)

    async def _inquire(
        self, operation: Operation, reference: str, timeout_s: float, details: AttemptDetails
    ) -> StatusAnswer:
        """Ask by our reference; a refund is looked for among those of the debit that `details` names."""
        if operation is Operation.REFUND:
            return await self._find_refund(reference, details, timeout_s)
        resource = "transfer" if operation is Operation.PAYOUT else "transaction"
        ends_at = self._clock.monotonic() + timeout_s
        answer = await self._call("GET", f"{resource}/verify/{reference}", timeout_s)
        status = judge_status(answer, operation, reference)
        # A pending transaction does not say what the payer has to do; the charge does. It is asked until the
        # attempt has Paystack's id, and again while it is unknown what became of a voucher.
        is_known = details.transaction_id is not None and not details.otp_outcome_unknown
        if operation is Operation.PAYOUT or is_known or status.status_at_rail is not RailStatus.PENDING:
            return status
        path, left_s = f"charge/{reference}", ends_at - self._clock.monotonic()
        charge = judge_status(await self._call("GET", path, left_s), operation, reference)
        if charge.status_at_rail is RailStatus.NO_INFORMATION and details.otp_outcome_unknown:
            return charge
        return _with_action(status, charge)

    async def read_float(self, account: RailAccount, *, timeout_s: float) -> FloatAnswer:
        """Ask for the balance that transfers are paid from; see `synccash.engine.ports.FloatRail`."""
        if not self._serves(account, Operation.PAYOUT):
            return FloatAnswer(provider_code=OTHER_ACCOUNT)
        return judge_balance(await self._call("GET", "balance", timeout_s))

    def is_account_address(self, token: str) -> bool:
        """Tell whether the token is the one of the account's address."""
        return is_account_token(self._settings.callback_token, token)

    def read_callback(self, token: str, headers: Mapping[str, str], body: bytes) -> CallbackNote | None:
        """Read an event to the account's own address; see `synccash.engine.ports.CallbackReader`."""
        if not is_account_token(self._settings.callback_token, token):
            return None
        return read_event(self._settings.secret_key, headers, body)

    async def _find_refund(self, reference: str, details: AttemptDetails, timeout_s: float) -> StatusAnswer:
        ends_at = self._clock.monotonic() + timeout_s
        number, original = details.original_transaction_id, details.original_reference
        if number is None and original is None:
            return not_asked("no_original_transaction")
        if number is None and original is not None:
            verified = await self._call("GET", f"transaction/verify/{original}", timeout_s)
            number = transaction_id(verified, original)
        if number is None:
            return no_information("no_original_transaction")
        path = f"refund?transaction={number}&perPage={REFUNDS_PER_PAGE}"
        answer = await self._call("GET", path, ends_at - self._clock.monotonic())
        return judge_refunds(answer, reference, details.amount)

    async def _pay_out(self, order: SendOrder, timeout_s: float) -> SendAnswer:
        """Register the recipient, which moves nothing and may be repeated; then send the money once."""
        ends_at = self._clock.monotonic() + timeout_s
        telco = channel_of(order, _TELCOS, _NO_NETWORK)
        if isinstance(telco, SendAnswer):
            return telco
        recipient = {
            "type": "mobile_money",
            "name": order.name or _NO_NAME,
            "account_number": _local_number(order.msisdn),
            "bank_code": telco,
            "currency": order.currency,
        }
        code = recipient_code(await self._call("POST", "transferrecipient", timeout_s, recipient))
        if isinstance(code, SendAnswer):
            return code
        body = {
            "source": "balance",
            "amount": order.amount,
            "recipient": code,
            "reference": order.reference,
            "reason": order.note,
            "currency": order.currency,
        }
        answer = await self._call("POST", "transfer", ends_at - self._clock.monotonic(), body)
        return judge_send(answer, Operation.PAYOUT, order.reference)

    def _charge(self, order: SendOrder) -> dict[str, object] | SendAnswer:
        provider = channel_of(order, _PROVIDERS, _NO_NETWORK)
        if isinstance(provider, SendAnswer):
            return provider
        return {
            "email": self._settings.email,
            "amount": order.amount,
            "currency": order.currency,
            "reference": order.reference,
            "mobile_money": {"phone": _local_number(order.msisdn), "provider": provider},
            "metadata": {"reference": order.merchant_reference},
        }

    async def _call(
        self,
        method: Literal["GET", "POST"],
        path: str,
        timeout_s: float,
        body: Mapping[str, object] | None = None,
    ) -> Exchange | TransportFailure:
        return await self._transport.request(
            method,
            f"{self._settings.base_url}/{path}",
            headers={"Authorization": bearer_authorization(self._settings.secret_key)},
            json=body,
            timeout_s=timeout_s,
        )


def _refund(order: SendOrder) -> dict[str, object]:
    return {
        "transaction": order.original_reference or order.original_transaction_id,
        "amount": order.amount,
        "currency": order.currency,
        "merchant_note": order.reference,
    }


def _with_action(status: StatusAnswer, charge: StatusAnswer) -> StatusAnswer:
    """Add to a pending transaction what the payer has to do, from its charge.

    While the charge does not say that, the transaction's id is left out, so that the next inquiry asks again.
    """
    match charge.status_at_rail:
        case RailStatus.PENDING if charge.next_action is not None:
            return replace(status, next_action=charge.next_action)
        case RailStatus.SUCCEEDED | RailStatus.FAILED:
            # It has just ended: the transaction will say how, and with what amount.
            return status
        case _:
            return replace(status, provider_transaction_id=None)


def _local_number(msisdn: str) -> str:
    """Write a number as people dial it, which is how Paystack takes it."""
    return "0" + msisdn.removeprefix("233")
