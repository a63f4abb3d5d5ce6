"""Status changes of orders. Every writer changes the status of an order through these functions only."""

from dataclasses import replace
from datetime import datetime
from typing import TypeVar, assert_never, overload

from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import Order
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payment import (
    TRANSITIONS,
    OutgoingStatus,
    Payment,
    PaymentStatus,
    Refund,
    StatusDetail,
)
from synccash.payments.payout import Payout
from synccash.payments.rail import NextAction, NextActionType

_APPROVE = NextAction(NextActionType.APPROVE_ON_PHONE)


Routed = Payment | Payout
"""The orders that routing assigns a rail. A refund always uses the rail that took the money."""
_Routed = TypeVar("_Routed", Payment, Payout)


@overload
def begin(order: Payment, attempt: Attempt) -> Payment: ...
@overload
def begin(order: Payout, attempt: Attempt) -> Payout: ...
def begin(order: Routed, attempt: Attempt) -> Routed:
    """Return the order with one more attempt under way."""
    return replace(order, rail=attempt.rail, attempt_count=attempt.sequence)


def reflect(order: Order, attempt: Attempt, *, now: datetime, action: NextAction | None = None) -> Order:
    """Return the order with the status that follows from its latest attempt. `action`: what the payer has to
    do.

    A final order is returned unchanged.
    """
    match order:
        case Payment():
            return _reflect_payment(order, attempt, now, action)
        case Refund() | Payout():
            return _reflect_outgoing(order, attempt, now)


def _reflect_payment(payment: Payment, attempt: Attempt, now: datetime, action: NextAction | None) -> Payment:
    match attempt.state:
        case AttemptState.PREPARED:
            return payment
        case AttemptState.ACKNOWLEDGED:
            if action is None and payment.status is PaymentStatus.REQUIRES_ACTION:
                # "Still pending" withdraws nothing: the payer still has to complete the requested action.
                return payment
            if action is not None and action.type is not NextActionType.APPROVE_ON_PHONE:
                return _to(payment, PaymentStatus.REQUIRES_ACTION, None, now, next_action=action)
            status_at_rail = payment.next_action if action is None else action
            if status_at_rail is None or payment.status_detail is not StatusDetail.AWAITING_PAYER:
                status_at_rail = action or _APPROVE
            return _to(
                payment,
                PaymentStatus.PROCESSING,
                StatusDetail.AWAITING_PAYER,
                now,
                next_action=status_at_rail,
            )
        case AttemptState.UNKNOWN:
            return _to(payment, PaymentStatus.PROCESSING, StatusDetail.OUTCOME_UNKNOWN, now)
        case AttemptState.SUCCEEDED:
            return _paid(payment, attempt, now)
        case AttemptState.DECLINED:
            return _to(payment, PaymentStatus.FAILED, None, now, last_error=attempt.failure)
        case AttemptState.NOT_SENT:
            return _to(
                payment, PaymentStatus.PROCESSING, StatusDetail.QUEUED, now, last_error=attempt.failure
            )
    assert_never(attempt.state)


def _reflect_outgoing(order: Refund | Payout, attempt: Attempt, now: datetime) -> Order:
    status, detail = {
        AttemptState.PREPARED: (OutgoingStatus.PROCESSING, order.status_detail),
        AttemptState.ACKNOWLEDGED: (OutgoingStatus.PROCESSING, None),
        AttemptState.UNKNOWN: (OutgoingStatus.PROCESSING, StatusDetail.OUTCOME_UNKNOWN),
        AttemptState.SUCCEEDED: (OutgoingStatus.SUCCEEDED, None),
        AttemptState.DECLINED: (OutgoingStatus.FAILED, None),
        AttemptState.NOT_SENT: (OutgoingStatus.PROCESSING, StatusDetail.QUEUED),
    }[attempt.state]
    if order.status.is_final:
        return order
    changed = replace(
        order, status=status, status_detail=detail, last_error=attempt.failure, rail=attempt.rail
    )
    if isinstance(changed, Payout):
        named = attempt.provider_transaction_id or changed.provider_transaction_id
        changed = replace(changed, provider_transaction_id=named)
    return order if changed == order else replace(changed, version=order.version + 1, updated_at=now)


def _outgoing(
    order: Refund | Payout,
    status: OutgoingStatus,
    detail: StatusDetail | None,
    now: datetime,
    last_error: Failure | None = None,
) -> Order:
    """Change the status of a refund or payout without a new attempt state."""
    if order.status.is_final:
        return order
    changed = replace(order, status=status, status_detail=detail, last_error=last_error)
    return order if changed == order else replace(changed, version=order.version + 1, updated_at=now)


