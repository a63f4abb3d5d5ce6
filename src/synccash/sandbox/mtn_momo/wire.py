"""Simulates MTN MoMo: its paths and its answers."""

import re
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import msgspec

from synccash.sandbox.floats import Float
from synccash.sandbox.mtn_momo.access import AccessControl
from synccash.sandbox.mtn_momo.request import (
    callback_url,
    error,
    gateway_error,
    json_object,
    minor_units,
    notes,
    party,
    reference,
)
from synccash.sandbox.mtn_momo.tables import (
    CURRENCY_OF_ENVIRONMENT,
    ERRORS,
    HOLDER_ERRORS,
    NOT_ACTIVE,
    OPENING_BALANCE,
    PAYER_OUTCOMES,
    TRANSFER_OUTCOMES,
    number_ending,
    outcome_of,
)
from synccash.sandbox.orders import Order, ScriptedOutcome, Side, State
from synccash.sandbox.values import major_units, network_transaction_id
from synccash.sandbox.wire import Call, Message, Outcome, RefusedError, Reply, kind_of


class _Operation(msgspec.Struct, frozen=True):
    product: str
    name: str
    side: Side
    party: str
    outcomes: dict[int, ScriptedOutcome]
    versions: tuple[str, ...] = ("v1_0",)

    @property
    def path(self) -> str:
        return f"{self.product}/{self.name}"


_BOTH = ("v1_0", "v2_0")
_OPERATIONS = {
    operation.path: operation
    for operation in (
        _Operation("collection", "requesttopay", Side.DEBIT, "payer", PAYER_OUTCOMES),
        _Operation("collection", "requesttowithdraw", Side.DEBIT, "payer", PAYER_OUTCOMES, _BOTH),
        _Operation("disbursement", "transfer", Side.CREDIT, "payee", TRANSFER_OUTCOMES),
        _Operation("disbursement", "deposit", Side.CREDIT, "payee", PAYER_OUTCOMES, _BOTH),
        _Operation("disbursement", "refund", Side.CREDIT, "payee", {}, _BOTH),
    )
}
_NAMES = "requesttopay|requesttowithdraw|transfer|deposit|refund"
_MONEY = re.compile(rf"/(collection|disbursement)/(v[12]_0)/({_NAMES})")
_STATUS = re.compile(rf"/(collection|disbursement)/v1_0/({_NAMES})/([^/]+)")
_NOTIFY = re.compile(r"/collection/v1_0/requesttopay/([^/]+)/deliverynotification")
_TOKEN = re.compile(r"/(collection|disbursement)/token/?")
_USER = re.compile(r"/v1_0/apiuser/([^/]+)")
_KEY = re.compile(r"/v1_0/apiuser/([^/]+)/apikey")
_HOLDER = re.compile(
    r"/(collection|disbursement)/v1_0/accountholder/(?i:msisdn)/([^/]+)/(active|basicuserinfo)"
)
_BALANCE = re.compile(r"/(collection|disbursement)/v1_0/account/balance(?:/([A-Z]{3}))?")


