"""How long a payment waits while the migrations from 0017 on run, on a database with 500,000 attempts."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from bench.report import Report
from synccash.servers.bundle import start_servers
from synccash.stores.postgres.schema.migrations import migrate

LIMIT_S = 0.2
"""How long a payment may wait."""
FIRST = 17
"""The first migration that has to keep the limit; those before it ran on small installations."""
ATTEMPTS = 500_000
_WRITERS = 8
_PAUSE_S = 0.02
_SAMPLE_S = 0.005
_READER_HOLDS_S, _READER_PAUSES_S = 1.0, 0.5
_MIGRATIONS = files("synccash.stores.postgres") / "migrations"

_FILL = (
    "SET session_replication_role = replica",
    "SELECT setseed(0.5)",
    """
    INSERT INTO payments (id, merchant_id, livemode, reference, amount, currency, payer_msisdn, created_at,
        updated_at, expires_at, status, amount_received, amount_refunded, attempt_count, metadata, routing,
        version, fence, move_id)
    SELECT 'pay_' || n, 'm_' || n % 50, true, 'order-' || n, 1000, 'GHS', '2332' || 40000000 + n % 90000, t,
        t, t + interval '10 minutes', 'succeeded', 1000, 0, 1, '{"order": "a shop''s own number"}', '{}', 5,
        2, 'm' || n
    FROM generate_series(1, $1 * 8 / 10) n, LATERAL (SELECT now() - n * interval '10 s' AS t) at
    """,
    """
    INSERT INTO payouts (id, merchant_id, livemode, reference, amount, currency, payee_msisdn, created_at,
        updated_at, expires_at, status, attempt_count, metadata, routing, version, fence, move_id)
    SELECT 'po_' || n, 'm_' || n % 50, true, 'payout-' || n, 500, 'GHS', '2332' || 40000000 + n % 90000, t, t,
        t + interval '10 minutes', 'succeeded', 1, '{}', '{}', 5, 2, 'm' || n
    FROM generate_series(1, $1 / 10) n, LATERAL (SELECT now() - n * interval '10 s' AS t) at
    """,
    """
    INSERT INTO refunds (id, merchant_id, livemode, payment_id, attempt_id, amount, currency, created_at,
        updated_at, status, version, fence, move_id)
    SELECT 're_' || n, 'm_' || n % 50, true, 'pay_' || n, 'att_pay_' || n, 100, 'GHS', t, t, 'succeeded', 5,
        2, 'm' || n
    FROM generate_series(1, $1 / 10) n, LATERAL (SELECT now() - n * interval '10 s' AS t) at
    """,
    """
    INSERT INTO attempts (id, order_id, sequence, operation, rail, account, base_url, target_environment,
        reference, callback_token, amount, opened_fence, started_at, state, evidence, sends, inquiries,
        latency_ms, amount_received, refund_reserved)
    SELECT 'att_' || id, id, 1, operation, 'mtn_momo', 'main', 'https://rail', 'mtnghana', gen_random_uuid(),
        md5(id), amount, 1, created_at, 'succeeded', 'accepted', 1, 1, 120, amount, 0
    FROM (
        SELECT id, 'collect' AS operation, amount, created_at FROM payments
        UNION ALL SELECT id, 'payout', amount, created_at FROM payouts
        UNION ALL SELECT id, 'refund', amount, created_at FROM refunds
    ) orders
    """,
    """
    INSERT INTO events (id, merchant_id, livemode, type, created_at, object_id, object_version, data)
    SELECT 'evt_' || v || order_id, 'm_1', true, 'payment.succeeded', started_at, order_id, v,
        json_build_object('id', order_id, 'status', 'succeeded', 'amount', amount, 'note', repeat('x', 300))
    FROM attempts, generate_series(1, 2) v
    """,
    """
    INSERT INTO timeline (order_id, at, kind, data)
    SELECT order_id, started_at, kind, '{"rail": "mtn_momo"}'
    FROM attempts, unnest(ARRAY['opened', 'attempt_started', 'attempt_ended']) kind
    """,
    """
    INSERT INTO idempotency (scope, key, fingerprint, order_id, status, body, created_at, completed_at)
    SELECT 'm_1:live:POST /payments', 'key-' || order_id, '\\x00', order_id, 202, '{}', started_at, started_at
    FROM attempts WHERE operation = 'collect'
    """,
    "INSERT INTO merchants (id, name) SELECT 'm_' || n, 'Shop' FROM generate_series(0, 49) n",
    """
    INSERT INTO api_keys (id, secret_hash, role, merchant_id, livemode)
    SELECT 'key_' || id, sha256(id::bytea), 'merchant', id, true FROM merchants
    """,
    "RESET session_replication_role",
)
# What a process of the version before the migrations writes for a payment, in the columns that it knows.
_OPEN = """
WITH claim AS (
    INSERT INTO idempotency (scope, key, fingerprint, order_id)
    VALUES ('m_1:live:POST /payments', $1, '\\x00', $1)
), payment AS (
    INSERT INTO payments (id, merchant_id, livemode, reference, amount, currency, payer_msisdn, created_at,
        updated_at, expires_at, status, amount_received, amount_refunded, attempt_count, metadata, routing,
        version, fence, lease_until, due_at, move_id)
    VALUES ($1, 'm_1', true, $1, 1000, 'GHS', '233241234567', now(), now(), now() + interval '10 minutes',
        'processing', 0, 0, 1, '{}', '{}', 1, 1, now(), now() + interval '1 hour', $1)
), attempt AS (
    INSERT INTO attempts (id, order_id, sequence, operation, rail, account, base_url, target_environment,
        reference, callback_token, amount, opened_fence, started_at, state, sends, inquiries, amount_received,
        refund_reserved)
    VALUES ($1, $1, 1, 'collect', 'mtn_momo', 'main', 'https://rail', 'mtnghana', gen_random_uuid(), $1, 1000,
        1, now(), 'prepared', 1, 0, 0, 0)
)
INSERT INTO timeline (order_id, at, kind, data) VALUES ($1, now(), 'opened', '{}')
"""
_END = """
WITH attempt AS (
    UPDATE attempts SET state = 'succeeded', amount_received = 1000 WHERE id = $1
), payment AS (
    UPDATE payments SET status = 'succeeded', amount_received = 1000, due_at = NULL, version = 2 WHERE id = $1
), event AS (
    INSERT INTO events (id, merchant_id, livemode, type, created_at, object_id, object_version, data)
    VALUES ($1, 'm_1', true, 'payment.succeeded', now(), $1, 2, '{}')
), answer AS (
    UPDATE idempotency SET status = 202, body = '{}', completed_at = now()
    WHERE scope = 'm_1:live:POST /payments' AND key = $1
)
INSERT INTO timeline (order_id, at, kind, data) VALUES ($1, now(), 'ended', '{}')
"""
_PAY_OUT = """
INSERT INTO payouts (id, merchant_id, livemode, reference, amount, currency, payee_msisdn, created_at,
    updated_at, expires_at, status, attempt_count, metadata, routing, version, fence, due_at, move_id)
