"""Reads orders, timelines and events for the API. Every statement filters by tenant."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

from synccash.payments.case import Case, Entry, Event, PaymentCase, PayoutCase, RefundCase, UnreadablePayment
from synccash.payments.payment import OrderKind, PaymentStatus
from synccash.payments.request import Tenant
from synccash.stores.encryption import Encryption
from synccash.stores.postgres import sealing
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders import due, rows
from synccash.stores.postgres.orders.order_tables import UNSUCCESSFUL, due_payments_of
from synccash.stores.postgres.orders.unreadable import UNREADABLE, note_unreadable, read_or_note
from synccash.stores.postgres.parts import attempts_of

_C = TypeVar("_C", bound=Case)
_named = msgspec.json.Decoder(UnreadablePayment).decode

_READ = {
    kind: f"{statement} AND o.merchant_id = $2 AND o.livemode = $3" for kind, statement in due.READ.items()
}

_PAYMENTS = """
SELECT row_to_json(p) AS "order", {attempts} AS attempts, now() AS as_of
FROM {source} p
"""
_NEWEST = "ORDER BY p.created_at DESC, p.id DESC LIMIT $3"
# No index of payments has the status. OFFSET 0 keeps the look-up of each payment by its id, also in a plan
# that was made while the tables were small.
_UNSUCCESSFUL = """
SELECT p.* FROM (
    SELECT e.payment_id FROM unsuccessful_payments e WHERE e.merchant_id = $1 AND e.livemode = $2 {conditions}
    ORDER BY e.created_at DESC, e.payment_id DESC LIMIT $3
) e CROSS JOIN LATERAL (SELECT * FROM payments WHERE id = e.payment_id OFFSET 0) p
"""

# Positions are assigned while the order's row is locked, so they follow the order of its commits. An array of
# ids is looked up in the index; with OR, PostgreSQL would read the timelines of all orders.
_TIMELINE = """
SELECT t.order_id, t.at, t.kind, t.data, t.sealed FROM payments p LEFT JOIN LATERAL (
    SELECT e.order_id, e.at, e.kind, e.data, e.sealed, e.position FROM timeline e
    WHERE e.order_id = ANY (ARRAY (SELECT $1::text UNION ALL SELECT id FROM refunds WHERE payment_id = $1))
) t ON true
WHERE p.id = $1 AND p.merchant_id = $2 AND p.livemode = $3 ORDER BY t.position
"""

# No further event can appear from a transaction before the snapshot's xmin, so a reader that continues from
# its last event misses none. An event becomes visible when every older writing transaction has ended.
_EVENTS = """
SELECT e.id, e.merchant_id, e.livemode, e.type, e.created_at, e.object_id, e.object_version, e.data,
    e.sealed
FROM events e
WHERE e.merchant_id = $1 AND e.livemode = $2 AND e.xact < pg_snapshot_xmin(pg_current_snapshot())
    {after}
ORDER BY e.xact, e.position LIMIT $3
"""
_FIRST_EVENTS = _EVENTS.format(after="")
# A statement of its own, because a condition that may be absent keeps the index from starting at the event.
_EVENTS_AFTER = _EVENTS.format(
    after="""AND (e.xact, e.position) > (
        SELECT a.xact, a.position FROM events a WHERE a.id = $4 AND a.merchant_id = $1 AND a.livemode = $2)"""
)


_EVENT = "SELECT id FROM events WHERE merchant_id = $1 AND livemode = $2 AND id = $3"


class PaymentQuery(Protocol):
    """The filter of a payment list; see the API's PaymentFilter."""

    @property
    def status(self) -> PaymentStatus | None: ...
    @property
    def reference(self) -> str | None: ...
    @property
    def payer(self) -> str | None: ...
    @property
    def after(self) -> tuple[datetime, str] | None: ...
    @property
    def limit(self) -> int: ...


