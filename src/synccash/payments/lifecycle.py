"""Status changes of orders. Every writer changes the status of an order through these functions only.

`transitions` has the allowed changes. Each function returns an order in a final status unchanged where
`transitions.ABSORBED` has the event, and raises IllegalTransitionError for an event that its table lacks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import Order, Routed
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payment import OrderKind, Payment, PaymentStatus, Refund, StatusDetail
from synccash.payments.payout import Payout
from synccash.payments.rail import NextAction, NextActionType
from synccash.payments.transitions import OrderEvent, state_after

_APPROVE = NextAction(NextActionType.APPROVE_ON_PHONE)

_O = TypeVar("_O", Payment, Refund, Payout, Routed, Order)

_EVENT_OF: Mapping[AttemptState, OrderEvent] = {
    AttemptState.ACKNOWLEDGED: OrderEvent.ACKNOWLEDGED,
    AttemptState.UNKNOWN: OrderEvent.OUTCOME_UNKNOWN,
    AttemptState.SUCCEEDED: OrderEvent.SUCCEEDED,
    AttemptState.DECLINED: OrderEvent.FAILED,
    AttemptState.NOT_SENT: OrderEvent.QUEUED,
}
"""The event for the order when its latest attempt reaches a state. PREPARED tells nothing yet."""


def with_next_attempt(order: _O, attempt: Attempt, **changes: Any) -> _O:
    """Return the order with one more attempt under way, and with `changes` of other fields. A refund keeps
    its rail and counts no attempts."""
    if isinstance(order, Refund):
        return replace(order, **changes) if changes else order
    return replace(order, rail=attempt.rail, attempt_count=attempt.sequence, **changes)


def with_status_of(order: _O, attempt: Attempt, *, now: datetime, action: NextAction | None = None) -> _O:
    """Return the order with the status that follows from its latest attempt. `action`: what the payer has to
    do.
    """
    event = _EVENT_OF.get(attempt.state)
    if event is None:
        return order
    event, changes = _RULES[order.kind].reported(order, attempt, event, action)
    return order if event is None else _after(order, event, now, **changes)


def _payment_report(
    payment: Payment, attempt: Attempt, event: OrderEvent, action: NextAction | None
) -> tuple[OrderEvent | None, Mapping[str, Any]]:
    if event is OrderEvent.SUCCEEDED:
        return event, _paid_by(payment, attempt)
    if event is not OrderEvent.ACKNOWLEDGED:
        return event, {"last_error": attempt.failure if attempt.state.is_dead else None}
    if action is None and payment.status is PaymentStatus.REQUIRES_ACTION:
        # "Still pending" withdraws nothing: the payer still has to complete the requested action.
        return None, {}
    if action is not None and action.type is not NextActionType.APPROVE_ON_PHONE:
        return OrderEvent.ACTION_REQUIRED, {"next_action": action}
    if action is None and payment.status_detail is StatusDetail.AWAITING_PAYER:
        action = payment.next_action
    return event, {"next_action": action or _APPROVE}


def _refund_report(
    refund: Refund, attempt: Attempt, event: OrderEvent, action: NextAction | None
) -> tuple[OrderEvent, Mapping[str, Any]]:
    del refund, action  # only a payer is asked for an action
    return event, {"last_error": attempt.failure, "rail": attempt.rail}


def _payout_report(
    payout: Payout, attempt: Attempt, event: OrderEvent, action: NextAction | None
) -> tuple[OrderEvent, Mapping[str, Any]]:
    del action  # only a payer is asked for an action
    named = attempt.provider_transaction_id or payout.provider_transaction_id
    changes = {"last_error": attempt.failure, "rail": attempt.rail, "provider_transaction_id": named}
    return event, changes


def _paid_by(payment: Payment, attempt: Attempt) -> Mapping[str, Any]:
    return {
        "rail": attempt.rail,
        "paid_by": attempt.id,
        "amount_received": attempt.amount_received,
        "provider_transaction_id": attempt.provider_transaction_id or payment.provider_transaction_id,
    }


def _moved_by(order: Refund | Payout, attempt: Attempt) -> Mapping[str, Any]:
    del order
    return {"rail": attempt.rail}


@dataclass(frozen=True, slots=True)
class _KindRules:
    """How the kinds of orders differ in their status changes.

    `reported` returns the event for the order when its latest attempt has changed, and the other fields that
    change with it. `succeeded` returns the fields of an order that succeeds by an attempt. `keeps_error`: an
    order that waits keeps its last error. `reset`: the fields that end with every event, unless it sets them.
    """

    reported: Callable[
        [Any, Attempt, OrderEvent, NextAction | None], tuple[OrderEvent | None, Mapping[str, Any]]
    ]
    succeeded: Callable[[Any, Attempt], Mapping[str, Any]]
    keeps_error: bool
    reset: Mapping[str, Any]


_RULES: Mapping[OrderKind, _KindRules] = {
    OrderKind.PAYMENT: _KindRules(_payment_report, _paid_by, keeps_error=False, reset={"next_action": None}),
    OrderKind.REFUND: _KindRules(_refund_report, _moved_by, keeps_error=True, reset={}),
    OrderKind.PAYOUT: _KindRules(_payout_report, _moved_by, keeps_error=True, reset={}),
}


def under_review(order: _O, *, now: datetime) -> _O:
    """Return the order under review: only a person, or a late answer of the rail, can end it."""
    return _after(order, OrderEvent.REVIEW_REQUIRED, now, last_error=_kept_error(order))


def queued(order: _O, *, now: datetime) -> _O:
    """Return the order as queued: it waits for a rail."""
    return _after(order, OrderEvent.QUEUED, now, last_error=_kept_error(order))


def in_risk_review(order: _O, *, now: datetime) -> _O:
    """Return the payment or payout in risk review: a person decides before anything is sent."""
    return _after(order, OrderEvent.HELD_FOR_RISK, now)


def expired(order: _O, *, now: datetime) -> _O:
    """Return the order as failed because it expired. Only allowed while no attempt may move money."""
    return _after(order, OrderEvent.EXPIRED, now, last_error=Failure(FailureCode.EXPIRED))


def failed(order: _O, failure: Failure, *, now: datetime) -> _O:
    """Return the order as failed before any attempt."""
    return _after(order, OrderEvent.FAILED, now, last_error=failure)


def password_given(payment: Payment, *, now: datetime) -> Payment:
    """Return the payment while the payer's one-time password is being sent to the rail."""
    return _after(payment, OrderEvent.OTP_SUBMITTED, now)