VALUES ($1, 'm_1', true, $1, 1, 'GHS', '233241234567', now(), now(), now() + interval '10 minutes',
    'processing', 0, '{}', '{}', 1, 1, now() + interval '1 hour', $1)
"""
# How long a writer has waited for a table by now; the rest of a transaction's time is the machine's.
_TABLE_WAIT = """
SELECT max(extract(epoch FROM clock_timestamp() - l.waitstart))::float8
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE NOT l.granted AND l.locktype = 'relation' AND a.application_name = 'writer'
"""
_READ = "SELECT status FROM payments WHERE id = $1"
_HOLD = "SELECT (SELECT count(*) FROM payments WHERE id = 'x'), (SELECT count(*) FROM events WHERE id = 'x')"
_CREDIT = """
INSERT INTO balance_entries (merchant_id, livemode, currency, kind, amount, source)
VALUES ('m_1', true, 'GHS', 'credit', 1000000000000, 'bench')
"""


@dataclass(slots=True)
class Waits:
    """When each transaction of the load ended, and how long it took. `for_tables`: when one was seen waiting
    for a table, and for how long by then."""

    ended: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    for_tables: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    def between(self, began: float, until: float) -> list[float]:
        """The durations of the transactions that ran in a window, also of those that ended after it."""
        return sorted(took for end, took in self.ended if end >= began and end - took <= until)

    def for_table(self, began: float, until: float) -> float:
        """The longest wait for a table that was seen in a window."""
        return max((wait for at, wait in self.for_tables if began <= at <= until), default=0.0)


def run(report: Report, attempts: int = ATTEMPTS) -> bool:
    """Fill the schema of before 0017, then apply each later migration while payments and long readers run.

    False: a payment waited longer than 200 ms.
    """
    folder = Path(tempfile.mkdtemp(prefix="synccash-bench-"))
    folder.chmod(0o711)
    (folder / "migrations").mkdir()
    try:
        with start_servers(folder / "servers", valkey=False) as servers:
            assert servers.database_url is not None
            return asyncio.run(_measure(report, servers.database_url, folder / "migrations", attempts))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _measure(report: Report, url: str, folder: Path, attempts: int) -> bool:
    names = sorted(file.name for file in _MIGRATIONS.iterdir())
    _add(folder, [name for name in names if int(name[:4]) < FIRST])
    await asyncio.to_thread(migrate, url, folder=folder)
    await _fill(url, attempts)
    rows: list[Sequence[object]] = []
    longest = 0.0
    async with _load(url) as waits:
        began = time.perf_counter()
        await asyncio.sleep(5)
        rows.append(_row("none", began, waits, tries=0))
        alone = waits.between(began, time.perf_counter())[-1]
        for name in names:
            if int(name[:4]) < FIRST:
                continue
            _add(folder, [name])
            tries = list[str]()
            began = time.perf_counter()
            await asyncio.to_thread(migrate, url, folder=folder, say=tries.append)
            await asyncio.sleep(1)
            rows.append(_row(name.removesuffix(".sql"), began, waits, tries=1 + len(tries)))
            longest = max(longest, waits.between(began, time.perf_counter())[-1])
    head = ("migration", "s", "tries", "transactions", "p50 ms", "p99 ms", "longest ms", "for a table ms")
    report.table(f"Transactions of payments beside migrations, {attempts:,} attempts", head, rows)
    report.add("longest_wait", longest * 1e3, "ms")
    report.add("longest_wait_for_a_table", waits.for_table(0, time.perf_counter()) * 1e3, "ms")
    if longest > LIMIT_S:
        print(
            f"A payment waited {longest * 1e3:.0f} ms, longer than {LIMIT_S * 1e3:.0f} ms; without a "
            f"migration {alone * 1e3:.0f} ms. On a busy machine compare these two, and see the last column.",
            file=sys.stderr,
        )
    return longest <= LIMIT_S


def _row(name: str, began: float, waits: Waits, *, tries: int) -> Sequence[object]:
    until = time.perf_counter()
    seen = waits.between(began, until)
    figures = (seen[len(seen) // 2], seen[len(seen) * 99 // 100], seen[-1], waits.for_table(began, until))
    return name, until - began, str(tries), str(len(seen)), *(figure * 1e3 for figure in figures)


def _add(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).write_bytes((_MIGRATIONS / name).read_bytes())


async def _fill(url: str, attempts: int) -> None:
    began = time.perf_counter()
    parts = urlsplit(url)
    # The superuser of the bundled server may switch triggers and foreign keys off.
    connection = await asyncpg.connect(parts._replace(netloc=f"postgres:{parts.password}@").geturl())
    try:
        for statement in _FILL:
            arguments = (attempts,) if "$1" in statement else ()
            await connection.execute(statement, *arguments, timeout=None)
        await connection.execute(_CREDIT)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    print(f"{attempts:,} attempts were written in {time.perf_counter() - began:.0f} s")


@asynccontextmanager
async def _load(url: str) -> AsyncGenerator[Waits]:
    """Writers as processes of the version before, and a reader whose transactions stay open for a second."""
    waits = Waits()
    named = {"application_name": "writer"}
    pool = await asyncpg.create_pool(url, min_size=_WRITERS, max_size=_WRITERS, server_settings=named)
    watch = await asyncpg.create_pool(url, min_size=2, max_size=2)
    tasks = [asyncio.create_task(_write(pool, waits)) for _ in range(_WRITERS)]
    tasks += [asyncio.create_task(_read(watch)), asyncio.create_task(_observe(watch, waits))]
    try:
        yield waits
        failed = [task for task in tasks if task.done()]
        if failed:
            await asyncio.gather(*failed)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        pool.terminate()
        watch.terminate()


async def _write(pool: "asyncpg.Pool[asyncpg.Record]", waits: Waits) -> None:
    while True:
        name = uuid4().hex
        statements = [_OPEN, _READ, _END, *([_PAY_OUT] if random.random() < 0.1 else [])]
        for statement in statements:
            began = time.perf_counter()
            await pool.fetch(statement, name)
            ended = time.perf_counter()
            waits.ended.append((ended, ended - began))
        await asyncio.sleep(random.uniform(0, 2 * _PAUSE_S))


async def _read(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    while True:
        async with pool.acquire() as connection, connection.transaction():
            await connection.fetch(_HOLD)
            await asyncio.sleep(_READER_HOLDS_S)
        await asyncio.sleep(_READER_PAUSES_S)


async def _observe(pool: "asyncpg.Pool[asyncpg.Record]", waits: Waits) -> None:
    while True:
        wait: float | None = await pool.fetchval(_TABLE_WAIT)
        if wait is not None:
            waits.for_tables.append((time.perf_counter(), wait))
        await asyncio.sleep(_SAMPLE_S)


def main() -> int:
    """Run this part alone, for example with fewer attempts."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--attempts", type=int, default=ATTEMPTS)
    report = Report("migrations", Path(__file__).parent / "out")
    fast_enough = run(report, options.parse_args().attempts)
    report.save()
    return 0 if fast_enough else 1


if __name__ == "__main__":
    sys.exit(main())
