"""A fresh request's claim and completion, durable; and the replay of a finished one."""

import asyncio
import itertools
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import uvloop

from bench.report import Report
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import (
    Claim,
    Commit,
    Event,
    KeepLease,
    Opened,
    Opening,
    ReleaseLease,
    StoredAnswer,
)
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.payment import Payment, PaymentStatus, StatusDetail
from synccash.payments.rail import Operation, RailAccount
from synccash.resilience.claims import ClaimAnswer, Granted, Replayed
from synccash.resilience.evidence import Evidence
from synccash.resilience.stored_answers import decode_answer, encode_answer
from synccash.servers.bundle import Servers, start_servers
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.claims import PostgresClaims
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.pool import Pool, connect
from synccash.stores.postgres.schema.migrations import migrate
from synccash.stores.valkey.limits.rate_limiter import ValkeyLimiter
from synccash.stores.valkey.limits.script import answer_key

CALLERS = 64
CYCLES = 1_280
ROUNDS = 5
BODY = b'{"id":"pay_01","object":"payment","status":"processing"' + b" " * 290 + b"}"
ACCOUNT = RailAccount(rail="mtn_momo", account="main", base_url="http://rail", target_environment="mtnghana")
_PLAIN = (
    """CREATE TABLE IF NOT EXISTS plain (key text PRIMARY KEY, fingerprint bytea NOT NULL, fence int NOT NULL,
    lease_until timestamptz NOT NULL, status int, body bytea)""",
    """INSERT INTO plain VALUES ($1, $2, 1, now() + interval '15 s') ON CONFLICT (key) DO NOTHING
    RETURNING key""",
    "UPDATE plain SET status = $2, body = $3 WHERE key = $1 AND fence = 1 AND status IS NULL RETURNING key",
    "SELECT fingerprint, status, body FROM plain WHERE key = $1",
)
Cycle = Callable[[], Awaitable[None]]


def run(report: Report) -> None:
    """Cycles a second of 64 callers, on a PostgreSQL with fsync and a Valkey of this run's own.

    One of our cycles writes more than the others: claim, payment, attempt, timeline, then answer, payment,
    attempt, event. The floor is two plain statements, each with its commit.
    """
    folder = Path(tempfile.mkdtemp(prefix="synccash-bench-"))
    folder.chmod(0o711)
    with start_servers(folder) as servers:
        assert servers.database_url is not None
        migrate(servers.database_url)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_measure(report, servers))


async def _measure(report: Report, servers: Servers) -> None:
    assert servers.database_url is not None
    pool = await connect(servers.database_url, min_size=16, max_size=16)
    await pool.execute(_PLAIN[0])
    fresh = {
        "two plain statements (floor)": _plain(pool),
        "ours: claim with payment and event": _ledger(PostgresOrderStore(Database(pool))),
        "ours: claim alone (middleware)": _claims(PostgresClaims(Database(pool))),
    }
    peer = _peer(servers.valkey_url)
    if peer is not None:
        fresh["fastapi-idempotency-key on Redis"] = peer
    for cycle in fresh.values():
        await _together(cycle, CYCLES)
    # As autovacuum does within its first minute: until then plans are those for empty tables.
    await pool.execute("ANALYZE")
    rates = await _rates(fresh)
    _tell(report, "fresh", "Fresh cycles, durable, 64 callers", rates, "two plain statements (floor)")
    assert servers.valkey_url is not None
    limiter = ValkeyLimiter(servers.valkey_url)
    replays = {
        "PostgreSQL SELECT (floor)": await _select(pool),
        "ours: one look at the cache": await _look(limiter),
        "ours: by the claim in PostgreSQL": await _claimed(PostgresClaims(Database(pool))),
    }
    rates = await _rates(replays)
    _tell(report, "replay", "Replays, 64 callers", rates, "PostgreSQL SELECT (floor)")
    await limiter.aclose()
    await pool.close()


async def _select(pool: Pool) -> Cycle:
    _, claim, complete, select = _PLAIN
    await pool.fetch(claim, "done", sha256(BODY).digest())
    await pool.fetch(complete, "done", 201, BODY)

    async def cycle() -> None:
        assert await pool.fetch(select, "done")

    return cycle


async def _look(limiter: ValkeyLimiter) -> Cycle:
    name = answer_key("bench", "done")
    stored = encode_answer(
        sha256(BODY).digest(), ClaimAnswer(201, (("content-type", "application/json"),), BODY)
    )
    assert await limiter.store_answer(name, stored)

    async def cycle() -> None:
        decision = await limiter.check("payment_initiation", (), answer=name)
        assert decision.answer is not None or decision.degraded
        assert decision.answer is None or decode_answer(decision.answer) is not None

    return cycle


