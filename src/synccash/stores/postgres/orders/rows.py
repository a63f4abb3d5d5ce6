"""Converts orders, attempts and events to database rows and back. Statements take rows as one JSON
argument."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import (
    Case,
    Claim,
    Entry,
    Event,
    KeepLease,
    Order,
    OrderCase,
    PaymentCase,
    PayoutCase,
    RefundCase,
    ReleaseLease,
    StoredAnswer,
)
from synccash.payments.failure import Failure
from synccash.payments.payer import Msisdn, Network, Payer
from synccash.payments.payment import OrderKind, OutgoingStatus, Payment, PaymentStatus, Refund, StatusDetail
from synccash.payments.payout import Payee, Payout
from synccash.payments.rail import NextAction, Operation, RailAccount
from synccash.resilience.evidence import Evidence
from synccash.stores.encryption import Encryption
from synccash.stores.postgres import sealing
from synccash.stores.postgres.orders.order_tables import ORDER_TABLES

to_json = msgspec.json.Encoder().encode
_EVENT = ("id", "merchant_id", "livemode", "type", "created_at", "object_id", "object_version")


def payment_row(payment: Payment) -> dict[str, Any]:
    """Return the columns of a payment, without its lease."""
    return {
        "id": payment.id,
        "merchant_id": payment.merchant_id,
        "livemode": payment.livemode,
        "reference": payment.reference,
        "amount": payment.amount,
        "currency": payment.currency,
        "payer_msisdn": payment.payer.msisdn.digits,
        "payer_network": payment.payer.network,
        "created_at": payment.created_at,
        "updated_at": payment.updated_at,
        "expires_at": payment.expires_at,
        "status": payment.status,
        "status_detail": payment.status_detail,
        "pinned_rail": payment.pinned_rail,
        "rail": payment.rail,
        "provider_transaction_id": payment.provider_transaction_id,
        "paid_by": payment.paid_by,
        "next_action": payment.next_action,
        "last_error": payment.last_error,
        "amount_received": payment.amount_received,
        "amount_refunded": payment.amount_refunded,
        "attempt_count": payment.attempt_count,
        "description": payment.description,
        "metadata": payment.metadata,
        "routing": payment.routing,
        "api_key_id": payment.api_key_id,
        "request_id": payment.request_id,
        "traceparent": payment.traceparent,
        "version": payment.version,
        "fence": payment.fence,
    }


def refund_row(refund: Refund) -> dict[str, Any]:
    """Return the columns of a refund, without its lease."""
    return {
        "id": refund.id,
        "merchant_id": refund.merchant_id,
        "livemode": refund.livemode,
        "payment_id": refund.payment_id,
        "attempt_id": refund.attempt_id,
        "amount": refund.amount,
        "currency": refund.currency,
        "created_at": refund.created_at,
        "updated_at": refund.updated_at,
        "status": refund.status,
        "status_detail": refund.status_detail,
        "rail": refund.rail,
        "reason": refund.reason,
        "last_error": refund.last_error,
        "surplus": refund.surplus,
        "exclusive": refund.exclusive,
        "identity": refund.identity,
        "api_key_id": refund.api_key_id,
        "request_id": refund.request_id,
        "traceparent": refund.traceparent,
        "version": refund.version,
        "fence": refund.fence,
    }


def payout_row(payout: Payout) -> dict[str, Any]:
    """Return the columns of a payout, without its lease."""
    return {
        "id": payout.id,
        "merchant_id": payout.merchant_id,
        "livemode": payout.livemode,
        "reference": payout.reference,
        "amount": payout.amount,
        "currency": payout.currency,
        "payee_msisdn": payout.payee.msisdn.digits,
        "payee_network": payout.payee.network,
        "payee_name": payout.payee.name,
        "created_at": payout.created_at,
        "updated_at": payout.updated_at,
        "expires_at": payout.expires_at,
        "status": payout.status,
        "status_detail": payout.status_detail,
        "pinned_rail": payout.pinned_rail,
        "rail": payout.rail,
        "provider_transaction_id": payout.provider_transaction_id,
        "last_error": payout.last_error,
        "attempt_count": payout.attempt_count,
        "description": payout.description,
        "metadata": payout.metadata,
        "routing": payout.routing,
        "api_key_id": payout.api_key_id,
        "request_id": payout.request_id,
        "traceparent": payout.traceparent,
        "version": payout.version,
        "fence": payout.fence,
    }


_ROW_OF: Mapping[OrderKind, Callable[[Any], dict[str, Any]]] = {
    OrderKind.PAYMENT: payment_row,
    OrderKind.REFUND: refund_row,
    OrderKind.PAYOUT: payout_row,
}


def order_row(order: Order) -> dict[str, Any]:
    """Return the columns of an order of any kind, nothing sealed."""
    return _ROW_OF[order.kind](order)


def opened_row(order: Order, encryption: Encryption | None) -> dict[str, Any]:
    """Return the columns of an order that is opened, with the personal ones sealed."""
    return sealing.seal_order_row(encryption, ORDER_TABLES[order.kind].name, order_row(order))


def reference_forms(order: Order, column: str, encryption: Encryption | None) -> list[str]:
    """Return what the column of an order's reference may hold: its hash, and itself in rows from before."""
    domain = sealing.PERSONAL[ORDER_TABLES[order.kind].name].found_by[column]
    value = getattr(order, column)
    return [] if value is None else sealing.both_forms(encryption, domain, value)


