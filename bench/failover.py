"""A rail goes away for a minute under a steady stream of payments, and the books are counted afterwards.

`python -m bench failover`, or shorter: `python -m bench.failover --seconds 16`. The stream is open-loop: a
payment leaves when its moment has come, whatever became of those before, and its latency counts from that
moment. In the middle three quarters MTN is down (its port is closed), or it hangs (no answer within 30 s).
Then the same without policies, see `bench/bare.py`. MTN's own cap of 10 inquiries a second is lifted: at
this rate a merchant would have had it raised.
"""

import argparse
import asyncio
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import uvloop

from bench.installation import Installation, installation
from bench.report import Report
from synccash.rails.registry import RAILS
from synccash.settings.encryption_keys import EncryptionKeys, read_key
from synccash.stores.encryption import Encryption
from synccash.stores.postgres.sealing import open_columns

SECONDS = 80.0
RATE = 50
SHARE_BAR, REROUTE_BAR_S = 0.999, 1.0
_DRAIN_S = 90.0
_OUTAGE = {"down": {"down": True}, "hanging": {"latency_ms": 30_000}}


@dataclass(frozen=True, slots=True)
class Answer:
    """One POST, in seconds from the moment it was due. `status` 0: no answer."""

    latency_s: float
    status: int
    late_s: float


@dataclass(frozen=True, slots=True)
class Found:
    """What one run came to. Times in seconds."""

    asked: int
    ends: Counter[str]
    debits: int
    double: int
    lost: int
    rails: Counter[str]
    reroute_s: float | None
    noticed_s: float | None
    latencies: tuple[float, ...]
    codes: Counter[int]
    driver_late_s: float
    drain_s: float

    @property
    def share(self) -> float:
        """Of all payments, each of whose payers approves, those that succeeded."""
        return self.ends["succeeded"] / self.asked


def run(report: Report) -> None:
    """MTN down, and MTN hanging, for a minute under 50 payments/s; with policies and without."""
    measure(report, SECONDS)


def measure(report: Report, seconds: float) -> bool:
    """Run all four, print them side by side; True when the bars are met."""
    met = True
    for trouble in _OUTAGE:
        found = {"with policies": once("synccash.cli", trouble, seconds)}
        found["without"] = once("bench.bare", trouble, seconds)
        _tell(report, trouble, seconds, found)
        ours = found["with policies"]
        met &= ours.share >= SHARE_BAR and ours.double == 0 and ours.lost == 0
        met &= ours.reroute_s is not None and ours.reroute_s < REROUTE_BAR_S
    print("\nfailover:", "all bars met" if met else "A BAR IS MISSED")
    return met


def once(entry: str, trouble: str, seconds: float) -> Found:
    """One run on an installation of its own."""
    with installation(
        entry,
        mtn_momo_status_per_s="1000",
        pawapay_status_per_s="1000",
        encryption_keys=_ENCRYPTION_KEYS,
        lookup_key=_LOOKUP_KEY,
    ) as service:
        service.control("PUT", "mtn_momo/settings", {"status_per_s": 0})
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_once(service, trouble, seconds))


async def _once(service: Installation, trouble: str, seconds: float) -> Found:
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {service.key}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        for warm in range(20):
            await _post(session, service, _number(900_000 + warm), time.monotonic())
        await asyncio.sleep(2)
        began = time.monotonic()
        outage = asyncio.create_task(_break(service, trouble, began, seconds))
        answers = await _stream(session, service, began, seconds)
        went = await outage
    drained = time.monotonic()
    connection = await asyncpg.connect(service.database_url)
    try:
        await _drain(connection)
        return await _judge(service, connection, answers, went, time.monotonic() - drained)
    finally:
        await connection.close()


