"""JSON documents of orders, attempts and events, shared by API responses, stored responses and webhooks."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from synccash.payments.attempt import Attempt
from synccash.payments.case import Entry, Event, Order
from synccash.payments.failure import Failure
from synccash.payments.payment import OrderKind, Payment, Refund
from synccash.payments.payout import Payout

Document = dict[str, Any]


def moment(at: datetime) -> str:
    """Write a time as RFC 3339 in UTC with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _failure(failure: Failure | None) -> Document | None:
    if failure is None:
        return None
    return {
        "code": failure.code.value,
        "category": failure.category,
        "message": failure.message,
        "whose_problem": failure.whose_problem.value,
        "provider_code": failure.provider_code,
    }


def attempt_document(attempt: Attempt) -> Document:
    """Render one attempt."""
    return {
        "id": attempt.id,
        "object": "attempt",
        "rail": attempt.rail,
        "operation": attempt.operation.value,
        "reference": attempt.reference,
        "state": attempt.state.value,
        "evidence": attempt.evidence.value if attempt.evidence else None,
        "started_at": moment(attempt.started_at),
        "latency_ms": attempt.latency_ms,
        "provider_code": attempt.provider_code,
        "error": _failure(attempt.failure),
        "retry_decision": attempt.retry_decision,
    }


def payment_document(payment: Payment, attempts: tuple[Attempt, ...]) -> Document:
    """Render a payment with its attempts."""
    action = payment.next_action
    return {
        "id": payment.id,
        "object": "payment",
        "merchant_id": payment.merchant_id,
        "reference": payment.reference,
        "amount": payment.amount,
        "currency": payment.currency,
        "status": payment.status.value,
        "status_detail": payment.status_detail.value if payment.status_detail else None,
        "amount_received": payment.amount_received,
        "amount_refunded": payment.amount_refunded,
        "payer": {
            "msisdn": payment.payer.msisdn.digits,
            "network": payment.payer.likely_network.value if payment.payer.likely_network else None,
        },
        "rail": payment.rail,
        "provider_transaction_id": payment.provider_transaction_id,
        "routing": payment.routing or None,
        "next_action": {"type": action.type.value, "display_text": action.display_text} if action else None,
        "last_error": _failure(payment.last_error),
        "attempt_count": payment.attempt_count,
        "attempts": [attempt_document(attempt) for attempt in attempts],
        "description": payment.description,
        "expires_at": moment(payment.expires_at),
        "created_at": moment(payment.created_at),
        "updated_at": moment(payment.updated_at),
        "version": payment.version,
        "metadata": dict(payment.metadata),
        "livemode": payment.livemode,
    }


def refund_document(refund: Refund, attempts: tuple[Attempt, ...]) -> Document:
    """Render a refund with its attempts."""
    return {
        "id": refund.id,
        "object": "refund",
        "merchant_id": refund.merchant_id,
        "payment_id": refund.payment_id,
        "amount": refund.amount,
        "currency": refund.currency,
        "status": refund.status.value,
        "status_detail": refund.status_detail.value if refund.status_detail else None,
        "reason": refund.reason,
        "rail": refund.rail,
        "attempts": [attempt_document(attempt) for attempt in attempts],
        "last_error": _failure(refund.last_error),
        "created_at": moment(refund.created_at),
        "updated_at": moment(refund.updated_at),
        "version": refund.version,
        "livemode": refund.livemode,
    }


def payout_document(payout: Payout, attempts: tuple[Attempt, ...]) -> Document:
    """Render a payout with its attempts."""
    network = payout.payee.likely_network
    return {
        "id": payout.id,
        "object": "payout",
        "merchant_id": payout.merchant_id,
        "reference": payout.reference,
        "amount": payout.amount,
        "currency": payout.currency,
        "status": payout.status.value,
        "status_detail": payout.status_detail.value if payout.status_detail else None,
        "payee": {
            "msisdn": payout.payee.msisdn.digits,
            "network": network.value if network else None,
            "name": payout.payee.name,
        },
        "rail": payout.rail,
        "provider_transaction_id": payout.provider_transaction_id,
        "routing": payout.routing or None,
        "last_error": _failure(payout.last_error),
        "attempts": [attempt_document(attempt) for attempt in attempts],
        "description": payout.description,
        "expires_at": moment(payout.expires_at),
        "created_at": moment(payout.created_at),
        "updated_at": moment(payout.updated_at),
        "version": payout.version,
        "metadata": dict(payout.metadata),
        "livemode": payout.livemode,
    }


_DOCUMENT_OF: Mapping[OrderKind, Callable[[Any, tuple[Attempt, ...]], Document]] = {
    OrderKind.PAYMENT: payment_document,
    OrderKind.REFUND: refund_document,
    OrderKind.PAYOUT: payout_document,
}


def order_document(order: Order, attempts: tuple[Attempt, ...]) -> Document:
    """Render an order of any kind with its attempts."""
    return _DOCUMENT_OF[order.kind](order, attempts)


def entry_document(entry: Entry) -> Document:
    """Render one timeline entry."""
    return {"at": moment(entry.at), "kind": entry.kind, **entry.data}


def event_envelope(event: Event) -> Document:
    """Render an event without its object; the caller adds `data`."""
    return {
        "id": event.id,
        "object": "event",
        "type": event.type,
        "created_at": moment(event.created_at),
        "object_version": event.object_version,
    }


def event_body(event: Event) -> bytes:
    """Return an event as JSON, with its object as it was rendered in the commit of the change."""
    envelope = {**event_envelope(event), "data": {"object": msgspec.Raw(event.data)}}
    return msgspec.json.encode(envelope)
