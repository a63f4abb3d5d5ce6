"""Describes the tables of orders, from which the SQL statements for each kind of order are generated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synccash.payments.payment import OrderKind, PaymentStatus
from synccash.payments.rail import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTable:
    """One table, and the operation of its attempts. The opening writes `columns`, later commits write
    `changed`. All tables also have columns for the lease, the due time, the recovery epoch and the last
    commit.

    `reference`: the columns of the unique reference; openings insert their rows in its order. `expires`: the
    table has the column `expires_at`. `is_open`: the SQL condition of orders that have not ended. `joined`:
    the joins of the other rows that a case needs; `payment` and `debit` are expressions on them.

    `waiting` and `in_review`: SQL conditions that find the orders with a due time, and those that an operator
    decides on, by an index. `looks`: the table has the column `look_at`, and due_payments stands for an index
    on it.
    """

    kind: OrderKind
    operation: Operation
    name: str
    columns: Sequence[str]
    changed: Sequence[str]
    reference: Sequence[str] = ("merchant_id", "livemode", "reference")
    expires: bool = True
    is_open: str = "status = 'processing'"
    joined: str = ""
    payment: str = "NULL::json"
    debit: str = "NULL::json"
    waiting: str = "due_at IS NOT NULL"
    in_review: str = "status_detail IN ('under_review', 'risk_review')"
    looks: bool = False


PAYMENTS = OrderTable(
    kind=OrderKind.PAYMENT,
    operation=Operation.COLLECT,
    name="payments",
    # An array, because a plan that is made while the tables are small may join by reading all payments.
    waiting="due_at IS NOT NULL AND id = ANY (ARRAY (SELECT payment_id FROM due_payments))",
    in_review="status_detail IN ('under_review', 'risk_review')"
    " AND id = ANY (ARRAY (SELECT payment_id FROM due_payments WHERE in_review))",
    looks=True,
    is_open="status NOT IN ('succeeded', 'failed', 'canceled')",
    columns=(
        "id",
        "merchant_id",
        "livemode",
        "reference",
        "amount",
        "currency",
        "payer_msisdn",
        "payer_network",
        "created_at",
        "updated_at",
        "expires_at",
        "status",
        "status_detail",
        "pinned_rail",
        "rail",
        "provider_transaction_id",
        "next_action",
        "last_error",
        "amount_received",
        "amount_refunded",
        "attempt_count",
        "description",
        "metadata",
        "routing",
        "api_key_id",
        "request_id",
        "traceparent",
        "version",
        "fence",
        "sealed",
    ),
    changed=(
        "updated_at",
        "status",
        "status_detail",
        "rail",
        "provider_transaction_id",
        "paid_by",
        "next_action",
        "last_error",
        "amount_received",
        "attempt_count",
        "routing",
        "version",
        "fence",
    ),
)
PAYOUTS = OrderTable(
    kind=OrderKind.PAYOUT,
    operation=Operation.PAYOUT,
    name="payouts",
    columns=(
        "id",
        "merchant_id",
        "livemode",
        "reference",
        "amount",
        "currency",
        "payee_msisdn",
        "payee_network",
        "payee_name",
        "created_at",
        "updated_at",
        "expires_at",
        "status",
        "status_detail",
        "pinned_rail",
        "rail",
        "provider_transaction_id",
        "last_error",
        "attempt_count",
        "description",
        "metadata",
        "routing",
        "api_key_id",
        "request_id",
        "traceparent",
        "version",
        "fence",
        "sealed",
    ),
    changed=(
        "updated_at",
        "status",
        "status_detail",
        "rail",
        "provider_transaction_id",
        "last_error",
        "attempt_count",
        "routing",
        "version",
        "fence",
    ),
)
REFUNDS = OrderTable(
    kind=OrderKind.REFUND,
    operation=Operation.REFUND,
    name="refunds",
    columns=(
        "id",
        "merchant_id",
        "livemode",
        "payment_id",
        "attempt_id",
        "amount",
        "currency",
        "created_at",
        "updated_at",
        "status",
        "status_detail",
        "rail",
        "reason",
        "last_error",
        "surplus",
        "exclusive",
        "identity",
        "api_key_id",
        "request_id",
        "traceparent",
        "version",
        "fence",
        "sealed",
    ),
    changed=("updated_at", "status", "status_detail", "rail", "last_error", "version", "fence"),
    reference=("payment_id", "identity"),
    in_review="status_detail IN ('under_review')",
    expires=False,
    joined="JOIN payments p ON p.id = o.payment_id JOIN attempts d ON d.id = o.attempt_id",
    payment="row_to_json(p)",
    debit="row_to_json(d)",
)

# Statements that touch several tables lock their rows in this order.
ORDER_TABLES: Mapping[OrderKind, OrderTable] = {table.kind: table for table in (PAYMENTS, REFUNDS, PAYOUTS)}

LEASE_END = "coalesce({})".format(
    ", ".join(
        f"(SELECT o.lease_until FROM {table.name} o WHERE o.id = i.order_id)"  # noqa: S608 - constants
        for table in ORDER_TABLES.values()
    )
)
"""SQL: the end of the lease of the order that a claim names; NULL while it is not leased. `i` is the claim, a
row of `idempotency`."""

UNSUCCESSFUL = frozenset({PaymentStatus.FAILED, PaymentStatus.CANCELED})
"""The statuses of the payments in unsuccessful_payments."""


def due_payments_of(merchant: str, condition: str = "true") -> str:
    """Return the SQL of the ids of a merchant's payments that are due at some time, so of all open ones; of
    all merchants if the expression `merchant` is NULL.

    Rows from before migration 0033 have no merchant: the caller also compares the merchant of the payment.
    """
    return (
        f"ARRAY (SELECT payment_id FROM due_payments WHERE {condition}"  # noqa: S608 - constants
        f" AND ({merchant}::text IS NULL OR merchant_id = {merchant} OR merchant_id IS NULL))"
    )


def union(statement: str) -> str:
    """Return the UNION ALL of a statement over all tables. `{table}` in it is replaced by the table's name,
    `{is_open}` by its condition of open orders, and `{waiting}` by that of orders with a due time."""
    return " UNION ALL ".join(
        statement.format(table=table.name, is_open=table.is_open, waiting=table.waiting)
        for table in ORDER_TABLES.values()
    )
