"""Migrates the database as the owner of the tables, and gives the service's own role its rights.

The audit log gets an entry of each migration.
"""

import asyncio
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from synccash.administration.database import write_audit_entry
from synccash.payments.errors import StoreUnavailableError
from synccash.settings.loader import Settings
from synccash.settings.secret import Secret
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import connect
from synccash.stores.postgres.schema.migrations import MigrationError, migrate
from synccash.stores.postgres.schema.runtime_role import grant_runtime_role

_VERSION = "SELECT max(version) AS version FROM schema_migrations"


def migrate_and_grant(settings: Settings, say: Callable[[str], None] = lambda _: None) -> str | None:
    """Migrates the database of the settings, and returns the service's role if that is another one.

    It is `database_runtime_role`, or the user of `database_url` where `migration_database_url` is set. `say`
    gets a sentence for each new try. Raises MigrationError and RuntimeRoleError.
    """
    owner_url = settings.migration_database_url or settings.database_url
    if owner_url is None:
        return None
    migrate(
        owner_url,
        lock_timeout_s=settings.migration_lock_timeout_s,
        timeout_s=settings.migration_timeout_s,
        say=say,
    )
    asyncio.run(_write_entry(owner_url))
    user, password = None, None
    if settings.database_url is not None:
        parts = urlsplit(settings.database_url.reveal())
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
    role = settings.database_runtime_role or (user if settings.migration_database_url is not None else None)
    if not role:
        return None
    asyncio.run(grant_runtime_role(owner_url, role, (password or None) if role == user else None))
    return role


async def _write_entry(owner_url: Secret) -> None:
    pool = await connect(owner_url, min_size=0, max_size=1)
    try:
        database = Database(pool)
        [row] = await database.repeat(_VERSION)
        await write_audit_entry(database, "migrate", f"schema {row['version']}")
    except StoreUnavailableError as error:
        raise MigrationError(f"the migration is done, and not in the audit log: {error}") from error
    finally:
        await pool.close()
