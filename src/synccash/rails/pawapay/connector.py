"""pawaPay's Merchant API v2: deposits, payouts, refunds, and inquiries, for all three networks of Ghana.

Source: docs.pawapay.io v2. Callbacks go to the addresses that the operator sets in pawaPay's dashboard, one
for each operation.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from synccash.payments.money import to_major
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
    SendAnswer,
    SendOrder,
    StatusAnswer,
)
from synccash.rails.account_identity import hashed_key
from synccash.rails.authorization import bearer_authorization
from synccash.rails.callback_token import is_account_token
from synccash.rails.connector import PacedFloatConnector, channel_of
from synccash.rails.http.transport import Transport
from synccash.rails.notes import clean_text
from synccash.rails.pacer import Clock, one_process
from synccash.rails.pawapay.answers import ID_FIELDS, judge_balances, judge_send, judge_status, read_callback
from synccash.settings.secret import Secret

NAME = "pawapay"
PROMPT_WINDOW_S = 600.0
"""pawaPay publishes no such time for Ghana; it says that an open prompt clears in 10 minutes."""

PROVIDERS = {
    Network.MTN: "MTN_MOMO_GHA",
    Network.TELECEL: "VODAFONE_GHA",
    Network.AT: "AIRTELTIGO_GHA",
}
_RESOURCES = {Operation.COLLECT: "deposits", Operation.PAYOUT: "payouts", Operation.REFUND: "refunds"}
_CURRENCY = "GHS"
_NETWORKS = {provider: network for network, provider in PROVIDERS.items()}
_MESSAGE_MAX = 22
_MESSAGE_MIN = 4
_PADDING = "Payment"
_UNFIT_FOR_MESSAGES = re.compile(r"[^A-Za-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PawapaySettings:
    """One account with pawaPay.

    `status_per_s`: pawaPay publishes no cap; this one is ours, for all processes together.
    `callback_token` ends the address in pawaPay's dashboard; without one no callback is read.
    """

    base_url: str
    account: str
    environment: Environment
    token: Secret
    callback_token: Secret | None = None
    status_per_s: float = 20.0


class Pawapay(PacedFloatConnector):
    """The connector of one pawaPay account."""

    def __init__(
        self,
        settings: PawapaySettings,
        transport: Transport,
        clock: Clock,
        inquirers: Callable[[], int] = one_process,
    ) -> None:
        self._settings = settings
        self._transport = transport
        super().__init__(
            RailAccount(
                rail=NAME,
                account=settings.account,
                base_url=settings.base_url,
                target_environment="v2",
                identity=hashed_key(NAME, settings.token),
            ),
            settings.environment,
            Capabilities(
                networks=frozenset(PROVIDERS),
                operations={operation: _capability(operation) for operation in _RESOURCES},
                callback_address=CallbackAddress.PER_ACCOUNT,
            ),
            clock=clock,
            status_per_s=settings.status_per_s,
            inquirers=inquirers,
            currency=_CURRENCY,
        )

    async def _send(self, order: SendOrder, timeout_s: float) -> SendAnswer:
        body = _body(order)
        if isinstance(body, SendAnswer):
            return body
        answer = await self._transport.request(
            "POST",
            f"{self._settings.base_url}/v2/{_RESOURCES[order.operation]}",
            headers=self._headers(),
            json=body,
            timeout_s=timeout_s,
        )
        return judge_send(answer, order.operation, order.reference)

    async def _inquire_paced(
        self,
        operation: Operation,
        reference: str,
        timeout_s: float,
        details: AttemptDetails,
        paced_s: float,
    ) -> StatusAnswer:
        del details  # pawaPay knows every attempt by our reference
        answer = await self._transport.request(
            "GET",
            f"{self._settings.base_url}/v2/{_RESOURCES[operation]}/{reference}",
            headers=self._headers(),
            timeout_s=timeout_s,
        )
        return replace(judge_status(answer, operation, reference, _CURRENCY), paced_s=paced_s)

    async def _read_float(self, timeout_s: float) -> FloatAnswer:
        """Ask for the balances of the wallets in Ghana."""
        answer = await self._transport.request(
            "GET",
            f"{self._settings.base_url}/v2/wallet-balances?country=GHA",
            headers=self._headers(),
            timeout_s=timeout_s,
        )
        return judge_balances(answer, _NETWORKS, _CURRENCY)

    def is_account_address(self, token: str) -> bool:
        """Tell whether the token is the one of the account's address."""
        return is_account_token(self._settings.callback_token, token)

    def read_callback(self, token: str, headers: Mapping[str, str], body: bytes) -> CallbackNote | None:
        """Read a callback to the account's own address; see `answers.read_callback`."""
        del headers
        return read_callback(body) if is_account_token(self._settings.callback_token, token) else None

    def _headers(self) -> dict[str, Secret]:
        return {"Authorization": bearer_authorization(self._settings.token)}


def _capability(operation: Operation) -> OperationCapability:
    return OperationCapability(
        dedup_by_reference=True,
        prompt_window_s=PROMPT_WINDOW_S if operation is Operation.COLLECT else None,
        # pawaPay calls NOT_FOUND safe to submit again under the same id; that a request still on its way
        # cannot be accepted later is documented nowhere.
        not_found_is_final=False,
    )


def _body(order: SendOrder) -> dict[str, object] | SendAnswer:
    """Return the body of a request, or a refusal where pawaPay has no name for the payer's network."""
    body: dict[str, object] = {
        ID_FIELDS[order.operation]: order.reference,
        "amount": to_major(order.amount),
        "currency": _CURRENCY,
    }
    if order.operation is Operation.REFUND:
        return body | {"depositId": order.original_reference}
    provider = channel_of(order, PROVIDERS, "no_network")
    if isinstance(provider, SendAnswer):
        return provider
    wallet = {"phoneNumber": order.msisdn, "provider": provider}
    party = "payer" if order.operation is Operation.COLLECT else "recipient"
    return body | {
        party: {"type": "MMO", "accountDetails": wallet},
        "customerMessage": customer_message(order.note),
    }


def customer_message(text: str) -> str:
    """Write a note as pawaPay takes it: 4 to 22 letters, digits and blanks.

    Accents are removed, other signs become a blank, and a text that is too short gets a prefix.
    """
    message = clean_text(text, _UNFIT_FOR_MESSAGES, _MESSAGE_MAX)
    return message if len(message) >= _MESSAGE_MIN else f"{_PADDING} {message}".rstrip()
