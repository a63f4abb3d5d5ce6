"""Runs one drill: starts an installation, sends orders while faults occur, waits for their ends, audits."""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from synccash.drill.audit import END_WITHIN_S, REVIEW_WITHIN_S, Findings, audit_books
from synccash.drill.load import Merchant
from synccash.drill.progress import Progress
from synccash.drill.rails import RAILS
from synccash.drill.records import (
    OrderRecord,
    bring_rechecks_forward,
    database_time,
    ended_and_due,
    is_work_left,
    read_orders,
    unfinished_rechecks,
)
from synccash.drill.sabotage import SabotageError, force_double_debit
from synccash.drill.timeline import BreakerWatch, DrillTimeline, breaker_spans, order_samples
from synccash.drill.trouble import EVERY_RAIL, Control, Trouble, missed
from synccash.servers.existing_server import running_database
from synccash.settings.encryption_keys import EncryptionKeys, read_key
from synccash.stores.encryption import Encryption
from synccash.stores.postgres.pool import Pool, connect

RATE = 20
"""Payments a second."""
_START_S = 60.0
_POLL_S = 0.5
_RECHECKED_WITHIN_S = 120.0
"""Rechecks take at most this long. They use a fifth of a rail's inquiry rate, shared by all processes, and
one that finds it used up is tried again some seconds later, so dozens of them take a while."""
_LATE_MONEY_S = 5.0
"""How long after the last fault a rail may still move money for an order that it reported as failed."""
# Known keys, because the audit reads the wallets of the drill's own orders.
_ENCRYPTION_KEYS, _LOOKUP_KEY = "1:" + "d1" * 32, "d2" * 32
_ENCRYPTION = Encryption(EncryptionKeys.of(_ENCRYPTION_KEYS), read_key(_LOOKUP_KEY))
_SETTINGS = {
    "SYNCCASH_ENCRYPTION_KEYS": _ENCRYPTION_KEYS,
    "SYNCCASH_LOOKUP_KEY": _LOOKUP_KEY,
    # Short leases, so that the orders of a killed process are taken over within the drill.
    "SYNCCASH_LEASE_S": "2",
    "SYNCCASH_HEARTBEAT_S": "0.5",
    "SYNCCASH_MTN_MOMO_STATUS_PER_S": "1000",
    "SYNCCASH_PAWAPAY_STATUS_PER_S": "1000",
    # A refund during an outage is requested again more often than the default limit allows.
    "SYNCCASH_RATE_LIMITS": "api_key=100000/1, ip=100000/1, refund_request=100000/1",
    # On a busy machine the fraud service answers too late. A payout would then wait for a person, and expire.
    "SYNCCASH_PAYOUT_FRAUD_OUTAGE": "allow",
}


_WITHOUT_POLICIES = {
    "SYNCCASH_PROFILES": "payment_provider.retry.attempts=1, payment_provider.breaker.mode=disabled"
}
"""Settings of the run for comparison: a send is tried once, and no breaker opens."""


