"""Hubtel's Sales API: receive money, send money, and inquiries, on four hosts.

Source: Hubtel's "Direct Receive Money" and "Direct Send Money" pages. Hubtel has no refund: money goes back
as a payment to the payer, under a reference of our own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from synccash.payments.failure import FailureCode
from synccash.payments.money import to_major
from synccash.payments.payer import Network
from synccash.payments.rail import (
    AttemptDetails,
    CallbackAddress,
    CallbackNote,
    Capabilities,
    Environment,
    Operation,
    OperationCapability,
    RailAccount,
    SendAnswer,
    SendOrder,
    StatusAnswer,
)
from synccash.rails.answers import unsent
from synccash.rails.authorization import basic_authorization
from synccash.rails.connector import Connector, channel_of
from synccash.rails.http.transport import Transport
from synccash.rails.hubtel.answers import judge_send, judge_status, read_callback
from synccash.rails.notes import clean_note
from synccash.settings.secret import Secret

NAME = "hubtel"
CHANNELS: Mapping[Network, str] = {
    Network.MTN: "mtn-gh",
    Network.TELECEL: "vodafone-gh",
    Network.AT: "tigo-gh",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HubtelSettings:
    """One account with Hubtel. Without a `prepaid_deposit_id` the rail collects and sends nothing out.

    `inquiry_from_s`: Hubtel answers for a request from five minutes on. `prompt_window_s`: how long `Unpaid`
    may still become `Paid`; Hubtel publishes no number.
    """

    receive_url: str
    status_url: str
    send_url: str
    send_status_url: str
    pos_sales_id: str
    environment: Environment
    client_id: Secret
    client_secret: Secret
    prepaid_deposit_id: str | None = None
    inquiry_from_s: float = 300.0
    prompt_window_s: float = 600.0


class Hubtel(Connector):
    """The connector of one Hubtel account. Refunds and payouts need a prepaid deposit."""

    def __init__(self, settings: HubtelSettings, transport: Transport) -> None:
        self._settings = settings
        self._transport = transport
        basic = basic_authorization(settings.client_id.reveal(), settings.client_secret)
        self._headers = {"Authorization": basic}
        operations = {
            Operation.COLLECT: OperationCapability(
                dedup_by_reference=False,
                failure_is_reported=False,
                prompt_window_s=settings.prompt_window_s,
                inquiry_from_s=settings.inquiry_from_s,
                # Hubtel publishes no answer for a reference that it does not know.
                not_found_is_final=False,
            )
        }
        if settings.prepaid_deposit_id is not None:
            outgoing = OperationCapability(
                dedup_by_reference=False,
                inquiry_from_s=settings.inquiry_from_s,
            )
            operations |= {Operation.REFUND: outgoing, Operation.PAYOUT: outgoing}
        super().__init__(
            RailAccount(
                rail=NAME,
                account=settings.pos_sales_id,
                base_url=settings.receive_url,
                target_environment="production",
                identity="/".join(filter(None, (settings.pos_sales_id, settings.prepaid_deposit_id))),
            ),
            settings.environment,
            Capabilities(
                networks=frozenset(CHANNELS),
                operations=operations,
                callback_address=CallbackAddress.PER_REQUEST,
            ),
        )

    async def _send(self, order: SendOrder, timeout_s: float) -> SendAnswer:
        channel = channel_of(order, CHANNELS, "no_network")
        if isinstance(channel, SendAnswer):
            return channel
        if order.callback_url is None:
            return unsent(FailureCode.PROVIDER_ERROR, "no_callback")
        settings = self._settings
        if order.operation is Operation.COLLECT:
            merchant = f"merchantaccount/merchants/{settings.pos_sales_id}"
            url = f"{settings.receive_url}/{merchant}/receive/mobilemoney"
            party = {"CustomerMsisdn": order.msisdn, "PrimaryCallbackUrl": order.callback_url}
        else:
            url = f"{settings.send_url}/api/merchants/{settings.prepaid_deposit_id}/send/mobilemoney"
            party = {
                # Hubtel takes the number where the name is not known.
                "RecipientName": clean_note(order.name or "") or order.msisdn,
                "RecipientMsisdn": order.msisdn,
                "PrimaryCallbackURL": order.callback_url,
            }
        body = party | {
            "Channel": channel,
            # A number with two decimals, written from the integer: it never becomes a float.
            "Amount": msgspec.Raw(to_major(order.amount).encode()),
            "Description": clean_note(order.note) or "Payment",
            "ClientReference": client_reference(order.reference),
        }
        answer = await self._transport.request(
            "POST", url, headers=self._headers, json=body, timeout_s=timeout_s
        )
        return judge_send(answer, order.operation)

    async def _inquire(
        self, operation: Operation, reference: str, timeout_s: float, details: AttemptDetails
    ) -> StatusAnswer:
        del details  # Hubtel knows every attempt by our reference
        settings = self._settings
        if operation is Operation.COLLECT:
            path = f"{settings.status_url}/transactions/{settings.pos_sales_id}/status"
        else:
            merchant = settings.prepaid_deposit_id
            path = f"{settings.send_status_url}/api/merchants/{merchant}/transactions/status"
        named = client_reference(reference)
        answer = await self._transport.request(
            "GET", f"{path}?clientReference={named}", headers=self._headers, timeout_s=timeout_s
        )
        status = judge_status(answer, operation, named)
        # Hubtel writes our UUID without hyphens; the engine knows it by the name that it gave.
        return replace(status, reference=reference) if status.reference == named else status

    def read_callback(self, token: str, headers: Mapping[str, str], body: bytes) -> CallbackNote | None:
        """Read a callback. Hubtel signs none."""
        del token, headers
        return read_callback(body)


def client_reference(reference: str) -> str:
    """Write our UUID as Hubtel takes it: letters and digits, at most 36."""
    return reference.replace("-", "")
