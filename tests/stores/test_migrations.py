"""Migrations are applied once, hold up no payment, and never change after their release."""

import asyncio
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from threading import Event

import asyncpg
import pytest

from synccash.stores.postgres.schema import migrations
from synccash.stores.postgres.schema.migrations import MigrationError, migrate

RELEASED = {"0001_ledger.sql": "0e6df07c623ba6d8f76f1ebec2aed448ec8836673f51ddc80ac2d7f509b40f16"}
"""SHA-256 of each migration that a release has shipped. A released file never changes: add another."""

_PARKED = """
INSERT INTO payments (id, merchant_id, livemode, reference, amount, currency, payer_msisdn, created_at,
    updated_at, expires_at, status, status_detail, amount_received, amount_refunded, attempt_count, metadata,
    routing, version, fence, due_at, move_id)
SELECT id, 'm_1', false, id, 1000, 'GHS', '233241234567', now(), now(), now(), status, detail, 0, 0, 1, '{}',
    '{}', 1, 1, NULL, id
FROM (VALUES ('pay_parked', 'processing', 'under_review'), ('pay_failed', 'failed', NULL))
    AS v(id, status, detail)
"""


def shipped() -> dict[str, str]:
    folder = files("synccash.stores.postgres") / "migrations"
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_a_released_migration_is_never_changed():
    assert {name: digest for name, digest in shipped().items() if name in RELEASED} == RELEASED


def test_migrations_are_numbered_without_a_gap():
    numbers = sorted(int(name.partition("_")[0]) for name in shipped())
    assert numbers == list(range(1, len(numbers) + 1))