class MtnMomo:
    """MTN MoMo's Open API, Collection and Disbursement; see `synccash.sandbox.wire.Wire`."""

    rail_id = "mtn_momo"
    prompt_window_s = 300.0
    expired_reason = "COULD_NOT_PERFORM_TRANSACTION"

    def __init__(self, clock: Callable[[], float], rng: Random) -> None:
        self._clock = clock
        self._access = AccessControl(rng)
        self.float = Float(OPENING_BALANCE)

    def kind(self, call: Call) -> str:
        """See `Wire.kind`."""
        money, inquiry = _MONEY.fullmatch(call.path), _STATUS.fullmatch(call.path)
        return kind_of(call, moves_money=money is not None, inquires=inquiry is not None)

    def inquired(self, call: Call) -> str:
        """See `Wire.inquired`."""
        found = _STATUS.fullmatch(call.path)
        return found[3].lower() if found else ""

    def answer(self, call: Call, orders: Mapping[str, Order], now: float) -> Outcome:
        """See `Wire.answer`."""
        self._access.check_gateway(call)
        path = call.path
        match call.method:
            case "POST" if path == "/v1_0/apiuser":
                return self._access.create_user(call)
            case "POST" if found := _KEY.fullmatch(path):
                return self._access.create_key(found[1])
            case "GET" if found := _USER.fullmatch(path):
                return self._access.show_user(found[1])
            case "POST" if found := _TOKEN.fullmatch(path):
                return self._access.create_token(call, found[1], now)
            case "POST" if found := _MONEY.fullmatch(path):
                return self._accept(call, _operation(found[1], found[3], found[2]), found[2], orders, now)
            case "GET" if found := _STATUS.fullmatch(path):
                return Outcome(self._status(call, _operation(found[1], found[2]), found[3], orders, now))
            case "POST" if found := _NOTIFY.fullmatch(path):
                return Outcome(self._notify(call, found[1], orders, now))
            case "GET" if found := _HOLDER.fullmatch(path):
                self._access.callback_host(call, found[1], now)
                return Outcome(_holder(self._access.environment(call), found[2], found[3]))
            case "GET" if found := _BALANCE.fullmatch(path):
                self._access.callback_host(call, found[1], now)
                environment = self._access.environment(call)
                held = self.float.available(_in(environment, orders))
                return Outcome(_balance(environment, found[2], held))
            case _:
                return Outcome(gateway_error(404, "Resource not found"))

    # Money.

    def _accept(
        self, call: Call, operation: _Operation, version: str, orders: Mapping[str, Order], now: float
    ) -> Outcome:
        registered_host = self._access.callback_host(call, operation.product, now)
        environment = self._access.environment(call)
        ref = reference(call.headers.get("X-Reference-Id"))
        body = json_object(call.body)
        amount = minor_units(body.get("amount"))
        texts = notes(body)
        if body.get("currency") != CURRENCY_OF_ENVIRONMENT[environment]:
            return Outcome(error("INVALID_CURRENCY"))
        url = callback_url(call, registered_host)
        if ref in orders:
            return Outcome(error("RESOURCE_ALREADY_EXIST"))
        wallet, fate = _party_and_outcome(operation, body, environment, orders)
        if operation.name == "transfer" and amount > self.float.available(_in(environment, orders)):
            fate = ScriptedOutcome("NOT_ENOUGH_FUNDS")
        details = {
            "amount": body["amount"],
            "currency": body["currency"],
            **texts,
            operation.party: wallet,
            "environment": environment,
            "platform": self._access.settings.platform,
            "version": version,
        }
        order = Order(
            reference=ref,
            operation=operation.path,
            side=operation.side,
            msisdn=wallet["partyId"],
            amount=amount,
            details=details,
            callback_url=url,
            fate=fate,
        )
        return Outcome(Reply(202, content_type=""), order=order)

    def _found(
        self, call: Call, operation: _Operation, text: str, orders: Mapping[str, Order], now: float
    ) -> Order:
        """Return an order that the caller can see: of its own environment, platform and operation."""
        self._access.callback_host(call, operation.product, now)
        environment = self._access.environment(call)
        order = orders.get(reference(text))
        if (
            order is None
            or order.visible_at > now
            or order.operation != operation.path
            or order.details["environment"] != environment
            or order.details["platform"] != self._access.settings.platform
        ):
            raise RefusedError(error("RESOURCE_NOT_FOUND"))
        return order

    def _status(
        self, call: Call, operation: _Operation, text: str, orders: Mapping[str, Order], now: float
    ) -> Reply:
        if self._access.is_over_the_cap(call, now):
            return self.throttled()
        return Reply.json(200, self._result(self._found(call, operation, text, orders, now)))

    def _notify(self, call: Call, text: str, orders: Mapping[str, Order], now: float) -> Reply:
        order = self._found(call, _OPERATIONS["collection/requesttopay"], text, orders, now)
        if not call.headers.get("notificationMessage") and not json_object(call.body).get(
            "notificationMessage"
        ):
            return error("BAD_REQUEST", "notificationMessage is missing.")
        return Reply(200) if order.state is State.SUCCEEDED else error("RESOURCE_NOT_FOUND")

    def _result(self, order: Order, *, forged: bool = False) -> dict[str, Any]:
        """Return the status result, which a callback repeats; the caller's X-Reference-Id is not in it."""
        names = ("externalId", "amount", "currency", "payer", "payee", "payerMessage", "payeeNote")
        result = {name: order.details[name] for name in names if name in order.details}
        if order.state is State.PENDING and not forged:
            return result | {"status": "PENDING"}
        result = {"financialTransactionId": network_transaction_id(order.reference)} | result
        if order.state is State.SUCCEEDED or forged:
            return result | {"status": "SUCCESSFUL"}
        reason: object = order.reason
        if self._access.settings.reason_shape == "object":
            reason = {"code": reason, "message": ERRORS.get(order.reason or "", (0, reason))[1]}
        return result | {"status": "FAILED", "reason": reason}

    # The rest of `Wire`.

    def unavailable(self) -> Reply:
        """See `Wire.unavailable`."""
        return error("SERVICE_UNAVAILABLE")

    def throttled(self) -> Reply:
        """See `Wire.throttled`. MTN's answer above the cap is not published; this is its gateway's form."""
        return gateway_error(429, "Rate limit is exceeded. Try again in 1 seconds.", {"Retry-After": "1"})

    def reversible(self, order: Order, orders: Mapping[str, Order]) -> bool:
        """See `Wire.reversible`. MTN publishes no status of a reversed success."""
        del order, orders
        return False

    def callback(self, order: Order, *, forged: bool) -> Message | None:
        """See `Wire.callback`; the first version of deposit is the one that MTN says is always a POST."""
        if order.callback_url is None:
            return None
        is_old_deposit = order.operation == "disbursement/deposit" and order.details["version"] == "v1_0"
        method = "POST" if is_old_deposit else self._access.settings.callback_method
        return Message(method, order.callback_url, msgspec.json.encode(self._result(order, forged=forged)))

    def learn(self, fact: dict[str, Any]) -> None:
        """See `Wire.learn`."""
        self._access.learn(fact, self._clock())

    def reset(self) -> list[dict[str, Any]]:
        """See `Wire.reset`."""
        return self._access.reset()

    def control(self, resource: str, method: str, body: object) -> Outcome | None:
        """See `AccessControl.control`."""
        return self._access.control(resource, method, body)


