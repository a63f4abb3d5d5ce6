"""Checks whether a rail's answer about a reference is about our attempt or about another order."""

from enum import StrEnum

from synccash.payments.attempt import ADOPTED, Attempt
from synccash.payments.rail import Operation, RailStatus, StatusAnswer


class Receipt(StrEnum):
    """The result of comparing a rail's answer with the attempt."""

    AS_ASKED = "as_asked"
    OTHER_AMOUNT = "amount_differs"
    OTHER_CURRENCY = "currency_differs"
    OTHER_PAYER = "payer_differs"
    UNNAMED_PAYER = "payer_unnamed"
    """The attempt was adopted after a recovery, and the rail does not name the wallet."""


def receipt_of(attempt: Attempt, currency: str, answer: StatusAnswer) -> Receipt:
    """Compare a success with the attempt. An amount, currency or wallet that the rail does not name counts as
    the attempt's; for an adopted attempt the rail has to name the wallet."""
    if answer.other_wallet:
        return Receipt.OTHER_PAYER
    if answer.currency not in (None, currency):
        return Receipt.OTHER_CURRENCY
    if answer.amount not in (None, attempt.amount):
        return Receipt.OTHER_AMOUNT
    # The debit determines the wallet of a refund.
    if attempt.retry_decision == ADOPTED and answer.wallet is None and attempt.operation != Operation.REFUND:
        return Receipt.UNNAMED_PAYER
    return Receipt.AS_ASKED


def received_by(attempt: Attempt, currency: str, answer: StatusAnswer) -> int:
    """Return the pesewas that a success moved; 0 for another currency or another wallet."""
    if receipt_of(attempt, currency, answer) in (Receipt.OTHER_CURRENCY, Receipt.OTHER_PAYER):
        return 0
    return attempt.amount if answer.amount is None else answer.amount


def foreign_to(attempt: Attempt, currency: str, answer: StatusAnswer) -> Receipt | None:
    """Return how the rail's answer shows that the reference belongs to another order; None when it does not.

    Unless the answer is a success, only the wallet counts: the rail may not know the amount yet.
    """
    receipt = receipt_of(attempt, currency, answer)
    if answer.status_at_rail is RailStatus.SUCCEEDED:
        return None if receipt is Receipt.AS_ASKED else receipt
    is_found = answer.status_at_rail in (RailStatus.PENDING, RailStatus.FAILED)
    return receipt if is_found and receipt is Receipt.OTHER_PAYER else None
