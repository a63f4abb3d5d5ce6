"""Compares the migrations that a database has with those of this version of the service."""

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import asyncpg

from synccash.stores.postgres.database import Database

_APPLIED = "SELECT version FROM schema_migrations"
EMPTY = "The database has no tables of this service. Run `synccash migrate`"


@cache
def known_versions() -> frozenset[str]:
    """Return the versions of this release's migrations."""
    folder = files("synccash.stores.postgres") / "migrations"
    return frozenset(file.name.partition("_")[0] for file in folder.iterdir() if file.name.endswith(".sql"))


async def schema_problem(database: Database) -> str | None:
    """Return why this version cannot work with the schema and what to do; None when it can.

    Raises StoreUnavailableError.
    """
    try:
        rows = await database.repeat(_APPLIED)
    except asyncpg.UndefinedTableError:
        return EMPTY
    except asyncpg.InsufficientPrivilegeError:
        return (
            "The service's role may not read the table schema_migrations, so the version of the schema is "
            "unknown. Run `synccash migrate` with SYNCCASH_MIGRATION_DATABASE_URL, which gives it its rights"
        )
    return difference(frozenset(row["version"] for row in rows), known_versions())


@dataclass(slots=True)
class SchemaCheck:
    """Checks the schema until it was right once. The migration to the next release leaves this one able to
    work, so it must not make all running processes unready at once."""

    database: Database
    _was_right: bool = field(default=False, init=False)

    async def problem(self) -> str | None:
        """Return as `schema_problem` does; None without a query after the first None."""
        if self._was_right:
            return None
        problem = await schema_problem(self.database)
        self._was_right = problem is None
        return problem


def difference(applied: frozenset[str], known: frozenset[str]) -> str | None:
    """Return how the applied migrations differ from the known ones and what to do; None when they do not."""
    if not applied:
        return EMPTY
    if newer := applied - known:
        return (
            f"The database's schema has migrations of a newer version ({_listed(newer)}), and this version "
            f"knows those up to {max(known)}. Run the version that migrated the database"
        )
    if missing := known - applied:
        return f"The database's schema lacks the migrations {_listed(missing)}. Run `synccash migrate`"
    return None


def _listed(versions: frozenset[str]) -> str:
    return ", ".join(sorted(versions))