class DrillError(Exception):
    """The drill cannot run. The text says why and where to look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillOptions:
    """The options of `synccash drill`. `kinds`: kinds of faults, see `trouble.KINDS`; may be empty.

    `sabotage`: debit one payment twice on purpose; the audit must find it. `policies`: False runs without
    retries and circuit breakers, for comparison.
    """

    payments: int
    seed: int
    kinds: tuple[str, ...]
    sabotage: bool = False
    policies: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """The result of a drill.

    `happened`: the injected faults, by seconds from the start. `met`: how many orders each kind of fault
    affected. `missed`: the faults that affected none, one line each. `asked_about`: ended orders with open
    inquiries. `sabotaged`: the payment that was debited twice on purpose. `began_at`: the database's time.
    """

    findings: Findings
    happened: tuple[tuple[float, str], ...]
    occurrences: Mapping[str, int]
    met: Mapping[str, int]
    missed: tuple[str, ...]
    repeats: int
    refusals: int
    asked_about: int = 0
    sabotaged: str | None = None
    began_at: datetime | None = None
    timeline: DrillTimeline = field(default_factory=DrillTimeline)

    @property
    def is_valid(self) -> bool:
        """False when a kind of fault affected no order, or the audit missed the sabotage."""
        return not self.missed and (self.sabotaged is None or self.sabotaged in self.findings.duplicates)


async def run_drill(options: DrillOptions, folder: Path, progress: Progress | None = None) -> DrillResult:
    """Run a drill in this folder. Raises DrillError when it cannot run to its end."""
    progress = progress or Progress()
    progress.show("starting databases, API, worker, webhooks and simulated rails")
    async with _up(folder, {} if options.policies else _WITHOUT_POLICIES) as (process, printed):
        timeout = aiohttp.ClientTimeout(total=15)
        headers = {"Authorization": f"Bearer {printed['test key']}"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, headers=headers, connector=connector) as session:
            database_url = running_database(folder / "data" / "servers")
            if database_url is None:
                raise DrillError(f"no running database was found in {folder}")
            pool = await connect(database_url, min_size=1, max_size=2)
            try:
                return await _run(options, process.pid, session, printed, pool, progress)
            except* (DrillError, aiohttp.ClientError, TimeoutError) as broken:
                reasons = "; ".join(str(error) or type(error).__name__ for error in broken.exceptions)
                raise DrillError(f"the drill stopped early: {reasons}; its logs are in {folder}") from broken
            finally:
                await pool.close()


async def _run(
    options: DrillOptions,
    root: int,
    session: aiohttp.ClientSession,
    printed: Mapping[str, str],
    pool: Pool,
    progress: Progress,
) -> DrillResult:
    async def control(method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        async with session.request(method, f"{printed['sandbox']}/control/{path}", json=body) as reply:
            if reply.status >= 400:
                raise DrillError(f"the sandbox refused {method} {path}: {await reply.text()}")
            return await reply.json(content_type=None)

    await control("PUT", "mtn_momo/settings", {"status_per_s": 0})
    rails = RAILS if EVERY_RAIL.intersection(options.kinds) else ()
    merchant = Merchant(session, printed["api"], pinned_rails=rails)
    sabotaged = await _sabotage(control, pool, merchant) if options.sabotage else None
    trouble = Trouble(root, control, options.kinds, Random(options.seed), pool)  # noqa: S311 - no secret
    merchant.began = trouble.faults.began
    began_at = await database_time(pool)
    watch = BreakerWatch(session, printed["api"], printed["admin key"], trouble.faults.now_s)
    watching = asyncio.create_task(watch.run())
    try:
        await _send_all(options, merchant, trouble, progress)
        await _wait_for_ends(pool, trouble, progress)
    finally:
        watching.cancel()
        progress.clear()
    orders = await read_orders(pool, _ENCRYPTION)
    books = {rail: await control("GET", f"{rail}/book", None) for rail in RAILS}
    faults: Counter[str] = Counter()
    for book in books.values():
        faults.update(book["faults"])
    findings = audit_books(
        merchant.acknowledged,
        orders,
        books,
        healed_at=trouble.healed_at,
        now=await database_time(pool),
    )
    seconds = trouble.faults.now_s()
    timeline = DrillTimeline(
        seconds=seconds,
        faults=tuple(sorted(trouble.faults.spans, key=lambda one: one.begins_s)),
        breakers=breaker_spans(watch.readings, seconds),
        requests=tuple(merchant.samples),
        orders=order_samples(orders, began_at),
    )
    return DrillResult(
        findings=findings,
        happened=tuple(trouble.happened),
        occurrences={**trouble.occurrences, **{f"false record: {name}": n for name, n in faults.items()}},
        met=trouble.met,
        missed=tuple(missed(options.kinds, trouble.met, faults)),
        repeats=merchant.repeats,
        refusals=merchant.refusals,
        asked_about=await ended_and_due(pool),
        sabotaged=sabotaged,
        began_at=began_at,
        timeline=timeline,
    )


async def _send_all(options: DrillOptions, merchant: Merchant, trouble: Trouble, progress: Progress) -> None:
    """Send the load while faults occur."""
    began = time.monotonic()
    async with asyncio.TaskGroup() as everything:
        everything.create_task(trouble.run(options.payments / RATE))
        for number in range(options.payments):
            everything.create_task(merchant.pay(number))
            if merchant.pays_out(number):
                everything.create_task(merchant.pay_out(number))
            progress.show(
                f"{number + 1} of {options.payments} payments sent", (number + 1) / options.payments
            )
            await asyncio.sleep(max(0.0, began + (number + 1) / RATE - time.monotonic()))
        progress.show("waiting for the last requests")


async def _sabotage(control: Control, pool: Pool, merchant: Merchant) -> str:
    try:
        return await force_double_debit(control, pool, merchant.pay_at)
    except SabotageError as error:
        raise DrillError(str(error)) from error


async def _wait_for_ends(pool: Pool, trouble: Trouble, progress: Progress) -> None:
    """Wait until every order has ended, waits for an operator or ran out of time; then run the rechecks."""
    progress.show("waiting until every order has ended")
    await _wait_for_work(pool, trouble)
    if trouble.healed_at is None:
        raise DrillError("the faults have not ended, so the checks of late money have no start")
    since_s = (await database_time(pool) - trouble.healed_at).total_seconds()
    await asyncio.sleep(max(0.0, _LATE_MONEY_S - since_s))
    brought = await bring_rechecks_forward(pool)
    if brought:
        trouble.note(
            f"{len(brought)} ended orders with a failed attempt are checked again now, not in 15 minutes"
        )
        progress.show(f"checking {len(brought)} ended orders again")
        await wait_for_rechecks(pool, brought)
        trouble.note("all of them are checked")
        # A recheck that finds late money may have opened a refund.
        await _wait_for_work(pool, trouble)


async def _wait_for_work(pool: Pool, trouble: Trouble) -> None:
    await wait_until_idle(pool, END_WITHIN_S)
    expiries = [order.expires_at for order in await read_orders(pool, _ENCRYPTION) if _is_parked(order)]
    if not expiries:
        return
    latest = max(at for at in expiries if at is not None) + timedelta(seconds=REVIEW_WITHIN_S)
    trouble.note(f"{len(expiries)} orders that are not safe to send again: waiting until they expire")
    await wait_until_idle(pool, (latest - await database_time(pool)).total_seconds())


async def wait_until_idle(pool: Pool, seconds: float) -> None:
    """Wait until no order has work left and no ended order is due, for at most `seconds`.

    Inquiries about an ended order may continue for days if its rail gives no clear answer.
    """
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        if not await is_work_left(pool) and not await ended_and_due(pool):
            return
        await asyncio.sleep(_POLL_S)


async def wait_for_rechecks(
    pool: Pool, order_ids: Sequence[str], within_s: float = _RECHECKED_WITHIN_S
) -> None:
    """Wait until the rails have answered clearly about these ended orders.

    Raises DrillError after `within_s`, naming the orders that are left.
    """
    ends_at = time.monotonic() + within_s
    while left := await unfinished_rechecks(pool, order_ids):
        if time.monotonic() >= ends_at:
            names = ", ".join(left)
            raise DrillError(
                f"{len(left)} of {len(order_ids)} ended orders have no clear answer of their rails after "
                f"{within_s:.0f} s: {names}"
            )
        await asyncio.sleep(_POLL_S)


def _is_parked(order: OrderRecord) -> bool:
    waits = not order.is_final and not order.is_under_review
    return waits and order.may_park and order.expires_at is not None


@asynccontextmanager
async def _up(
    folder: Path, settings: Mapping[str, str]
) -> AsyncGenerator[tuple[asyncio.subprocess.Process, dict[str, str]]]:
    """Start `synccash up` on free ports; yield it, once ready, with the values that it printed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SYNCCASH_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "synccash.cli", "up", "--port", "0", "--sandbox-port", "0"),
        *("--requests", "off"),
        *("--data-dir", str(folder / "data")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**inherited, **_SETTINGS, **settings, "PYTHONUNBUFFERED": "1"},
    )
    printed: dict[str, str] = {}
    reading = asyncio.create_task(_read(process, printed))
    try:
        async with asyncio.timeout(_START_S):
            while "ready" not in printed:
                if reading.done():
                    raise DrillError(f"synccash up ended early; its logs are in {folder}")
                await asyncio.sleep(0.1)
        yield process, printed
    except TimeoutError as error:
        raise DrillError(f"synccash up was not ready in time; its logs are in {folder}") from error
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
        await reading


async def _read(process: asyncio.subprocess.Process, printed: dict[str, str]) -> None:
    if process.stdout is None:
        raise DrillError("synccash up was started without a pipe for its output")
    async for line in process.stdout:
        text = line.decode(errors="replace").rstrip()
        for word in ("api", "sandbox", "test key", "admin key", "ready"):
            if text.startswith(f"{word} "):
                printed.setdefault(word, text[len(word) :].strip())
