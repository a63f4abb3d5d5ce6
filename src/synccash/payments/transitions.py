"""The transition tables of payments, refunds and payouts: which status follows a status after an event.

docs/states.md has the diagrams that `python tests/docs/states_page.py` generates from these tables.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from synccash.payments.case import Order
from synccash.payments.errors import IllegalTransitionError
from synccash.payments.payment import OrderKind, OutgoingStatus, PaymentStatus, StatusDetail


class OrderEvent(StrEnum):
    """What happened to an order."""

    ACKNOWLEDGED = "acknowledged"
    """The rail accepted the attempt and has not decided yet."""
    ACTION_REQUIRED = "action_required"
    """The rail waits for an input of the payer, such as a one-time password."""
    OTP_SUBMITTED = "otp_submitted"
    """The payer's one-time password is being sent to the rail."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """A send left, and its outcome is unknown."""
    QUEUED = "queued"
    """No rail has accepted the order yet; it is tried again later."""
    HELD_FOR_RISK = "held_for_risk"
    """A person decides on the risk before anything is sent."""
    REVIEW_REQUIRED = "review_required"
    """No rail can tell the outcome, or its answer contradicts what is known."""
    SUCCEEDED = "succeeded"
    """The money moved."""
    FAILED = "failed"
    """The last attempt was declined, no rail can take the order, or a person declined it."""
    EXPIRED = "expired"
    """The order expired while no attempt could move money."""
    CANCELED = "canceled"
    """The merchant canceled the payment while no attempt could move money."""


class OrderState(NamedTuple):
    """An order's status and the reason for it."""

    status: PaymentStatus | OutgoingStatus
    detail: StatusDetail | None = None


Transitions = Mapping[tuple[PaymentStatus | OutgoingStatus, OrderEvent], OrderState]
"""The state of an order after an event. A pair that is missing is illegal in a status that is not final."""

_E, _D, _P, _O = OrderEvent, StatusDetail, PaymentStatus, OutgoingStatus

_OPEN_PAYMENT: dict[OrderEvent, OrderState] = {
    _E.ACKNOWLEDGED: OrderState(_P.PROCESSING, _D.AWAITING_PAYER),
    _E.ACTION_REQUIRED: OrderState(_P.REQUIRES_ACTION),
    _E.OUTCOME_UNKNOWN: OrderState(_P.PROCESSING, _D.OUTCOME_UNKNOWN),
    _E.QUEUED: OrderState(_P.PROCESSING, _D.QUEUED),
    _E.REVIEW_REQUIRED: OrderState(_P.PROCESSING, _D.UNDER_REVIEW),
    _E.SUCCEEDED: OrderState(_P.SUCCEEDED),
    _E.FAILED: OrderState(_P.FAILED),
    _E.EXPIRED: OrderState(_P.FAILED, _D.EXPIRED),
    _E.CANCELED: OrderState(_P.CANCELED),
}

PAYMENT_TRANSITIONS: Transitions = {
    **{
        (status, event): state
        for status in (_P.CREATED, _P.REQUIRES_ACTION, _P.PROCESSING)
        for event, state in _OPEN_PAYMENT.items()
    },
    # Risk is decided before the first send, and a password is submitted only while the rail waits for one.
    (_P.CREATED, _E.HELD_FOR_RISK): OrderState(_P.PROCESSING, _D.RISK_REVIEW),
    (_P.REQUIRES_ACTION, _E.OTP_SUBMITTED): OrderState(_P.PROCESSING, _D.OUTCOME_UNKNOWN),
}

REFUND_TRANSITIONS: Transitions = {
    (_O.PROCESSING, _E.ACKNOWLEDGED): OrderState(_O.PROCESSING),
    (_O.PROCESSING, _E.OUTCOME_UNKNOWN): OrderState(_O.PROCESSING, _D.OUTCOME_UNKNOWN),
    (_O.PROCESSING, _E.QUEUED): OrderState(_O.PROCESSING, _D.QUEUED),
    (_O.PROCESSING, _E.REVIEW_REQUIRED): OrderState(_O.PROCESSING, _D.UNDER_REVIEW),
    (_O.PROCESSING, _E.SUCCEEDED): OrderState(_O.SUCCEEDED),
    (_O.PROCESSING, _E.FAILED): OrderState(_O.FAILED),
}
"""A refund is never held for risk and never expires: the money stays owed to the payer."""

PAYOUT_TRANSITIONS: Transitions = {
    **REFUND_TRANSITIONS,
    (_O.PROCESSING, _E.HELD_FOR_RISK): OrderState(_O.PROCESSING, _D.RISK_REVIEW),
    (_O.PROCESSING, _E.EXPIRED): OrderState(_O.FAILED, _D.EXPIRED),
}
"""A payout cannot be canceled, and its payee never has to do anything."""

TRANSITIONS: Mapping[OrderKind, Transitions] = {
    OrderKind.PAYMENT: PAYMENT_TRANSITIONS,
    OrderKind.REFUND: REFUND_TRANSITIONS,
    OrderKind.PAYOUT: PAYOUT_TRANSITIONS,
}

ABSORBED = frozenset(
    {
        _E.ACKNOWLEDGED,
        _E.ACTION_REQUIRED,
        _E.OUTCOME_UNKNOWN,
        _E.QUEUED,
        _E.REVIEW_REQUIRED,
        _E.SUCCEEDED,
        _E.FAILED,
        _E.EXPIRED,
    }
)
"""The events of a table that a final status ignores: a rail may answer about an order after it ended. The
other events are decisions on open orders, and illegal in a final status."""


def state_after(order: Order, event: OrderEvent) -> OrderState | None:
    """Return the order's state after the event; None when its final status ignores the event.

    Raises IllegalTransitionError.
    """
    table = TRANSITIONS[order.kind]
    state = table.get((order.status, event))
    if state is None and not (order.status.is_final and event in ABSORBED and _is_known(event, table)):
        raise IllegalTransitionError(order.id, order.status, event)
    return state


def _is_known(event: OrderEvent, table: Transitions) -> bool:
    return any(event is known for _, known in table)
