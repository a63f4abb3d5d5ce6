"""How Paystack shows what it has: transactions, refunds and transfers."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from synccash.sandbox.orders import Order, State
from synccash.sandbox.paystack.tables import ABANDONED, PROMPT, PROVIDERS, REASONS, VOUCHER

_STATUSES = {
    State.PENDING: "pending",
    State.SUCCEEDED: "success",
    State.FAILED: "failed",
    State.REVERSED: "reversed",
}
_PAID = frozenset({State.SUCCEEDED, State.REVERSED})


def _status(order: Order) -> str:
    return "abandoned" if order.reason == ABANDONED else _STATUSES[order.state]


def refunds_of(charge: Order, orders: Mapping[str, Order]) -> list[Order]:
    """Return the refunds of a charge that have not failed."""
    return [
        order
        for order in orders.values()
        if order.operation == "refund"
        and order.state is not State.FAILED
        and order.details["transaction"] == charge.details["id"]
    ]


def attempted(order: Order) -> dict[str, Any]:
    """Return what a charge answers: what the payer has to do, or how it ended."""
    data: dict[str, Any] = {"reference": order.reference, "status": _status(order)}
    if order.state is State.FAILED:
        return data | {"message": REASONS.get(order.reason or "", order.reason)}
    if order.state in _PAID:
        return data | {"amount": order.amount, "currency": "GHS"}
    if order.details["waits"]:
        return data | {"status": "send_otp", "display_text": VOUCHER}
    return data | {"status": "pay_offline", "display_text": PROMPT}


def transaction(order: Order, *, forged: bool = False) -> dict[str, Any]:
    """Return a transaction. One that the payer has not answered shows as ongoing."""
    status = "success" if forged else _status(order)
    words = {"success": "Approved", "reversed": "Approved", "pending": "The transaction is in progress"}
    started = order.details.get("since") or order.accepted_at
    local = "0" + order.msisdn[3:]
    return {
        "id": order.details["id"],
        "domain": "test",
        "status": "ongoing" if status == "pending" else status,
        "reference": order.reference,
        "amount": order.amount,
        "message": None,
        "gateway_response": words.get(status) or REASONS.get(order.reason or "", order.reason),
        "paid_at": _moment(order.ended_at) if status in ("success", "reversed") and order.ended_at else None,
        "created_at": _moment(started),
        "channel": "mobile_money",
        "currency": "GHS",
        "metadata": order.details["metadata"],
        "fees": order.amount * 195 // 10_000,
        "authorization": {
            "bin": f"{local[:3]}XXX",
            "last4": f"X{local[-3:]}",
            "channel": "mobile_money",
            "bank": PROVIDERS[order.details["provider"]],
            "reusable": False,
        },
        "customer": {"email": order.details["email"]},
    }


_REFUND_STATUSES = {State.PENDING: "pending", State.SUCCEEDED: "processed", State.FAILED: "failed"}


def refund_data(order: Order) -> dict[str, Any]:
    """Return a refund."""
    names = ("integration", "id", "transaction", "transaction_reference", "merchant_note", "customer_note")
    return {name: order.details[name] for name in names} | {
        "domain": "test",
        "status": _REFUND_STATUSES[order.state],
        "amount": order.amount,
        "currency": "GHS",
    }


def transfer_data(order: Order) -> dict[str, Any]:
    """Return a transfer."""
    return {
        "id": order.details["id"],
        "integration": order.details["integration"],
        "domain": "test",
        "reference": order.booked_as,
        "transfer_code": f"TRF_{order.details['id']}",
        "amount": order.amount,
        "currency": "GHS",
        "source": "balance",
        "status": _status(order),
        "reason": REASONS.get(order.reason or "", order.reason),
        "recipient": order.details["recipient"],
    }


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
