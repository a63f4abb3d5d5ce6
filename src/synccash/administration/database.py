"""Runs one operator action on the database of the settings, or on that of a local `synccash up`."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from synccash.administration.errors import AdministrationError
from synccash.payments.audit import AuditNote
from synccash.payments.errors import StoreUnavailableError
from synccash.servers.existing_server import running_database
from synccash.settings.loader import Settings, SettingsError, convert_settings
from synccash.settings.secret import Secret
from synccash.stores.encryption import DecryptionError, Encryption, encryption_of
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.errors import MIGRATE, OTHER_SCHEMA
from synccash.stores.postgres.pool import connect

T = TypeVar("T")
DATA_DIR = Path(".synccash")
BREAK_GLASS = "break_glass"
"""The first word of the reason of each audit entry of an action with database credentials."""
ENCRYPTION_KEYS_FILE = "encryption_keys.json"
"""The file of a data folder with the settings `encryption_keys` and `lookup_key` of `synccash up`."""


def with_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Runs `work` on a new connection, closes the connection, and returns the result.

    Without SYNCCASH_DATABASE_URL, uses the database that `synccash up` runs in this folder. Raises
    AdministrationError.
    """
    url, encryption = target_database_url(settings), target_encryption(settings)

    async def run() -> T:
        pool = await connect(url, min_size=0, max_size=1)
        try:
            return await work(Database(pool, encryption=encryption))
        finally:
            await pool.close()

    try:
        return asyncio.run(run())
    except StoreUnavailableError as error:
        raise AdministrationError(f"{error}; check SYNCCASH_DATABASE_URL") from error
    except DecryptionError as error:
        raise AdministrationError(
            f"{error}. Set SYNCCASH_ENCRYPTION_KEYS and SYNCCASH_LOOKUP_KEY as for the service"
        ) from error
    except OTHER_SCHEMA as error:
        raise AdministrationError(MIGRATE) from error


def target_database_url(settings: Settings) -> Secret | str:
    """Returns the URL of the database of the settings, or of the `synccash up` that runs in this folder.

    Raises AdministrationError if there is neither.
    """
    url = settings.database_url or running_database(DATA_DIR / "servers")
    if url is None:
        raise AdministrationError(
            "SYNCCASH_DATABASE_URL is not set, and no `synccash up` runs in this folder. "
            "Set it to your PostgreSQL database"
        )
    return url


def target_encryption(settings: Settings) -> Encryption | None:
    """Returns the encryption of the settings, or of the `synccash up` in this folder if its database is used.

    Raises AdministrationError.
    """
    try:
        return encryption_of(settings) or _local_encryption(settings)
    except SettingsError as error:
        raise AdministrationError(str(error)) from error


def _local_encryption(settings: Settings) -> Encryption | None:
    file = DATA_DIR / ENCRYPTION_KEYS_FILE
    if settings.database_url is not None or not file.exists():
        return None
    return encryption_of(convert_settings(json.loads(file.read_text(encoding="utf-8"))))


async def write_audit_entry(database: Database, action: str, target: str, reason: str = "") -> None:
    """Writes an action with database credentials to the audit log, before the action is done."""
    await PostgresAudit(database).write(await break_glass_note(database, action, target, reason))


async def break_glass_note(database: Database, action: str, target: str, reason: str = "") -> AuditNote:
    """Returns the audit entry of an action with database credentials."""
    return AuditNote(
        actor=await database_actor(database),
        action=action,
        target=target,
        reason=f"{BREAK_GLASS}: {reason}" if reason else BREAK_GLASS,
    )


async def database_actor(database: Database) -> str:
    """Returns how the audit log names who acts with database credentials: by the role of the connection.

    The name of the shell's user is not taken: anybody can set $USER.
    """
    return f"database:{(await database.repeat('SELECT session_user AS role'))[0]['role']}"
