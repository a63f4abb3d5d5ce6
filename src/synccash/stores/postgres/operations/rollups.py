"""Counts ended orders by the minute of their end, and reads these counts."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from synccash.payments.history import DURATION_BOUNDS_S, KEPT_DAYS, EndedOrders, duration_bucket
from synccash.payments.payer import Msisdn, Network
from synccash.payments.payment import OrderKind
from synccash.stores.encryption import DecryptionError, Encryption
from synccash.stores.postgres import sealing
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import PooledConnection

_TRANSACTIONS = 1_000
"""How many transaction numbers one part covers, so that it ends in time after a long pause too."""
_AT_ONCE = 100
"""After how many decrypted rows the other tasks of the process get their turn."""
_BUCKETS = len(DURATION_BOUNDS_S) + 1
_TYPES = ", ".join(
    f"'{kind}.{status}'"
    for kind, statuses in (
        ("payment", ("succeeded", "failed", "canceled")),
        ("refund", ("succeeded", "failed")),
        ("payout", ("succeeded", "failed")),
    )
    for status in statuses
)

# The event of an order's end is the source, because it never changes, and its index is there for merchants.
# Events are read below the oldest running transaction, as merchants read them, so none appears behind the
# cursor. The cursor moves in the transaction that counts: a crash undoes both, and a repeat counts nothing
# twice.
#
# A cursor above the statement's own transaction number is from another cluster: see the migration. The
# horizon alone would not tell, because another process may have moved the cursor after this snapshot.
#
# Each merchant's events are a range of the index; the oldest one in all of them begins the part, so that
# gaps between transactions cost nothing. The LIMIT in the subqueries makes the planner look orders up by id.
_PART = f"""
WITH cursor AS MATERIALIZED (
    SELECT xact, since, xact > pg_current_xact_id() AS is_foreign,
        pg_snapshot_xmin(pg_current_snapshot()) AS horizon
    FROM order_rollup_cursor FOR UPDATE SKIP LOCKED
),
tenants AS MATERIALIZED (
    SELECT m.id AS merchant_id, mode.livemode FROM merchants m, (VALUES (true), (false)) mode (livemode)
),
oldest AS MATERIALIZED (
    SELECT e.xact FROM cursor, tenants t CROSS JOIN LATERAL (
        SELECT e.xact FROM events e
        WHERE e.merchant_id = t.merchant_id AND e.livemode = t.livemode
            AND e.xact >= cursor.xact AND e.xact < cursor.horizon
        ORDER BY e.xact LIMIT 1
    ) e ORDER BY e.xact LIMIT 1
),
part AS MATERIALIZED (
    SELECT cursor.xact AS first, cursor.is_foreign,
        greatest(cursor.since, now() - interval '{KEPT_DAYS} days') AS since, cursor.horizon,
        CASE WHEN cursor.is_foreign THEN cursor.horizon
            ELSE greatest(cursor.xact, least(cursor.horizon,
                coalesce((oldest.xact::text::bigint + {_TRANSACTIONS})::text::xid8, cursor.horizon)))
        END AS before
    FROM cursor LEFT JOIN oldest ON true
),
ended AS MATERIALIZED (
    SELECT e.object_id, e.created_at, t.livemode, split_part(e.type, '.', 1) AS kind,
        split_part(e.type, '.', 2) AS status
    FROM part, tenants t CROSS JOIN LATERAL (
        SELECT e.type, e.object_id, e.created_at FROM events e
        WHERE e.merchant_id = t.merchant_id AND e.livemode = t.livemode
            AND e.xact >= part.first AND e.xact < part.before AND e.type IN ({_TYPES})
        OFFSET 0
    ) e
    WHERE NOT part.is_foreign AND e.created_at >= part.since
),
labelled AS (
    SELECT date_trunc('minute', n.created_at) AS minute, n.livemode, n.kind, n.status,
        coalesce(o.rail, '') AS rail, o.network, o.wallet_table, o.wallet_id, o.wallet, o.sealed,
        CASE n.status WHEN 'succeeded' THEN '' ELSE coalesce(o.code, '') END AS failure_code,
        greatest(0, extract(epoch FROM n.created_at - o.created_at))::float8 AS seconds
    FROM ended n CROSS JOIN LATERAL (
        (SELECT p.rail, p.payer_network AS network, 'payments' AS wallet_table, p.id AS wallet_id,
            p.payer_msisdn AS wallet, p.sealed, p.last_error ->> 'code' AS code, p.created_at
        FROM payments p WHERE p.id = n.object_id AND n.kind = 'payment' LIMIT 1)
        UNION ALL
        (SELECT o.rail, o.payee_network, 'payouts', o.id, o.payee_msisdn, o.sealed,
            o.last_error ->> 'code', o.created_at
        FROM payouts o WHERE o.id = n.object_id AND n.kind = 'payout' LIMIT 1)
        UNION ALL
        (SELECT r.rail, p.payer_network, 'payments', p.id, p.payer_msisdn, p.sealed,
            r.last_error ->> 'code', r.created_at
        FROM refunds r JOIN payments p ON p.id = r.payment_id
        WHERE r.id = n.object_id AND n.kind = 'refund' LIMIT 1)
    ) o
)
SELECT part.before::text AS before, part.is_foreign, part.before < part.horizon AS has_more, labelled.*
FROM part LEFT JOIN labelled ON true
"""  # noqa: S608 - put together from constants
_ADD = """
WITH moved AS (
    UPDATE order_rollup_cursor
    SET xact = $1::text::xid8, since = CASE WHEN $2 THEN now() ELSE since END
)
INSERT INTO order_rollups AS r
    (minute, livemode, kind, rail, network, status, failure_code, orders, seconds, durations)
