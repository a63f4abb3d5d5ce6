"""What a rail's word of success is worth: the money that was asked for, or other money."""

from enum import StrEnum

from synccash.payments.attempt import Attempt
from synccash.payments.rail import StatusAnswer


class Receipt(StrEnum):
    """How the money that a rail reports compares with what the attempt asked for."""

    AS_ASKED = "as_asked"
    OTHER_AMOUNT = "amount_differs"
    OTHER_CURRENCY = "currency_differs"


def receipt_of(attempt: Attempt, currency: str, answer: StatusAnswer) -> Receipt:
    """Compare a success with the attempt. A rail that names no amount or currency reports what was asked."""
    if answer.currency not in (None, currency):
        return Receipt.OTHER_CURRENCY
    if answer.amount not in (None, attempt.amount):
        return Receipt.OTHER_AMOUNT
    return Receipt.AS_ASKED


def received_by(attempt: Attempt, currency: str, answer: StatusAnswer) -> int:
    """Return the pesewas that a success brought; 0 where it came in another currency."""
    if receipt_of(attempt, currency, answer) is Receipt.OTHER_CURRENCY:
        return 0
    return attempt.amount if answer.amount is None else answer.amount
