"""Reads orders, refunds and timelines of all merchants, for operators."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import structlog

from synccash.payments.audit import AuditNote
from synccash.payments.case import Entry
from synccash.payments.payer import Msisdn, Network
from synccash.payments.payment import PaymentStatus, StatusDetail
from synccash.payments.rail import Operation
from synccash.payments.request import Tenant
from synccash.payments.routing_replay import RecordedOrder
from synccash.stores.encryption import DecryptionError, Encryption
from synccash.stores.postgres import sealing
from synccash.stores.postgres.audit import change_with_note
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_tables import ORDER_TABLES, UNSUCCESSFUL, due_payments_of, union
from synccash.stores.postgres.orders.reading import entry_of

log = structlog.get_logger("synccash.administration")

# The index has each merchant's orders by time, and no index has those of all merchants. So the newest orders
# of each merchant are read and then merged.
_ORDERS = """
SELECT p.id, p.merchant_id, p.livemode, p.status, p.status_detail, p.amount, p.currency,
    {columns}, p.rail, p.reference, p.attempt_count, p.created_at, p.api_key_id, p.request_id,
    p.sealed
FROM merchants m CROSS JOIN (VALUES (false), (true)) modes(livemode) CROSS JOIN LATERAL (
    SELECT * FROM {table} p WHERE p.merchant_id = m.id AND p.livemode = modes.livemode {where}
    ORDER BY p.created_at DESC, p.id DESC LIMIT $1
) p
WHERE $2::text IS NULL OR m.id = $2
ORDER BY p.created_at DESC, p.id DESC LIMIT $1
"""
# As above, with the table that stands for an index of payments on the status. OFFSET 0 keeps the look-up of
# each payment by its id, also in a plan that was made while the tables were small.
_UNSUCCESSFUL_PAYMENTS = """
SELECT p.id, p.merchant_id, p.livemode, p.status, p.status_detail, p.amount, p.currency,
    {columns}, p.rail, p.reference, p.attempt_count, p.created_at, p.api_key_id, p.request_id,
    p.sealed
FROM merchants m CROSS JOIN (VALUES (false), (true)) modes(livemode) CROSS JOIN LATERAL (
    SELECT p.* FROM unsuccessful_payments e
    CROSS JOIN LATERAL (SELECT * FROM payments WHERE id = e.payment_id OFFSET 0) p
    WHERE e.merchant_id = m.id AND e.livemode = modes.livemode {where}
    ORDER BY e.created_at DESC, e.payment_id DESC LIMIT $1
) p
WHERE $2::text IS NULL OR m.id = $2
ORDER BY p.created_at DESC, p.id DESC LIMIT $1
"""
# Payments that have not ended are in due_payments, and they are few.
_OPEN_PAYMENTS = """
SELECT p.id, p.merchant_id, p.livemode, p.status, p.status_detail, p.amount, p.currency,
    {columns}, p.rail, p.reference, p.attempt_count, p.created_at, p.api_key_id, p.request_id,
    p.sealed
FROM payments p
WHERE p.id = ANY ({of_these})
    AND ($2::text IS NULL OR p.merchant_id = $2) {where}
ORDER BY p.created_at DESC, p.id DESC LIMIT $1
"""
# By the index of attempts, newest first: the orders of a rail that has few are far apart among all orders. An
# order is on the rail of its last attempt. The limit is a number of the statement: for a parameter, a general
# plan expects a tenth of all rows, and would read and sort them.
_OF_RAIL = """
SELECT p.id, p.merchant_id, p.livemode, p.status, p.status_detail, p.amount, p.currency,
    {columns}, p.rail, p.reference, p.attempt_count, p.created_at, p.api_key_id, p.request_id,
    p.sealed
FROM attempts a CROSS JOIN LATERAL (SELECT * FROM {table} WHERE id = a.order_id OFFSET 0) p
WHERE a.rail = $1 AND p.rail = $1 {where}
    AND a.sequence = (SELECT max(l.sequence) FROM attempts l WHERE l.order_id = a.order_id)
ORDER BY a.started_at DESC, a.order_id DESC LIMIT {limit}
"""
_AFTER_ON_RAIL = """
(a.started_at, a.order_id) < (
    SELECT started_at, order_id FROM attempts WHERE order_id = {} AND rail = $1 ORDER BY sequence DESC LIMIT 1
)"""
_IN_REVIEW = (StatusDetail.UNDER_REVIEW, StatusDetail.RISK_REVIEW)
_OPEN = (*_IN_REVIEW, StatusDetail.AWAITING_PAYER, StatusDetail.OUTCOME_UNKNOWN, StatusDetail.QUEUED)
_REFUNDS = """
SELECT id, status, status_detail, amount, currency, rail, reason, surplus, created_at, api_key_id, request_id,
    sealed