def succeeded(order: _O, attempt: Attempt, *, now: datetime) -> _O:
    """Return the order as succeeded by a closed attempt, as a person saw at the rail."""
    return _after(order, OrderEvent.SUCCEEDED, now, **_RULES[order.kind].succeeded(order, attempt))


def settle_late_success(order: _O, attempt: Attempt, *, now: datetime) -> _O:
    """Return the order after the whole amount moved on an attempt that had been closed: a payment is paid by
    it; a refund or payout waits for a person."""
    if isinstance(order, Payment):
        return _after(order, OrderEvent.SUCCEEDED, now, **_paid_by(order, attempt))
    return under_review(order, now=now)


def canceled(payment: Payment, *, now: datetime) -> Payment:
    """Return the payment as canceled. Only allowed while no attempt may move money."""
    return _after(payment, OrderEvent.CANCELED, now)


def _kept_error(order: Order) -> Failure | None:
    return order.last_error if _RULES[order.kind].keeps_error else None


def _after(
    order: _O, event: OrderEvent, now: datetime, *, last_error: Failure | None = None, **changes: Any
) -> _O:
    """Return the order after the event, with the next version when anything changed."""
    state = state_after(order, event)
    if state is None:
        return order
    changes = {
        **_RULES[order.kind].reset,
        **changes,
        "status": state.status,
        "status_detail": state.detail,
        "last_error": last_error,
    }
    if not any(getattr(order, name) != value for name, value in changes.items()):
        return order
    return replace(order, **changes, version=order.version + 1, updated_at=now)
