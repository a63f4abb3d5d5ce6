"""How Paystack shows charges, transactions and refunds.

Objects have all members of Paystack's published samples; those that mobile money does not use are null.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from synccash.sandbox.orders import Order, State
from synccash.sandbox.paystack.tables import ABANDONED, PROMPT, PROVIDERS, REASONS, VOUCHER
from synccash.sandbox.values import utc_time

_STATUSES = {
    State.PENDING: "pending",
    State.SUCCEEDED: "success",
    State.FAILED: "failed",
    State.REVERSED: "reversed",
}
_REFUND_STATUSES = {State.PENDING: "pending", State.SUCCEEDED: "processed", State.FAILED: "failed"}
_PAID = frozenset({"success", "reversal-pending", "reversed"})
_REFUNDED_BY = "merchant@example.com"
_EXPECTED_AFTER_S = 9 * 86_400.0
"""Paystack expects a refund to arrive within ten working days; the exact number is ours."""


def moment(at: float) -> str:
    """Return a time as Paystack writes it."""
    return utc_time(at, "milliseconds")


def status_of(order: Order) -> str:
    """Return Paystack's status of a charge or a transfer, without its refunds."""
    return "abandoned" if order.reason == ABANDONED else _STATUSES[order.state]


def explanation(order: Order) -> str | None:
    """Return why an order failed, in a sentence."""
    return REASONS.get(order.reason or "", order.reason)


def refunds_by_transaction(orders: Iterable[Order]) -> dict[int, list[Order]]:
    """Return the refunds that have not failed, by the id of their transaction."""
    found: dict[int, list[Order]] = {}
    for order in orders:
        if order.operation == "refund" and order.state is not State.FAILED:
            found.setdefault(order.details["transaction"], []).append(order)
    return found


def transaction_status(charge: Order, refunds: Sequence[Order]) -> str:
    """Return Paystack's status of a charge, which a pending or a full refund changes."""
    if charge.state is not State.SUCCEEDED:
        return status_of(charge)
    returned = sum(refund.amount for refund in refunds if refund.state is State.SUCCEEDED)
    if returned >= charge.amount:
        return "reversed"
    is_under_way = any(refund.state is State.PENDING for refund in refunds)
    return "reversal-pending" if is_under_way else "success"


def attempted(order: Order, refunds: Sequence[Order] = ()) -> dict[str, Any]:
    """Return what a charge answers: what the payer has to do, or how it ended."""
    if order.state is not State.PENDING:
        return transaction(order, refunds) | {"message": explanation(order)}
    if order.details["waits"]:
        return {"reference": order.reference, "status": "send_otp", "display_text": VOUCHER}
    return {"reference": order.reference, "status": "pay_offline", "display_text": PROMPT}


def transaction(order: Order, refunds: Sequence[Order] = (), *, forged: bool = False) -> dict[str, Any]:
    """Return a transaction. One that the payer has not answered shows as ongoing."""
    status = "success" if forged else transaction_status(order, refunds)
    created = moment(order.details.get("since") or order.accepted_at)
    paid = moment(order.ended_at) if status in _PAID and order.ended_at is not None else None
    reason = "The transaction is in progress" if status == "pending" else explanation(order)
    return {
        "id": order.details["id"],
        "domain": "test",
        "status": "ongoing" if status == "pending" else status,
        "reference": order.reference,
        "receipt_number": None,
        "amount": order.amount,
        "requested_amount": order.details.get("requested_amount", order.amount),
        "message": None,
        "gateway_response": "Approved" if status in _PAID else reason,
        "paid_at": paid,
        "paidAt": paid,
        "created_at": created,
        "createdAt": created,
        "transaction_date": created,
        "channel": "mobile_money",
        "currency": "GHS",
        "metadata": order.details["metadata"],
        "fees": order.amount * 195 // 10_000,
        "authorization": _authorization(order),
        "customer": _customer(order.details["email"]),
        "split": {},
        "plan_object": {},
        "subaccount": {},
        **dict.fromkeys(_UNUSED_BY_TRANSACTIONS),
    }


_UNUSED_BY_TRANSACTIONS = (
    *("ip_address", "log", "fees_split", "fees_breakdown", "plan", "order_id"),
    *("pos_transaction_data", "source", "connect"),
)


def _authorization(order: Order) -> dict[str, Any]:
    local, provider = "0" + order.msisdn[3:], order.details["provider"]
    return {
        "authorization_code": f"AUTH_{_digest(f'{order.reference} {order.msisdn}')[:10]}",
        "bin": f"{local[:3]}XXX",
        "last4": f"X{local[-3:]}",
        "exp_month": "12",
        "exp_year": "9999",
        "channel": "mobile_money",
        "card_type": "",
        "bank": PROVIDERS[provider],
        "country_code": "GH",
        "brand": PROVIDERS[provider].split()[0],
        "reusable": False,
        "signature": None,
        "account_name": None,
    }


def _customer(email: str) -> dict[str, Any]:
    digest = _digest(email)
    return {
        "id": int(digest[:7], 16),
        "email": email,
        "customer_code": f"CUS_{digest[:15]}",
        "risk_action": "default",
        **dict.fromkeys(("first_name", "last_name", "phone", "metadata", "international_format_phone")),
    }


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def refund_data(order: Order) -> dict[str, Any]:
    """Return a refund; its transaction by number alone."""
    is_processed = order.state is State.SUCCEEDED
    created, ended = moment(order.accepted_at), order.ended_at
    names = ("integration", "id", "transaction", "transaction_reference", "merchant_note", "customer_note")
    return {name: order.details[name] for name in names} | {
        "domain": "test",
        "status": _REFUND_STATUSES[order.state],
        "amount": order.amount,
        "currency": "GHS",
        "channel": "mobile_money",
        "deducted_amount": order.amount if is_processed else 0,
        "fully_deducted": is_processed,
        "refunded_by": _REFUNDED_BY,
        "refunded_at": moment(ended) if is_processed and ended is not None else None,
        "expected_at": moment(order.accepted_at + _EXPECTED_AFTER_S),
        "createdAt": created,
        "updatedAt": created if ended is None else moment(ended),
        "dispute": None,
        "settlement": None,
    }


def queued_refund(order: Order, charge: Order) -> dict[str, Any]:
    """Return what the request for a refund answers: the refund, with its transaction in full."""
    return refund_data(order) | {"transaction": transaction(charge, (order,))}


def listed_refund(order: Order) -> dict[str, Any]:
    """Return a refund as it is listed, where the names of its times differ."""
    data = refund_data(order)
    return data | {"created_at": data["createdAt"], "updated_at": data["updatedAt"]}


def refunds_of(charge: Order, orders: Mapping[str, Order]) -> Sequence[Order]:
    """Return the refunds of a charge that have not failed."""
    if charge.state is not State.SUCCEEDED:
        return ()
    return refunds_by_transaction(orders.values()).get(charge.details["id"], ())