def changed_row(order: Order) -> dict[str, Any]:
    """Return the columns of an order that commits after its opening may change; none of them is personal."""
    row = order_row(order)
    return {column: row[column] for column in ORDER_TABLES[order.kind].changed}


def attempt_row(attempt: Attempt) -> dict[str, Any]:
    """Return the columns of an attempt."""
    return {
        "id": attempt.id,
        "order_id": attempt.order_id,
        "sequence": attempt.sequence,
        "operation": attempt.operation,
        "rail": attempt.account.rail,
        "account": attempt.account.account,
        "base_url": attempt.account.base_url,
        "target_environment": attempt.account.target_environment,
        "account_identity": attempt.account.identity,
        "reference": attempt.reference,
        "callback_token": attempt.callback_token,
        "amount": attempt.amount,
        "opened_fence": attempt.opened_fence,
        "started_at": attempt.started_at,
        "state": attempt.state,
        "evidence": attempt.evidence,
        "sends": attempt.sends,
        "inquiries": attempt.inquiries,
        "quiet_since": attempt.quiet_since,
        "latency_ms": attempt.latency_ms,
        "provider_code": attempt.provider_code,
        "provider_transaction_id": attempt.provider_transaction_id,
        "failure": attempt.failure,
        "retry_decision": attempt.retry_decision,
        "amount_received": attempt.amount_received,
        "refund_reserved": attempt.refund_reserved,
        "not_founds": attempt.not_founds,
        "moved_at": attempt.moved_at,
        "reversed_at": attempt.reversed_at,
        "callback_checked_at": attempt.callback_checked_at,
        "reference_key": attempt.reference_key,
    }


def event_row(event: Event, encryption: Encryption | None) -> dict[str, Any]:
    """Return the columns of an event. Its JSON document is not encoded again."""
    plain, sealed = sealing.seal_value(encryption, event_place(event.id), event.data)
    return {
        "id": event.id,
        "merchant_id": event.merchant_id,
        "livemode": event.livemode,
        "type": event.type,
        "created_at": event.created_at,
        "object_id": event.object_id,
        "object_version": event.object_version,
        "data": None if plain is None else msgspec.Raw(plain),
        "sealed": None if sealed is None else _hex(sealed),
    }


def event_place(event_id: str) -> str:
    """Return the place of an event's sealed document."""
    return f"events:{event_id}"


def event_of(row: Any, encryption: Encryption | None) -> Event:
    """Read an event from its columns, `data` and `sealed` among them."""
    columns = {name: row[name] for name in _EVENT}
    return Event(
        **columns, data=sealing.either(encryption, event_place(row["id"]), row["data"], row["sealed"])
    )


