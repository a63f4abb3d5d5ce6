"""Step 5 of docs/adding-a-rail.md: the toy played back. It knows nothing of the connector."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import msgspec

from synccash.sandbox.orders import Order, Side, State
from synccash.sandbox.wire import Call, Message, Outcome, Reply

_STATES = {State.PENDING: "WAITING", State.SUCCEEDED: "PAID", State.FAILED: "FAILED"}


class Toy:
    rail_id = "toy"
    prompt_window_s = 60.0
    expired_reason = "REFUSED"

    def __init__(self, clock: Callable[[], float], rng: Random) -> None:
        del clock, rng  # the toy has no tokens that expire, and draws nothing
        self._key: str | None = None

    def kind(self, call: Call) -> str:
        if call.path == "/collections" and call.method == "POST":
            return "money"
        return "inquiry" if call.path.startswith("/collections/") and call.method == "GET" else "other"

    def inquired(self, call: Call) -> str:
        return call.path.rpartition("/")[2]

    def answer(self, call: Call, orders: Mapping[str, Order], now: float) -> Outcome:
        if self._key is None or call.headers.get("X-Toy-Key") != self._key:
            return Outcome(Reply.json(401, {"code": "BAD_KEY"}))
        match self.kind(call):
            case "money":
                return self._collect(msgspec.json.decode(call.body), orders)
            case "inquiry":
                return Outcome(self._show(call.path.rpartition("/")[2], orders, now))
            case _:
                return Outcome(Reply(404))

    def _collect(self, body: dict[str, Any], orders: Mapping[str, Order]) -> Outcome:
        if body["reference"] in orders:
            return Outcome(Reply.json(409, {"code": "HAD_IT"}))
        whole, _, minor = body["amount"].partition(".")
        order = Order(
            reference=body["reference"],
            operation="collect",
            side=Side.DEBIT,
            msisdn=body["payer"],
            amount=int(whole) * 100 + int(minor),
            callback_url=body["tell"],
        )
        return Outcome(Reply.json(202, {"code": "TAKEN"}), order=order)

    def _show(self, reference: str, orders: Mapping[str, Order], now: float) -> Reply:
        order = orders.get(reference)
        if order is None or order.visible_at > now:
            return Reply.json(404, {"code": "UNKNOWN", "reference": reference})
        amount = f"{order.amount // 100}.{order.amount % 100:02d}"
        state = {"state": _STATES[order.state], "reason": order.reason, "amount": amount}
        return Reply.json(200, {"code": "OK", "reference": reference, **state})

    def unavailable(self) -> Reply:
        return Reply.json(503, {"code": "BUSY"})

    def throttled(self) -> Reply:
        return Reply.json(429, {"code": "BUSY"})

    def reversible(self, order: Order, orders: Mapping[str, Order]) -> bool:
        del order, orders  # the toy takes no success back
        return False

    def callback(self, order: Order, *, forged: bool) -> Message | None:
        if order.callback_url is None:
            return None
        state = "PAID" if forged else _STATES[order.state]
        return Message("POST", order.callback_url, msgspec.json.encode({"state": state}))

    def learn(self, fact: dict[str, Any]) -> None:
        self._key = fact["key"]

    def reset(self) -> list[dict[str, Any]]:
        return [] if self._key is None else [{"key": self._key}]

    def control(self, resource: str, method: str, body: object) -> Outcome | None:
        if (resource, method) != ("settings", "PUT") or not isinstance(body, dict):
            return None
        return Outcome(Reply.json(200, body), facts=({"key": body["key"]},))
