"""Reads for how long the oldest due order has waited for a worker."""

from dataclasses import dataclass

from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_tables import ORDER_TABLES, OrderTable


def _found(table: OrderTable) -> str:
    """Return the condition that finds payments, which have no index on `due_at`."""
    if not table.looks:
        return ""
    return """AND o.id = ANY (ARRAY (
        SELECT payment_id FROM due_payments WHERE look_at < now() - make_interval(secs => $1)
    ))"""


# A callback makes its order due at -infinity, so the time of the callback counts. A worker moves `due_at` of
# what it takes to the end of its lease.
_OLDEST = " UNION ALL ".join(
    f"""(
    SELECT greatest(
        o.due_at, (SELECT max(a.callback_at) FROM attempts a WHERE a.order_id = o.id)
    ) AS due_at
    FROM {table.name} o WHERE o.due_at < now() - make_interval(secs => $1) {_found(table)}
    ORDER BY o.due_at LIMIT 100
    )"""  # noqa: S608 - our own tables
    for table in ORDER_TABLES.values()
)
OVERDUE = f"""
    SELECT extract(epoch FROM now() - min(due_at))::float8 AS overdue_s FROM ({_OLDEST}) AS oldest
    WHERE isfinite(due_at) AND due_at < now() - make_interval(secs => $1)
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True, slots=True)
class PostgresOverdueOrders:
    """Implements `DueOrders` of `observability.overdue_orders`."""

    database: Database

    async def overdue_s(self, than_s: float) -> float | None:
        """Return for how many seconds the oldest order is due; None if none is due for `than_s` seconds."""
        return (await self.database.repeat(OVERDUE, than_s))[0]["overdue_s"]