def claim_columns(claim: Claim, order_id: str, encryption: Encryption | None) -> dict[str, Any]:
    """Return a claim as a JSON argument. `plain_key`: what the key's column holds in rows that are not
    sealed, where it differs."""
    key = sealing.claim_key(encryption, claim.scope, claim.key)
    fingerprint = sealing.seal_fingerprint(encryption, order_id, claim.fingerprint)
    return {
        "scope": claim.scope,
        "key": key,
        "plain_key": claim.key if key != claim.key else None,
        "fingerprint": _hex(fingerprint),
    }


def balance_row(order: Order, claim: Claim, encryption: Encryption | None) -> dict[str, Any] | None:
    """Return the argument of the SQL function `judge_openings` for an opening; None for an order that takes
    nothing out of the merchant's balance."""
    if not order.takes_from_balance:
        return None
    return {
        "order_id": order.id,
        "scope": claim.scope,
        "key": sealing.claim_key(encryption, claim.scope, claim.key),
        "merchant_id": order.merchant_id,
        "livemode": order.livemode,
        "currency": order.currency,
        "rail": order.rail,
        "operation": order.operation,
        "reserve": 0 if order.status.is_final else order.amount,
    }


def commit_columns(
    order_id: str,
    encryption: Encryption | None,
    lease: KeepLease | ReleaseLease,
    attempts: Iterable[Attempt],
    events: Iterable[Event],
    timeline: Iterable[Entry],
    answer: StoredAnswer | None,
) -> dict[str, Any]:
    """Return the fields of a commit besides its order, as a JSON argument."""
    body, sealed_body = (
        sealing.seal_value(encryption, answer_place(order_id), answer.body) if answer else (None, None)
    )
    return {
        "lease_s": lease.lease_s if isinstance(lease, KeepLease) else None,
        "look_s": lease.look_s if isinstance(lease, KeepLease) else None,
        "due_in_s": lease.due_in_s if isinstance(lease, ReleaseLease) else None,
        "attempts": [attempt_row(attempt) for attempt in attempts],
        "events": [event_row(event, encryption) for event in events],
        "timeline": [
            {"at": one.at, "kind": one.kind, **sealing.seal_entry(encryption, order_id, one.kind, one.data)}
            for one in timeline
        ],
        "status": answer.status if answer else None,
        "body": None if body is None else _hex(body),
        "sealed_body": None if sealed_body is None else _hex(sealed_body),
    }


def answer_place(order_id: str) -> str:
    """Return the place of the stored answer to the request that opened the order."""
    return f"answer:{order_id}"


def _hex(raw: bytes) -> str:
    """Return bytes in the text format of PostgreSQL."""
    return sealing.as_text(raw)


class _PaymentRow(msgspec.Struct):
    id: str
    merchant_id: str
    livemode: bool
    reference: str
    amount: int
    currency: str
    payer_msisdn: str
    payer_network: Network | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    status: PaymentStatus
    status_detail: StatusDetail | None
    pinned_rail: str | None
    rail: str | None
    provider_transaction_id: str | None
    paid_by: str | None
    next_action: NextAction | None
    last_error: Failure | None
    amount_received: int
    amount_refunded: int
    attempt_count: int
    description: str | None
    metadata: dict[str, str]
    routing: dict[str, Any]
    version: int
    fence: int
    api_key_id: str | None
    request_id: str | None
    traceparent: str | None
    sealed: str | None = None


class _PayoutRow(msgspec.Struct):
    id: str
    merchant_id: str
    livemode: bool
    reference: str
    amount: int
    currency: str
    payee_msisdn: str
    payee_network: Network | None
    payee_name: str | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    status: OutgoingStatus
    status_detail: StatusDetail | None
    pinned_rail: str | None
    rail: str | None
    provider_transaction_id: str | None
    last_error: Failure | None
    attempt_count: int
    description: str | None
    metadata: dict[str, str]
    routing: dict[str, Any]
    version: int
    fence: int
    api_key_id: str | None
    request_id: str | None
    traceparent: str | None
    sealed: str | None = None


