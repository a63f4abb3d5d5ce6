"""What Paystack answers to who asks: it moves nothing and remembers nothing."""

from collections.abc import Iterable, Mapping

from synccash.sandbox.orders import Order, Side, State
from synccash.sandbox.paystack.objects import attempted, refund_data, transaction, transfer_data
from synccash.sandbox.paystack.request import error, said
from synccash.sandbox.paystack.tables import OPENING_BALANCE
from synccash.sandbox.wire import Reply

NOT_FOUND = error(400, "Transaction reference not found", "transaction_not_found")


def asked(what: str, name: str, owner: int, orders: Mapping[str, Order], now: float) -> Reply:
    """Answer an inquiry. How an unknown name is answered is not published: 400 for charges, else 404."""
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
            return said("Verification successful", transaction(order))
        case "charge":
            return said("Charge attempted", attempted(order))
        case "refund":
            return said("Refund retrieved", refund_data(order))
        case _:
            return said("Transfer retrieved", transfer_data(order))


def refunds(query: Mapping[str, str], mine: Iterable[Order], now: float) -> Reply:
    """List refunds, newest first; `transaction` is the id of the transaction, not its reference."""
    wanted = query.get("transaction")
    found = [
        refund_data(order)
        for order in mine
        if order.operation == "refund"
        and order.visible_at <= now
        and wanted in (None, str(order.details["transaction"]))
    ][::-1]
    size, page = (
        int(query.get(name, "")) if query.get(name, "").isdecimal() else usual
        for name, usual in (("perPage", 50), ("page", 1))
    )
    return said("Refunds retrieved", found[(page - 1) * size : page * size])


def balance(orders: Iterable[Order]) -> int:
    """Return what the account holds, in pesewas."""
    return OPENING_BALANCE + sum(
        order.amount if order.side is Side.DEBIT else -order.amount
        for order in orders
        if order.state is State.SUCCEEDED
    )