async def _break(service: Installation, trouble: str, began: float, seconds: float) -> float:
    """Take MTN away and give it back; return when it went, as the wall clock has it."""
    await asyncio.sleep(began + seconds / 8 - time.monotonic())
    went = time.time()
    await asyncio.to_thread(service.control, "PUT", "mtn_momo/faults", _OUTAGE[trouble])
    await asyncio.sleep(began + seconds * 7 / 8 - time.monotonic())
    await asyncio.to_thread(service.control, "DELETE", "mtn_momo/faults")
    return went


async def _stream(
    session: aiohttp.ClientSession, service: Installation, began: float, seconds: float
) -> list[Answer]:
    """Send at a constant rate, never waiting for an answer."""
    posts: list[asyncio.Task[Answer]] = []
    for number in range(int(seconds * RATE)):
        due = began + number / RATE
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        posts.append(asyncio.create_task(_post(session, service, _number(number), due)))
    return list(await asyncio.gather(*posts))


def _number(number: int) -> str:
    """A payer of his own for each payment. MTN's test numbers end in 450 to 469: they are left out."""
    thousand, rest = divmod(number, 400)
    return f"024{thousand:04d}{rest:03d}"


async def _post(session: aiohttp.ClientSession, service: Installation, msisdn: str, due: float) -> Answer:
    late_s = time.monotonic() - due
    body = {"amount": 2500, "currency": "GHS", "payer": {"msisdn": msisdn}, "reference": f"order-{msisdn}"}
    headers = {"Idempotency-Key": uuid.uuid4().hex, "X-User-Id": f"user-{msisdn}"}
    try:
        async with session.post(f"{service.api}/payments", json=body, headers=headers) as reply:
            await reply.read()
            status = reply.status
    except (aiohttp.ClientError, TimeoutError):
        status = 0
    return Answer(time.monotonic() - due, status, late_s)


async def _drain(connection: asyncpg.Connection) -> None:
    """Wait until nothing is under way; what takes longer than the contract's 30 s three times is stuck."""
    end = time.monotonic() + _DRAIN_S
    while await connection.fetchval(_UNDER_WAY) and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.5)


async def _judge(
    service: Installation,
    connection: asyncpg.Connection,
    answers: list[Answer],
    went: float,
    drain_s: float,
) -> Found:
    books = [await asyncio.to_thread(service.control, "GET", f"{rail}/book") for rail in RAILS]
    debits = Counter(debit["msisdn"] for book in books for debit in book["debits"])
    rows: list[dict[str, Any]] = [
        {**row, **open_columns(_ENCRYPTION, "payments", row)} for row in await connection.fetch(_PAYMENTS)
    ]
    asked = [row for row in rows if not row["payer_msisdn"].startswith(_WARM)]
    ends = Counter(_end_of(row) for row in asked)
    taken = {row["payer_msisdn"] for row in asked if row["status"] == "succeeded"}
    paid = {msisdn for msisdn in debits if not msisdn.startswith(_WARM)}
    latencies = sorted(answer.latency_s for answer in answers)
    return Found(
        asked=len(answers),
        ends=ends,
        debits=sum(debits[msisdn] for msisdn in paid),
        double=sum(debits[msisdn] > 1 for msisdn in paid),
        lost=len(paid ^ taken),
        rails=Counter(row["rail"] for row in asked if row["status"] == "succeeded"),
        reroute_s=await connection.fetchval(_REROUTED),
        noticed_s=await connection.fetchval(_NOTICED, went),
        latencies=tuple(latencies[int(len(latencies) * share)] for share in (0.50, 0.95, 0.99)),
        codes=Counter(answer.status for answer in answers),
        driver_late_s=max(answer.late_s for answer in answers),
        drain_s=drain_s,
    )