async def _claimed(store: PostgresClaims) -> Cycle:
    print_ = sha256(BODY).digest()
    held = await store.claim("bench", "replayed", print_, lease_s=15)
    assert isinstance(held, Granted)
    await store.complete("bench", "replayed", held.fence, ClaimAnswer(201, (), BODY))

    async def cycle() -> None:
        assert isinstance(await store.claim("bench", "replayed", print_, lease_s=15), Replayed)

    return cycle


async def _rates(contenders: dict[str, Cycle]) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for cycle in contenders.values():
        await _together(cycle, CALLERS * 2)
    for _ in range(ROUNDS):
        for name, cycle in contenders.items():
            found[name].append(await _together(cycle, CYCLES))
    return {name: statistics.median(rates) for name, rates in found.items()}


async def _together(cycle: Cycle, count: int) -> float:
    """Run cycles from CALLERS callers at once; return how many a second."""
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            await cycle()

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return count / (time.perf_counter() - began)


def _tell(report: Report, part: str, title: str, rates: dict[str, float], floor: str) -> None:
    report.table(
        title,
        ("", "per second", "x floor"),
        [(name, f"{rate:,.0f}", f"{rate / rates[floor]:.2f}") for name, rate in rates.items()],
    )
    for name, rate in rates.items():
        report.add(f"{part}.{_slug(name)}", rate, "1/s", floor=rates[floor])


def _slug(name: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in name).split())


def _plain(pool: Pool) -> Cycle:
    _, claim, complete, _ = _PLAIN

    async def cycle() -> None:
        key = uuid.uuid4().hex
        assert await pool.fetch(claim, key, sha256(BODY).digest())
        assert await pool.fetch(complete, key, 201, BODY)

    return cycle


def _claims(store: PostgresClaims) -> Cycle:
    async def cycle() -> None:
        key = uuid.uuid4().hex
        held = await store.claim("bench", key, sha256(BODY).digest(), lease_s=15)
        assert isinstance(held, Granted)
        assert await store.complete("bench", key, held.fence, ClaimAnswer(201, (), BODY))

    return cycle


def _ledger(ledger: PostgresOrderStore) -> Cycle:
    numbers = itertools.count()
    run_id = uuid.uuid4().hex[:8]

    async def cycle() -> None:
        name = f"{run_id}{next(numbers)}"
        opening = _opening(name)
        opened = await ledger.open(opening)
        assert isinstance(opened, Opened)
        assert await ledger.record(_second(name, opening))

    return cycle


def _opening(name: str) -> Opening[Payment]:
    now = datetime.now(UTC)
    payment = Payment(
        id=f"pay_{name}",
        merchant_id="m_bench",
        livemode=False,
        reference=name,
        amount=2500,
        currency="GHS",
        payer=Payer(Msisdn("233241234567")),
        created_at=now,
        updated_at=now,
        expires_at=now + timedelta(seconds=900),
        rail="mtn_momo",
        attempt_count=1,
    )
    attempt = Attempt(
        id=f"att_{name}",
        order_id=payment.id,
        sequence=1,
        operation=Operation.COLLECT,
        account=ACCOUNT,
        reference=str(uuid.uuid4()),
        callback_token=name,
        amount=2500,
        opened_fence=1,
        started_at=now,
    )
    claim = Claim("m_bench:test:POST /payments", name, sha256(BODY).digest())
    return Opening(claim=claim, order=payment, attempt=attempt, lease=KeepLease(15.0))


def _second(name: str, opening: Opening[Payment]) -> Commit:
    assert opening.attempt is not None
    payment = replace(
        opening.order,
        status=PaymentStatus.PROCESSING,
        status_detail=StatusDetail.AWAITING_PAYER,
        version=2,
    )
    event = Event(
        id=f"evt_{name}",
        merchant_id="m_bench",
        livemode=False,
        type="payment.processing",
        created_at=payment.created_at,
        object_id=payment.id,
        object_version=2,
        data=BODY,
    )
    return Commit(
        id=f"mv_{name}",
        order=payment,
        expected_version=1,
        expected_fence=1,
        lease=ReleaseLease(300.0),
        attempts=(replace(opening.attempt, state=AttemptState.ACKNOWLEDGED, evidence=Evidence.ACCEPTED),),
        events=(event,),
        answer=StoredAnswer(201, BODY),
    )


def _peer(valkey_url: str | None) -> Cycle | None:
    """The Redis store of a FastAPI package: two round trips, nothing on disk when it answers."""
    try:
        from fastapi_idempotency_key.backends.redis import RedisBackend
        from redis.asyncio import Redis
    except ImportError:
        print("(fastapi-idempotency-key is not installed; `make bench` installs it)")
        return None
    assert valkey_url is not None
    backend = RedisBackend(redis=Redis.from_url(valkey_url))

    async def cycle() -> None:
        key = uuid.uuid4().hex
        locked, _ = await backend.try_lock(key, "fingerprint", 86_400)
        assert locked
        await backend.store_response(key, 201, [("content-type", "application/json")], BODY, 86_400)

    return cycle
