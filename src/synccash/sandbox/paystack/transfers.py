"""Recipients and transfers, as Paystack shows them."""

from hashlib import sha256
from typing import Any

import msgspec

from synccash.sandbox.orders import Order, State
from synccash.sandbox.paystack.objects import explanation, moment, status_of
from synccash.sandbox.paystack.tables import TELCOS


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """A wallet that an account may send money to; times are Unix seconds."""

    recipient_code: str
    name: str
    account_number: str
    bank_code: str
    integration: int = 0
    created_at: float = 0.0
    description: str | None = None
    email: str | None = None
    metadata: Any = None

    @property
    def number(self) -> int:
        """Paystack's own number of a recipient."""
        return int(sha256(self.recipient_code.encode()).hexdigest()[:7], 16)


def code_of(integration: int, telco: str, account_number: str) -> str:
    """Return the code of a wallet: an account has one recipient for each of them."""
    return "RCP_" + sha256(f"{integration} {telco} {account_number}".encode()).hexdigest()[:15]


def recipient_data(recipient: Recipient) -> dict[str, Any]:
    """Return a recipient."""
    created = moment(recipient.created_at)
    return {
        "active": True,
        "id": recipient.number,
        "integration": recipient.integration,
        "domain": "test",
        "type": "mobile_money",
        "currency": "GHS",
        "name": recipient.name,
        "description": recipient.description,
        "email": recipient.email,
        "metadata": recipient.metadata,
        "recipient_code": recipient.recipient_code,
        "is_deleted": False,
        "isDeleted": False,
        "createdAt": created,
        "updatedAt": created,
        "details": {
            "authorization_code": None,
            "account_number": recipient.account_number,
            "account_name": None,
            "bank_code": recipient.bank_code,
            "bank_name": TELCOS[recipient.bank_code],
        },
    }


def transfer_data(order: Order) -> dict[str, Any]:
    """Return a transfer; its `reason` is the purpose that the caller gave."""
    recipient = msgspec.convert(order.details["recipient"], Recipient)
    is_sent = order.state in (State.SUCCEEDED, State.REVERSED)
    changed = order.reversed_at or order.ended_at or order.accepted_at
    return {
        "id": order.details["id"],
        "integration": order.details["integration"],
        "domain": "test",
        "reference": order.booked_as,
        "transfer_code": f"TRF_{order.details['id']}",
        "amount": order.amount,
        "currency": "GHS",
        "source": "balance",
        "status": status_of(order),
        "reason": order.details.get("reason"),
        "gateway_response": explanation(order),
        "recipient": recipient_data(recipient),
        "request": order.details["id"] + 1,
        "transferred_at": moment(order.ended_at) if is_sent and order.ended_at is not None else None,
        "createdAt": moment(order.accepted_at),
        "updatedAt": moment(changed),
        "fee_charged": 0,
        "session": {"provider": None, "id": None},
        "source_details": None,
        "failures": None,
        "titan_code": None,
        "fees_breakdown": None,
    }


def queued_transfer(order: Order) -> dict[str, Any]:
    """Return what the request for a transfer answers: the transfer, with its recipient by number alone."""
    recipient = msgspec.convert(order.details["recipient"], Recipient)
    sessions: dict[str, Any] = {"transfersessionid": [], "transfertrials": []}
    return transfer_data(order) | sessions | {"recipient": recipient.number}
