"""One look at the database from a shell: of the settings, or of a `synccash up` on this machine."""

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
    """Do the work on a connection of its own, and close it. Raises AdministrationError.

    Without a database in the settings it is the one that `synccash up` runs on the data folder here.
    """
    url = settings.database_url or running_database(DATA_DIR / "servers")
    if url is None:
        raise AdministrationError(
            "SYNCCASH_DATABASE_URL is not set, and no `synccash up` runs in this folder: "
            "say where PostgreSQL is"
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
        raise AdministrationError(f"{error}; is SYNCCASH_DATABASE_URL right?") from error
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
        raise AdministrationError(
            "the database's schema is not of this version: run `synccash migrate`"
        ) from error


async def noted(database: Database, action: str, target: str, reason: str = "") -> None:
    """Write a deed of this shell's user to the audit log, before it is done."""
    await PostgresAudit(database).note(actor=shell_user(), action=action, target=target, reason=reason)


def shell_user() -> str:
    """The name of this shell's user in the audit log."""
    return f"shell:{os.environ.get('USER') or os.getuid()}"