@dataclass(frozen=True, slots=True)
class PostgresReading:
    """Reads for the API. Every method raises StoreUnavailableError when PostgreSQL is out of reach."""

    database: Database

    async def payment(self, tenant: Tenant, payment_id: str) -> PaymentCase | None:
        """Read a payment with its attempts."""
        return await self._case(OrderKind.PAYMENT, tenant, payment_id, rows.payment_case)

    async def refund(self, tenant: Tenant, refund_id: str) -> RefundCase | None:
        """Read a refund with its attempts."""
        return await self._case(OrderKind.REFUND, tenant, refund_id, rows.refund_case)

    async def payout(self, tenant: Tenant, payout_id: str) -> PayoutCase | None:
        """Read a payout with its attempts."""
        return await self._case(OrderKind.PAYOUT, tenant, payout_id, rows.payout_case)

    async def payments(
        self, tenant: Tenant, where: PaymentQuery
    ) -> Sequence[PaymentCase | UnreadablePayment]:
        """Return at most `where.limit` + 1 payments, newest first: the extra one shows that there are
        more."""
        statement, arguments = _list_payments(where, self.database.encryption)
        found = await self._fetch(statement, tenant.merchant_id, tenant.livemode, where.limit + 1, *arguments)
        return [await self._listed(row) for row in found]

    async def timeline(self, tenant: Tenant, payment_id: str) -> Sequence[Entry] | None:
        """Return the timeline of a payment and its refunds, oldest first; None without such a payment."""
        found = await self._fetch(_TIMELINE, payment_id, tenant.merchant_id, tenant.livemode)
        if not found:
            return None
        return [entry_of(row, self.database.encryption) for row in found if row["kind"]]

    async def events(self, tenant: Tenant, *, after: str | None, limit: int) -> Sequence[Event] | None:
        """Return at most `limit` + 1 events after the event `after`, in the order of their commits.

        No event is skipped: an event is returned only when no older one can appear any more. Returns None if
        `after` is not an event of the tenant.
        """
        statement, cursor = (_FIRST_EVENTS, ()) if after is None else (_EVENTS_AFTER, (after,))
        found = await self._fetch(statement, tenant.merchant_id, tenant.livemode, limit + 1, *cursor)
        if not found and after is not None:
            known = await self._fetch(_EVENT, tenant.merchant_id, tenant.livemode, after)
            return [] if known else None
        return [rows.event_of(row, self.database.encryption) for row in found]

    async def _case(
        self, kind: OrderKind, tenant: Tenant, order_id: str, read: Callable[[Any, Encryption | None], _C]
    ) -> _C | None:
        found = await self._fetch(_READ[kind], order_id, tenant.merchant_id, tenant.livemode)
        return await read_or_note(self.database, order_id, found[0], read) if found else None

    async def _listed(self, row: Any) -> PaymentCase | UnreadablePayment:
        try:
            return rows.payment_case(row, self.database.encryption)
        except UNREADABLE as error:
            named = _named(row["order"])
            await note_unreadable(self.database, named.id, error)
            return named

    async def _fetch(self, statement: str, *arguments: Any) -> list[Any]:
        return await self.database.repeat(statement, *arguments)


def entry_of(row: Any, encryption: Encryption | None) -> Entry:
    """Read a timeline entry from its columns, `order_id` and `sealed` among them. Raises DecryptionError."""
    data = sealing.open_entry(encryption, row["order_id"], row["kind"], row)
    return Entry(at=row["at"], kind=row["kind"], data=data)


def _list_payments(where: PaymentQuery, encryption: Encryption | None) -> tuple[str, list[Any]]:
    """Build the statement with only the requested conditions, so that an index can serve each combination.

    A reference or payer is searched for in two forms, each by a SELECT of its own that an index can serve:
    hashed, and plain in rows that are not encrypted yet. Without them, payments of a status other than
    `succeeded` are found through the tables that have their ids.
    """
    if where.reference is None and where.payer is None and where.status in UNSUCCESSFUL:
        source, arguments = _unsuccessful(where)
    else:
        source, arguments = _select(where, encryption)
    return f"{_PAYMENTS.format(attempts=attempts_of('p.id'), source=source)}{_NEWEST}", arguments


def _unsuccessful(where: PaymentQuery) -> tuple[str, list[Any]]:
    conditions, arguments = "AND e.status = $4", [where.status, *(where.after or ())]
    if where.after is not None:
        conditions += " AND (e.created_at, e.payment_id) < ($5, $6)"
    return f"({_UNSUCCESSFUL.format(conditions=conditions)})", arguments


def _select(where: PaymentQuery, encryption: Encryption | None) -> tuple[str, list[Any]]:
    arguments: list[Any] = []

    def take(value: Any) -> str:
        arguments.append(value)
        return f"${3 + len(arguments)}"

    def select(*, hashed: bool) -> str:
        conditions = list(common)
        for column, domain, value in searched:
            form = sealing.found_by(encryption, domain, value) if hashed else value
            conditions.append(f"AND p.{column} = {take(form)}")
        return (
            f"SELECT * FROM payments p WHERE p.merchant_id = $1 AND p.livemode = $2 {' '.join(conditions)} "  # noqa: S608 - constants
            + _NEWEST
        )

    searched = [
        (column, domain, value)
        for column, domain, value in (
            ("reference", sealing.REFERENCE, where.reference),
            ("payer_msisdn", sealing.PAYER, where.payer),
        )
        if value is not None
    ]
    common: list[str] = []
    if where.status is not None:
        common.append(f"AND p.status = {take(where.status.value)}")
        if not searched and not where.status.is_final:
            common.append(f"AND p.id = ANY ({due_payments_of('$1')})")
    if where.after is not None:
        common.append(f"AND (p.created_at, p.id) < ({take(where.after[0])}, {take(where.after[1])})")
    source = f"({select(hashed=True)})"
    if searched and encryption is not None:
        source = f"({source} UNION ALL ({select(hashed=False)}))"
    return source, arguments
