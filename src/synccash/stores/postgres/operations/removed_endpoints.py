"""Deletes webhook endpoints that their merchants removed long ago, with their deliveries.

The events about an endpoint stay: `GET /events` goes on after any event that a merchant has read. They name
neither its URL nor its secrets.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from synccash.stores.postgres.database import Database

_EVENTS_AT_ONCE = 2_000

_OLD = "status = 'removed' AND updated_at < now() - make_interval(days => $1)"
_FIND = f"""
SELECT merchant_id, livemode, array_agg(id) AS ids FROM webhook_endpoints WHERE {_OLD}
GROUP BY merchant_id, livemode
"""  # noqa: S608 - put together from constants
# No index finds the deliveries of an endpoint that are not due: each payment would pay for it. The events of
# its merchant lead to them.
_DELETE_DELIVERIES = """
WITH page AS MATERIALIZED (
    SELECT id, xact, position FROM events
    WHERE merchant_id = $1 AND livemode = $2 AND (xact, position) > ($3::text::xid8, $4::bigint)
    ORDER BY xact, position LIMIT $5
),
deleted AS (
    DELETE FROM deliveries d USING page WHERE d.event_id = page.id AND d.endpoint_id = ANY ($6::text[])
)
SELECT xact::text AS xact, position FROM page ORDER BY page.xact DESC, position DESC LIMIT 1
"""
# What an order's commit has added meanwhile is deleted by the next run.
_DELETE = f"""
DELETE FROM webhook_endpoints WHERE {_OLD} AND id = ANY ($2::text[]) AND NOT EXISTS (
    SELECT FROM deliveries d WHERE d.endpoint_id = webhook_endpoints.id AND d.due_at IS NOT NULL
)
RETURNING id
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True, slots=True)
class PostgresRemovedEndpoints:
    """Deletes endpoints that were removed more than `retention_days` days ago."""

    database: Database
    retention_days: int

    async def delete_old(self) -> AsyncGenerator[int]:
        """Delete them in steps that can be repeated; yield after each how many endpoints it has deleted.

        Raises StoreUnavailableError.
        """
        for row in await self.database.repeat(_FIND, self.retention_days):
            after = ("0", 0)
            while True:
                found = await self.database.repeat(
                    _DELETE_DELIVERIES,
                    row["merchant_id"],
                    row["livemode"],
                    *after,
                    _EVENTS_AT_ONCE,
                    row["ids"],
                )
                if not found:
                    break
                after = found[0]["xact"], found[0]["position"]
                yield 0
            yield len(await self.database.repeat(_DELETE, self.retention_days, row["ids"]))