FROM refunds WHERE payment_id = $1 ORDER BY created_at, id
"""
_COLUMNS = {
    "payments": "p.payer_msisdn, p.amount_received, p.amount_refunded",
    "payouts": "p.payee_msisdn",
}
_WALLETS = {"payments": "payer_msisdn", "payouts": "payee_msisdn"}
_TABLES = tuple(table.name for table in ORDER_TABLES.values())


# As after a callback: the lease of an order that is being worked on makes it due when it is released.
def _made_due(table: str) -> str:
    return f"""
{table}_due AS (
    UPDATE {table} o SET
        hinted = true, due_at = CASE WHEN o.lease_until > now() THEN o.due_at ELSE '-infinity' END
    WHERE o.id = $1 RETURNING o.id, o.status, o.status_detail
)"""  # noqa: S608 - `table` is one of ours


_MAKE_DUE = f"WITH {','.join(map(_made_due, _TABLES))} {union('SELECT * FROM {table}_due')}"  # noqa: S608
_PAYMENT_OWNER = "SELECT merchant_id, livemode FROM payments WHERE id = $1"
_EVENT_OWNER = "SELECT merchant_id, livemode FROM events WHERE id = $1"
_TIMELINE = """
SELECT order_id, at, kind, data, sealed FROM timeline t
WHERE order_id = ANY (ARRAY (SELECT $1::text UNION ALL SELECT id FROM refunds WHERE payment_id = $1))
ORDER BY position
"""

_ROUTED_MINUTES = 60
_ROUTED_TABLES = {"payments": "payer", "payouts": "payee"}


def _routed(table: str, party: str) -> str:
    return f"""
SELECT p.id, p.merchant_id, p.livemode, p.amount, p.pinned_rail, p.routing::text AS routing, p.sealed,
    p.{party}_msisdn, p.{party}_network, p.created_at
FROM merchants m CROSS JOIN (VALUES (false), (true)) modes(livemode) CROSS JOIN LATERAL (
    SELECT * FROM {table} p WHERE p.merchant_id = m.id AND p.livemode = modes.livemode
        AND p.created_at > now() - interval '{_ROUTED_MINUTES} minutes'
    ORDER BY p.created_at DESC, p.id DESC LIMIT $1
) p
ORDER BY p.created_at DESC, p.id DESC LIMIT $1
"""  # noqa: S608 - put together from constants


_ROUTED = {table: _routed(table, party) for table, party in _ROUTED_TABLES.items()}


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
    """Reads across all tenants. Every method raises StoreUnavailableError without PostgreSQL, and
    DecryptionError when rows are encrypted and the process has no keys."""

    database: Database

    async def orders(self, order_filter: OrderFilter) -> Sequence[dict[str, Any]]:
        """Return at most `limit` + 1 orders: the extra one shows that there are more. Payments of a rail
        come by the time of their last attempt, unless another filter is given; all others by their own."""
        statement, arguments = _list_orders(order_filter, self.database.encryption)
        found = await self.database.repeat(statement, *arguments)
        return [self._opened(order_filter.kind, row) for row in found]

    async def refunds(self, payment_id: str) -> Sequence[dict[str, Any]]:
        """Return a payment's refunds, oldest first."""
        found = await self.database.repeat(_REFUNDS, payment_id)
        return [self._opened("refunds", row) for row in found]

    async def timeline(self, order_id: str) -> Sequence[Entry]:
        """Return the timeline of an order, with that of a payment's refunds, oldest first."""
        found = await self.database.repeat(_TIMELINE, order_id)
        return [entry_of(row, self.database.encryption) for row in found]

    async def routed(self, limit: int) -> Sequence[RecordedOrder]:
        """Return the newest payments and payouts of the last hour with their routing decisions, at most
        `limit` of each."""
        found: list[RecordedOrder] = []
        for table, party in _ROUTED_TABLES.items():
            for place, row in enumerate(await self.database.repeat(_ROUTED[table], limit)):
                if place % 100 == 0:
                    await asyncio.sleep(0)  # payments of this process go on between
                network = row[f"{party}_network"]
                number = None if network else self._opened(table, row)[f"{party}_msisdn"]
                found.append(
                    RecordedOrder(
                        id=row["id"],
                        merchant_id=row["merchant_id"],
                        livemode=row["livemode"],
                        operation=Operation.COLLECT if table == "payments" else Operation.PAYOUT,
                        network=Network(network) if network else number and Msisdn(number).network_hint,
                        amount=row["amount"],
                        pinned_rail=row["pinned_rail"],
                        routing=msgspec.json.decode(row["routing"] or "{}"),
                    )
                )
        return found

    async def make_due(self, order_id: str, *, note: AuditNote) -> dict[str, Any] | None:
        """Make an order due now; return its id and status, or None if it does not exist."""
        found = await change_with_note(self.database, note, _MAKE_DUE, order_id)
        return dict(found[0].items()) if found else None

    async def payment_owner(self, payment_id: str) -> Tenant | None:
        """Return the merchant and mode of a payment."""
        return _tenant(await self.database.repeat(_PAYMENT_OWNER, payment_id))

    async def event_owner(self, event_id: str) -> Tenant | None:
        """Return the merchant and mode of an event."""
        return _tenant(await self.database.repeat(_EVENT_OWNER, event_id))

    def _opened(self, table: str, row: Any) -> dict[str, Any]:
        """Return a row with its personal columns; they are None in a row that cannot be decrypted.

        Raises DecryptionError without any keys.
        """
        found = dict(row.items())
        try:
            found |= sealing.open_columns(self.database.encryption, table, row)
        except DecryptionError as error:
            if self.database.encryption is None:
                raise
            log.warning("order_unreadable", order_id=row["id"], error=str(error))
            found |= {column: None for column in sealing.PERSONAL[table].columns if column in row}
        del found["sealed"]
        return found


