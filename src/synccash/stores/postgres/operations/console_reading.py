"""Reads for the operators' console: searches, webhook deliveries and the latest payments of all merchants."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from synccash.stores.postgres.database import Database

_TABLES = ("payments", "refunds", "payouts")
_BY_ID = " UNION ALL ".join(
    f"SELECT '{table.removesuffix('s')}' AS kind, id, status AS why FROM {table} WHERE id = $1"  # noqa: S608
    for table in _TABLES
)
_BY_ATTEMPT = """
SELECT CASE operation WHEN 'collect' THEN 'payment' WHEN 'refund' THEN 'refund' ELSE 'payout' END AS kind,
    order_id AS id, 'attempt at ' || rail || ', ' || state AS why
FROM attempts WHERE id = $1
UNION
SELECT CASE operation WHEN 'collect' THEN 'payment' WHEN 'refund' THEN 'refund' ELSE 'payout' END, order_id,
    'attempt at ' || rail || ', ' || state
FROM attempts WHERE reference = $2::uuid
UNION
(SELECT CASE operation WHEN 'collect' THEN 'payment' WHEN 'refund' THEN 'refund' ELSE 'payout' END, order_id,
    'transaction of ' || rail || ', ' || state
FROM attempts WHERE provider_transaction_id = $1 LIMIT 20)
UNION
SELECT CASE left(object_id, 3) WHEN 'pay' THEN 'payment' WHEN 're_' THEN 'refund' ELSE 'payout' END,
    object_id, 'event ' || type
FROM events WHERE id = $1 AND left(object_id, 3) IN ('pay', 're_', 'po_')
"""
_DELIVERIES = """
SELECT e.id, e.type, e.created_at, e.object_id, e.object_version, d.endpoint_id, d.tries, d.delivered_at,
    d.last_status, d.last_error, CASE WHEN isfinite(d.due_at) THEN d.due_at END AS due_at,
    d.due_at IS NOT NULL AS is_due, w.url, w.status AS endpoint_status
FROM events e LEFT JOIN deliveries d ON d.event_id = e.id
LEFT JOIN webhook_endpoints w ON w.id = d.endpoint_id
WHERE e.object_id = ANY ($1::text[]) ORDER BY e.xact, e.position, d.endpoint_id LIMIT 500
"""
_API_CALLS = """
SELECT order_id, scope, status, created_at, completed_at FROM idempotency WHERE order_id = ANY ($1::text[])
"""
# The count reads the index, and at most 1,000 of its entries for each endpoint.
_ENDPOINTS = """
SELECT w.id, w.merchant_id, w.livemode, w.url, w.status, w.disabled_reason, w.failing_since, w.created_at, (
    SELECT count(*) FROM (
        SELECT FROM deliveries d WHERE d.endpoint_id = w.id AND d.due_at IS NOT NULL LIMIT 1000
    ) waiting
) AS waiting
FROM webhook_endpoints w WHERE w.status <> 'removed'
ORDER BY w.merchant_id, w.livemode, w.created_at LIMIT 1000
"""
_UNDELIVERED = """
SELECT d.event_id, d.endpoint_id, d.tries, d.last_status, d.last_error, d.created_at,
    CASE WHEN isfinite(d.due_at) THEN d.due_at END AS due_at, e.type, e.object_id, e.merchant_id, w.url
FROM (SELECT * FROM deliveries WHERE due_at IS NOT NULL ORDER BY due_at LIMIT $1) d
JOIN events e ON e.id = d.event_id JOIN webhook_endpoints w ON w.id = d.endpoint_id ORDER BY d.due_at
"""
# The newest payments of each merchant in each mode, by the index: the cost does not grow with the table.
_RECENT = """
SELECT count(*) AS looked_at,
    count(*) FILTER (WHERE p.created_at > now() - interval '1 minute') AS last_minute,
    count(*) FILTER (WHERE p.status = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE p.status IN ('failed', 'canceled')) AS failed,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM p.updated_at - p.created_at)::float8)
        FILTER (WHERE p.status = 'succeeded') AS p50,
    percentile_disc(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM p.updated_at - p.created_at)::float8)
        FILTER (WHERE p.status = 'succeeded') AS p95
FROM merchants m CROSS JOIN (VALUES (false), (true)) modes(livemode) CROSS JOIN LATERAL (
    SELECT status, created_at, updated_at FROM payments
    WHERE merchant_id = m.id AND livemode = modes.livemode AND created_at > now() - interval '15 minutes'
    ORDER BY created_at DESC, id DESC LIMIT 500
) p
"""
RECENT_MINUTES = 15


@dataclass(frozen=True, slots=True)
class PostgresConsoleReading:
    """Reads across all tenants, by indexes only. Every method raises StoreUnavailableError without
    PostgreSQL."""

    database: Database

    async def search(self, text: str) -> Sequence[dict[str, Any]]:
        """Return the orders that an id of ours, a rail's reference or a provider's transaction id names."""
        found = await self.database.repeat(_BY_ID, text)
        if not found:
            found = await self.database.repeat(_BY_ATTEMPT, text, _uuid(text))
        return [dict(row.items()) for row in found]

    async def deliveries(self, order_ids: Sequence[str]) -> Sequence[dict[str, Any]]:
        """Return the events of orders with their deliveries, oldest first."""
        found = await self.database.repeat(_DELIVERIES, list(order_ids))
        return [with_host(row) for row in found]

    async def api_calls(self, order_ids: Sequence[str]) -> Sequence[dict[str, Any]]:
        """Return the stored answers of the requests that made orders. They are kept for a day."""
        found = await self.database.repeat(_API_CALLS, list(order_ids))
        return [dict(row.items()) for row in found]

    async def endpoints(self) -> Sequence[dict[str, Any]]:
        """Return the endpoints of all merchants with the number of deliveries that wait, at most 1,000."""
        return [with_host(row) for row in await self.database.repeat(_ENDPOINTS)]

    async def undelivered(self, limit: int) -> Sequence[dict[str, Any]]:
        """Return deliveries that wait, the longest due first."""
        return [with_host(row) for row in await self.database.repeat(_UNDELIVERED, limit)]

    async def recent(self) -> Mapping[str, Any]:
        """Return counts and durations (in seconds) of the payments of the last 15 minutes: of at most the
        500 newest of each merchant in each mode."""
        return dict((await self.database.repeat(_RECENT))[0].items())


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def with_host(row: Any) -> dict[str, Any]:
    """Return a row with the host of its URL: path and query may hold secrets of the merchant."""
    found = dict(row.items())
    url = found.pop("url")
    found["host"] = None if url is None else urlsplit(str(url)).hostname
    return found