SELECT minute, livemode, kind, rail, network, status, failure_code, orders, seconds, durations
FROM json_to_recordset($3) AS a(
    minute timestamptz, livemode boolean, kind text, rail text, network text, status text, failure_code text,
    orders bigint, seconds float8, durations bigint[])
ON CONFLICT (minute, livemode, kind, rail, network, status, failure_code) DO UPDATE SET
    orders = r.orders + excluded.orders, seconds = r.seconds + excluded.seconds,
    durations = (
        SELECT array_agg(before.n + new.n ORDER BY place)
        FROM unnest(r.durations) WITH ORDINALITY before (n, place)
        JOIN unnest(excluded.durations) WITH ORDINALITY new (n, place) USING (place)
    )
"""
_DELETE_OLD = f"""
DELETE FROM order_rollups WHERE minute < now() - interval '{KEPT_DAYS} days'
"""  # noqa: S608 - a constant
_SUMS = ", ".join(f"sum(durations[{place}])::bigint" for place in range(1, _BUCKETS + 1))
_BETWEEN = f"""
SELECT date_bin($3, minute, $1) AS at, livemode, kind, rail, network, status, failure_code,
    sum(orders)::bigint AS orders, sum(seconds)::float8 AS seconds, ARRAY[{_SUMS}] AS durations
FROM order_rollups WHERE minute >= $1 AND minute < $2
GROUP BY 1, livemode, kind, rail, network, status, failure_code
ORDER BY 1, livemode, kind, rail, network, status, failure_code
"""  # noqa: S608 - put together from constants


_encode = msgspec.json.Encoder().encode
_MSISDN_OF = {"payments": "payer_msisdn", "payouts": "payee_msisdn"}


@dataclass(slots=True)
class _Count:
    orders: int = 0
    seconds: float = 0.0
    durations: list[int] = field(default_factory=lambda: [0] * _BUCKETS)


@dataclass(frozen=True, slots=True)
class RollupStore:
    """The counts of ended orders. Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database

    async def roll_up(self) -> tuple[int, bool]:
        """Count a part of the orders that have ended since the last call.

        Returns how many, and whether there are more. Any number of processes may call it: one of them counts,
        and the others return at once.
        """
        return await self.database.repeat_with(self.database.once_with, self._count_part)

    async def _count_part(self, connection: PooledConnection) -> tuple[int, bool]:
        async with connection.transaction():
            rows = await connection.fetch(_PART)
            if not rows:
                return 0, False
            ended = [row for row in rows if row["minute"] is not None]
            added = _encode(await _counted(self.database.encryption, ended))
            await connection.execute(_ADD, rows[0]["before"], rows[0]["is_foreign"], added)
        return len(ended), rows[0]["has_more"]

    async def delete_old(self) -> None:
        """Delete the counts of minutes that are older than `KEPT_DAYS`."""
        await self.database.repeat(_DELETE_OLD)

    async def between(self, start: datetime, end: datetime, step: timedelta) -> Sequence[EndedOrders]:
        """Return the counts of the minutes from `start` until before `end`, added up in periods of `step`
        that begin at `start`. Both ends should be whole minutes; periods in which no order ended are left
        out."""
        rows = await self.database.repeat(_BETWEEN, start, end, step)
        return [
            EndedOrders(**{**dict(row.items()), "kind": OrderKind(row["kind"])})  # pyright: ignore[reportArgumentType]
            for row in rows
        ]


async def _counted(encryption: Encryption | None, ended: Sequence[asyncpg.Record]) -> list[Mapping[str, Any]]:
    """Return the counts of these orders by minute and labels, in the order of the primary key."""
    counts: defaultdict[tuple[Any, ...], _Count] = defaultdict(_Count)
    for number, row in enumerate(ended, start=1):
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
        network = row["network"] or _network_hint(encryption, row)
        key = (row["minute"], row["livemode"], row["kind"], row["rail"], network, row["status"])
        count = counts[(*key, row["failure_code"])]
        count.orders += 1
        count.seconds += row["seconds"]
        count.durations[duration_bucket(row["seconds"])] += 1
    names = ("minute", "livemode", "kind", "rail", "network", "status", "failure_code")
    return [
        {
            **dict(zip(names, key, strict=True)),
            "orders": count.orders,
            "seconds": count.seconds,
            "durations": count.durations,
        }
        for key, count in sorted(counts.items(), key=lambda item: item[0])
    ]


def _network_hint(encryption: Encryption | None, row: asyncpg.Record) -> str:
    """Return the network that the wallet's prefix belongs to, as routing assumes it; empty if not known."""
    table: str = row["wallet_table"]
    column = _MSISDN_OF[table]
    stored = {"id": row["wallet_id"], "sealed": row["sealed"], column: row["wallet"]}
    try:
        digits = sealing.open_columns(encryption, table, stored)[column]
    except DecryptionError:
        return ""
    hint: Network | None = Msisdn(digits).network_hint if digits else None
    return "" if hint is None else hint.value
