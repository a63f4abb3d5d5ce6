"""The interface of a simulated provider: its wire format and its errors."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from synccash.sandbox.orders import Order


class Call(msgspec.Struct, frozen=True):
    """One HTTP request to the rail; the names in `headers` are case-insensitive."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, str] = {}


class Reply(msgspec.Struct, frozen=True):
    """One HTTP response."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}

    @classmethod
    def json(cls, status: int, body: Any, headers: Mapping[str, str] | None = None) -> "Reply":
        """Return a response with a JSON body."""
        return cls(status, msgspec.json.encode(body), headers=headers or {})


class Message(msgspec.Struct, frozen=True):
    """One callback to the caller."""

    method: str
    url: str
    body: bytes
    headers: Mapping[str, str] = {}


class Outcome(msgspec.Struct, frozen=True):
    """The response of a rail, and what the journal must record before the response is sent.

    `message` is a callback that the caller requested again.
    """

    reply: Reply
    order: Order | None = None
    facts: tuple[dict[str, Any], ...] = ()
    message: Message | None = None


class RefusedError(Exception):
    """The request is refused with `reply`, and nothing about it is recorded."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class Wire(Protocol):
    """One provider's paths, headers, bodies and codes.

    Its methods do not wait. Its only state is facts: the rail calls `learn` with each fact that a method
    returned, and again after a restart.
    """

    rail_id: str
    prompt_window_s: float
    """How long a payer has to approve, in seconds; then the request fails with `expired_reason`."""
    expired_reason: str

    def kind(self, call: Call) -> str:
        """Return "money" for a request that moves money, "inquiry" for a status request, else "other"."""
        ...

    def inquired(self, call: Call) -> str:
        """Return the reference of the order that an inquiry is about; empty if it has none."""
        ...

    def answer(self, call: Call, orders: Mapping[str, Order], now: float) -> Outcome:
        """Decide one request; the outcome of an accepted one has its order.

        Inquiries find an order only after its `visible_at`; its reference is in use before that.

        Raises:
            RefusedError: with the response to a request that is refused at once.
        """
        ...

    def unavailable(self) -> Reply:
        """Return the provider's response for a temporary refusal without effect."""
        ...

    def throttled(self) -> Reply:
        """Return the provider's response for too many requests."""
        ...

    def reversible(self, order: Order, orders: Mapping[str, Order]) -> bool:
        """Return whether a success can be reversed now; False if the provider has no such status."""
        ...

    def callback(self, order: Order, *, forged: bool) -> Message | None:
        """Return the callback of an end or a reversal, or None if none is sent.

        A forged callback reports success, whatever the state of the order is.
        """
        ...

    def learn(self, fact: dict[str, Any]) -> None:
        """Apply one of its own facts."""
        ...

    def reset(self) -> list[dict[str, Any]]:
        """Restore the default settings; return the facts that stay (credentials)."""
        ...

    def control(self, resource: str, method: str, body: object) -> Outcome | None:
        """Serve a control resource of its own; None if there is no such resource or method.

        Raises:
            BadBodyError: if the body cannot be used.
        """
        ...


def kind_of(call: Call, *, moves_money: bool, inquires: bool) -> str:
    """Return the kind of a request (see `Wire.kind`) from its path and method; a wrong method is "other"."""
    if call.method == "POST" and moves_money:
        return "money"
    return "inquiry" if call.method == "GET" and inquires else "other"


def _html(status: int, text: str) -> Reply:
    body = f"<html><head><title>{text}</title></head><body>{text}</body></html>".encode()
    return Reply(status, body, content_type="text/html; charset=utf-8")


GATEWAY_REFUSAL = _html(403, "Request Rejected - Support ID: 7301255400198812345")
MAINTENANCE = _html(200, "We are upgrading our systems. Please try again later.")
EMPTY_500 = Reply(500, content_type="")
