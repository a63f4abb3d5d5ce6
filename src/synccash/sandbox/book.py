"""The book of a simulated rail: the debits and credits that happened. Tests compare the engine's results
with it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from synccash.sandbox.orders import Order, Side, State
from synccash.sandbox.values import utc_time


def _entry(order: Order, at: float) -> dict[str, Any]:
    name, moment = order.booked_as or order.reference, utc_time(at, "milliseconds")
    return {"reference": name, "msisdn": order.msisdn, "amount": order.amount, "at": moment}


def book(orders: Iterable[Order], requests: int, faults: Mapping[str, int]) -> dict[str, Any]:
    """Return debits, credits and prompts, oldest first, with amounts in pesewas.

    A prompt is a request that reached a payer's phone; a debit is one whose money moved. A reversed order has
    an entry on each side, under the same reference. `requests` counts the money requests that reached the
    rail, including refused, repeated and dropped ones. `faults` counts by name how often a fault changed a
    response, a callback or the book.
    """
    held = list(orders)
    moves = sorted((move for order in held for move in _moves(order)), key=lambda move: move[1])
    return {
        "debits": [_entry(order, at) for order, at, side in moves if side is Side.DEBIT],
        "credits": [_entry(order, at) for order, at, side in moves if side is Side.CREDIT],
        "prompts": [_entry(order, order.accepted_at) for order in held if order.side is Side.DEBIT],
        "requests": requests,
        "faults": dict(faults),
    }


def _moves(order: Order) -> Iterator[tuple[Order, float, Side]]:
    """Yield each movement of an order's money, with its time and side."""
    if order.state in (State.SUCCEEDED, State.REVERSED):
        yield order, order.accepted_at if order.ended_at is None else order.ended_at, order.side
    if order.reversed_at is not None:
        yield order, order.reversed_at, Side.CREDIT if order.side is Side.DEBIT else Side.DEBIT
