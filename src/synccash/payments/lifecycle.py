"""How a payment or refund follows its attempts. Every writer moves an order through here and nowhere else."""

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payment import (
    TRANSITIONS,
    Payment,
    PaymentStatus,
    Refund,
    RefundStatus,
    StatusDetail,
)
from synccash.payments.rail import NextAction, NextActionType

Order = Payment | Refund

_APPROVE = NextAction(NextActionType.APPROVE_ON_PHONE)


def begin(payment: Payment, attempt: Attempt) -> Payment:
    """Return the payment with one more attempt under way."""
    return replace(payment, rail=attempt.rail, attempt_count=attempt.sequence)


def reflect(order: Order, attempt: Attempt, *, now: datetime, action: NextAction | None = None) -> Order:
    """Return the order as its latest attempt tells it. `action` is what the rail says the payer has to do.

    An end absorbs: a final order comes back as it was.
    """
    match order:
        case Payment():
            return _reflect_payment(order, attempt, now, action)
        case Refund():
            return _reflect_refund(order, attempt, now)


def _reflect_payment(payment: Payment, attempt: Attempt, now: datetime, action: NextAction | None) -> Payment:
    match attempt.state:
        case AttemptState.PREPARED:
            return payment
        case AttemptState.ACKNOWLEDGED:
            if action is not None and action.type is not NextActionType.APPROVE_ON_PHONE:
                return _to(payment, PaymentStatus.REQUIRES_ACTION, None, now, next_action=action)
            standing = payment.next_action if action is None else action
            if standing is None or payment.status_detail is not StatusDetail.AWAITING_PAYER:
                standing = action or _APPROVE
            return _to(
                payment, PaymentStatus.PROCESSING, StatusDetail.AWAITING_PAYER, now, next_action=standing
            )
        case AttemptState.UNKNOWN:
            return _to(payment, PaymentStatus.PROCESSING, StatusDetail.OUTCOME_UNKNOWN, now)
        case AttemptState.SUCCEEDED:
            return _to(
                payment,
                PaymentStatus.SUCCEEDED,
                None,
                now,
                amount_received=attempt.amount_received,
                provider_transaction_id=attempt.provider_transaction_id,
            )
        case AttemptState.DECLINED:
            return _to(payment, PaymentStatus.FAILED, None, now, last_error=attempt.failure)
        case AttemptState.NOT_SENT:
            return _to(
                payment, PaymentStatus.PROCESSING, StatusDetail.QUEUED, now, last_error=attempt.failure
            )
    assert_never(attempt.state)


def _reflect_refund(refund: Refund, attempt: Attempt, now: datetime) -> Refund:
    status, detail = {
        AttemptState.PREPARED: (RefundStatus.PROCESSING, refund.status_detail),
        AttemptState.ACKNOWLEDGED: (RefundStatus.PROCESSING, None),
        AttemptState.UNKNOWN: (RefundStatus.PROCESSING, StatusDetail.OUTCOME_UNKNOWN),
        AttemptState.SUCCEEDED: (RefundStatus.SUCCEEDED, None),
        AttemptState.DECLINED: (RefundStatus.FAILED, None),
        AttemptState.NOT_SENT: (RefundStatus.PROCESSING, StatusDetail.QUEUED),
    }[attempt.state]
    if refund.status.is_final:
        return refund
    changed = replace(
        refund, status=status, status_detail=detail, last_error=attempt.failure, rail=attempt.rail
    )
    return refund if changed == refund else replace(changed, version=refund.version + 1, updated_at=now)


def under_review(order: Order, *, now: datetime) -> Order:
    """Return the order as one that only a human, or a late answer of the rail, can end."""
    match order:
        case Payment():
            return _to(order, PaymentStatus.PROCESSING, StatusDetail.UNDER_REVIEW, now)
        case Refund():
            if order.status.is_final or order.status_detail is StatusDetail.UNDER_REVIEW:
                return order
            return replace(
                order, status_detail=StatusDetail.UNDER_REVIEW, version=order.version + 1, updated_at=now
            )


def queued(payment: Payment, *, now: datetime) -> Payment:
    """Return the payment as one that waits for a rail."""
    return _to(payment, PaymentStatus.PROCESSING, StatusDetail.QUEUED, now)


def in_risk_review(payment: Payment, *, now: datetime) -> Payment:
    """Return the payment as one that waits for a human before anything is sent."""
    return _to(payment, PaymentStatus.PROCESSING, StatusDetail.RISK_REVIEW, now)


def expired(payment: Payment, *, now: datetime) -> Payment:
    """Return the payment as ended by its own expiry. Only legal while no attempt may move money."""
    error = Failure(FailureCode.EXPIRED)
    return _to(payment, PaymentStatus.FAILED, StatusDetail.EXPIRED, now, last_error=error)


def failed(payment: Payment, failure: Failure, *, now: datetime) -> Payment:
    """Return the payment as failed before any attempt."""
    return _to(payment, PaymentStatus.FAILED, None, now, last_error=failure)


def canceled(payment: Payment, *, now: datetime) -> Payment:
    """Return the payment as called off. Only legal while no attempt may move money."""
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
