"""Reads every order, attempt and timeline from the database of a drill."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from synccash.drill.late_sends import TimelineEntry
from synccash.drill.rails import WITHOUT_DEDUPLICATION
from synccash.stores.encryption import Encryption
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.waiting import PostgresWaiting
from synccash.stores.postgres.pool import Pool
from synccash.stores.postgres.sealing import open_columns

FINAL = ("succeeded", "failed", "canceled")
_LISTED_MAX = 100_000


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt, as its row has it. `reference` is written without dashes."""

    id: str
    reference: str
    rail: str
    state: str
    operation: str = "collect"

    @property
    def is_deduplicated(self) -> bool:
        """True when the rail executes a repeated reference once."""
        return (self.rail, self.operation) not in WITHOUT_DEDUPLICATION


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """A payment, refund or payout with its attempts.

    `payment_id` and `debit_id` (the attempt that is refunded) are set for refunds only. `contradicted`: a
    contradiction row exists. `is_listed`: `synccash payments waiting` shows the order. `msisdn`: the wallet
    that the money leaves or reaches. `ended_at`: when its event of a final status was committed.
    """

    id: str
    kind: str
    status: str
    amount: int
    status_detail: str | None = None
    rail: str | None = None
    payment_id: str | None = None
    debit_id: str | None = None
    msisdn: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    timeline: tuple[TimelineEntry, ...] = ()
    contradicted: bool = False
    is_listed: bool = False

    @property
    def is_final(self) -> bool:
        """True when the order has ended."""
        return self.status in FINAL

    @property
    def is_under_review(self) -> bool:
        """True when the order waits for an operator's decision."""
        return self.status_detail == "under_review"

    @property
    def may_park(self) -> bool:
        """True when its last attempt is at a rail that must not be sent the same reference again."""
        return bool(self.attempts) and not self.attempts[-1].is_deduplicated


async def read_orders(pool: Pool, encryption: Encryption | None = None) -> list[OrderRecord]:
    """Return all orders of the database. `encryption`: the keys with which they were written."""
    attempts: dict[str, list[AttemptRecord]] = defaultdict(list)
    for row in await pool.fetch(_ATTEMPTS):
        record = AttemptRecord(
            row["id"], row["reference"].hex, row["rail"], row["state"], operation=row["operation"]
        )
        attempts[row["order_id"]].append(record)
    timelines: dict[str, list[TimelineEntry]] = defaultdict(list)
    for row in await pool.fetch("SELECT order_id, kind, data FROM timeline ORDER BY order_id, position"):
        timelines[row["order_id"]].append(TimelineEntry(row["kind"], json.loads(row["data"])))
    contradicted = {row["order_id"] for row in await pool.fetch(_CONTRADICTED)}
    listed = {row["id"] for row in await PostgresWaiting(Database(pool)).oldest(_LISTED_MAX)}
    ended = {row["object_id"]: row["ended_at"] for row in await pool.fetch(_ENDED)}
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
            msisdn=_msisdn(row, encryption),
            created_at=row["created_at"],
            expires_at=row["expires_at"],
            ended_at=ended.get(row["id"]),
            attempts=tuple(attempts[row["id"]]),
            timeline=tuple(timelines[row["id"]]),
            contradicted=row["id"] in contradicted,
            is_listed=row["id"] in listed,
        )
        for row in await pool.fetch(_ORDERS)
    ]


def _msisdn(row: Any, encryption: Encryption | None) -> str | None:
    """Return the wallet of an order; for a refund, that of its payment."""
    table, column = ("payouts", "payee_msisdn") if row["kind"] == "payout" else ("payments", "payer_msisdn")
    wallet = {"id": row["payment_id"] or row["id"], "sealed": row["sealed"], column: row["msisdn"]}
    return open_columns(encryption, table, wallet)[column]


async def database_time(pool: Pool) -> datetime:
    """Return the database's present time, the clock of all times of orders."""
    now: datetime = await pool.fetchval("SELECT clock_timestamp()")
    return now


