"""Reads what PostgreSQL counts: transactions, WAL, buffers, and the changes and scans of each table."""

import asyncio
import time
from collections import Counter

import asyncpg

FLUSH_S = 10.5
"""A connection that is idle has added its counts to PostgreSQL's after 10 s."""
Counts = dict[str, float]
_DATABASE = """
SELECT xact_commit + xact_rollback AS transactions, blks_hit AS buffer_hits, blks_read AS buffer_reads
FROM pg_stat_database WHERE datname = current_database()
"""
_WAL = "SELECT wal_records, wal_fpi AS wal_full_pages, wal_bytes::bigint AS wal_bytes FROM pg_stat_wal"
_TABLES = """
SELECT relname AS name, n_tup_ins AS inserts, n_tup_upd AS updates, n_tup_hot_upd AS hot_updates,
    seq_scan AS sequential_scans, seq_tup_read AS rows_read_by_scans, coalesce(idx_scan, 0) AS index_scans
FROM pg_stat_user_tables
"""
# The first condition is that of a partial index: each look would otherwise read all payments that are stored.
_OPEN = "('created', 'requires_action', 'processing')"
_UNFINISHED = f"SELECT count(*) FROM payments WHERE status <> 'succeeded' AND status IN {_OPEN}"
# No index of the service's payments has the status, and to read a million of them would count as a cost of
# the window's payments. The floor has no other table of open ones.
_UNFINISHED_DUE = f"""
SELECT count(*) FROM due_payments d JOIN payments p ON p.id = d.payment_id WHERE p.status IN {_OPEN}
"""
_HAS_DUE = "SELECT to_regclass('due_payments') IS NOT NULL"
_ENDS = "SELECT status, count(*) AS payments FROM payments GROUP BY status"
_POLL_S = 0.1
_DRAIN_S = 300.0


class DatabaseCounters:
    """Live: one connection, whose own transactions are left out of the counts."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._own = 0

    async def read(self) -> Counts:
        """Return all counts so far; those of a table are named `table.count`."""
        self._own += 1
        async with self._connection.transaction():
            database = await self._connection.fetchrow(_DATABASE)
            wal = await self._connection.fetchrow(_WAL)
            tables = await self._connection.fetch(_TABLES)
        assert database is not None
        assert wal is not None
        counts: Counts = {**database, **wal}
        counts["transactions"] -= self._own
        for table in tables:
            counts |= {f"{table['name']}.{name}": table[name] for name in table.keys() if name != "name"}  # noqa: SIM118
        return counts

    async def drain(self) -> float:
        """Wait until every payment has ended; return the seconds. Raises RuntimeError after five minutes."""
        began = time.perf_counter()
        unfinished = _UNFINISHED_DUE if await self._value(_HAS_DUE) else _UNFINISHED
        while left := await self._value(unfinished):
            if time.perf_counter() - began > _DRAIN_S:
                raise RuntimeError(f"{left} payments have not ended after {_DRAIN_S:.0f} s")
            await asyncio.sleep(_POLL_S)
        return time.perf_counter() - began

    async def ends(self) -> Counter[str]:
        """Return how many payments have each status."""
        self._own += 1
        return Counter({row["status"]: row["payments"] for row in await self._connection.fetch(_ENDS)})

    async def _value(self, statement: str) -> int:
        self._own += 1
        return await self._connection.fetchval(statement)


def difference(later: Counts, earlier: Counts) -> Counts:
    """Return what was counted in between."""
    return {name: value - earlier.get(name, 0) for name, value in later.items()}
