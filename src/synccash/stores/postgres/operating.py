"""Reads orders, refunds and timelines of all merchants, for operators."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from synccash.payments.case import Entry
from synccash.payments.payment import PaymentStatus, StatusDetail
from synccash.stores.postgres.database import Database

_decode = msgspec.json.Decoder(dict[str, Any]).decode

# The index has each merchant's orders by time, and no index has those of all merchants. So the newest orders
# of each merchant are read and then merged.
_ORDERS = """
SELECT p.id, p.merchant_id, p.livemode, p.status, p.status_detail, p.amount, p.currency,
    {columns}, p.rail, p.reference, p.attempt_count, p.created_at, p.api_key_id, p.request_id
FROM merchants m CROSS JOIN (VALUES (false), (true)) modes(livemode) CROSS JOIN LATERAL (
    SELECT * FROM {table} p WHERE p.merchant_id = m.id AND p.livemode = modes.livemode {where}
    ORDER BY p.created_at DESC, p.id DESC LIMIT $1
) p
WHERE $2::text IS NULL OR m.id = $2
ORDER BY p.created_at DESC, p.id DESC LIMIT $1
"""
_REFUNDS = """
SELECT id, status, status_detail, amount, currency, rail, reason, surplus, created_at, api_key_id, request_id
FROM refunds WHERE payment_id = $1 ORDER BY created_at, id
"""
_COLUMNS = {
    "payments": "p.payer_msisdn, p.amount_received, p.amount_refunded",
    "payouts": "p.payee_msisdn",
}
_WALLETS = {"payments": "payer_msisdn", "payouts": "payee_msisdn"}
_TIMELINE = """
SELECT at, kind, data FROM timeline t
WHERE order_id = $1 OR order_id IN (SELECT r.id FROM refunds r WHERE r.payment_id = $1) ORDER BY position
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilter:
    """The filter of an order list, newest first. `wallet` is the payer's or payee's MSISDN as 233…; `after`
    is the id of the last order of the previous page."""

    kind: Literal["payments", "payouts"] = "payments"
    merchant: str | None = None
    status: PaymentStatus | None = None
    detail: StatusDetail | None = None
    rail: str | None = None
    reference: str | None = None
    wallet: str | None = None
    after: str | None = None
    limit: int = 20


@dataclass(frozen=True, slots=True)
class PostgresOperating:
    """Reads across all tenants. Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database

    async def orders(self, order_filter: OrderFilter) -> Sequence[dict[str, Any]]:
        """Return at most `limit` + 1 orders: the extra one shows that there are more."""
        statement, arguments = _list_orders(order_filter)
        found = await self.database.repeat(
            statement, order_filter.limit + 1, order_filter.merchant, *arguments
        )
        return [dict(row.items()) for row in found]

    async def refunds(self, payment_id: str) -> Sequence[dict[str, Any]]:
        """Return a payment's refunds, oldest first."""
        return [dict(row.items()) for row in await self.database.repeat(_REFUNDS, payment_id)]

    async def timeline(self, order_id: str) -> Sequence[Entry]:
        """Return the timeline of an order, with that of a payment's refunds, oldest first."""
        found = await self.database.repeat(_TIMELINE, order_id)
        return [Entry(at=row["at"], kind=row["kind"], data=_decode(row["data"])) for row in found]


def _list_orders(order_filter: OrderFilter) -> tuple[str, list[Any]]:
    after = f"SELECT a.created_at, a.id FROM {order_filter.kind} a WHERE a.id = {{}}"  # noqa: S608 - one of two names
    given = {
        "p.status = {}": order_filter.status.value if order_filter.status else None,
        "p.status_detail = {}": order_filter.detail.value if order_filter.detail else None,
        "p.rail = {}": order_filter.rail,
        "p.reference = {}": order_filter.reference,
        f"p.{_WALLETS[order_filter.kind]} = {{}}": order_filter.wallet,
        f"(p.created_at, p.id) < ({after})": order_filter.after,
    }
    conditions: list[str] = []
    arguments: list[Any] = []
    for condition, value in given.items():
        if value is not None:
            arguments.append(value)
            conditions.append("AND " + condition.format(f"${len(arguments) + 2}"))
    if order_filter.status not in (None, PaymentStatus.SUCCEEDED) or order_filter.detail is not None:
        conditions.append("AND p.status <> 'succeeded'")  # the exact condition of the partial index
    columns = _COLUMNS[order_filter.kind]
    return _ORDERS.format(table=order_filter.kind, columns=columns, where=" ".join(conditions)), arguments
