"""The interface of a simulated provider: its wire format and its errors."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from synccash.sandbox.orders import Order


class Call(msgspec.Struct, frozen=True):
    """One HTTP request as it reached the rail; `headers` can be read in any case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, str] = {}


class Reply(msgspec.Struct, frozen=True):
    """One HTTP answer."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}

    @classmethod
    def json(cls, status: int, body: Any, headers: Mapping[str, str] | None = None) -> "Reply":
        """Return an answer with a JSON body."""
        return cls(status, msgspec.json.encode(body), headers=headers or {})


class Message(msgspec.Struct, frozen=True):
    """One callback to the caller."""

    method: str
    url: str
    body: bytes
    headers: Mapping[str, str] = {}


class Outcome(msgspec.Struct, frozen=True):
    """The answer of a rail, and what the journal must hold before the answer leaves.

    `message` is a callback that the caller requested again.
    """

    reply: Reply
    order: Order | None = None
    facts: tuple[dict[str, Any], ...] = ()
    message: Message | None = None


class RefusedError(Exception):
    """Ends the handling of a request with `reply`; nothing of the request is kept."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class Wire(Protocol):
    """One provider's paths, headers, bodies and codes.

    It decides without waiting, and keeps nothing but facts: `learn` is called with each fact when it is
    returned, and again after a restart.
    """

    rail_id: str
    prompt_window_s: float
    """How long a payer may take; after it the request fails with `expired_reason`."""
    expired_reason: str

    def kind(self, call: Call) -> str:
        """Return "money" for a request that moves it, "inquiry" for one about a status, else "other"."""
        ...

    def inquired(self, call: Call) -> str:
        """Return the key of the order that an inquiry is about; empty if it is about none."""
        ...

    def answer(self, call: Call, orders: Mapping[str, Order], now: float) -> Outcome:
        """Decide one request; an accepted one comes back with its order.

        Inquiries find an order only from its `visible_at` on; its reference is taken from the start.

        Raises:
            RefusedError: with the answer of a request that is refused at once.
        """
        ...

    def unavailable(self) -> Reply:
        """Return the provider's explicit "not now, nothing was done"."""
        ...

    def throttled(self) -> Reply:
        """Return the provider's "too many requests"."""
        ...

    def reversible(self, order: Order, orders: Mapping[str, Order]) -> bool:
        """Return whether a success can be reversed now: False where the provider has no status for that."""
        ...

    def callback(self, order: Order, *, forged: bool) -> Message | None:
        """Return the report of an end or a reversal, or None where none is sent.

        A forged one says success whatever is true.
        """
        ...

    def learn(self, fact: dict[str, Any]) -> None:
        """Take one of its own facts into account."""
        ...

    def reset(self) -> list[dict[str, Any]]:
        """Go back to default settings; return the facts that stay (credentials)."""
        ...

    def control(self, resource: str, method: str, body: object) -> Outcome | None:
        """Serve a control resource of its own; None when there is no such thing.

        Raises:
            BadBodyError: if the body cannot be used.
        """
        ...


def kind_of(call: Call, *, moves_money: bool, inquires: bool) -> str:
    """Return the kind of a request, see `Wire.kind`: what its path does counts only with the right method."""
    if call.method == "POST" and moves_money:
        return "money"
    return "inquiry" if call.method == "GET" and inquires else "other"


def _html(status: int, text: str) -> Reply:
    body = f"<html><head><title>{text}</title></head><body>{text}</body></html>".encode()
    return Reply(status, body, content_type="text/html; charset=utf-8")


GATEWAY_REFUSAL = _html(403, "Request Rejected - Support ID: 7301255400198812345")
MAINTENANCE = _html(200, "We are upgrading our systems. Please try again later.")
EMPTY_500 = Reply(500, content_type="")
