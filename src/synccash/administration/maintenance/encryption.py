"""Encrypts stored rows with the current key, and counts those that are not."""

from typing import Any

from synccash.administration.database import with_database, write_audit_entry
from synccash.administration.errors import AdministrationError
from synccash.settings.loader import Settings
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.resealing import PostgresResealing


def count_stale_rows(settings: Settings) -> list[dict[str, Any]]:
    """Returns, for each table, the number of rows that are not encrypted with the current key.

    Raises AdministrationError.
    """

    async def read(database: Database) -> list[dict[str, Any]]:
        found = await _resealing(database).stale()
        return [{"table": table, "rows": count} for table, count in found.items()]

    return with_database(settings, read)


def encrypt_rows(settings: Settings) -> list[dict[str, Any]]:
    """Encrypts all rows with the current key, and returns the numbers for each table.

    Raises AdministrationError.
    """

    async def write(database: Database) -> list[dict[str, Any]]:
        resealing = _resealing(database)
        await write_audit_entry(database, "encryption_seal", "database")
        return [
            {"table": done.table, "encrypted": done.written, "unreadable": done.unreadable}
            async for done in resealing.run()
        ]

    return with_database(settings, write)


def _resealing(database: Database) -> PostgresResealing:
    if database.encryption is None:
        raise AdministrationError(
            "SYNCCASH_ENCRYPTION_KEYS and SYNCCASH_LOOKUP_KEY are not set. Set them as for the service"
        )
    return PostgresResealing(database, database.encryption)
