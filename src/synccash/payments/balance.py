"""A merchant's balance: its sums, the names of its credits, and the fees that reduce it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BY_MIGRATION = "credit_by_migration"
"""The first part of the name of a credit that a migration granted, until an operator confirms it."""
CONFIRMED = "credit_confirmed"
"""The first part of the name of the credit that replaces it after confirmation."""
CREDIT_MAX = 10**15
"""The largest amount that one credit may add or subtract, in pesewas."""

_OPERATIONS = ("collect", "refund", "payout")
_BPS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceAccount:
    """Identifies one balance: a merchant, a mode and a currency."""

    merchant_id: str
    livemode: bool
    currency: str

    def __str__(self) -> str:
        return f"{self.merchant_id} {'live' if self.livemode else 'test'} {self.currency}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """One merchant's balance in one mode and currency. All sums in pesewas.

    `collected` is money that came in and was not taken back; `refunded` and `paid_out` were sent; `reserved`
    is what open refunds and payouts, those under review included, may still send; `credit` was granted by an
    operator.
    """

    merchant_id: str
    livemode: bool
    currency: str
    collected: int = 0
    refunded: int = 0
    paid_out: int = 0
    reserved: int = 0
    credit: int = 0
    fees: int = 0

    @property
    def available(self) -> int:
        """What may be refunded or paid out now. Below 0 when a rail took back money that was paid out
        already."""
        return self.collected + self.credit - self.refunded - self.paid_out - self.reserved - self.fees


def balance_document(balance: Balance) -> dict[str, Any]:
    """Return a balance as the API shows it."""
    return {
        "object": "balance",
        "merchant_id": balance.merchant_id,
        "livemode": balance.livemode,
        "currency": balance.currency,
        "available": balance.available,
        "reserved": balance.reserved,
        "collected": balance.collected,
        "refunded": balance.refunded,
        "paid_out": balance.paid_out,
        "credit": balance.credit,
        "fees": balance.fees,
    }


def credit_source(kind: str, account: BalanceAccount, key: str = "") -> str:
    """Return the unique name of a credit."""
    mode = "live" if account.livemode else "test"
    return ":".join(filter(None, (kind, account.merchant_id, mode, account.currency, key)))


def read_fees(text: str) -> Mapping[tuple[str, str], int]:
    """Read `RAIL:OPERATION=BPS, …` into basis points (100 = 1 %) by rail and operation. Raises ValueError."""
    fees: dict[tuple[str, str], int] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        rail, _, operation = (piece.strip() for piece in name.partition(":"))
        if not equals or not rail or operation not in _OPERATIONS:
            raise ValueError(f"{part}: expected RAIL:OPERATION=BPS with one of {', '.join(_OPERATIONS)}")
        if not value.isdecimal() or not 0 <= int(value) <= _BPS_MAX:
            raise ValueError(f"{part}: expected 0 to {_BPS_MAX} basis points (100 are 1 %)")
        if (rail, operation) in fees:
            raise ValueError(f"{name} is set twice; set it once")
        fees[rail, operation] = int(value)
    return {key: bps for key, bps in fees.items() if bps}
