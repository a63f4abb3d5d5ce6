"""One drill: start everything, send payments through the trouble, wait for the ends, audit."""

import asyncio
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from synccash.drill.audit import Findings, audited
from synccash.drill.records import OrderRecord, is_work_left, read_orders
from synccash.drill.trouble import RAILS, Trouble
from synccash.servers.visiting import running_database
from synccash.stores.postgres.pool import Pool, connect

_RATE = 20
_AMOUNT = 2500
_CYCLE = 5
_REFUNDS: Mapping[int, tuple[int, ...]] = {1: (_AMOUNT,), 3: (1000, 700)}
"""The refunds of a payment, by its number within a cycle; number 2 of a cycle comes with a payout."""
_PATIENCE_S = 30.0
_START_S = 60.0
_SETTINGS = {
    # Short leases, so that what a killed process left is taken over within the drill.
    "SYNCCASH_LEASE_S": "2",
    "SYNCCASH_HEARTBEAT_S": "0.5",
    "SYNCCASH_MTN_MOMO_STATUS_PER_S": "1000",
    "SYNCCASH_RATE_LIMITS": "api_key=100000/1, ip=100000/1",
}


class DrillError(Exception):
    """The drill cannot be held; the text says why and where to look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillOptions:
    """What was asked for. `kinds`: of trouble, see `trouble.KINDS`.

    `sabotage`: overwrite the committed references of live attempts; the audit has to find out.
    """

    payments: int
    seed: int
    kinds: tuple[str, ...]
    sabotage: bool = False


@dataclass(frozen=True, slots=True)
class Drilled:
    """What a drill came to."""

    findings: Findings
    happened: tuple[tuple[float, str], ...]
    occurrences: Mapping[str, int]
    repeats: int
    ends_after_s: float


@dataclass(slots=True)
class _Merchant:
    """Live: asks for money to move, and asks again under the same key until there is an answer."""

    session: aiohttp.ClientSession
    api: str
    acknowledged: dict[str, str] = field(default_factory=dict[str, str])
    repeats: int = 0

    async def pay(self, number: int) -> None:
        """Ask for a payment; return some of them once they have succeeded."""
        name = f"drill-{number}"
        payer = {"msisdn": f"024{number // 400:04d}{number % 400:03d}"}
        body = {"amount": _AMOUNT, "currency": "GHS", "payer": payer, "reference": name}
        payment_id = await self._create("payments", name, body)
        parts = _REFUNDS.get(number % _CYCLE, ())
        if payment_id is None or not parts or not await self._succeeded(payment_id):
            return
        for part, amount in enumerate(parts):
            await self._create(f"payments/{payment_id}/refunds", f"{name}-refund-{part}", {"amount": amount})

    async def pay_out(self, number: int) -> None:
        """Ask for a payout."""
        name = f"drill-payout-{number}"
        payee = {"msisdn": f"024{number // 400:04d}{number % 400:03d}"}
        await self._create(
            "payouts", name, {"amount": _AMOUNT, "currency": "GHS", "payee": payee, "reference": name}
        )

    async def _create(self, path: str, name: str, body: Mapping[str, Any]) -> str | None:
        """Return the id of the order, or None where the API refused it or never answered."""
        key = uuid.uuid4().hex
        end = time.monotonic() + 2 * _PATIENCE_S
        while time.monotonic() < end:
            try:
                async with self.session.post(
                    f"{self.api}/{path}", json=body, headers={"Idempotency-Key": key}
                ) as reply:
                    answer: Any = await reply.json(content_type=None)
                    if reply.status in (201, 202):
                        self.acknowledged[name] = answer["id"]
                        return answer["id"]
            except (aiohttp.ClientError, TimeoutError, ValueError):
                pass
            self.repeats += 1
            await asyncio.sleep(0.3)
        return None

    async def _succeeded(self, payment_id: str) -> bool:
        """Wait for the payment to succeed."""
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            try:
                async with self.session.get(f"{self.api}/payments/{payment_id}") as reply:
                    answer: Any = await reply.json(content_type=None)
                    if reply.status == 200 and answer["status"] == "succeeded":
                        return True
            except (aiohttp.ClientError, TimeoutError, ValueError):
                pass
            await asyncio.sleep(0.5)
        return False


async def held(options: DrillOptions, folder: Path) -> Drilled:
    """Hold a drill in this folder. Raises DrillError when the service does not come up."""
    async with _up(folder) as (process, printed):
        timeout = aiohttp.ClientTimeout(total=15)
        headers = {"Authorization": f"Bearer {printed['test key']}"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, headers=headers, connector=connector) as session:
            database_url = running_database(folder / "data" / "servers")
            if database_url is None:
                raise DrillError(f"the database in {folder} is not found")
            pool = await connect(database_url, min_size=1, max_size=2)
            try:
                return await _hold(options, process.pid, session, printed, pool)
            finally:
                await pool.close()


async def _hold(
    options: DrillOptions, root: int, session: aiohttp.ClientSession, printed: Mapping[str, str], pool: Pool
) -> Drilled:
    async def control(method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        async with session.request(method, f"{printed['sandbox']}/control/{path}", json=body) as reply:
            if reply.status >= 400:
                raise DrillError(f"the sandbox refused {method} {path}: {await reply.text()}")
            return await reply.json(content_type=None)

    await control("PUT", "mtn_momo/settings", {"status_per_s": 0})
    merchant = _Merchant(session, printed["api"])
    trouble = Trouble(root, control, options.kinds, Random(options.seed), pool)  # noqa: S311 - no secret
    async with asyncio.TaskGroup() as everything:
        everything.create_task(trouble.run(options.payments / _RATE))
        for number in range(options.payments):
            everything.create_task(merchant.pay(number))
            if number % _CYCLE == 2:
                everything.create_task(merchant.pay_out(number))
            if options.sabotage:
                await pool.execute(_SABOTAGE)
            await asyncio.sleep(1 / _RATE)
    healed = time.monotonic()
    orders = await _ended(pool)
    ends_after_s = time.monotonic() - healed
    books = [await control("GET", f"{rail}/book", None) for rail in RAILS]
    findings = audited(merchant.acknowledged, orders, books)
    occurrences = trouble.occurrences
    for book in books:
        occurrences.update(book.get("faults", {}))
    return Drilled(findings, tuple(trouble.happened), occurrences, merchant.repeats, ends_after_s)


async def _ended(pool: Pool) -> list[OrderRecord]:
    """The orders once all have ended, or as they stand when patience ends."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        if not await is_work_left(pool):
            break
        await asyncio.sleep(1)
    return await read_orders(pool)


_SABOTAGE = """
    UPDATE attempts SET reference = gen_random_uuid()
    WHERE operation IN ('collect', 'payout') AND state IN ('prepared', 'acknowledged', 'unknown')
"""


@asynccontextmanager
async def _up(folder: Path) -> AsyncGenerator[tuple[asyncio.subprocess.Process, dict[str, str]]]:
    """`synccash up` on free ports, ready; what it printed, by its first words."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SYNCCASH_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "synccash.cli", "up", "--port", "0", "--sandbox-port", "0"),
        *("--data-dir", str(folder / "data")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**inherited, **_SETTINGS, "PYTHONUNBUFFERED": "1"},
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
    assert process.stdout is not None, "asked for"
    async for line in process.stdout:
        text = line.decode(errors="replace").rstrip()
        for word in ("api", "sandbox", "test key", "ready"):
            if text.startswith(f"{word} "):
                printed.setdefault(word, text[len(word) :].strip())
