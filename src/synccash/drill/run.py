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

from synccash.drill.audit import FINAL, Findings, audited
from synccash.drill.trouble import RAILS, Trouble

_RATE = 20
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
    """What was asked for. `kinds`: of trouble, see `trouble.KINDS`."""

    payments: int
    seed: int
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drilled:
    """What a drill came to."""

    findings: Findings
    happened: tuple[tuple[float, str], ...]
    repeats: int
    ends_after_s: float


@dataclass(slots=True)
class _Merchant:
    """Live: asks for payments, and asks again under the same key until there is an answer."""

    session: aiohttp.ClientSession
    api: str
    acknowledged: dict[str, str] = field(default_factory=dict[str, str])
    repeats: int = 0

    async def pay(self, number: int) -> None:
        reference, key = f"drill-{number}", uuid.uuid4().hex
        msisdn = f"024{number // 400:04d}{number % 400:03d}"
        body = {"amount": 2500, "currency": "GHS", "payer": {"msisdn": msisdn}, "reference": reference}
        end = time.monotonic() + 2 * _PATIENCE_S
        while time.monotonic() < end:
            try:
                async with self.session.post(
                    f"{self.api}/payments", json=body, headers={"Idempotency-Key": key}
                ) as reply:
                    answer: Any = await reply.json(content_type=None)
                    if reply.status in (201, 202):
                        self.acknowledged[reference] = answer["id"]
                        return
            except (aiohttp.ClientError, TimeoutError, ValueError):
                pass
            self.repeats += 1
            await asyncio.sleep(0.3)

    async def all_payments(self) -> list[dict[str, Any]]:
        """Every payment, page by page."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            page = await self._page(f"{self.api}/payments?limit=100{after}")
            found.extend(page["data"])
            if not page["has_more"]:
                return found
            after = f"&after={page['next']}"

    async def _page(self, url: str) -> Any:
        """One page. The API may be starting again, after a kill that came last. Raises DrillError."""
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            try:
                async with self.session.get(url) as reply:
                    if reply.status == 200:
                        return await reply.json()
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.3)
        raise DrillError(f"{url} was not answered for {_PATIENCE_S:.0f} s")


async def held(options: DrillOptions, folder: Path) -> Drilled:
    """Hold a drill in this folder. Raises DrillError when the service does not come up."""
    async with _up(folder) as (process, printed):
        timeout = aiohttp.ClientTimeout(total=15)
        headers = {"Authorization": f"Bearer {printed['test key']}"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, headers=headers, connector=connector) as session:
            return await _hold(options, process.pid, session, printed)


async def _hold(
    options: DrillOptions, root: int, session: aiohttp.ClientSession, printed: Mapping[str, str]
) -> Drilled:
    async def control(method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        async with session.request(method, f"{printed['sandbox']}/control/{path}", json=body) as reply:
            return await reply.json(content_type=None)

    await control("PUT", "mtn_momo/settings", {"status_per_s": 0})
    merchant = _Merchant(session, printed["api"])
    trouble = Trouble(root, control, options.kinds, Random(options.seed))  # noqa: S311 - no secret
    async with asyncio.TaskGroup() as everything:
        everything.create_task(trouble.run(options.payments / _RATE))
        for number in range(options.payments):
            everything.create_task(merchant.pay(number))
            await asyncio.sleep(1 / _RATE)
    healed = time.monotonic()
    payments = await _ended(merchant)
    books = [await control("GET", f"{rail}/book", None) for rail in RAILS]
    findings = audited(merchant.acknowledged, payments, books)
    return Drilled(findings, tuple(trouble.happened), merchant.repeats, time.monotonic() - healed)


async def _ended(merchant: _Merchant) -> list[dict[str, Any]]:
    """The payments once all have ended, or as they stand when patience ends."""
    end = time.monotonic() + _PATIENCE_S
    payments = await merchant.all_payments()
    while any(p["status"] not in FINAL for p in payments) and time.monotonic() < end:
        await asyncio.sleep(1)
        payments = await merchant.all_payments()
    return payments


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
