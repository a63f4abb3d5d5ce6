"""Simulates pawaPay: its paths and its answers."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any, cast

import msgspec

from synccash.sandbox.authentication import bearer_token
from synccash.sandbox.control_resources import serve_settings
from synccash.sandbox.floats import Float
from synccash.sandbox.orders import Order, ScriptedOutcome, Side, State
from synccash.sandbox.pawapay.tables import (
    ERRORS,
    GHANA,
    MAXIMUM,
    MINIMUM,
    OPENING_BALANCE,
    PROVIDERS,
    Settings,
    outcome_of,
    predicted,
)
from synccash.sandbox.values import major_units, network_transaction_id, uuid4_text
from synccash.sandbox.wire import Call, Message, Outcome, RefusedError, Reply, kind_of


class _Operation(msgspec.Struct, frozen=True):
    path: str
    id_field: str
    side: Side
    party: str


_OPERATIONS = {
    operation.path: operation
    for operation in (
        _Operation("deposits", "depositId", Side.DEBIT, "payer"),
        _Operation("payouts", "payoutId", Side.CREDIT, "recipient"),
        _Operation("refunds", "refundId", Side.CREDIT, "recipient"),
    )
}
_MONEY = re.compile(r"/v2/(deposits|payouts|refunds)")
_STATUS = re.compile(r"/v2/(deposits|payouts|refunds)/([^/]+)")
_RESEND = re.compile(r"/v2/(deposits|payouts|refunds)/resend-callback/([^/]+)")
_AMOUNT = re.compile(r"(?=.{1,23}$)(0|[1-9]\d*)(?:\.(\d{1,2}))?", re.ASCII)
_SHOWN = ("customerMessage", "depositId", "clientReferenceId", "metadata")
_MESSAGE = re.compile(r"[A-Za-z0-9 ]{4,22}")


class _RefusedError(RefusedError):
    """Ends the handling of a request with this failure code."""

    def __init__(self, code: str, message: str | None = None) -> None:
        self.code = code
        self.reason = _reason(code, message or ERRORS[code][1])
        super().__init__(Reply.json(ERRORS[code][0], self.reason))


class Pawapay:
    """pawaPay's Merchant API v2; see `synccash.sandbox.wire.Wire`."""

    rail_id = "pawapay"
    prompt_window_s = 600.0
    expired_reason = "PAYMENT_NOT_APPROVED"

    def __init__(self, _clock: Callable[[], float], _rng: Random) -> None:
        self._settings = Settings()
        self.float = Float(OPENING_BALANCE)

    def kind(self, call: Call) -> str:
        """See `Wire.kind`."""
        money, inquiry = _MONEY.fullmatch(call.path), _STATUS.fullmatch(call.path)
        return kind_of(call, moves_money=money is not None, inquires=inquiry is not None)

    def inquired(self, call: Call) -> str:
        """See `Wire.inquired`."""
        found = _STATUS.fullmatch(call.path)
        return found[2].lower() if found else ""

    def answer(self, call: Call, orders: Mapping[str, Order], now: float) -> Outcome:
        """See `Wire.answer`."""
        path = call.path
        if path != "/v2/public-key/http":
            self._authenticate(call)
        match call.method:
            case "POST" if found := _MONEY.fullmatch(path):
                return self._accept(call, _OPERATIONS[found[1]], orders, now)
            case "GET" if found := _STATUS.fullmatch(path):
                return Outcome(_status(_OPERATIONS[found[1]], found[2], orders, now))
            case "POST" if found := _RESEND.fullmatch(path):
                return self._resend(_OPERATIONS[found[1]], found[2], orders)
            case "GET" if path == "/v2/wallet-balances":
                return Outcome(Reply.json(200, self._balances(call.query.get("country"), orders)))
            case "GET" if path == "/v2/availability":
                return Outcome(Reply.json(200, self._availability()))
            case "GET" if path == "/v2/active-conf":
                return Outcome(Reply.json(200, _active_configuration()))
            case "POST" if path == "/v2/predict-provider":
                return Outcome(_predict(_object(call.body)))
            case "GET" if path == "/v2/public-key/http":
                return Outcome(Reply.json(200, []))  # callbacks of the sandbox are not signed
            case _:
                return Outcome(Reply.json(404, {"message": "Not found"}))

    def _authenticate(self, call: Call) -> None:
        token = bearer_token(call)
        if not token:
            raise _RefusedError("NO_AUTHENTICATION")
        expected = self._settings.token
        if (token != expected) if expected is not None else token.startswith("invalid"):
            raise _RefusedError("AUTHENTICATION_ERROR")

    # Money.

    def _accept(self, call: Call, operation: _Operation, orders: Mapping[str, Order], now: float) -> Outcome:
        body = _object(call.body)
        reference = _reference(body.get(operation.id_field), operation.id_field)
        created = _moment(now)
        if reference in orders:
            reply_body = {operation.id_field: reference, "status": "DUPLICATE_IGNORED", "created": created}
            return Outcome(Reply.json(200, reply_body))
        try:
            order = self._order(operation, reference, body, orders)
        except _RefusedError as refused:
            status = ERRORS[refused.code][0]
            if status != 200:
                raise
            reply_body = {operation.id_field: reference, "status": "REJECTED", "created": created}
            return Outcome(Reply.json(200, reply_body | refused.reason))
        reply_body = {operation.id_field: reference, "status": "ACCEPTED", "created": created}
        order = msgspec.structs.replace(order, details=order.details | {"created": created})
        return Outcome(Reply.json(200, reply_body), order=order)

    def _order(
        self, operation: _Operation, reference: str, body: dict[str, Any], orders: Mapping[str, Order]
    ) -> Order:
        if operation.path == "refunds":
            amount, original = _refundable(body, orders)
            wallet = {"phoneNumber": original.msisdn, "provider": original.details["provider"]}
            fate, extra = ScriptedOutcome(), {"depositId": original.reference}
        else:
            wallet = self._wallet(body, operation)
            amount = _pesewas(body.get("amount"))
            if not MINIMUM <= amount <= MAXIMUM:
                raise _RefusedError("AMOUNT_OUT_OF_BOUNDS")
            message = body.get("customerMessage", "Payment")
            if not isinstance(message, str) or not _MESSAGE.fullmatch(message):
                raise _RefusedError("INVALID_PARAMETER", "customerMessage must be 4 to 22 alphanumerics.")
            fate, extra = outcome_of(wallet["phoneNumber"], operation.side), {"customerMessage": message}
        if body.get("currency") != "GHS":
            raise _RefusedError("INVALID_CURRENCY")
        if operation.path == "payouts" and amount > self.float.available(orders.values()):
            fate = ScriptedOutcome("PAWAPAY_WALLET_OUT_OF_FUNDS")
        own = {"amount": body.get("amount", major_units(amount)), "provider": wallet["provider"]}
        return Order(
            reference=reference,
            operation=operation.path,
            side=operation.side,
            msisdn=wallet["phoneNumber"],
            amount=amount,
            details=own | extra | _repeated(body),
            callback_url=self._callback_url(operation),
            fate=fate,
        )

    def _wallet(self, body: dict[str, Any], operation: _Operation) -> dict[str, str]:
        party: object = body.get(operation.party)
        if not isinstance(party, dict):
            raise _RefusedError("MISSING_PARAMETER", f"{operation.party} is missing.")
        details: object = cast("dict[str, object]", party).get("accountDetails")
        wallet = cast("dict[str, object]", details) if isinstance(details, dict) else {}
        number, provider = wallet.get("phoneNumber"), wallet.get("provider")
        if provider not in PROVIDERS:
            raise _RefusedError("INVALID_PROVIDER")
        if not isinstance(number, str) or not GHANA.fullmatch(number):
            raise _RefusedError("INVALID_PHONE_NUMBER")
        if provider in self._settings.closed_providers:
            raise _RefusedError("PROVIDER_TEMPORARILY_UNAVAILABLE")
        return {"phoneNumber": number, "provider": str(provider)}

    def _callback_url(self, operation: _Operation) -> str | None:
        urls = {
            "deposits": self._settings.deposit_callback_url,
            "payouts": self._settings.payout_callback_url,
            "refunds": self._settings.refund_callback_url,
        }
        return urls[operation.path]

    def _resend(self, operation: _Operation, text: str, orders: Mapping[str, Order]) -> Outcome:
        reference = _reference(text, operation.id_field)
        order = orders.get(reference)
        reply_body = {operation.id_field: reference}
        if order is None or order.operation != operation.path or order.state is State.PENDING:
            known = order is not None and order.operation == operation.path
            code = "INVALID_STATE" if known else "NOT_FOUND"
            refusal = reply_body | {"status": "REJECTED"} | _reason(code, ERRORS[code][1])
            return Outcome(Reply.json(200, refusal))
        message = self.callback(order, forged=False)
        return Outcome(Reply.json(200, reply_body | {"status": "ACCEPTED"}), message=message)

    def _balances(self, country: str | None, orders: Mapping[str, Order]) -> dict[str, Any]:
        """Return the one wallet of the account, which pays for all providers of Ghana."""
        held = self.float.available(orders.values())
        wallet = {"country": "GHA", "balance": major_units(max(0, held)), "currency": "GHS", "provider": ""}
        return {"balances": [wallet] if country in (None, "GHA") else []}

    def _availability(self) -> list[dict[str, Any]]:
        closed = self._settings.closed_providers
        providers = [
            {
                "provider": name,
                "operationTypes": [
                    {"operationType": kind, "status": "CLOSED" if name in closed else "OPERATIONAL"}
                    for kind in ("DEPOSIT", "PAYOUT", "REFUND")
                ],
            }
            for name in PROVIDERS
        ]
        return [{"country": "GHA", "providers": providers}]

    # The rest of `Wire`.

    def unavailable(self) -> Reply:
        """See `Wire.unavailable`: pawaPay says it with HTTP 200. It names no id, since none was read."""
        code = "PROVIDER_TEMPORARILY_UNAVAILABLE"
        return Reply.json(200, {"status": "REJECTED"} | _reason(code, ERRORS[code][1]))

    def throttled(self) -> Reply:
        """See `Wire.throttled`. pawaPay does not publish its answer to too many requests."""
        return Reply.json(429, {"message": "Too many requests"}, {"Retry-After": "1"})

    def reversible(self, order: Order, orders: Mapping[str, Order]) -> bool:
        """See `Wire.reversible`. pawaPay publishes no status of a reversed success."""
        del order, orders
        return False

    def callback(self, order: Order, *, forged: bool) -> Message | None:
        """See `Wire.callback`."""
        if order.callback_url is None:
            return None
        return Message("POST", order.callback_url, msgspec.json.encode(_result(order, forged=forged)))

    def learn(self, fact: dict[str, Any]) -> None:
        """See `Wire.learn`."""
        self._settings = msgspec.convert(fact["settings"], Settings)

    def reset(self) -> list[dict[str, Any]]:
        """See `Wire.reset`: the account's set-up stays, its providers open again."""
        self._settings = msgspec.structs.replace(self._settings, closed_providers=())
        return [{"settings": msgspec.to_builtins(self._settings)}]

    def control(self, resource: str, method: str, body: object) -> Outcome | None:
        """Serve `settings` (GET, PUT).

        Raises:
            BadBodyError: if the body cannot be used.
        """
        return serve_settings(self._settings, method, body) if resource == "settings" else None


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise _RefusedError("INVALID_INPUT") from problem