def under_review(order: Order, *, now: datetime) -> Order:
    """Return the order under review: only a person, or a late answer of the rail, can end it."""
    match order:
        case Payment():
            return _to(order, PaymentStatus.PROCESSING, StatusDetail.UNDER_REVIEW, now)
        case Refund() | Payout():
            error = order.last_error
            return _outgoing(order, OutgoingStatus.PROCESSING, StatusDetail.UNDER_REVIEW, now, error)


@overload
def queued(order: _Routed, *, now: datetime) -> _Routed: ...
@overload
def queued(order: Order, *, now: datetime) -> Order: ...
def queued(order: Order, *, now: datetime) -> Order:
    """Return the order as queued: it waits for a rail."""
    if isinstance(order, Payment):
        return _to(order, PaymentStatus.PROCESSING, StatusDetail.QUEUED, now)
    return _outgoing(order, OutgoingStatus.PROCESSING, StatusDetail.QUEUED, now, order.last_error)


@overload
def in_risk_review(order: _Routed, *, now: datetime) -> _Routed: ...
@overload
def in_risk_review(order: Order, *, now: datetime) -> Order: ...
def in_risk_review(order: Order, *, now: datetime) -> Order:
    """Return the payment or payout in risk review: a person decides before anything is sent."""
    if isinstance(order, Payment):
        return _to(order, PaymentStatus.PROCESSING, StatusDetail.RISK_REVIEW, now)
    return _outgoing(order, OutgoingStatus.PROCESSING, StatusDetail.RISK_REVIEW, now)


def expired(order: Order, *, now: datetime) -> Order:
    """Return the order as failed because it expired. Only allowed while no attempt may move money."""
    error = Failure(FailureCode.EXPIRED)
    if isinstance(order, Payment):
        return _to(order, PaymentStatus.FAILED, StatusDetail.EXPIRED, now, last_error=error)
    return _outgoing(order, OutgoingStatus.FAILED, StatusDetail.EXPIRED, now, error)


@overload
def failed(order: _Routed, failure: Failure, *, now: datetime) -> _Routed: ...
@overload
def failed(order: Order, failure: Failure, *, now: datetime) -> Order: ...
def failed(order: Order, failure: Failure, *, now: datetime) -> Order:
    """Return the order as failed before any attempt."""
    if isinstance(order, Payment):
        return _to(order, PaymentStatus.FAILED, None, now, last_error=failure)
    return _outgoing(order, OutgoingStatus.FAILED, None, now, failure)


def password_given(payment: Payment, *, now: datetime) -> Payment:
    """Return the payment while the payer's one-time password is being sent to the rail."""
    return _to(payment, PaymentStatus.PROCESSING, StatusDetail.OUTCOME_UNKNOWN, now)


def succeeded(order: Order, attempt: Attempt, *, now: datetime) -> Order:
    """Return the order as succeeded by a closed attempt, as a person saw at the rail."""
    if isinstance(order, Payment):
        return _paid(order, attempt, now)
    ended = _outgoing(order, OutgoingStatus.SUCCEEDED, None, now)
    return replace(ended, rail=attempt.rail)


def settle_late_success(payment: Payment, attempt: Attempt, *, now: datetime) -> Payment:
    """Return the payment as paid by an attempt that was closed before its money moved."""
    return _paid(payment, attempt, now)


def _paid(payment: Payment, attempt: Attempt, now: datetime) -> Payment:
    paid = _to(
        payment,
        PaymentStatus.SUCCEEDED,
        None,
        now,
        amount_received=attempt.amount_received,
        provider_transaction_id=attempt.provider_transaction_id,
    )
    return paid if paid is payment else replace(paid, rail=attempt.rail, paid_by=attempt.id)


def canceled(payment: Payment, *, now: datetime) -> Payment:
    """Return the payment as canceled. Only allowed while no attempt may move money."""
    return _to(payment, PaymentStatus.CANCELED, None, now)


def _to(
    payment: Payment,
    status: PaymentStatus,
    detail: StatusDetail | None,
    now: datetime,
    *,
    next_action: NextAction | None = None,
    last_error: Failure | None = None,
    amount_received: int | None = None,
    provider_transaction_id: str | None = None,
) -> Payment:
    if payment.status.is_final:
        return payment
    assert status in TRANSITIONS[payment.status], f"{payment.status} does not lead to {status}"
    changed = replace(
        payment,
        status=status,
        status_detail=detail,
        next_action=next_action,
        last_error=last_error,
        amount_received=payment.amount_received if amount_received is None else amount_received,
        provider_transaction_id=provider_transaction_id or payment.provider_transaction_id,
    )
    return payment if changed == payment else replace(changed, version=payment.version + 1, updated_at=now)
