"""Answers Paystack's inquiries and lists. Nothing here moves money or changes state."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from synccash.sandbox.orders import Order
from synccash.sandbox.paystack.objects import (
    attempted,
    listed_refund,
    refund_data,
    refunds_by_transaction,
    refunds_of,
    transaction,
)
from synccash.sandbox.paystack.request import error, success
from synccash.sandbox.paystack.tables import TELCOS
from synccash.sandbox.paystack.transfers import Recipient, recipient_data, transfer_data
from synccash.sandbox.wire import Reply

NOT_FOUND = error(400, "Transaction reference not found", "transaction_not_found")
_PAGE_SIZE = 50
_POSITIVE = re.compile(r"0{0,8}[1-9]\d{0,8}", re.ASCII)
_FOUNDED = "2020-12-07T16:19:09.000Z"


def answer_inquiry(what: str, name: str, owner: int, orders: Mapping[str, Order], now: float) -> Reply:
    """Answer an inquiry. The status for an unknown name is our choice: 400 for charges, else 404."""
    operation = {"transaction/verify": "charge", "transfer/verify": "transfer"}.get(what, what)
    key = name if operation == "charge" else f"{operation} {name}"
    order = orders.get(key)
    if (
        order is None
        or order.operation != operation
        or order.details["integration"] != owner
        or order.visible_at > now
    ):
        if operation == "charge":
            return NOT_FOUND
        return error(404, f"{operation.capitalize()} not found", f"{operation}_not_found")
    match what:
        case "transaction/verify":
            return success("Verification successful", transaction(order, refunds_of(order, orders)))
        case "charge":
            return success("Charge attempted", attempted(order, refunds_of(order, orders)))
        case "refund":
            return success("Refund retrieved", refund_data(order))
        case _:
            return success("Transfer retrieved", transfer_data(order))


def transactions(query: Mapping[str, str], mine: Iterable[Order], now: float) -> Reply:
    """List transactions, newest first, of one `status` or of all; no other filter is read."""
    held = list(mine)
    refunds = refunds_by_transaction(held)
    shown = [
        transaction(order, refunds.get(order.details["id"], ()))
        for order in _newest_first(held, "charge", now)
    ]
    wanted = query.get("status")
    found = [data for data in shown if wanted in (None, data["status"])]
    volume = {"total_volume": sum(data["amount"] for data in found)}
    return _listed("Transactions retrieved", query, found, lambda data: data, volume)


def transfers(query: Mapping[str, str], mine: Iterable[Order], now: float) -> Reply:
    """List transfers, newest first; no filter is read."""
    return _listed("Transfers retrieved", query, _newest_first(mine, "transfer", now), transfer_data)


def recipients(query: Mapping[str, str], known: Iterable[Recipient], owner: int) -> Reply:
    """List the recipients of an account, newest first; no filter is read."""
    found = [recipient for recipient in known if recipient.integration == owner][::-1]
    return _listed("Recipients retrieved", query, found, recipient_data)


def refunds(query: Mapping[str, str], mine: Iterable[Order], now: float) -> Reply:
    """List refunds, newest first; `transaction` is the id of the transaction, not its reference."""
    wanted = query.get("transaction")
    found = [
        order
        for order in _newest_first(mine, "refund", now)
        if wanted in (None, str(order.details["transaction"]))
    ]
    return _listed("Refunds retrieved", query, found, listed_refund)


def banks(query: Mapping[str, str]) -> Reply:
    """List the telcos; `country`, `currency` and `type` select, no other filter is read."""
    found = [
        {
            "id": number,
            "name": name,
            "slug": f"{name.lower()}-mobile-money",
            "code": code,
            "longcode": "",
            "gateway": None,
            "pay_with_bank": False,
            "active": True,
            "is_deleted": False,
            "country": "Ghana",
            "currency": "GHS",
            "type": "mobile_money",
            "createdAt": _FOUNDED,
            "updatedAt": _FOUNDED,
        }
        for number, (code, name) in enumerate(TELCOS.items(), start=1)
    ]
    for name in ("country", "currency", "type"):
        wanted = query.get(name, "").lower()
        found = [bank for bank in found if wanted in ("", str(bank[name]).lower())]
    return _listed("Banks retrieved", query, found, lambda bank: bank)


def _newest_first(mine: Iterable[Order], operation: str, now: float) -> list[Order]:
    return [order for order in mine if order.operation == operation and order.visible_at <= now][::-1]


_Entry = TypeVar("_Entry")


def _listed(
    message: str,
    query: Mapping[str, str],
    found: Sequence[_Entry],
    show: Callable[[_Entry], dict[str, Any]],
    totals: Mapping[str, int] | None = None,
) -> Reply:
    """Return one page of a list; a page or size that is no positive number is the usual one."""
    size, page = _positive(query, "perPage", _PAGE_SIZE), _positive(query, "page", 1)
    skipped = (page - 1) * size
    meta: dict[str, Any] = {
        "total": len(found),
        **(totals or {}),
        "skipped": skipped,
        "perPage": size,
        "page": page,
        "pageCount": -(-len(found) // size),
    }
    return success(message, [show(entry) for entry in found[skipped : skipped + size]], meta=meta)


def _positive(query: Mapping[str, str], name: str, usual: int) -> int:
    text = query.get(name, "")
    return int(text) if _POSITIVE.fullmatch(text) else usual