def _reference(text: object, field: str) -> str:
    found = uuid4_text(text)
    if found is None:
        raise _RefusedError("INVALID_PARAMETER", f"{field} must be a UUID version 4.")
    return found


def _pesewas(amount: object) -> int:
    found = _AMOUNT.fullmatch(amount) if isinstance(amount, str) else None
    if found is None:
        raise _RefusedError("INVALID_AMOUNT")
    return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))


def _refundable(body: dict[str, Any], orders: Mapping[str, Order]) -> tuple[int, Order]:
    """Return how much of which deposit is to be returned; without an amount, all of it."""
    original = orders.get(str(body.get("depositId", "")).lower())
    if original is None or original.side is not Side.DEBIT:
        raise _RefusedError("NOT_FOUND")
    if original.state is not State.SUCCEEDED:
        raise _RefusedError("INVALID_STATE")
    returned = sum(
        order.amount
        for order in orders.values()
        if order.details.get("depositId") == original.reference and order.state is not State.FAILED
    )
    if returned >= original.amount:
        raise _RefusedError("DEPOSIT_ALREADY_REFUNDED")
    amount = _pesewas(body["amount"]) if "amount" in body else original.amount
    if amount > original.amount - returned:
        raise _RefusedError("AMOUNT_TOO_LARGE")
    return amount, original