async def open_orders(pool: Pool) -> int:
    """Return how many orders have not ended."""
    count: int = await pool.fetchval(f"SELECT {' + '.join(_OPEN)}")
    return count


async def is_work_left(pool: Pool) -> bool:
    """Return whether an order has not ended and does not wait for an operator."""
    return bool(await pool.fetchval(f"SELECT EXISTS ({_WORK_LEFT})"))


async def bring_rechecks_forward(pool: Pool) -> list[str]:
    """Make the rechecks of failed attempts of ended orders due now, instead of in 15 minutes.

    Returns the ids of the orders.
    """
    return [row["id"] for table in _TABLES for row in await pool.fetch(_RECHECK.format(table=table))]


async def unfinished_rechecks(pool: Pool, order_ids: Sequence[str]) -> list[str]:
    """Return which of these ended orders a worker holds, or are due again within seconds.

    A worker releases an order after its recheck: until the next one, minutes later, or, when the rail was not
    asked or gave no clear answer, for some seconds.
    """
    return [row["id"] for row in await pool.fetch(_UNFINISHED, order_ids)]


async def ended_and_due(pool: Pool) -> int:
    """Return how many orders have ended and are due again within seconds."""
    count: int = await pool.fetchval(f"SELECT {' + '.join(_ENDED_AND_DUE)}")
    return count


_TABLES = ("payments", "refunds", "payouts")
_ORDERS = """
    SELECT id, 'payment' AS kind, status, amount, status_detail, rail, NULL AS payment_id, NULL AS debit_id,
        payer_msisdn AS msisdn, sealed, created_at, expires_at FROM payments
    UNION ALL SELECT r.id, 'refund', r.status, r.amount, r.status_detail, r.rail, r.payment_id, r.attempt_id,
        p.payer_msisdn, p.sealed, r.created_at, NULL FROM refunds r JOIN payments p ON p.id = r.payment_id
    UNION ALL SELECT id, 'payout', status, amount, status_detail, rail, NULL, NULL,
        payee_msisdn, sealed, created_at, expires_at FROM payouts
"""
_ATTEMPTS = """
    SELECT id, order_id, operation, reference, rail, state FROM attempts ORDER BY order_id, sequence
"""
_ENDED = """
    SELECT object_id, min(created_at) AS ended_at FROM events
    WHERE split_part(type, '.', 2) IN ('succeeded', 'failed', 'canceled') GROUP BY object_id
"""
_CONTRADICTED = "SELECT order_id FROM contradictions"
_IS_OPEN = "(status NOT IN ('succeeded', 'failed', 'canceled'))"
_OPEN = tuple(f"(SELECT count(*) FROM {table} WHERE {_IS_OPEN})" for table in _TABLES)  # noqa: S608
_EXPIRES = {"payments": "expires_at", "refunds": "NULL::timestamptz", "payouts": "expires_at"}
_IS_DUE = "due_at < now() + interval '10 seconds'"
_ENDED_AND_DUE = tuple(
    f"(SELECT count(*) FROM {table} WHERE NOT {_IS_OPEN} AND {_IS_DUE})"  # noqa: S608
    for table in _TABLES
)
_UNFINISHED = " UNION ALL ".join(
    f"SELECT id FROM {table} WHERE id = ANY($1) AND (lease_until IS NOT NULL OR {_IS_DUE})"  # noqa: S608
    for table in _TABLES
)
# Before it expires an order under review may still end by itself, unless its rail has moved other money.
_WORK_LEFT = " UNION ALL ".join(
    f"""SELECT 1 FROM {table} WHERE {_IS_OPEN} AND (status_detail IS DISTINCT FROM 'under_review'
        OR {expires} > now() AND id NOT IN ({_CONTRADICTED}))"""  # noqa: S608 - from constants
    for table, expires in _EXPIRES.items()
)
_RECHECK = """
    UPDATE {table} o SET due_at = now()
    WHERE o.status IN ('succeeded', 'failed', 'canceled') AND o.lease_until IS NULL
        AND EXISTS (SELECT FROM attempts a WHERE a.order_id = o.id AND a.state = 'declined')
    RETURNING id
"""
