"""Simulates Hubtel: its paths on four hosts, and its answers."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from random import Random
from typing import Any

import msgspec

from synccash.sandbox.floats import Float
from synccash.sandbox.hubtel.access import AccessControl
from synccash.sandbox.hubtel.request import (
    channel,
    client_reference,
    description,
    json_object,
    msisdn,
    pesewas,
    refusal,
    text,
)
from synccash.sandbox.orders import Order, Side, State
from synccash.sandbox.values import major_units, utc_time
from synccash.sandbox.wire import Call, Message, Outcome, RefusedError, Reply, kind_of

_RECEIVE = re.compile(r"/merchantaccount/merchants/([^/]+)/receive/mobilemoney")
_SEND = re.compile(r"/api/merchants/([^/]+)/send/mobilemoney")
_STATUS = re.compile(r"/transactions/([^/]+)/status")
# The second spelling is the one of the page's own sample.
_SEND_STATUS = re.compile(r"/api/merchants/([^/]+)/(?:transactions/)?status")
_CHARGES_PER_MILLE = 19
_OPENING_BALANCE = 100_000_000
"""Pesewas of the prepaid account, which Hubtel's API does not show."""


class Hubtel:
    """Hubtel's Sales API; see `synccash.sandbox.wire.Wire`."""

    rail_id = "hubtel"
    prompt_window_s = 300.0
    expired_reason = "USSD_TIMEOUT"

    def __init__(self, clock: Callable[[], float], rng: Random) -> None:
        del clock, rng
        self._access = AccessControl()
        self.float = Float(_OPENING_BALANCE)

    def kind(self, call: Call) -> str:
        """See `Wire.kind`."""
        money = _RECEIVE.fullmatch(call.path) or _SEND.fullmatch(call.path)
        inquiry = _STATUS.fullmatch(call.path) or _SEND_STATUS.fullmatch(call.path)
        return kind_of(call, moves_money=money is not None, inquires=inquiry is not None)

    def inquired(self, call: Call) -> str:
        """See `Wire.inquired`."""
        return call.query.get("clientReference", "")

    def answer(self, call: Call, orders: Mapping[str, Order], now: float) -> Outcome:
        """See `Wire.answer`."""
        match call.method:
            case "POST" if found := _RECEIVE.fullmatch(call.path):
                self._access.check_merchant(call, found[1], "pos_sales_id")
                return self._accept(_receiving(json_object(call.body)), orders)
            case "POST" if found := _SEND.fullmatch(call.path):
                self._access.check_merchant(call, found[1], "prepaid_deposit_id")
                return self._accept(_sending(json_object(call.body)), orders)
            case "GET" if found := _STATUS.fullmatch(call.path):
                self._access.check_merchant(call, found[1], "pos_sales_id")
                return Outcome(_status(self._found(call, Side.DEBIT, orders, now)))
            case "GET" if found := _SEND_STATUS.fullmatch(call.path):
                self._access.check_merchant(call, found[1], "prepaid_deposit_id")
                return Outcome(_send_status(self._found(call, Side.CREDIT, orders, now)))
            case _:
                return Outcome(Reply(404, content_type=""))

    def _accept(self, order: Order, orders: Mapping[str, Order]) -> Outcome:
        if order.amount < self._access.settings.minimum_amount:
            return Outcome(refusal(400, "4070", "Unable to complete payment. Fees not set."))
        if order.reference in orders:
            # Hubtel does not publish this answer: the text is our own.
            return Outcome(refusal(400, "4000", "Duplicate ClientReference."))
        if order.side is Side.CREDIT and order.amount > self.float.available(orders.values()):
            return Outcome(refusal(400, "4075", "Insufficient prepaid balance."))
        if order.side is Side.DEBIT:
            message = "Transaction pending. Expect callback request for final state"
            data = _data(order, order.details["description"])
            body = {"Message": message, "ResponseCode": "0001", "Data": data | {"DeliveryFee": 0.0}}
        else:
            accepted = "Your request has been accepted. We will notify you when the transaction is completed."
            body = {"ResponseCode": "0001", "Data": _sent_data(order, accepted) | {"AmountDebited": 0.0}}
        return Outcome(Reply.json(200, body), order=order)

    def _found(self, call: Call, side: Side, orders: Mapping[str, Order], now: float) -> Order:
        """Return an order that can be seen. The answer for an unknown one is our choice."""
        order = orders.get(call.query.get("clientReference", ""))
        visible_from = now - self._access.settings.status_from_s
        if (
            order is None
            or order.side is not side
            or order.visible_at > now
            or order.accepted_at > visible_from
        ):
            raise RefusedError(
                Reply.json(404, {"message": "Transaction not found.", "responseCode": "4000", "data": None})
            )
        return order

    # The rest of `Wire`.

    def unavailable(self) -> Reply:
        """See `Wire.unavailable`. Hubtel has no code for it; its 5000 has no defined effect."""
        return refusal(503, "5000", "Something went wrong while processing this request.")

    def throttled(self) -> Reply:
        """See `Wire.throttled`. Not published."""
        return Reply(429, content_type="", headers={"Retry-After": "1"})

    def reversible(self, order: Order, orders: Mapping[str, Order]) -> bool:
        """See `Wire.reversible`. Hubtel has a status for a collection, and none for money sent out."""
        del orders
        return order.side is Side.DEBIT

    def callback(self, order: Order, *, forged: bool) -> Message | None:
        """See `Wire.callback`: a POST without a signature; Hubtel publishes none for a reversal."""
        if order.callback_url is None or order.state is State.REVERSED:
            return None
        paid = forged or order.state is State.SUCCEEDED
        if order.side is Side.CREDIT:
            summary = "payment has been made successfully" if paid else "Insufficient prepaid balance."
            body = {"ResponseCode": "0000" if paid else "4075", "Data": _sent_data(order, summary)}
            return Message("POST", order.callback_url, msgspec.json.encode(body))
        summary = "The payment has been approved and processed successfully" if paid else "FAILED"
        ended_at = order.accepted_at if order.ended_at is None else order.ended_at
        data = _data(order, summary) | {
            "ExternalTransactionId": _external(order),
            "OrderId": _transaction(order),
            "PaymentDate": utc_time(ended_at),
        }
        code, message = ("0000", "success") if paid else ("2001", "failed")
        body = {"ResponseCode": code, "Message": message, "Data": data}
        return Message("POST", order.callback_url, msgspec.json.encode(body))

    def learn(self, fact: dict[str, Any]) -> None:
        """See `Wire.learn`."""
        self._access.learn(fact)

    def reset(self) -> list[dict[str, Any]]:
        """See `Wire.reset`."""
        return self._access.reset()

    def control(self, resource: str, method: str, body: object) -> Outcome | None:
        """See `Wire.control`."""
        return self._access.control(resource, method, body)


