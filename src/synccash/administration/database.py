"""Runs one operator action on the database of the settings, or on that of a local `synccash up`."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import asyncpg

from synccash.administration.errors import AdministrationError
from synccash.payments.errors import StoreUnavailableError
from synccash.servers.existing_server import running_database
from synccash.settings.loader import Settings
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import connect

T = TypeVar("T")
DATA_DIR = Path(".synccash")


def with_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Runs `work` on a new connection, closes the connection, and returns the result.

    Without SYNCCASH_DATABASE_URL, uses the database that `synccash up` runs in this folder. Raises
    AdministrationError.
    """
    url = settings.database_url or running_database(DATA_DIR / "servers")
    if url is None:
        raise AdministrationError(
            "SYNCCASH_DATABASE_URL is not set, and no `synccash up` runs in this folder. "
            "Set it to your PostgreSQL database"
        )

    async def run() -> T:
        pool = await connect(url, min_size=0, max_size=1)
        try:
            return await work(Database(pool))
        finally:
            await pool.close()

    try:
        return asyncio.run(run())
    except StoreUnavailableError as error:
        raise AdministrationError(f"{error}; check SYNCCASH_DATABASE_URL") from error
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
        raise AdministrationError(
            "The database's schema is of another version. Run `synccash migrate`"
        ) from error


async def write_audit_entry(database: Database, action: str, target: str, reason: str = "") -> None:
    """Writes an action of this shell's user to the audit log, before the action is done."""
    await PostgresAudit(database).note(actor=shell_user(), action=action, target=target, reason=reason)


def shell_user() -> str:
    """Returns the name of this shell's user for the audit log."""
    return f"shell:{os.environ.get('USER') or os.getuid()}"
