"""The float of a rail's account, from which it pays: an opening amount and the movements of its orders."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import msgspec

from synccash.sandbox.orders import Order, Side, State


class Float:
    """The float of one account, in pesewas. A payout that is under way is already deducted."""

    def __init__(self, opening: int) -> None:
        self.opening = opening
        self._default = opening

    def available(self, orders: Iterable[Order]) -> int:
        """Return the amount that is left after these orders of the account."""
        return self.opening + sum(_moved(order) for order in orders)

    def opening_for(self, pesewas: int, orders: Iterable[Order]) -> int:
        """Return the opening amount for which `available` returns `pesewas` now."""
        return pesewas - sum(_moved(order) for order in orders)

    def reset(self) -> None:
        """Reset the opening amount to that of a new account."""
        self.opening = self._default


@runtime_checkable
class FloatWire(Protocol):
    """A wire whose payouts are deducted from a float."""

    float: Float


class FloatSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `PUT /control/{rail}/float`."""

    pesewas: int = 0


def _moved(order: Order) -> int:
    if order.side is Side.DEBIT:
        return order.amount if order.state is State.SUCCEEDED else 0
    under_way = order.state is State.PENDING and order.fate.reason is None
    return -order.amount if under_way or order.state is State.SUCCEEDED else 0
