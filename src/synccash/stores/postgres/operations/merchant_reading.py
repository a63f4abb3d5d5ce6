"""Reads what a merchant's people see in the console beside the API. Every statement filters by tenant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from synccash.payments.request import Tenant
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.console_reading import with_host

_OWN = "merchant_id = $1 AND livemode = $2"
_ENDPOINTS = f"""
SELECT w.id, w.url, w.status, w.disabled_reason, w.failing_since, (
    SELECT count(*) FROM (
        SELECT FROM deliveries d WHERE d.endpoint_id = w.id AND d.due_at IS NOT NULL LIMIT 1000
    ) waiting
) AS waiting
FROM webhook_endpoints w WHERE {_OWN} AND w.status <> 'removed' ORDER BY w.created_at DESC LIMIT 500
"""  # noqa: S608 - put together from constants
_SHOWN = """e.id, e.type, e.created_at, e.object_id, d.endpoint_id, d.tries, d.delivered_at, d.last_status,
    d.last_error, CASE WHEN isfinite(d.due_at) THEN d.due_at END AS due_at, d.due_at IS NOT NULL AS is_due,
    w.url, w.status AS endpoint_status"""
_JOINED = "LEFT JOIN deliveries d ON d.event_id = e.id LEFT JOIN webhook_endpoints w ON w.id = d.endpoint_id"
_NEWEST = f"""
SELECT {_SHOWN} FROM (
    SELECT * FROM events WHERE {_OWN} ORDER BY xact DESC, position DESC LIMIT $3
) e {_JOINED} ORDER BY e.xact DESC, e.position DESC, d.endpoint_id
"""  # noqa: S608 - put together from constants
_OF_ORDER = f"""
SELECT {_SHOWN} FROM events e {_JOINED}
WHERE e.merchant_id = $1 AND e.livemode = $2 AND e.object_id = $3
ORDER BY e.xact, e.position, d.endpoint_id LIMIT 500
"""  # noqa: S608 - put together from constants
_KEYS = f"""
SELECT id, name, scopes, created_at, last_used_at, expires_at, revoked_at FROM api_keys
WHERE {_OWN} ORDER BY created_at DESC, id LIMIT 500
"""  # noqa: S608 - put together from constants


def _made(table: str) -> str:
    return f"""
(SELECT id, created_at, api_key_id, request_id FROM {table}
WHERE {_OWN} ORDER BY created_at DESC, id DESC LIMIT $3)"""  # noqa: S608 - one of ours


_REQUESTS = f"""
SELECT o.id AS order_id, o.created_at, o.request_id, k.id AS api_key_id, i.scope, i.status, i.completed_at
FROM ({_made("payments")} UNION ALL {_made("payouts")}) o
LEFT JOIN idempotency i ON i.order_id = o.id
LEFT JOIN api_keys k ON k.id = o.api_key_id AND k.merchant_id = $1 AND k.livemode = $2
ORDER BY o.created_at DESC, o.id DESC LIMIT $3
"""  # noqa: S608 - put together from constants
_PAYOUTS = f"""
SELECT id, created_at, amount, currency, status, status_detail, rail FROM payouts
WHERE {_OWN} ORDER BY created_at DESC, id DESC LIMIT $3
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True, slots=True)
class PostgresMerchantReading:
    """Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database

    async def endpoints(self, tenant: Tenant) -> Sequence[dict[str, Any]]:
        """Return the merchant's newest 500 webhook endpoints. `waiting`: how many deliveries wait, up to
        1,000."""
        return [with_host(row) for row in await self._read(_ENDPOINTS, tenant)]

    async def deliveries(self, tenant: Tenant, limit: int) -> Sequence[dict[str, Any]]:
        """Return the newest `limit` events with their deliveries."""
        return [with_host(row) for row in await self._read(_NEWEST, tenant, limit)]

    async def deliveries_of(self, tenant: Tenant, order_id: str) -> Sequence[dict[str, Any]]:
        """Return the events of an order with their deliveries, oldest first."""
        return [with_host(row) for row in await self._read(_OF_ORDER, tenant, order_id)]

    async def keys(self, tenant: Tenant) -> Sequence[dict[str, Any]]:
        """Return the merchant's newest 500 API keys of this mode, without their hashes."""
        return [dict(row.items()) for row in await self._read(_KEYS, tenant)]

    async def requests(self, tenant: Tenant, limit: int) -> Sequence[dict[str, Any]]:
        """Return the newest requests that made payments or payouts; their answers are kept for a day. An
        operator who made one is not named."""
        return [dict(row.items()) for row in await self._read(_REQUESTS, tenant, limit)]

    async def payouts(self, tenant: Tenant, limit: int) -> Sequence[dict[str, Any]]:
        """Return the merchant's newest payouts."""
        return [dict(row.items()) for row in await self._read(_PAYOUTS, tenant, limit)]

    async def _read(self, statement: str, tenant: Tenant, *arguments: Any) -> list[Any]:
        return await self.database.repeat(statement, tenant.merchant_id, tenant.livemode, *arguments)