_WARM = "23324" + _number(900_000)[3:6]
_ENCRYPTION_KEYS, _LOOKUP_KEY = "1:" + "b1" * 32, "b2" * 32
_ENCRYPTION = Encryption(EncryptionKeys.of(_ENCRYPTION_KEYS), read_key(_LOOKUP_KEY))
_PAYMENTS = "SELECT id, payer_msisdn, sealed, status, status_detail, rail FROM payments"
_UNDER_WAY = "SELECT count(*) FROM payments WHERE status NOT IN ('succeeded', 'failed', 'canceled')"
# From the moment at which the first send was known to have failed to the first one elsewhere.
_REROUTED = """
    WITH failure AS (
        SELECT min(quiet_since) AS at FROM attempts
        WHERE operation = 'collect' AND rail = 'mtn_momo' AND evidence <> 'accepted'
    )
    SELECT extract(epoch FROM min(started_at) - (SELECT at FROM failure))::float8 FROM attempts
    WHERE operation = 'collect' AND rail <> 'mtn_momo' AND started_at >= (SELECT at FROM failure)
"""
# From the moment at which MTN went away. A rail that hangs is found out by the attempt's time-out, 5 s.
_NOTICED = """
    SELECT extract(epoch FROM min(started_at))::float8 - $1 FROM attempts
    WHERE operation = 'collect' AND rail <> 'mtn_momo' AND started_at >= to_timestamp($1)
"""


def _end_of(row: Any) -> str:
    return row["status"] if row["status"] in ("succeeded", "failed", "canceled") else "stuck"


def _tell(report: Report, trouble: str, seconds: float, found: dict[str, Found]) -> None:
    outage_s = seconds * 3 / 4
    report.table(
        f"MTN {trouble} for {outage_s:.0f} of {seconds:.0f} s, {RATE} payments/s, every payer approves",
        ("", *found, "bar"),
        [
            ("payments", *(one.asked for one in found.values()), ""),
            ("succeeded", *(f"{one.share:.3%}" for one in found.values()), f">= {SHARE_BAR:.1%}"),
            ("failed", *(one.ends["failed"] for one in found.values()), ""),
            ("stuck", *(one.ends["stuck"] for one in found.values()), "0"),
            ("payers debited twice, all books", *(one.double for one in found.values()), "0"),
            ("debited and not succeeded, or the reverse", *(one.lost for one in found.values()), "0"),
            (
                "first failure to first reroute, s",
                *(_or_none(one.reroute_s) for one in found.values()),
                "< 1",
            ),
            ("outage's begin to first reroute, s", *(_or_none(one.noticed_s) for one in found.values()), ""),
            *(
                (f"POST p{share}, ms", *(f"{one.latencies[at] * 1000:.0f}" for one in found.values()), "")
                for at, share in enumerate((50, 95, 99))
            ),
            ("answers but 201 and 202", *(_errors(one) for one in found.values()), ""),
            ("driver late at most, ms", *(f"{one.driver_late_s * 1000:.0f}" for one in found.values()), ""),
            ("until the last end, s", *(f"{one.drain_s:.1f}" for one in found.values()), "<= 30"),
            *((f"paid by {rail}", *(one.rails[rail] for one in found.values()), "") for rail in RAILS),
        ],
    )
    for name, one in found.items():
        part = f"{trouble}.{name.split()[0]}"
        report.add(f"{part}.succeeded", one.share, "share")
        report.add(f"{part}.double_debits", one.double, "payers")
        report.add(f"{part}.stuck", one.ends["stuck"], "payments")
        if one.reroute_s is not None:
            report.add(f"{part}.reroute", one.reroute_s * 1000, "ms")
        for share, latency_s in zip((50, 95, 99), one.latencies, strict=True):
            report.add(f"{part}.post_p{share}", latency_s * 1000, "ms")


def _or_none(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.3f}"


def _errors(found: Found) -> str:
    wrong = {code: count for code, count in found.codes.items() if code not in (201, 202)}
    return ", ".join(f"{count} x {code or 'none'}" for code, count in sorted(wrong.items())) or "0"


def main() -> int:
    """Run it shorter or longer than `make bench` does."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seconds", type=float, default=SECONDS, help="of each of the four runs")
    report = Report("failover", Path(__file__).parent / "out")
    met = measure(report, asked.parse_args().seconds)
    report.save()
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