def _repeated(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a request carries for its sender alone, and that are shown with the order."""
    repeated: dict[str, Any] = {}
    label = body.get("clientReferenceId")
    if label is not None:
        if not isinstance(label, str) or not label:
            raise _RefusedError("INVALID_PARAMETER", "clientReferenceId must be a text.")
        repeated["clientReferenceId"] = label
    if body.get("metadata") is not None:
        repeated["metadata"] = _metadata(body["metadata"])
    return repeated


def _metadata(given: object) -> dict[str, Any]:
    """Return a list of fields, as a request carries them, as the one object that pawaPay shows."""
    try:
        fields = msgspec.convert(given, list[dict[str, Any]])
    except msgspec.ValidationError as problem:
        raise _RefusedError("INVALID_PARAMETER", "metadata must be a list of objects.") from problem
    shown: dict[str, Any] = {}
    for field in fields:
        for name in field.keys() - {"isPII"}:
            if name in shown:
                raise _RefusedError("DUPLICATE_METADATA_FIELD")
            shown[name] = field[name]
    return shown


def _result(order: Order, *, forged: bool = False) -> dict[str, Any]:
    """Return an order as status checks and callbacks show it."""
    operation = _OPERATIONS[order.operation]
    wallet = {"phoneNumber": order.msisdn, "provider": order.details["provider"]}
    result = {
        operation.id_field: order.reference,
        "status": "PROCESSING",
        "amount": order.details["amount"],
        "currency": "GHS",
        "country": "GHA",
        operation.party: {"type": "MMO", "accountDetails": wallet},
        "created": order.details["created"],
    }
    result |= {name: order.details[name] for name in _SHOWN if name in order.details}
    if order.state is State.SUCCEEDED or forged:
        transaction = network_transaction_id(order.reference)
        return result | {"status": "COMPLETED", "providerTransactionId": transaction}
    if order.state is State.FAILED:
        code = order.reason or "UNSPECIFIED_FAILURE"
        return result | {"status": "FAILED"} | _reason(code, code.replace("_", " ").capitalize())
    return result


def _status(operation: _Operation, text: str, orders: Mapping[str, Order], now: float) -> Reply:
    order = orders.get(_reference(text, operation.id_field))
    if order is None or order.operation != operation.path or order.visible_at > now:
        return Reply.json(200, {"status": "NOT_FOUND"})
    return Reply.json(200, {"status": "FOUND", "data": _result(order)})


def _predict(body: dict[str, Any]) -> Reply:
    digits = re.sub(r"\D", "", str(body.get("phoneNumber", "")))
    number = "233" + digits[1:] if digits.startswith("0") else digits
    provider = predicted(number) if GHANA.fullmatch(number) else None
    if provider is None:
        return Reply.json(400, _reason("INVALID_PARAMETER", "The phone number is not valid."))
    return Reply.json(200, {"country": "GHA", "provider": provider, "phoneNumber": number})


def _active_configuration() -> dict[str, Any]:
    kind = {
        "minAmount": major_units(MINIMUM),
        "maxAmount": major_units(MAXIMUM),
        "decimalsInAmount": "TWO_PLACES",
    }
    providers = [
        {
            "provider": name,
            "currencies": [
                {"currency": "GHS", "operationTypes": dict.fromkeys(("DEPOSIT", "PAYOUT", "REFUND"), kind)}
            ],
        }
        for name in PROVIDERS
    ]
    return {
        "companyName": "Sandbox",
        "countries": [{"country": "GHA", "prefix": "233", "providers": providers}],
    }


def _reason(code: str, message: str) -> dict[str, Any]:
    return {"failureReason": {"failureCode": code, "failureMessage": message}}


def _moment(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
