"""`synccash recovery`: what an operator can do, and what is refused."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from order_store_contract import opened
from stores.postgres_world import PostgresWorld
from synccash.administration.errors import AdministrationError
from synccash.administration.maintenance.recovery import release_recovery, start_recovery
from synccash.settings.loader import Settings
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.pool import connect


def settings_of(url: str) -> Settings:
    return Settings(database_url=url, installation_key="5c" * 32)


def said(url: str, statement: str) -> list[asyncpg.Record]:
    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_start_and_release_are_audited_with_their_reasons(database_url: str):
    settings = settings_of(database_url)
    assert start_recovery(settings, "disk lost")["active"]
    assert not release_recovery(settings, "statements compared")["active"]
    deeds = said(database_url, "SELECT action, reason FROM audit ORDER BY position")
    assert [tuple(deed) for deed in deeds] == [
        ("recovery_start", "break_glass: disk lost"),
        ("recovery_release", "break_glass: statements compared"),
    ]


@pytest.mark.parametrize("change", [start_recovery, release_recovery])
def test_a_change_without_a_reason_is_refused(database_url: str, change: Callable[..., Any]):
    with pytest.raises(AdministrationError, match="--reason"):
        change(settings_of(database_url), " ")


def test_there_is_nothing_to_release_outside_a_recovery(database_url: str):
    with pytest.raises(AdministrationError, match="nothing to release"):
        release_recovery(settings_of(database_url), "a test")


def test_a_start_repairs_what_was_restored_without_triggers_and_audits_it(database_url: str):
    async def restore() -> None:
        pool = await connect(database_url, min_size=1, max_size=1)
        world: Any = PostgresWorld(pool, PostgresOrderStore(Database(pool)))
        await opened(world)
        await pool.execute("DELETE FROM due_payments")
        await pool.close()

    asyncio.run(restore())
    settings = settings_of(database_url)
    state = start_recovery(settings, "disk lost")
    assert (state["active"], state["repaired"], state["unsearched"]) == (True, 1, 1)
    assert start_recovery(settings, "again")["repaired"] == 0
    deeds = said(database_url, "SELECT action, reason FROM audit ORDER BY position")
    assert [tuple(deed) for deed in deeds] == [
        ("recovery_start", "break_glass: disk lost"),
        ("due_payments_repair", "break_glass: 1 payments had no row in due_payments"),
        ("recovery_start", "break_glass: again"),
    ]
