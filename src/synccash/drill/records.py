"""Reads every order, attempt and timeline from the database of a drill."""

import json
from collections import defaultdict
from dataclasses import dataclass

from synccash.drill.late_sends import TimelineEntry
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import Pool
from synccash.stores.postgres.waiting import PostgresWaiting

_LISTED_MAX = 100_000


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt, as its row has it. `reference` is written without dashes."""

    id: str
    reference: str
    rail: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """A payment, refund or payout with its attempts.

    `payment_id` and `debit_id` (the attempt that is refunded) are set for refunds only. `contradicted`: a
    contradiction row exists. `is_listed`: `synccash payments waiting` shows the order.
    """

    id: str
    kind: str
    status: str
    amount: int
    status_detail: str | None = None
    rail: str | None = None
    payment_id: str | None = None
    debit_id: str | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    timeline: tuple[TimelineEntry, ...] = ()
    contradicted: bool = False
    is_listed: bool = False

    @property
    def is_under_review(self) -> bool:
        """True when the order waits for a human's decision."""
        return self.status_detail == "under_review"


async def read_orders(pool: Pool) -> list[OrderRecord]:
    """Return all orders of the database."""
    attempts: dict[str, list[AttemptRecord]] = defaultdict(list)
    for row in await pool.fetch(
        "SELECT id, order_id, reference, rail, state FROM attempts ORDER BY order_id, sequence"
    ):
        record = AttemptRecord(row["id"], row["reference"].hex, row["rail"], row["state"])
        attempts[row["order_id"]].append(record)
    timelines: dict[str, list[TimelineEntry]] = defaultdict(list)
    for row in await pool.fetch("SELECT order_id, kind, data FROM timeline ORDER BY order_id, position"):
        timelines[row["order_id"]].append(TimelineEntry(row["kind"], json.loads(row["data"])))
    contradicted = {row["order_id"] for row in await pool.fetch(_CONTRADICTED)}
    listed = {row["id"] for row in await PostgresWaiting(Database(pool)).oldest(_LISTED_MAX)}
    return [
        OrderRecord(
            id=row["id"],
            kind=row["kind"],
            status=row["status"],
            amount=row["amount"],
            status_detail=row["status_detail"],
            rail=row["rail"],
            payment_id=row["payment_id"],
            debit_id=row["debit_id"],
            attempts=tuple(attempts[row["id"]]),
            timeline=tuple(timelines[row["id"]]),
            contradicted=row["id"] in contradicted,
            is_listed=row["id"] in listed,
        )
        for row in await pool.fetch(_ORDERS)
    ]


async def is_work_left(pool: Pool) -> bool:
    """Return whether an order has not ended, or is soon looked at again."""
    return bool(await pool.fetchval(f"SELECT EXISTS ({_WORK_LEFT})"))


_ORDERS = """
    SELECT id, 'payment' AS kind, status, amount, status_detail, rail,
        NULL AS payment_id, NULL AS debit_id FROM payments
    UNION ALL SELECT id, 'refund', status, amount, status_detail, rail, payment_id, attempt_id FROM refunds
    UNION ALL SELECT id, 'payout', status, amount, status_detail, rail, NULL, NULL FROM payouts
"""
_CONTRADICTED = "SELECT order_id FROM contradictions"
_WORK_LEFT = " UNION ALL ".join(
    f"SELECT 1 FROM {table} WHERE status NOT IN ('succeeded', 'failed', 'canceled')"  # noqa: S608
    f" AND (status_detail IS DISTINCT FROM 'under_review' OR id NOT IN ({_CONTRADICTED}))"
    " OR due_at < now() + interval '5 seconds'"
    for table in ("payments", "refunds", "payouts")
)
