"""Stores the public status of rails. A change writes its event for each merchant in the same commit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from synccash.payments.health import HealthStatus
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.rows import to_json
from synccash.stores.postgres.parts import new_deliveries

_ALL = "SELECT rail, operation, standing FROM rail_standings"

# Rails serve all merchants, so each merchant with a key or an endpoint gets the event. A rail without a
# stored status counts as healthy, so its first healthy status writes no event.
_CHANGE = f"""
WITH changed AS (
    INSERT INTO rail_standings AS s (rail, operation, standing, version)
    SELECT $1, $2, $3, 1
    WHERE $3 = 'degraded' OR EXISTS (SELECT FROM rail_standings WHERE rail = $1 AND operation = $2)
    ON CONFLICT (rail, operation) DO UPDATE SET
        standing = excluded.standing, since = now(), version = s.version + 1
    WHERE s.standing <> excluded.standing
    RETURNING rail || ':' || operation AS id, standing, since, version
),
tenants AS (
    SELECT merchant_id, livemode FROM api_keys WHERE merchant_id IS NOT NULL AND revoked_at IS NULL
    UNION
    SELECT merchant_id, livemode FROM webhook_endpoints WHERE status IN ('pending', 'enabled')
),
new_events AS (
    INSERT INTO events (id, merchant_id, livemode, type, created_at, object_id, object_version, data)
    SELECT
        'evt_' || md5(concat_ws(' ', $4::text, t.merchant_id, t.livemode)),
        t.merchant_id, t.livemode,
        CASE c.standing WHEN 'degraded' THEN 'rail.degraded' ELSE 'rail.recovered' END,
        c.since, c.id, c.version,
        ($5::json::jsonb || jsonb_build_object(
            'since', to_char(c.since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'version', c.version
        ))::json
    FROM changed c, tenants t
    RETURNING id, merchant_id, livemode, type
),
{new_deliveries("new_events")}
SELECT version FROM changed
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True, slots=True)
class PostgresRailStatus:
    """Implements `RailStatusStore` of `engine.dispatch.rail_watch`. Raises StoreUnavailableError."""

    database: Database

    async def all(self) -> Mapping[tuple[str, str], HealthStatus]:
        """Return the stored status of each rail and operation that has one."""
        rows = await self.database.repeat(_ALL)
        return {(row["rail"], row["operation"]): HealthStatus(row["standing"]) for row in rows}

    async def change(
        self, rail: str, operation: str, status: HealthStatus, document: Mapping[str, Any], event_id: str
    ) -> bool:
        """Store a status and write its events. Returns False if nothing changed.

        `event_id` is a new id; the id of each merchant's event is derived from it.
        """
        arguments = (rail, operation, status.value, event_id, to_json(document))
        return bool(await self.database.repeat(_CHANGE, *arguments))
