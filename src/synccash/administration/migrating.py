"""Migrates the database as the owner of the tables, and gives the service's own role its rights."""

import asyncio
from urllib.parse import unquote, urlsplit

from synccash.settings.loader import Settings
from synccash.stores.postgres.migrations import migrate
from synccash.stores.postgres.runtime_role import grant_runtime_role


def migrate_and_grant(settings: Settings) -> str | None:
    """Migrates the database of the settings, and returns the service's role if that is another one.

    It is `database_runtime_role`, or the user of `database_url` where `migration_database_url` is set. Raises
    MigrationError and RuntimeRoleError.
    """
    owner_url = settings.migration_database_url or settings.database_url
    if owner_url is None:
        return None
    migrate(owner_url)
    user, password = None, None
    if settings.database_url is not None:
        parts = urlsplit(settings.database_url.reveal())
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
    role = settings.database_runtime_role or (user if settings.migration_database_url is not None else None)
    if not role:
        return None
    asyncio.run(grant_runtime_role(owner_url, role, (password or None) if role == user else None))
    return role
