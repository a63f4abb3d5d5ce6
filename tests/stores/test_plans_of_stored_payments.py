"""With many stored payments, a statement reads no whole table, and no more pages than its answer needs."""

import contextlib
import json
import re
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio
from bench.payments.preload import preload

from encryption_samples import ENCRYPTION
from order_store_contract import opened, succeeded
from servers_fixture import fresh_database
from stores.postgres_world import PostgresWorld
from stores.test_plans import STATEMENTS, generic_plan
from synccash.payments.errors import OrderUnreadableError
from synccash.payments.payment import PaymentStatus, StatusDetail
from synccash.payments.request import Tenant
from synccash.servers.bundle import Servers
from synccash.stores.encryption import DecryptionError
from synccash.stores.postgres.balances import PostgresBalances
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.console_reading import PostgresConsoleReading
from synccash.stores.postgres.operations.missing_callbacks import PostgresMissingCallbacks
from synccash.stores.postgres.operations.operating import OrderFilter, PostgresOperating
from synccash.stores.postgres.operations.rollups import RollupStore
from synccash.stores.postgres.orders.movements import PostgresMovements
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.orders.overdue_orders import PostgresOverdueOrders
from synccash.stores.postgres.orders.reading import PostgresReading
from synccash.stores.postgres.orders.waiting import PostgresWaiting
from synccash.stores.postgres.pool import Pool, connect

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

STORED, OPEN = 50_000, 20
PAGES_MAX = 1_500
"""A look-up is four pages, and the payments of a quarter of an hour are some hundred. Reading a tenth of
`payments` takes more."""
SMALL_TABLE_PAGES = 16
TENANT = Tenant("m_1", livemode=False)
# One in ten failed, so a read of all that failed is too many pages as well.
_MIX = """
WITH numbered AS (SELECT id, row_number() OVER (ORDER BY id) AS n FROM payments WHERE status = 'succeeded')
UPDATE payments p SET status = 'failed', status_detail = CASE WHEN n % 5000 = 0 THEN 'expired' END
FROM numbered WHERE numbered.id = p.id AND n % 10 = 0
"""
_RARE = """
WITH oldest AS (SELECT id FROM payments WHERE status = 'succeeded' ORDER BY created_at LIMIT 3),
asked AS (UPDATE attempts a SET rail = 'pawapay' FROM oldest WHERE a.order_id = oldest.id)
UPDATE payments p SET rail = 'pawapay' FROM oldest WHERE p.id = oldest.id
"""
# The triggers are off while the rows above are changed.
_FILL = """
INSERT INTO unsuccessful_payments (merchant_id, livemode, status, created_at, payment_id)
SELECT merchant_id, livemode, status, created_at, id FROM payments WHERE status = 'failed'
"""