def _receiving(body: dict[str, Any]) -> Order:
    return Order(
        reference=client_reference(body),
        operation="receive",
        side=Side.DEBIT,
        msisdn=msisdn(body, "CustomerMsisdn"),
        amount=pesewas(body),
        details={"description": description(body), "channel": channel(body)},
        callback_url=text(body, "PrimaryCallbackUrl"),
    )


def _sending(body: dict[str, Any]) -> Order:
    return Order(
        reference=client_reference(body),
        operation="send",
        side=Side.CREDIT,
        msisdn=msisdn(body, "RecipientMsisdn"),
        amount=pesewas(body),
        details={
            "description": description(body),
            "channel": channel(body),
            "name": text(body, "RecipientName"),
        },
        callback_url=text(body, "PrimaryCallbackURL"),
    )


_COLLECTED = {State.SUCCEEDED: "Paid", State.REVERSED: "Refunded"}


def _status(order: Order) -> Reply:
    """Return the state of a collection, in camelCase. One that failed is `Unpaid` like one that waits."""
    data = {
        "date": utc_time(order.accepted_at),
        "status": _COLLECTED.get(order.state, "Unpaid"),
        "transactionId": _transaction(order),
        "externalTransactionId": _external(order),
        "paymentMethod": "mobilemoney",
        "clientReference": order.reference,
        "currencyCode": None,
        "amount": _major(order.amount),
        "charges": _major(_charges(order)),
        "amountAfterCharges": _major(order.amount - _charges(order)),
        "isFulfilled": None,
    }
    return Reply.json(200, {"message": "Successful", "responseCode": "0000", "data": data})


_WORDS = {State.SUCCEEDED: "success", State.FAILED: "failed", State.PENDING: "pending"}
"""Hubtel's page shows `success` only; the other two are what its clients read."""


def _send_status(order: Order) -> Reply:
    """Return the state of money that was sent out, in the mixed case of Hubtel's page."""
    data = {
        "TransactionId": _transaction(order),
        "networkTransactionId": _external(order),
        "Amount": _major(order.amount),
        "Fees": _major(_charges(order)),
        "ClientReference": order.reference,
        "Channel": order.details["channel"],
        "CustomerNumber": order.msisdn,
        "transactionStatus": _WORDS[order.state],
        "CreatedAt": datetime.fromtimestamp(order.accepted_at, UTC).strftime("%Y-%m-%d %H:%M:%S"),
    }
    return Reply.json(200, {"ResponseCode": "success", "Data": data})


def _data(order: Order, summary: str) -> dict[str, Any]:
    return {
        "TransactionId": _transaction(order),
        "Description": summary,
        "ClientReference": order.reference,
        "Amount": _major(order.amount),
        "Charges": _major(_charges(order)),
        "AmountAfterCharges": _major(order.amount),
        "AmountCharged": _major(order.amount + _charges(order)),
    }


def _sent_data(order: Order, summary: str) -> dict[str, Any]:
    return {
        "AmountDebited": _major(order.amount),
        "TransactionId": _transaction(order),
        "ExternalTransactionId": _external(order),
        "Description": summary,
        "ClientReference": order.reference,
        "Amount": _major(order.amount),
        "Charges": _major(_charges(order)),
        "Meta": None,
        "RecipientName": order.details["name"],
    }


def _major(minor: int) -> msgspec.Raw:
    return msgspec.Raw(major_units(minor).encode())


def _charges(order: Order) -> int:
    return order.amount * _CHARGES_PER_MILLE // 1000


def _transaction(order: Order) -> str:
    return sha256(order.reference.encode()).hexdigest()[:32]


def _external(order: Order) -> str:
    return str(int(_transaction(order)[:12], 16) % 10**10).zfill(10)