class _SealedRefund(msgspec.Struct):
    id: str
    sealed: str | None = None
    reason: str | None = None
    identity: str | None = None


class _AttemptRow(msgspec.Struct):
    id: str
    order_id: str
    sequence: int
    operation: Operation
    rail: str
    account: str
    base_url: str
    target_environment: str
    reference: str
    callback_token: str
    amount: int
    opened_fence: int
    started_at: datetime
    state: AttemptState
    evidence: Evidence | None
    sends: int
    inquiries: int
    quiet_since: datetime | None
    latency_ms: int | None
    provider_code: str | None
    provider_transaction_id: str | None
    failure: Failure | None
    retry_decision: str | None
    amount_received: int
    refund_reserved: int
    not_founds: int
    moved_at: datetime | None
    reversed_at: datetime | None
    reported_failure: Failure | None = None
    callback_at: datetime | None = None
    callback_checked_at: datetime | None = None
    reference_key: str | None = None
    account_identity: str | None = None


# Ignores columns that a newer version of the service has added.
_payment = msgspec.json.Decoder(_PaymentRow)
_payout = msgspec.json.Decoder(_PayoutRow)
_refund = msgspec.json.Decoder(Refund)
_sealed_refund = msgspec.json.Decoder(_SealedRefund)
_attempt = msgspec.json.Decoder(_AttemptRow)
_attempts = msgspec.json.Decoder(list[_AttemptRow])


def payment_of(raw: bytes, encryption: Encryption | None = None) -> Payment:
    """Read a row of `payments`. Raises DecryptionError."""
    row = _payment.decode(raw)
    sealing.open_order_row(encryption, "payments", row)
    return Payment(
        id=row.id,
        merchant_id=row.merchant_id,
        livemode=row.livemode,
        reference=row.reference,
        amount=row.amount,
        currency=row.currency,
        payer=Payer(Msisdn(row.payer_msisdn), row.payer_network),
        created_at=row.created_at,
        updated_at=row.updated_at,
        expires_at=row.expires_at,
        status=row.status,
        status_detail=row.status_detail,
        pinned_rail=row.pinned_rail,
        rail=row.rail,
        provider_transaction_id=row.provider_transaction_id,
        paid_by=row.paid_by,
        next_action=row.next_action,
        last_error=row.last_error,
        amount_received=row.amount_received,
        amount_refunded=row.amount_refunded,
        attempt_count=row.attempt_count,
        description=row.description,
        metadata=row.metadata,
        routing=row.routing,
        api_key_id=row.api_key_id,
        request_id=row.request_id,
        traceparent=row.traceparent,
        version=row.version,
        fence=row.fence,
    )


def payout_of(raw: bytes, encryption: Encryption | None = None) -> Payout:
    """Read a row of `payouts`. Raises DecryptionError."""
    row = _payout.decode(raw)
    sealing.open_order_row(encryption, "payouts", row)
    return Payout(
        id=row.id,
        merchant_id=row.merchant_id,
        livemode=row.livemode,
        reference=row.reference,
        amount=row.amount,
        currency=row.currency,
        payee=Payee(Msisdn(row.payee_msisdn), row.payee_network, row.payee_name),
        created_at=row.created_at,
        updated_at=row.updated_at,
        expires_at=row.expires_at,
        status=row.status,
        status_detail=row.status_detail,
        pinned_rail=row.pinned_rail,
        rail=row.rail,
        provider_transaction_id=row.provider_transaction_id,
        last_error=row.last_error,
        attempt_count=row.attempt_count,
        description=row.description,
        metadata=row.metadata,
        routing=row.routing,
        api_key_id=row.api_key_id,
        request_id=row.request_id,
        traceparent=row.traceparent,
        version=row.version,
        fence=row.fence,
    )


def refund_of(raw: bytes, encryption: Encryption | None = None) -> Refund:
    """Read a row of `refunds`. Raises DecryptionError."""
    refund, personal = _refund.decode(raw), _sealed_refund.decode(raw)
    if personal.sealed is None:
        return refund
    sealing.open_order_row(encryption, "refunds", personal)
    return replace(refund, reason=personal.reason, identity=personal.identity)


