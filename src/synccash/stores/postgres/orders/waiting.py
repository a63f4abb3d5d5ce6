"""Reads what waits for an operator: orders under review or unreadable, and money that arrived as a surplus or
in another currency and was not returned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synccash.payments.history import Waiting
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_tables import ORDER_TABLES, OrderTable

UNREADABLE_MINUTES = 15
"""How long an order counts as unreadable after the last try. Workers try again at least every 10 minutes."""

REMEMBERED_DAYS = 90
"""How long a surplus, or money in another currency, is listed while no refund returns it. The list ends then,
because the payer may have been paid back in another way."""


def _held(table: OrderTable) -> str:
    return f"""
    SELECT '{table.kind}' AS kind, id, status_detail AS why, amount, currency, rail, merchant_id,
        livemode, updated_at AS since,
        CASE WHEN lease_until IS NULL AND isfinite(due_at) THEN due_at END AS next_look_at, (
            SELECT a.provider_code FROM attempts a WHERE a.order_id = {table.name}.id
            ORDER BY a.sequence DESC LIMIT 1
        ) AS code
    FROM {table.name} WHERE {table.in_review}"""  # noqa: S608 - put together from constants


def _unreadable(table: OrderTable) -> str:
    return f"""
    SELECT '{table.kind}', o.id, 'unreadable', o.amount, o.currency, o.rail, o.merchant_id, o.livemode,
        u.first_seen, CASE WHEN isfinite(o.due_at) THEN o.due_at END, NULL
    FROM unreadable_orders u JOIN {table.name} o ON o.id = u.order_id
    WHERE u.last_seen > now() - interval '{UNREADABLE_MINUTES} minutes'"""  # noqa: S608 - from constants


# A debit is a surplus if its payment has ended and another debit, or none, paid it, as in refund_openings.py.
# Money in another currency counts as nothing received, so no refund returns it; the timeline has an entry.
_WAITING = f"""
WITH surplus AS (
    SELECT DISTINCT a.id, p.id AS order_id, a.amount_received - a.refund_reserved AS amount, p.currency,
        a.rail, p.merchant_id, p.livemode, c.recorded_at AS since
    FROM (
        SELECT order_id, min(recorded_at) AS recorded_at FROM contradictions
        WHERE recorded_at > now() - interval '{REMEMBERED_DAYS} days' GROUP BY order_id
    ) c
    JOIN payments p ON p.id = c.order_id AND p.status IN ('succeeded', 'failed', 'canceled')
    CROSS JOIN LATERAL (
        SELECT *, row_number() OVER (ORDER BY state <> 'succeeded', sequence) AS place
        FROM attempts WHERE order_id = p.id AND amount_received > 0
    ) a
    WHERE a.refund_reserved < a.amount_received AND a.reversed_at IS NULL AND (p.status <> 'succeeded'
        OR CASE WHEN p.paid_by IS NULL THEN a.place > 1 ELSE a.id <> p.paid_by END)
),
foreign_money AS (
    SELECT p.id AS order_id, a.amount, p.currency, a.rail, p.merchant_id, p.livemode, a.moved_at AS since
    FROM (
        SELECT DISTINCT order_id FROM contradictions
        WHERE recorded_at > now() - interval '{REMEMBERED_DAYS} days'
    ) c
    JOIN payments p ON p.id = c.order_id AND p.status IN ('succeeded', 'failed', 'canceled')
    JOIN attempts a ON a.order_id = p.id
    WHERE a.moved_at > now() - interval '{REMEMBERED_DAYS} days' AND a.amount_received = 0
        AND a.reversed_at IS NULL AND EXISTS (
            SELECT FROM timeline t WHERE t.order_id = p.id AND t.kind IN ('contradiction', 'currency_differs')
                AND t.data ->> 'attempt' = a.id AND t.data ->> 'currency' <> p.currency
        )
),
waiting AS (
    {" UNION ALL ".join(map(_held, ORDER_TABLES.values()))}
    UNION ALL
    {" UNION ALL ".join(map(_unreadable, ORDER_TABLES.values()))}
    UNION ALL
    SELECT 'payment', order_id, 'surplus', amount, currency, rail, merchant_id, livemode, since, NULL, NULL
    FROM surplus
    UNION ALL
    SELECT 'payment', order_id, 'currency_differs', amount, currency, rail, merchant_id, livemode, since,
        NULL, NULL
    FROM foreign_money
)
"""  # noqa: S608 - put together from constants
_LIST = f"{_WAITING} SELECT * FROM waiting ORDER BY since, id LIMIT $1"  # noqa: S608
COUNTED_MAX = 10_000
_KINDS = " UNION ALL ".join(
    f"SELECT '{table.kind}' AS kind FROM {table.name} WHERE id = c.order_id"  # noqa: S608 - from constants
    for table in ORDER_TABLES.values()
)
_COUNT = f"""
{_WAITING},
contradicted AS (
    SELECT o.kind, c.recorded_at AS since FROM (
        SELECT order_id, min(recorded_at) AS recorded_at FROM contradictions
        WHERE closed_at IS NULL AND recorded_at > now() - interval '{REMEMBERED_DAYS} days'
        GROUP BY order_id ORDER BY min(recorded_at) LIMIT {COUNTED_MAX}
    ) c CROSS JOIN LATERAL ({_KINDS}) o
)
SELECT kind, why, count(*) AS n, extract(epoch FROM now() - min(since))::float8 AS oldest_s
FROM (
    SELECT kind, why, since FROM waiting UNION ALL SELECT kind, 'contradiction', since FROM contradicted
) counted GROUP BY kind, why
"""  # noqa: S608 - put together from constants


# Payments have no index on `due_at`. OFFSET 0 keeps the look-up of each by its id.
def _due_times(table: OrderTable) -> str:
    if not table.looks:
        return f"SELECT due_at FROM {table.name} WHERE due_at <= now() ORDER BY due_at LIMIT {COUNTED_MAX}"  # noqa: S608
    return f"""
        SELECT o.due_at FROM (
            SELECT payment_id FROM due_payments WHERE look_at <= now() ORDER BY look_at LIMIT {COUNTED_MAX}
        ) d CROSS JOIN LATERAL (
            SELECT due_at FROM {table.name} WHERE id = d.payment_id AND due_at <= now() OFFSET 0
        ) o"""  # noqa: S608 - put together from constants


# The time of an order that a hint made due is not recorded: it counts, and has no age.
def _due(table: OrderTable) -> str:
    return f"""
    SELECT '{table.kind}' AS kind, count(*) AS n,
        coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE isfinite(due_at))), 0)::float8
            AS oldest_s
    FROM ({_due_times(table)}) d"""  # noqa: S608 - put together from constants


_DUE = " UNION ALL ".join(map(_due, ORDER_TABLES.values()))


@dataclass(frozen=True, slots=True)
class PostgresWaiting:
    """Reads across all tenants. Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database

    async def oldest(self, limit: int) -> Sequence[dict[str, Any]]:
        """Return the `limit` oldest entries, with the time of the next inquiry. `code`: the latest code of
        the rail, or the reason why the rail was not asked."""
        return [dict(row.items()) for row in await self.database.repeat(_LIST, limit)]

    async def counts(self) -> Mapping[tuple[str, str], Waiting]:
        """Return the entries, and the orders with a contradiction that no operator has closed (`COUNTED_MAX`
        at most), by the kind of the order and the reason."""
        found = await self.database.repeat(_COUNT)
        return {(row["kind"], row["why"]): Waiting(row["n"], row["oldest_s"]) for row in found}

    async def due(self) -> Mapping[str, Waiting]:
        """Return the orders that no process works on although they are due, by kind; `COUNTED_MAX` at most of
        each, because counting more would cost as much as working on them."""
        return {row["kind"]: Waiting(row["n"], row["oldest_s"]) for row in await self.database.repeat(_DUE)}