class RecordingDatabase(Database):
    """Keeps the statements that it runs."""

    __slots__ = ("statements",)

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool, encryption=ENCRYPTION)
        self.statements: list[tuple[str, tuple[Any, ...]]] = []

    async def repeat(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        self.statements.append((statement, arguments))
        return await super().repeat(statement, *arguments)


Stored = SimpleNamespace


@pytest.fixture(scope="module")
def module_database_url(servers: Servers, migrated_template: str) -> Generator[str]:
    with fresh_database(servers, migrated_template) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stored(module_database_url: str) -> AsyncGenerator[Stored]:
    """A database with many payments; `one` is the row of a payment in the middle."""
    pool = await connect(module_database_url, min_size=1, max_size=8)
    world = PostgresWorld(pool, PostgresOrderStore(Database(pool, encryption=ENCRYPTION)))
    for number in range(1, 9):
        await succeeded(world, number)
    await pool.execute("UPDATE payments SET due_at = NULL")
    await preload(module_database_url, STORED)
    parts = urlsplit(module_database_url)
    superuser = await asyncpg.connect(
        parts._replace(netloc=f"postgres:{parts.password}@").geturl(),
        server_settings={"session_replication_role": "replica"},
    )
    try:
        await superuser.execute(_MIX)
        await superuser.execute(_FILL)
        await superuser.execute(_RARE)
        await superuser.execute(
            "INSERT INTO merchants (id, name) VALUES ('m_1', 'Shop'), ('m_2', 'Other') ON CONFLICT DO NOTHING"
        )
        await superuser.execute("VACUUM ANALYZE")
    finally:
        await superuser.close()
    for number in range(1_000, 1_000 + OPEN):
        await opened(world, number)
    payment = await pool.fetchrow(
        "SELECT * FROM payments WHERE status = 'succeeded' ORDER BY created_at OFFSET $1 LIMIT 1", STORED // 2
    )
    assert payment is not None
    attempt = await pool.fetchrow("SELECT * FROM attempts WHERE order_id = $1", payment["id"])
    event = await pool.fetchval("SELECT id FROM events WHERE object_id = $1 LIMIT 1", payment["id"])
    pages = {
        row["relname"]: row["relpages"]
        for row in await pool.fetch("SELECT relname, relpages FROM pg_class WHERE relkind = 'r'")
    }
    yield Stored(world=world, pool=pool, one=payment, attempt=attempt, event=event, pages=pages)
    await pool.close()


def where(**given: Any) -> Any:
    return SimpleNamespace(
        **({"status": None, "reference": None, "payer": None, "after": None, "limit": 20} | given)
    )


Read = Callable[[Database, Stored], Awaitable[Any]]


def payments(**given: Any) -> Read:
    return lambda database, stored: PostgresReading(database).payments(TENANT, where(**_given(given, stored)))


def orders(**given: Any) -> Read:
    return lambda database, stored: PostgresOperating(database).orders(OrderFilter(**_given(given, stored)))


def _given(given: Mapping[str, Any], stored: Stored) -> dict[str, Any]:
    return {name: value(stored) if callable(value) else value for name, value in given.items()}


def _cursor(stored: Stored) -> tuple[datetime, str]:
    return stored.one["created_at"], stored.one["id"]


def _long_ago(seconds: float = 0.0) -> datetime:
    return datetime.now(UTC) - timedelta(hours=20) + timedelta(seconds=seconds)


async def _first_page(stored: Stored, database: Database) -> Sequence[Any]:
    pages = PostgresMovements(database, stored.attempt["rail"]).between(_long_ago(), datetime.now(UTC), 100)
    async for page in pages:
        return page
    return ()


READS: Mapping[str, Read] = {
    "payments, newest": payments(),
    "payments, a page in the middle": payments(after=_cursor),
    "payments, succeeded, a page in the middle": payments(status=PaymentStatus.SUCCEEDED, after=_cursor),
    "payments, failed": payments(status=PaymentStatus.FAILED),
    "payments, failed, a page in the middle": payments(status=PaymentStatus.FAILED, after=_cursor),
    "payments, canceled, of which there are none": payments(status=PaymentStatus.CANCELED),
    "payments, processing": payments(status=PaymentStatus.PROCESSING),
    "payments, processing, a page in the middle": payments(status=PaymentStatus.PROCESSING, after=_cursor),
    "payments, by reference": payments(reference="order-17"),
    "payments, by payer": payments(payer="233241234567"),
    "payments, by payer and status": payments(payer="233241234567", status=PaymentStatus.FAILED),
    "payment": lambda database, stored: PostgresReading(database).payment(TENANT, stored.one["id"]),
    "timeline": lambda database, stored: PostgresReading(database).timeline(TENANT, stored.one["id"]),
    "events": lambda database, _: PostgresReading(database).events(TENANT, after=None, limit=20),
    "events after one in the middle": lambda database, stored: PostgresReading(database).events(
        TENANT, after=stored.event, limit=20
    ),
    "orders of all merchants": orders(),
    "orders, a page in the middle": orders(after=lambda stored: stored.one["id"]),
    "orders of a merchant": orders(merchant="m_1"),
    "orders, failed": orders(status=PaymentStatus.FAILED),
    "orders, failed, a page in the middle": orders(
        status=PaymentStatus.FAILED, after=lambda stored: stored.one["id"]
    ),
    "orders, processing": orders(status=PaymentStatus.PROCESSING),
    "orders under review, of which there are none": orders(detail=StatusDetail.UNDER_REVIEW),
    "orders of a rail": orders(rail=lambda stored: stored.one["rail"]),
    "orders of a rail without any": orders(rail="telecel_cash"),
    "orders of a rail that has few": orders(rail="pawapay"),
    "orders of a rail that has few, by status": orders(rail="pawapay", status=PaymentStatus.SUCCEEDED),
    "next page of a rail's orders": orders(
        rail=lambda stored: stored.one["rail"], after=lambda stored: stored.one["id"]
    ),
    "orders of a merchant that has none, and a rail": orders(
        rail=lambda stored: stored.one["rail"], merchant="m_2"
    ),
    "orders of a merchant at a rail without any": orders(rail="telecel_cash", merchant="m_1"),
    "payouts of a rail": orders(kind="payouts", rail=lambda stored: stored.one["rail"]),
    "orders by reference": orders(reference="order-17"),
    "orders by wallet": orders(wallet="233241234567"),
    "orders by wallet and rail": orders(wallet="233241234567", rail="mtn_momo"),
    "payouts": orders(kind="payouts"),
    "timeline of an order": lambda database, stored: PostgresOperating(database).timeline(stored.one["id"]),
    "refunds of an order": lambda database, stored: PostgresOperating(database).refunds(stored.one["id"]),
    "search by id": lambda database, stored: PostgresConsoleReading(database).search(stored.one["id"]),
    "search by reference at the rail": lambda database, stored: PostgresConsoleReading(database).search(
        str(stored.attempt["reference"])
    ),
    "search for something unknown": lambda database, _: PostgresConsoleReading(database).search(
        uuid.uuid4().hex
    ),
    "deliveries of an order": lambda database, stored: PostgresConsoleReading(database).deliveries(
        [stored.one["id"]]
    ),
    "endpoints": lambda database, _: PostgresConsoleReading(database).endpoints(),
    "undelivered": lambda database, _: PostgresConsoleReading(database).undelivered(50),
    "recent payments": lambda database, _: PostgresConsoleReading(database).recent(),
    "waiting orders": lambda database, _: PostgresWaiting(database).oldest(50),
    "counts of waiting orders": lambda database, _: PostgresWaiting(database).counts(),
    "due orders": lambda database, _: PostgresWaiting(database).due(),
    "overdue orders": lambda database, _: PostgresOverdueOrders(database).overdue_s(60.0),
    "ends without callback": lambda database, stored: PostgresMissingCallbacks(database).without_callback(
        stored.attempt["rail"], 50
    ),
    "first page of a rail's movements": lambda database, stored: _first_page(stored, database),
    "movements of references": lambda database, stored: PostgresMovements(
        database, stored.attempt["rail"]
    ).of_references([str(stored.attempt["reference"])]),
    "movements of transaction ids": lambda database, stored: PostgresMovements(
        database, stored.attempt["rail"]
    ).of_ids(["unknown"], _long_ago(), datetime.now(UTC)),
    "history of an hour of the day": lambda database, _: RollupStore(database).between(
        _long_ago(), _long_ago(3600.0), timedelta(hours=1)
    ),
    "balances": lambda database, _: PostgresBalances(database).balances(),
}


def pages_of(plan: Mapping[str, Any]) -> int:
    pages: int = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return pages


def read_whole(plan: Mapping[str, Any]) -> list[str]:
    """The tables that a plan has read from the beginning, for more than a few pages."""
    is_read = plan["Node Type"] == "Seq Scan" and pages_of(plan) > SMALL_TABLE_PAGES
    found = [plan["Relation Name"]] if is_read else []
    return found + [one for part in plan.get("Plans", ()) for one in read_whole(part)]


def large(stored: Stored, names: Sequence[str]) -> list[str]:
    return [name for name in names if stored.pages.get(name, 0) > SMALL_TABLE_PAGES]


@pytest.mark.parametrize("kind", ["custom", "generic"])
@pytest.mark.parametrize("name", READS)
async def test_a_read_costs_no_more_than_its_page(stored: Stored, name: str, kind: str):
    database = RecordingDatabase(stored.pool)
    # The copies of payments cannot be decrypted; what they cost is the same.
    with contextlib.suppress(DecryptionError, OrderUnreadableError):
        await READS[name](database, stored)
    assert database.statements
    for statement, arguments in database.statements:
        async with stored.pool.acquire() as connection, connection.transaction():
            await connection.execute(f"SET LOCAL plan_cache_mode = force_{kind}_plan")
            text = await connection.fetchval(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *arguments
            )
        (explained,) = json.loads(text)
        plan = explained["Plan"]
        assert read_whole(plan) == [], text
        assert pages_of(plan) <= PAGES_MAX, f"{pages_of(plan)} pages\n{text}"


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_statement_of_a_payment_reads_no_large_table_whole(stored: Stored, name: str):
    plan = await generic_plan(stored.world, *STATEMENTS[name])
    assert large(stored, re.findall(r"Seq Scan on (\w+)", plan)) == [], plan
