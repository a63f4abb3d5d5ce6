"""Simulates Paystack: its paths and its answers."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random
from typing import Any

import msgspec

from synccash.sandbox.floats import Float
from synccash.sandbox.orders import APPROVES, Order, Pace, ScriptedOutcome, Side, State
from synccash.sandbox.paystack.access import AccessControl
from synccash.sandbox.paystack.inquiries import (
    NOT_FOUND,
    answer_inquiry,
    banks,
    recipients,
    refunds,
    transactions,
    transfers,
)
from synccash.sandbox.paystack.objects import attempted, queued_refund, refund_data, refunds_of, transaction
from synccash.sandbox.paystack.request import (
    cedis,
    error,
    json_object,
    nested,
    optional_text,
    pesewas,
    phone,
    success,
    text,
)
from synccash.sandbox.paystack.tables import (
    FAILING_OTP,
    OPENING_BALANCE,
    OTP_DECLINED,
    OWN_CURRENCY,
    PROVIDERS,
    TELCOS,
    TEST_OTP,
    WAITS_FOR_OTP,
    outcome_of,
)
from synccash.sandbox.paystack.transfers import (
    Recipient,
    code_of,
    queued_transfer,
    recipient_data,
    transfer_data,
)
from synccash.sandbox.wire import Call, Message, Outcome, RefusedError, Reply, kind_of

_MONEY = frozenset({"/charge", "/charge/submit_otp", "/refund", "/transfer"})
_LISTS = frozenset({"/transaction", "/transfer", "/refund"})
_INQUIRY = re.compile(r"/(transaction/verify|charge|transfer/verify|refund)/([^/]+)")
_CHARGE_REFERENCE = re.compile(r"[A-Za-z0-9.=-]{1,100}")
_TRANSFER_REFERENCE = re.compile(r"[a-z0-9_-]{16,50}")
_UNPAID = {
    State.PENDING: "Transaction has not been paid",
    State.FAILED: "Transaction has not been paid",
    State.REVERSED: "Transaction has been fully reversed",
}
_FIRST_ID = 4_000_000_000


class Paystack:
    """Paystack's API for mobile money in Ghana; see `synccash.sandbox.wire.Wire`.

    Charges, refunds and transfers have keys of their own among the orders, as at Paystack: a charge and a
    transfer may share a reference, and a refund has none. A refund is booked under its `merchant_note`, the
    only text of the caller's that Paystack keeps with it.
    """

    rail_id = "paystack"
    prompt_window_s = 180.0
    expired_reason = "TIMED_OUT"

    def __init__(self, _clock: Callable[[], float], _rng: Random) -> None:
        self._access = AccessControl()
        self.float = Float(OPENING_BALANCE)
        self._recipients: dict[str, Recipient] = {}

    def kind(self, call: Call) -> str:
        """See `Wire.kind`."""
        inquires = call.path in _LISTS or _INQUIRY.fullmatch(call.path) is not None
        return kind_of(call, moves_money=call.path in _MONEY, inquires=inquires)

    def inquired(self, call: Call) -> str:
        """See `Wire.inquired`."""
        found = _INQUIRY.fullmatch(call.path)
        if found is None:
            return ""
        prefix = {"transaction/verify": "", "charge": "", "transfer/verify": "transfer "}.get(
            found[1], "refund "
        )
        return prefix + found[2]

    def answer(self, call: Call, orders: Mapping[str, Order], now: float) -> Outcome:
        """See `Wire.answer`."""
        try:
            outcome = self._route(call, self._access.integration(call), orders, now)
        except RefusedError as refused:
            outcome = Outcome(refused.reply)
        date = {"Date": format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True)}
        return msgspec.structs.replace(
            outcome, reply=msgspec.structs.replace(outcome.reply, headers={**outcome.reply.headers, **date})
        )

    def _route(self, call: Call, owner: int, orders: Mapping[str, Order], now: float) -> Outcome:
        mine = _orders_of(owner, orders)
        match call.method, call.path:
            case "POST", "/charge":
                return self._charge(json_object(call), owner, orders, now)
            case "POST", "/charge/submit_otp":
                return self._submit_otp(json_object(call), owner, orders)
            case "POST", "/refund":
                return self._refund(json_object(call), owner, orders, now)
            case "POST", "/transferrecipient":
                return self._recipient(json_object(call), owner, now)
            case "POST", "/transfer":
                return self._transfer(json_object(call), owner, orders, now)
            case "GET", "/refund":
                return Outcome(refunds(call.query, mine, now))
            case "GET", "/transaction":
                return Outcome(transactions(call.query, mine, now))
            case "GET", "/transfer":
                return Outcome(transfers(call.query, mine, now))
            case "GET", "/transferrecipient":
                return Outcome(recipients(call.query, self._recipients.values(), owner))
            case "GET", "/bank":
                return Outcome(banks(call.query))
            case "GET", "/balance":
                balance = {"currency": "GHS", "balance": self.float.available(mine)}
                return Outcome(success("Balances retrieved", [balance]))
            case "GET", path if found := _INQUIRY.fullmatch(path):
                return Outcome(answer_inquiry(found[1], found[2], owner, orders, now))
            case _:
                return Outcome(error(404, "Not found", "not_found", "api_error"))

    # Charges.

    def _charge(self, body: dict[str, Any], owner: int, orders: Mapping[str, Order], now: float) -> Outcome:
        email, amount = text(body, "email"), pesewas(body)
        cedis(body, OWN_CURRENCY)
        wallet = nested(body, "mobile_money")
        provider, number = text(wallet, "provider"), phone(text(wallet, "phone"))
        if provider not in PROVIDERS:
            return Outcome(error(400, "Invalid mobile money provider", "invalid_params"))
        reference = str(body.get("reference") or f"T{len(orders):015d}")
        if not _CHARGE_REFERENCE.fullmatch(reference):
            return Outcome(error(400, "Invalid transaction reference", "invalid_params"))
        if reference in orders:
            return Outcome(error(400, "Duplicate Transaction Reference", "duplicate_reference"))
        fate = outcome_of(number)
        waits = provider == WAITS_FOR_OTP
        details = {
            "integration": owner,
            "id": _FIRST_ID + len(orders),
            "email": email,
            "provider": provider,
            "metadata": body.get("metadata"),
            "waits": waits,
            "requested_amount": amount,
        }
        order = Order(
            reference=reference,
            operation="charge",
            side=Side.DEBIT,
            msisdn=_international(number),
            amount=amount,
            details=details,
            accepted_at=now,
            fate=ScriptedOutcome(pace=Pace.WINDOW) if waits else fate,
        )
        return Outcome(success("Charge attempted", attempted(order)), order=order)

    def _submit_otp(self, body: dict[str, Any], owner: int, orders: Mapping[str, Order]) -> Outcome:
        otp, order = text(body, "otp"), orders.get(text(body, "reference"))
        if order is None or order.operation != "charge" or order.details["integration"] != owner:
            return Outcome(NOT_FOUND)
        if order.state is not State.PENDING or not order.details["waits"]:
            return Outcome(error(400, "Charge is not waiting for an OTP", "invalid_state"))
        if otp == FAILING_OTP:
            return _failed_over_otp(order)
        if otp != TEST_OTP:
            return Outcome(error(400, "Invalid OTP, please try again", "invalid_otp"))
        given = msgspec.structs.replace(
            order,
            details={**order.details, "waits": False, "since": order.accepted_at},
            fate=outcome_of("0" + order.msisdn[3:]),
        )
        return Outcome(success("Charge attempted", attempted(given)), order=given)

    # Refunds.

    def _refund(self, body: dict[str, Any], owner: int, orders: Mapping[str, Order], now: float) -> Outcome:
        """Queue a refund. More than was taken is *not* refused, so that the book shows a double refund."""
        name = str(body.get("transaction", ""))
        original = _charge_named(name, owner, orders)
        if original is None or original.state is not State.SUCCEEDED:
            message = "Transaction not found" if original is None else _UNPAID[original.state]
            return Outcome(error(404 if original is None else 400, message, "transaction_not_found"))
        amount = original.amount if body.get("amount") is None else pesewas(body)
        if amount > original.amount:
            return Outcome(error(400, "Refund amount cannot exceed the transaction amount", "invalid_params"))
        number = _FIRST_ID + len(orders)
        note = str(body.get("merchant_note") or f"Refund for transaction {original.reference}")
        order = Order(
            reference=f"refund {number}",
            booked_as=note,
            operation="refund",
            side=Side.CREDIT,
            msisdn=original.msisdn,
            amount=amount,
            details={
                "integration": owner,
                "id": number,
                "transaction": original.details["id"],
                "transaction_reference": original.reference,
                "merchant_note": note,
                "customer_note": body.get("customer_note"),
            },
            accepted_at=now,
            fate=APPROVES,
        )
        shown = queued_refund(order, original)
        return Outcome(success("Refund has been queued for processing", shown), order=order)

    # Transfers.

    def _recipient(self, body: dict[str, Any], owner: int, now: float) -> Outcome:
        """Make a recipient. One for a wallet that the account has already is answered as it is."""
        name, number, telco = text(body, "name"), text(body, "account_number"), text(body, "bank_code")
        cedis(body, OWN_CURRENCY)
        if body.get("type") != "mobile_money" or telco not in TELCOS:
            return Outcome(error(400, "Invalid recipient type or bank code", "invalid_params"))
        phone(number)
        code = code_of(owner, telco, number)
        known = self._recipients.get(code)
        recipient = known or Recipient(
            recipient_code=code,
            name=name,
            account_number=number,
            bank_code=telco,
            integration=owner,
            created_at=now,
            description=optional_text(body, "description"),
            email=optional_text(body, "email"),
            metadata=body.get("metadata"),
        )
        reply = success("Transfer recipient created successfully", recipient_data(recipient), 201)
        return Outcome(reply, facts=() if known else ({"recipient": msgspec.to_builtins(recipient)},))

    def _transfer(self, body: dict[str, Any], owner: int, orders: Mapping[str, Order], now: float) -> Outcome:
        """Queue a transfer. A known reference gets its transfer as it is: nothing is sent again."""
        amount, reference = pesewas(body), text(body, "reference")
        cedis(body)
        recipient = self._recipients.get(text(body, "recipient"))
        if body.get("source") != "balance" or recipient is None or recipient.integration != owner:
            return Outcome(error(400, "Recipient specified is invalid", "invalid_params"))
        if not _TRANSFER_REFERENCE.fullmatch(reference):
            return Outcome(error(400, "Transfer reference is not valid", "invalid_params"))
        known = orders.get(f"transfer {reference}")
        if known is not None:
            return Outcome(success("Transfer has been queued", queued_transfer(known)))
        if amount > self.float.available(_orders_of(owner, orders)):
            return Outcome(
                error(400, "Your balance is not enough to fulfil this request", "insufficient_balance")
            )
        number = recipient.account_number
        order = Order(
            reference=f"transfer {reference}",
            booked_as=reference,
            operation="transfer",
            side=Side.CREDIT,
            msisdn=_international(number),
            amount=amount,
            details={
                "integration": owner,
                "id": _FIRST_ID + len(orders),
                "recipient": msgspec.to_builtins(recipient),
                "reason": optional_text(body, "reason"),
            },
            accepted_at=now,
            fate=outcome_of(number),
        )
        return Outcome(success("Transfer has been queued", queued_transfer(order)), order=order)

    # The rest of `Wire`.

    def unavailable(self) -> Reply:
        """See `Wire.unavailable`. Paystack publishes no such code; its edge sends a plain 503."""
        return error(503, "Service unavailable")

    def throttled(self) -> Reply:
        """See `Wire.throttled`."""
        reply = error(429, "Too many requests, please slow down", "rate_limited", "api_error")
        return msgspec.structs.replace(reply, headers={"Retry-After": "1"})

    def reversible(self, order: Order, orders: Mapping[str, Order]) -> bool:
        """See `Wire.reversible`. A charge that is being refunded is not reversed as well."""
        return order.operation == "transfer" or (
            order.operation == "charge" and not refunds_of(order, orders)
        )

    def callback(self, order: Order, *, forged: bool) -> Message | None:
        """See `Wire.callback`. Paystack has no event for a charge that failed or was reversed."""
        succeeded = forged or order.state is State.SUCCEEDED
        end = "success" if succeeded else "reversed" if order.state is State.REVERSED else "failed"
        match order.operation:
            case "charge":
                name, data = "charge.success", transaction(order, forged=forged)
                if not succeeded:
                    return None
            case "refund":
                name, data = f"refund.{'processed' if succeeded else 'failed'}", refund_data(order)
            case _:
                name, data = f"transfer.{end}", transfer_data(order)
        return self._access.event(order.details["integration"], name, data, forged=forged)

    def learn(self, fact: dict[str, Any]) -> None:
        """See `Wire.learn`."""
        if "recipient" in fact:
            recipient = msgspec.convert(fact["recipient"], Recipient)
            self._recipients[recipient.recipient_code] = recipient
        else:
            self._access.learn(fact)

    def reset(self) -> list[dict[str, Any]]:
        """See `Wire.reset`. Accounts and recipients stay."""
        return [
            *self._access.facts(),
            *({"recipient": msgspec.to_builtins(known)} for known in self._recipients.values()),
        ]

    def control(self, resource: str, method: str, body: object) -> Outcome | None:
        """Serve `credentials`; see `AccessControl.register_account`."""
        return self._access.register_account(body) if (resource, method) == ("credentials", "PUT") else None


def _failed_over_otp(order: Order) -> Outcome:
    """Fail a charge in the answer to its password, which Paystack reports in a successful answer."""
    details = {**order.details, "waits": False, "since": order.accepted_at}
    fate = ScriptedOutcome(reason=OTP_DECLINED, pace=Pace.AT_ONCE)
    planned = msgspec.structs.replace(order, details=details, fate=fate)
    shown = attempted(planned.ended(State.FAILED, OTP_DECLINED, order.accepted_at))
    return Outcome(success("Charge attempted", shown), order=planned)


def _orders_of(owner: int, orders: Mapping[str, Order]) -> Iterator[Order]:
    return (order for order in orders.values() if order.details["integration"] == owner)


def _international(number: str) -> str:
    return "233" + number[1:]


def _charge_named(name: str, owner: int, orders: Mapping[str, Order]) -> Order | None:
    order = orders.get(name)
    if order is None and name.isdecimal():
        order = next((held for held in orders.values() if str(held.details["id"]) == name), None)
    is_charge = order is not None and order.operation == "charge" and order.details["integration"] == owner
    return order if is_charge else None
