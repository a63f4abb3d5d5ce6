"""Lists what rails reported against their former answers, and closes what an operator has dealt with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from synccash.payments.audit import AuditNote
from synccash.stores.postgres.audit import change_with_note
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_tables import ORDER_TABLES
from synccash.stores.postgres.orders.waiting import REMEMBERED_DAYS

_ORDER = " UNION ALL ".join(
    f"SELECT '{table.kind}' AS kind, id, status, status_detail, amount, currency, rail, merchant_id, "  # noqa: S608
    f"livemode FROM {table.name} WHERE id = c.order_id"
    for table in ORDER_TABLES.values()
)
_OPEN = f"""
SELECT c.kind AS contradiction, c.recorded_at AS since, o.*
FROM (
    SELECT order_id, kind, recorded_at FROM contradictions
    WHERE closed_at IS NULL AND recorded_at > now() - interval '{REMEMBERED_DAYS} days'
    ORDER BY recorded_at LIMIT $1
) c CROSS JOIN LATERAL ({_ORDER}) o
ORDER BY c.recorded_at, o.id
"""  # noqa: S608 - put together from constants
_CLOSE = """
UPDATE contradictions SET closed_at = now() WHERE order_id = $1 AND closed_at IS NULL RETURNING order_id
"""


@dataclass(frozen=True, slots=True)
class PostgresContradictions:
    """Reads across all tenants. Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database

    async def oldest(self, limit: int) -> Sequence[dict[str, Any]]:
        """Return the `limit` oldest contradictions of the last 90 days that are not closed."""
        return [dict(row.items()) for row in await self.database.repeat(_OPEN, limit)]

    async def close(self, order_id: str, *, note: AuditNote) -> int:
        """Close the contradictions of an order; return how many."""
        return len(await change_with_note(self.database, note, _CLOSE, order_id))