def _tenant(found: Sequence[Any]) -> Tenant | None:
    return Tenant(found[0]["merchant_id"], livemode=found[0]["livemode"]) if found else None


def _list_orders(order_filter: OrderFilter, encryption: Encryption | None) -> tuple[str, list[Any]]:
    after = f"SELECT a.created_at, a.id FROM {order_filter.kind} a WHERE a.id = {{}}"  # noqa: S608 - one of two names

    def forms(domain: str, value: str | None) -> list[str] | None:
        return None if value is None else sealing.both_forms(encryption, domain, value)

    template, limit = _template(order_filter), order_filter.limit + 1
    by_rail, ended = template is _OF_RAIL, template is _UNSUCCESSFUL_PAYMENTS
    status, place = (
        ("e.status", "e.created_at, e.payment_id") if ended else ("p.status", "p.created_at, p.id")
    )
    given = {
        f"{status} = {{}}": order_filter.status.value if order_filter.status else None,
        "p.status_detail = {}": order_filter.detail.value if order_filter.detail else None,
        # No index has the rail. The second condition ends a search for one that was never used.
        "p.rail = {0} AND EXISTS (SELECT FROM attempts WHERE rail = {0})": None
        if by_rail
        else order_filter.rail,
        "p.reference = ANY ({}::text[])": forms(sealing.REFERENCE, order_filter.reference),
        f"p.{_WALLETS[order_filter.kind]} = ANY ({{}}::text[])": forms(sealing.PAYER, order_filter.wallet),
        _AFTER_ON_RAIL if by_rail else f"({place}) < ({after})": order_filter.after,
    }
    arguments: list[Any] = [order_filter.rail] if by_rail else [limit, order_filter.merchant]
    conditions: list[str] = []
    for condition, value in given.items():
        if value is not None:
            arguments.append(value)
            conditions.append("AND " + condition.format(f"${len(arguments)}"))
    statement = template.format(
        table=order_filter.kind,
        columns=_COLUMNS[order_filter.kind],
        where=" ".join(conditions),
        of_these=due_payments_of("$2", "in_review" if order_filter.detail in _IN_REVIEW else "true"),
        limit=limit,
    )
    return statement, arguments


def _template(order_filter: OrderFilter) -> str:
    """Return the statement whose index serves the filter: no index of payments has the status."""
    if order_filter.kind != "payments":
        return _ORDERS
    if order_filter.detail in _OPEN:
        return _OPEN_PAYMENTS
    if order_filter.reference is not None or order_filter.wallet is not None:
        return _ORDERS
    if order_filter.status is not None and not order_filter.status.is_final:
        return _OPEN_PAYMENTS
    if order_filter.status in UNSUCCESSFUL or order_filter.detail is not None:
        return _UNSUCCESSFUL_PAYMENTS
    # A merchant's own payments are fewer than those of most rails.
    is_of_rail = order_filter.rail is not None and order_filter.merchant is None
    return _OF_RAIL if is_of_rail else _ORDERS