def _operation(product: str, name: str, version: str = "v1_0") -> _Operation:
    operation = _OPERATIONS.get(f"{product}/{name}")
    if operation is None or version not in operation.versions:
        raise RefusedError(gateway_error(404, "Resource not found"))
    return operation


def _party_and_outcome(
    operation: _Operation, body: dict[str, Any], environment: str, orders: Mapping[str, Order]
) -> tuple[dict[str, str], ScriptedOutcome]:
    """Return the wallet that pays or is paid, and the outcome.

    A refund pays the payer of the named request. MTN does not publish what it says to an unknown one, or to
    one that took no money: here 404 at once, and FAILED later. More than was taken is *not* refused, so that
    the book shows a double refund.
    """
    if operation.name != "refund":
        wallet = party(body, operation.party)
        not_found = f"{operation.party.upper()}_NOT_FOUND"
        return wallet, outcome_of(wallet["partyId"], environment, operation.outcomes, not_found)
    original = orders.get(str(body.get("referenceIdToRefund", "")).lower())
    if original is None or original.side is not Side.DEBIT:
        raise RefusedError(error("RESOURCE_NOT_FOUND"))
    was_paid = original.state is State.SUCCEEDED
    wallet = {"partyIdType": "MSISDN", "partyId": original.msisdn}
    return wallet, ScriptedOutcome() if was_paid else ScriptedOutcome("COULD_NOT_PERFORM_TRANSACTION")


def _holder(environment: str, msisdn: str, question: str) -> Reply:
    ending = number_ending(msisdn)
    if ending in HOLDER_ERRORS:
        return error(HOLDER_ERRORS[ending])
    is_known = outcome_of(msisdn, environment, {}, "PAYER_NOT_FOUND").reason is None
    if question == "active":
        return Reply.json(200, {"result": is_known and ending != NOT_ACTIVE})
    if not is_known:
        return error("RESOURCE_NOT_FOUND")
    person = {"given_name": "Ama", "family_name": "Mensah", "birthdate": "1990-01-01"}
    return Reply.json(200, person | {"locale": "en_GH", "gender": "FEMALE", "status": "ACTIVE"})


def _in(environment: str, orders: Mapping[str, Order]) -> list[Order]:
    return [order for order in orders.values() if order.details["environment"] == environment]


def _balance(environment: str, currency: str | None, balance: int) -> Reply:
    own_currency = CURRENCY_OF_ENVIRONMENT[environment]
    if currency not in (None, own_currency):
        return error("INVALID_CURRENCY")
    return Reply.json(200, {"availableBalance": major_units(balance), "currency": own_currency})
