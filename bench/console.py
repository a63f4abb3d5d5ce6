"""The console with many stored orders: how long each page takes, and what viewers cost the payments."""

import argparse
import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from statistics import median

import asyncpg
import httpx
import uvloop

from bench import processes
from bench.payments.contenders import CONTENDERS, SERVICE, Target
from bench.payments.database_counters import DatabaseCounters
from bench.payments.load import CREATED, Answers, Load, payment_requests, run_load
from bench.payments.preload import preload
from bench.report import Report
from synccash.administration.operators.console_link import make_console_link
from synccash.api.calls import write_cursor
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import connect

STORED = 1_000_000
TIMES = 40
"""How often each page is asked for."""
BAR_MS = 100.0
VIEWERS = 20
ROUNDS = 5
WINDOW_S = 10.0
PER_S = 50.0
_WARM_UP, _WARM_UP_S = Load(callers=16), 6.0
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')
_CODE = re.compile(r'name="code" value="([^"]+)"')
_ROLES = ("api", "worker", "postgres", "valkey")
_SOME = """
SELECT p.id, p.reference, p.merchant_id, a.reference AS rail_reference, a.provider_transaction_id AS provider,
    o.id AS oldest, o.created_at AS oldest_at
FROM (SELECT id, created_at FROM payments ORDER BY created_at, id OFFSET 20 LIMIT 1) o,
    payments p JOIN attempts a ON a.order_id = p.id
WHERE p.status = 'succeeded' AND a.provider_transaction_id IS NOT NULL
ORDER BY p.created_at DESC OFFSET 1000 LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Window:
    """One window of payments: their answers, and CPU microseconds of a payment by role."""

    answers: Answers
    cpu_us: dict[str, float]


def run(report: Report) -> bool:
    """Measure with the defaults. Returns False when a page is slower than the bar."""
    return measure(report, STORED)


def measure(report: Report, stored: int) -> bool:
    """Measure with so many stored payments. Returns False when a page is slower than the bar."""
    with CONTENDERS[SERVICE]() as target:
        return uvloop.run(_measure(report, target, stored))


async def _measure(report: Report, target: Target, stored: int) -> bool:
    connection = await asyncpg.connect(target.database_url)
    try:
        database, requests = DatabaseCounters(connection), payment_requests(target.key)
        await _pay(target, _WARM_UP, requests, _WARM_UP_S)
        await database.drain()
        took_s = await preload(target.database_url, stored)
        print(f"{stored:,} payments were stored in {took_s:.0f} s", flush=True)
        await _pay(target, _WARM_UP, requests, _WARM_UP_S)
        await database.drain()
        some = await connection.fetchrow(_SOME)
        assert some is not None
        async with _signed_in(target) as operator, _merchant(target) as merchant:
            slowest = await _pages(report, {operator: _operator_pages(some), merchant: _merchant_pages(some)})
            await _viewers(report, target, operator, requests)
        return slowest <= BAR_MS
    finally:
        await connection.close()


async def _pay(target: Target, load: Load, requests: Iterator[bytes], seconds: float) -> Answers:
    answers = await run_load(load, target.port, requests, seconds)
    if set(answers.statuses) != {CREATED}:
        raise RuntimeError(f"not every payment was accepted: {dict(answers.statuses)}")
    return answers


def _operator_pages(some: asyncpg.Record) -> Sequence[str]:
    orders = "/console/orders"
    filters = (
        "",
        "?status=succeeded",
        "?status=failed",
        "?status=failed&detail=expired",
        "?status=processing",
        "?detail=under_review",
        f"?merchant={some['merchant_id']}",
        "?rail=mtn_momo",
        "?rail=hubtel",
        f"?reference={some['reference']}",
        "?wallet=0241000007",
        "?kind=payouts",
        f"?after={some['oldest']}",
        f"?status=succeeded&after={some['oldest']}",
        f"?merchant={some['merchant_id']}&after={some['oldest']}",
    )
    searched = (
        some["id"],
        some["reference"],
        some["rail_reference"],
        some["provider"],
        "0241000007",
        "no-such",
    )
    others = (
        "queues",
        "rails",
        "routing",
        "webhooks",
        "limits",
        "reconciliations",
        "merchants",
        "keys",
        "operators",
        "approvals",
        "audit",
        "settings",
    )
    return (
        "/console",
        "/console/history",
        *(orders + one for one in filters),
        f"{orders}/{some['id']}",
        *(f"/console/search?q={one}" for one in searched),
        *(f"/console/{one}" for one in others),
    )


def _merchant_pages(some: asyncpg.Record) -> Sequence[str]:
    root = "/console/merchant"
    return (
        root,
        f"{root}?status=failed",
        f"{root}?after={write_cursor(some['oldest_at'], some['oldest'])}",
        f"{root}/orders/{some['id']}",
        *(f"{root}/{one}" for one in ("webhooks", "keys", "log")),
    )


async def _pages(report: Report, pages: dict[httpx.AsyncClient, Sequence[str]]) -> float:
    """Ask for each page; return the p95 of the slowest in milliseconds."""
    rows: list[tuple[str, float, float, float]] = []
    for client, paths in pages.items():
        for path in paths:
            took_ms: list[float] = []
            for _ in range(TIMES):
                began = time.perf_counter()
                answer = await client.get(path)
                took_ms.append((time.perf_counter() - began) * 1_000)
                # A search that finds one order goes there.
                if answer.status_code != 200 and "/console/orders/" not in answer.headers.get("location", ""):
                    raise RuntimeError(f"{path} was answered {answer.status_code}")
            took_ms.sort()
            rows.append((path, median(took_ms), took_ms[int(TIMES * 0.95)], took_ms[-1]))
    rows.sort(key=lambda row: -row[2])
    report.table(f"Pages, ms; each asked for {TIMES} times", ("page", "p50", "p95", "max"), rows)
    report.add("pages.slowest_p95", rows[0][2], "ms", floor=BAR_MS)
    return rows[0][2]


async def _viewers(
    report: Report, target: Target, operator: httpx.AsyncClient, requests: Iterator[bytes]
) -> None:
    found: dict[int, list[Window]] = {0: [], VIEWERS: []}
    for round_number in range(ROUNDS):
        for viewers in sorted(found, reverse=bool(round_number % 2)):
            async with _watching(operator, viewers):
                found[viewers].append(await _window(target, requests))
    rows = [
        (
            f"{viewers} viewers",
            *(median(one.answers.quantile_ms(share) for one in windows) for share in (0.5, 0.95, 0.99)),
            *(median(one.cpu_us[role] for one in windows) for role in _ROLES),
        )
        for viewers, windows in found.items()
    ]
    title = f"Payments at {PER_S:g}/s: latency in ms, CPU in us a payment, median of {ROUNDS} windows"
    report.table(title, ("", "p50", "p95", "p99", *_ROLES), rows)
    for name, alone, watched in zip(("p50", "p95", "p99", *_ROLES), rows[0][1:], rows[1][1:], strict=True):
        report.add(
            f"viewers.{name}", watched, "ms" if name[0] == "p" and len(name) == 3 else "us", floor=alone
        )


async def _window(target: Target, requests: Iterator[bytes]) -> Window:
    used = processes.cpu_s(os.getpid())
    answers = await _pay(target, Load(per_s=PER_S), requests, WINDOW_S)
    now = processes.cpu_s(os.getpid())
    made = answers.statuses[CREATED]
    return Window(answers, {role: (now[role] - used[role]) / made * 1e6 for role in _ROLES})


@contextlib.asynccontextmanager
async def _watching(operator: httpx.AsyncClient, viewers: int) -> AsyncGenerator[None]:
    """Keep so many streams of the overview open; each has had a snapshot before the window begins."""
    seen = asyncio.Barrier(viewers + 1)

    async def watch() -> None:
        async with operator.stream("GET", "/console/overview/events", timeout=None) as stream:
            is_first = True
            async for line in stream.aiter_lines():
                if is_first and line.startswith("data:"):
                    is_first = False
                    await seen.wait()

    tasks = [asyncio.create_task(watch()) for _ in range(viewers)]
    try:
        async with asyncio.timeout(30):
            await seen.wait()
        yield
        if any(task.done() for task in tasks):
            raise RuntimeError("a stream of the overview ended while payments were measured")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def _client(target: Target) -> AsyncGenerator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=VIEWERS + 2)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{target.port}", limits=limits, timeout=30, trust_env=False
    ) as client:
        yield client


@contextlib.asynccontextmanager
async def _signed_in(target: Target) -> AsyncGenerator[httpx.AsyncClient]:
    """A browser of an operator."""
    pool = await connect(target.database_url, min_size=0, max_size=1)
    try:
        link = await make_console_link(Database(pool), "")
    finally:
        await pool.close()
    async with _client(target) as client:
        page = (await client.get(link)).text
        await _submit(client, "/console/welcome", page, code=_field(_CODE, page))
        yield client


@contextlib.asynccontextmanager
async def _merchant(target: Target) -> AsyncGenerator[httpx.AsyncClient]:
    """A browser of the merchant that pays."""
    async with _client(target) as client:
        path = "/console/merchant/sign-in"
        await _submit(client, path, (await client.get(path)).text, key=target.key)
        yield client


async def _submit(client: httpx.AsyncClient, path: str, page: str, **fields: str) -> None:
    headers = {"Origin": str(client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    answer = await client.post(path, data={"csrf": _field(_CSRF, page), **fields}, headers=headers)
    if answer.status_code != 303:
        raise RuntimeError(f"{path} was answered {answer.status_code}: {answer.text[:300]}")


def _field(pattern: re.Pattern[str], page: str) -> str:
    found = pattern.search(page)
    if found is None:
        raise RuntimeError(f"the page has no {pattern.pattern}: {page[:300]}")
    return unescape(found[1])


def main() -> int:
    """Do what the command line says; return the exit code."""
    asked = argparse.ArgumentParser(prog="python -m bench.console", description=__doc__)
    asked.add_argument("--stored", type=int, default=STORED, help="payments that are stored before")
    report = Report("console", Path(__file__).parent / "out")
    is_fast = measure(report, asked.parse_args().stored)
    report.save()
    return 0 if is_fast else 1


if __name__ == "__main__":
    raise SystemExit(main())
