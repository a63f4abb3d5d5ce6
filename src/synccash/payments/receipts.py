"""What a rail's word about a reference is worth: the order that was asked about, or another."""

from enum import StrEnum

from synccash.payments.attempt import ADOPTED, Attempt
from synccash.payments.rail import Operation, RailStatus, StatusAnswer


class Receipt(StrEnum):
    """How what a rail reports compares with what the attempt asked for."""

    AS_ASKED = "as_asked"
    OTHER_AMOUNT = "amount_differs"
    OTHER_CURRENCY = "currency_differs"
    OTHER_PAYER = "payer_differs"
    UNNAMED_PAYER = "payer_unnamed"
    """The attempt was adopted after a recovery, and the rail does not say whose wallet it is about."""


def receipt_of(attempt: Attempt, currency: str, answer: StatusAnswer) -> Receipt:
    """Compare a success with the attempt. A rail that names no amount, currency or wallet reports what was
    asked; of an attempt that was adopted it has to name the wallet."""
    if answer.other_wallet:
        return Receipt.OTHER_PAYER
    if answer.currency not in (None, currency):
        return Receipt.OTHER_CURRENCY
    if answer.amount not in (None, attempt.amount):
        return Receipt.OTHER_AMOUNT
    # Whom a refund goes to is settled by its debit.
    if attempt.retry_decision == ADOPTED and answer.wallet is None and attempt.operation != Operation.REFUND:
        return Receipt.UNNAMED_PAYER
    return Receipt.AS_ASKED


def received_by(attempt: Attempt, currency: str, answer: StatusAnswer) -> int:
    """Return the pesewas that a success brought; 0 for another currency or another wallet."""
    if receipt_of(attempt, currency, answer) in (Receipt.OTHER_CURRENCY, Receipt.OTHER_PAYER):
        return 0
    return attempt.amount if answer.amount is None else answer.amount


def foreign_to(attempt: Attempt, currency: str, answer: StatusAnswer) -> Receipt | None:
    """Return how the rail's answer shows that the reference stands for another order; None where it does not.

    Before an end a rail need not know the amount, so only the wallet counts.
    """
    receipt = receipt_of(attempt, currency, answer)
    if answer.status_at_rail is RailStatus.SUCCEEDED:
        return None if receipt is Receipt.AS_ASKED else receipt
    is_found = answer.status_at_rail in (RailStatus.PENDING, RailStatus.FAILED)
    return receipt if is_found and receipt is Receipt.OTHER_PAYER else None