def attempt_of(raw: bytes) -> Attempt:
    """Read a row of `attempts`."""
    return _attempt_of(_attempt.decode(raw))


def attempts_of(raw: bytes | None) -> tuple[Attempt, ...]:
    """Read an array of rows of `attempts`; PostgreSQL returns NULL for an empty one."""
    return () if raw is None else tuple(_attempt_of(row) for row in _attempts.decode(raw))


def _attempt_of(row: _AttemptRow) -> Attempt:
    return Attempt(
        id=row.id,
        order_id=row.order_id,
        sequence=row.sequence,
        operation=row.operation,
        account=RailAccount(
            rail=row.rail,
            account=row.account,
            base_url=row.base_url,
            target_environment=row.target_environment,
            identity=row.account_identity,
        ),
        reference=row.reference,
        callback_token=row.callback_token,
        amount=row.amount,
        opened_fence=row.opened_fence,
        started_at=row.started_at,
        state=row.state,
        evidence=row.evidence,
        sends=row.sends,
        inquiries=row.inquiries,
        quiet_since=row.quiet_since,
        latency_ms=row.latency_ms,
        provider_code=row.provider_code,
        provider_transaction_id=row.provider_transaction_id,
        failure=row.failure,
        retry_decision=row.retry_decision,
        amount_received=row.amount_received,
        refund_reserved=row.refund_reserved,
        not_founds=row.not_founds,
        moved_at=row.moved_at,
        reversed_at=row.reversed_at,
        reported_failure=row.reported_failure,
        callback_at=row.callback_at,
        callback_checked_at=row.callback_checked_at,
        reference_key=row.reference_key,
    )


def payment_case(row: asyncpg.Record, encryption: Encryption | None = None) -> PaymentCase:
    """Read the case of a payment; `due.READ` has the columns."""
    return OrderCase(order=payment_of(row["order"], encryption), **_case_columns(row))


def refund_case(row: asyncpg.Record, encryption: Encryption | None = None) -> RefundCase:
    """Read the case of a refund, with `payment` and `debit`."""
    return RefundCase(
        order=refund_of(row["order"], encryption),
        payment=payment_of(row["payment"], encryption),
        debit=attempt_of(row["debit"]),
        **_case_columns(row),
    )


def payout_case(row: asyncpg.Record, encryption: Encryption | None = None) -> PayoutCase:
    """Read the case of a payout."""
    return OrderCase(order=payout_of(row["order"], encryption), **_case_columns(row))


def _case_columns(row: asyncpg.Record) -> dict[str, Any]:
    """Read `attempts`, `as_of` and, if present, the columns that leases and recoveries add."""
    return {
        "attempts": attempts_of(row["attempts"]),
        "as_of": row["as_of"],
        "former_lease_end": row.get("former_lease_end"),
        "hinted": row.get("was_hinted", False),
        "held": row.get("held", False),
        "unsearched": row.get("unsearched"),
        "recovery_began": row.get("recovery_began"),
        "restored": row.get("restored", False),
    }


_CASE_OF: Mapping[OrderKind, Callable[[asyncpg.Record, Encryption | None], Case]] = {
    OrderKind.PAYMENT: payment_case,
    OrderKind.REFUND: refund_case,
    OrderKind.PAYOUT: payout_case,
}


def case_of(row: asyncpg.Record, encryption: Encryption | None = None) -> Case:
    """Read the case of an order of the kind that the column `kind` names."""
    return _CASE_OF[row["kind"]](row, encryption)


class _Named(msgspec.Struct):
    id: str
    fence: int


_named = msgspec.json.Decoder(_Named)


def named(row: asyncpg.Record) -> tuple[str, int]:
    """Return the id and the fence of a row of TAKE_DUE, even if the rest of it cannot be read."""
    found = _named.decode(row["order"])
    return found.id, found.fence


def as_argument(documents: Sequence[dict[str, Any]]) -> bytes:
    """Return the JSON argument of a statement that takes several documents."""
    return to_json(documents)
