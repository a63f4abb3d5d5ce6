"""What grows with the number of payments: memory of each role, and size and dead rows of each table."""

import itertools
import math
import os
from collections.abc import Mapping, Sequence

import asyncpg
import uvloop

from bench import processes
from bench.payments.contenders import CONTENDERS, SERVICE
from bench.payments.database_counters import DatabaseCounters
from bench.payments.load import CREATED, Load, payment_requests, run_load
from bench.processes import ROLES
from bench.report import Report

STEPS = 10
_LOAD = Load(callers=16)
_TABLES = """
SELECT s.relname AS name, n_live_tup AS live, n_dead_tup AS dead, autovacuum_count AS vacuums,
    autoanalyze_count AS analyzes, pg_relation_size(s.relid) AS heap, pg_indexes_size(s.relid) AS indexes,
    pg_total_relation_size(s.relid) AS total
FROM pg_stat_user_tables s WHERE n_live_tup + n_dead_tup >= 1000 ORDER BY total DESC
"""


def measure_growth(report: Report, payments: int) -> None:
    """Make so many payments under a closed load of 16 callers; print what has grown after each tenth."""
    with CONTENDERS[SERVICE]() as target:
        uvloop.run(_measure(report, target.port, target.key, target.database_url, payments))


async def _measure(report: Report, port: int, key: str, url: str, payments: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        database, requests = DatabaseCounters(connection), payment_requests(key)
        made, memory, dead = 0, {0: processes.memory_mb(os.getpid())}, dict[int, Mapping[str, int]]()
        while made < payments:
            part = min(math.ceil(payments / STEPS), payments - made)
            answers = await run_load(_LOAD, port, itertools.islice(requests, part), math.inf)
            if set(answers.statuses) != {CREATED}:
                raise RuntimeError(f"not every payment was accepted: {dict(answers.statuses)}")
            await database.drain()
            made += part
            memory[made] = processes.memory_mb(os.getpid())
            tables = await connection.fetch(_TABLES)
            dead[made] = {row["name"]: row["dead"] for row in tables}
            print(f"{made:,} payments, {made / payments:.0%}, {part / answers.took_s:.0f}/s", flush=True)
        _show(report, memory, dead, await connection.fetch(_TABLES), made)
    finally:
        await connection.close()


def _show(
    report: Report,
    memory: Mapping[int, Mapping[str, processes.Memory]],
    dead: Mapping[int, Mapping[str, int]],
    tables: Sequence[asyncpg.Record],
    made: int,
) -> None:
    roles = [role for role in ROLES if memory[made][role].rss]
    report.table(
        "Memory after so many payments: RSS (PSS), MB",
        ("payments", *roles),
        [
            (f"{count:,}", *(f"{held[role].rss:.0f} ({held[role].pss:.0f})" for role in roles))
            for count, held in memory.items()
        ],
    )
    names = [row["name"] for row in tables]
    report.table(
        "Dead rows after so many payments",
        ("payments", *names),
        [(f"{count:,}", *(str(rows.get(name, 0)) for name in names)) for count, rows in dead.items()],
    )
    report.table(
        "Tables at the end; sizes in bytes a payment",
        ("", "live rows", "dead rows", "dead / live", "autovacuums", "analyzes", "heap", "indexes", "total"),
        [
            (
                row["name"],
                f"{row['live']:,}",
                f"{row['dead']:,}",
                f"{row['dead'] / max(1, row['live']):.2f}",
                str(row["vacuums"]),
                str(row["analyzes"]),
                *(row[part] / made for part in ("heap", "indexes", "total")),
            )
            for row in tables
        ],
    )
    for role in roles:
        report.add(f"growth.{role}_rss_start", memory[0][role].rss, "MB")
        report.add(f"growth.{role}_rss_end", memory[made][role].rss, "MB")
    for row in tables:
        report.add(f"growth.{row['name']}.bytes", row["total"] / made, "B")
        report.add(f"growth.{row['name']}.dead", row["dead"] / max(1, row["live"]), "share")