async def applied(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [row["version"] for row in await connection.fetch("SELECT version FROM schema_migrations")]
    finally:
        await connection.close()


async def test_migrating_twice_changes_nothing(empty_database_url: str):
    await asyncio.to_thread(migrate, empty_database_url)
    before = await applied(empty_database_url)
    await asyncio.to_thread(migrate, empty_database_url)
    assert await applied(empty_database_url) == before == sorted(name[:4] for name in shipped())


async def test_a_database_that_has_all_migrations_needs_no_run_of_dbmate(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
):
    await asyncio.to_thread(migrate, empty_database_url)

    async def run_dbmate(*_given: object) -> None:
        raise AssertionError("dbmate was run")

    monkeypatch.setattr(migrations, "_run_dbmate", run_dbmate)
    await asyncio.to_thread(migrate, empty_database_url)


async def test_concurrent_migrations_wait_for_each_other(empty_database_url: str):
    async with asyncio.TaskGroup() as processes:
        for _ in range(4):
            processes.create_task(asyncio.to_thread(migrate, empty_database_url))
    assert await applied(empty_database_url) == sorted(name[:4] for name in shipped())


async def test_orders_parked_without_a_due_time_become_due_again(database_url: str):
    text = (files("synccash.stores.postgres") / "migrations" / "0007_never_forgotten.sql").read_text()
    up, down = text.split("-- migrate:down")
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(down)
        await connection.execute(_PARKED)
        await connection.execute(up)
        due = await connection.fetch("SELECT id FROM payments WHERE due_at <= now() + interval '1 day'")
        assert [row["id"] for row in due] == ["pay_parked"]
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("UPDATE payments SET due_at = NULL WHERE id = 'pay_parked'")
    finally:
        await connection.close()


def test_an_unreachable_database_is_named_without_its_password():
    with pytest.raises(MigrationError, match="SYNCCASH_DATABASE_URL failed") as caught:
        migrate("postgresql://somebody:hush-hush@127.0.0.1:1/nowhere")
    assert "hush" not in str(caught.value)


TABLE = "-- migrate:up\nCREATE TABLE t (n integer);\nINSERT INTO t VALUES (1), (1);\n-- migrate:down\n"
COLUMN = "-- migrate:up\nALTER TABLE t ADD COLUMN m integer;\n-- migrate:down\n"
INDEX = """\
-- migrate:up transaction:false
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS t_n ON t (n);
-- migrate:down
"""
COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum"
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = 't_n'::regclass"


def folder_with(folder: Path, *texts: str) -> Path:
    for number, text in enumerate(texts, 1):
        (folder / f"{number:04}_t.sql").write_text(text)
    return folder


async def test_a_migration_that_gets_no_lock_is_rolled_back_and_tried_again(
    empty_database_url: str, tmp_path: Path
):
    await asyncio.to_thread(migrate, empty_database_url, folder=folder_with(tmp_path, TABLE))
    connection = await asyncpg.connect(empty_database_url)
    waited, told = Event(), list[str]()

    def say(text: str) -> None:
        told.append(text)
        waited.set()

    try:
        reader = connection.transaction()
        await reader.start()
        await connection.fetch("SELECT * FROM t")
        migrating = asyncio.create_task(
            asyncio.to_thread(
                migrate, empty_database_url, folder=folder_with(tmp_path, TABLE, COLUMN), say=say
            )
        )
        await asyncio.to_thread(waited.wait)
        assert [row["attname"] for row in await connection.fetch(COLUMNS)] == ["n"]
        await reader.rollback()
        await migrating
        assert [row["attname"] for row in await connection.fetch(COLUMNS)] == ["n", "m"]
    finally:
        await connection.close()
    assert "migration 0002_t.sql was rolled back: it waited 0.05 s for a lock" in told[0]
    assert "SELECT * FROM t" in told[0]


async def test_a_migration_that_never_gets_its_lock_names_who_holds_it(
    empty_database_url: str, tmp_path: Path
):
    await asyncio.to_thread(migrate, empty_database_url, folder=folder_with(tmp_path, TABLE))
    connection = await asyncpg.connect(empty_database_url)
    try:
        async with connection.transaction():
            await connection.fetch("SELECT * FROM t")
            with pytest.raises(MigrationError, match=f"{connection.get_server_pid()}.*tried . times"):
                await asyncio.to_thread(
                    migrate,
                    empty_database_url,
                    folder=folder_with(tmp_path, TABLE, COLUMN),
                    timeout_s=0.3,
                )
    finally:
        await connection.close()


async def test_an_index_whose_building_was_interrupted_is_built_anew(empty_database_url: str, tmp_path: Path):
    """A building that fails leaves an index that no query uses, as one does whose process was killed."""
    folder = folder_with(tmp_path, TABLE, INDEX)
    with pytest.raises(MigrationError, match="could not create unique index"):
        await asyncio.to_thread(migrate, empty_database_url, folder=folder)
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert await connection.fetchval(VALID) is False
        await connection.execute("DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t)")
        await asyncio.to_thread(migrate, empty_database_url, folder=folder)
        assert await connection.fetchval(VALID) is True
    finally:
        await connection.close()
    assert await applied(empty_database_url) == ["0001", "0002"]


async def test_an_index_that_was_built_before_the_crash_is_kept(empty_database_url: str, tmp_path: Path):
    await asyncio.to_thread(
        migrate, empty_database_url, folder=folder_with(tmp_path, TABLE.replace("(1), (1)", "(1)"))
    )
    connection = await asyncpg.connect(empty_database_url)
    try:
        await connection.execute("CREATE UNIQUE INDEX t_n ON t (n)")
        before = await connection.fetchval("SELECT 't_n'::regclass::oid")
        await asyncio.to_thread(migrate, empty_database_url, folder=folder_with(tmp_path, TABLE, INDEX))
        assert await connection.fetchval("SELECT 't_n'::regclass::oid") == before
    finally:
        await connection.close()


async def test_an_index_is_built_beside_an_open_transaction(empty_database_url: str, tmp_path: Path):
    """Building it waits until the transaction has ended: it is not cut off, and others write meanwhile."""
    first = TABLE.replace("(1), (1)", "(1)")
    await asyncio.to_thread(migrate, empty_database_url, folder=folder_with(tmp_path, first))
    connection, other = await asyncpg.connect(empty_database_url), await asyncpg.connect(empty_database_url)
    told = list[str]()
    try:
        reader = connection.transaction(isolation="repeatable_read")
        await reader.start()
        await connection.fetch("SELECT * FROM t")
        folder = folder_with(tmp_path, first, INDEX)
        migrating = asyncio.create_task(
            asyncio.to_thread(migrate, empty_database_url, folder=folder, say=told.append)
        )
        while not await other.fetchval("SELECT to_regclass('t_n') IS NOT NULL"):
            pass
        await other.execute("INSERT INTO t VALUES (2)")
        await reader.rollback()
        await migrating
        assert await other.fetchval(VALID) is True
    finally:
        await connection.close()
        await other.close()
    assert told == []
