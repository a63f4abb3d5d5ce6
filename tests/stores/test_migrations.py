"""Migrations are applied once, by the first process, and never change after their release."""

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from importlib.resources import files

import asyncpg
import pytest

from synccash.stores.postgres.migrations import MigrationError, migrate

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
    migrate(empty_database_url)
    before = await applied(empty_database_url)
    migrate(empty_database_url)
    assert await applied(empty_database_url) == before == sorted(name[:4] for name in shipped())


async def test_concurrent_migrations_wait_for_each_other(empty_database_url: str):
    with ThreadPoolExecutor(4) as processes:
        list(processes.map(migrate, [empty_database_url] * 4))
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
