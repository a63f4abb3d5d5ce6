"""The role that the service connects with: what it may do, and whether it may do more than it should.

The owner of the tables migrates them. The service's own role reads and writes rows, and can neither change
the schema, nor switch triggers off, nor alter the audit log.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from synccash.settings.secret import Secret
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import Connection, connect_to_primary

_DELETES = frozenset(
    {
        "approvals",
        "balance_fees",
        "deliveries",
        "due_payments",
        "idempotency",
        "installation_keys",
        "merchant_sessions",
        "operator_addresses",
        "operator_links",
        "operator_sign_in_throttle",
        "order_rollups",
        "payer_networks",
        "reconciliations",
        "request_claims",
        "suspended_merchants",
        "webhook_endpoints",
        "witnesses",
    }
)
"""The tables from which the service removes rows."""
_RIGHTS: Mapping[str, str] = {
    # Positions and times are the database's own: the role cannot make an entry below a seal, or date it back.
    "audit": "SELECT, INSERT (actor, action, target, reason, request_id, merchant_id, details)",
    "audit_seals": "SELECT, INSERT",
    "balance_books": "SELECT",
    "balance_entries": "SELECT, INSERT",
    "schema_migrations": "SELECT",
    "unsuccessful_payments": "SELECT, INSERT",
}
_TABLES = """
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'p')
ORDER BY c.relname
"""
_OWNS_SCHEMA = """
SELECT pg_has_role(current_user, nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'public'
"""
_LOCK = "SELECT pg_advisory_xact_lock(1635083369, 3)"
_EXCESS = """
SELECT current_user AS role, r.rolsuper OR EXISTS (
    SELECT FROM pg_class c
    WHERE c.oid = 'audit'::regclass AND pg_has_role(current_user, c.relowner, 'MEMBER')
) AS is_owner,
    has_table_privilege('audit', 'UPDATE') OR has_table_privilege('audit', 'DELETE')
        OR has_table_privilege('audit', 'TRUNCATE') AS may_change_audit
FROM pg_roles r WHERE r.rolname = current_user
"""
_LACKS = """
SELECT needed.tab, needed.privilege
FROM unnest($1::text[], $2::text[]) AS needed (tab, privilege)
WHERE NOT has_any_column_privilege(needed.tab, needed.privilege)
UNION ALL
SELECT deleted.tab, 'DELETE' FROM unnest($3::text[]) AS deleted (tab)
WHERE NOT has_table_privilege(deleted.tab, 'DELETE')
ORDER BY 1, 2
"""


class RuntimeRoleError(Exception):
    """The role cannot be created or given its rights; the text says what to do."""


async def grant_runtime_role(owner_url: Secret | str, role: str, password: str | None = None) -> None:
    """Give `role` the rights that the service needs, and take all others from it. Safe to repeat.

    A role that does not exist is created with `password`. Connect as the owner of the tables. Raises
    RuntimeRoleError.
    """
    try:
        connection = await connect_to_primary(owner_url)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise RuntimeRoleError(f"cannot connect to PostgreSQL: {error}") from error
    try:
        async with connection.transaction():
            await connection.execute(_LOCK)
            await _ensure(connection, role, password)
            await connection.execute(";\n".join(await _grants(connection, role)))
    except asyncpg.PostgresError as error:
        raise RuntimeRoleError(f"the role {role} cannot be given its rights: {error}") from error
    finally:
        await connection.close()


async def ensure_role(url: Secret | str, role: str, password: str) -> None:
    """Create a role that may connect, if it does not exist. `url` is a superuser's.

    Raises RuntimeRoleError.
    """
    try:
        connection = await connect_to_primary(url)
        try:
            await _ensure(connection, role, password)
        finally:
            await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise RuntimeRoleError(f"the role {role} cannot be created: {error}") from error


async def _ensure(connection: Connection, role: str, password: str | None) -> None:
    if await connection.fetchval("SELECT current_user") == role:
        raise RuntimeRoleError(
            f"the service's role {role} is the role that migrates: set SYNCCASH_MIGRATION_DATABASE_URL to "
            "the URL of the tables' owner, and SYNCCASH_DATABASE_URL to that of another role"
        )
    if await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role):
        return
    advice = f"run as a superuser: CREATE ROLE \"{role}\" LOGIN PASSWORD '…'; then `synccash migrate` again"
    if password is None:
        raise RuntimeRoleError(f"the role {role} does not exist: {advice}")
    statement = await connection.fetchval(
        "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)", role, password
    )
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError as error:
        raise RuntimeRoleError(
            f"the role {role} does not exist, and the owner may not create it: {advice}"
        ) from error


async def _grants(connection: Connection, role: str) -> list[str]:
    quoted = await connection.fetchval("SELECT quote_ident($1)", role)
    statements = [
        f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {quoted}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {quoted}",
    ]
    if await connection.fetchval(_OWNS_SCHEMA):
        # Before PostgreSQL 15, everybody might create tables in it.
        statements.append("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        statements.append(f"GRANT USAGE ON SCHEMA public TO {quoted}")
    for row in await connection.fetch(_TABLES):
        table = row["relname"]
        rights = _rights(table)
        statements.append(f'GRANT {rights} ON "{table}" TO {quoted}')
    return statements


def _rights(table: str) -> str:
    return _RIGHTS.get(table, "SELECT, INSERT, UPDATE" + (", DELETE" if table in _DELETES else ""))


@dataclass(frozen=True, slots=True)
class RoleCheck:
    """Tells whether the service's role may do what it needs, and whether it may do more than it should."""

    database: Database

    async def notice(self) -> str | None:
        """Return what to do about a role that owns the tables or may alter the audit log, else None.

        Raises StoreUnavailableError.
        """
        [row] = await self.database.repeat(_EXCESS)
        if row["is_owner"]:
            excess = "owns the tables, so whoever has its password can alter the audit log"
        elif row["may_change_audit"]:
            excess = "may alter the audit log"
        else:
            return None
        return (
            f"The service connects as {row['role']}, which {excess}. Give it a role of its own: see The "
            "service's own database role in docs/operating.md."
        )

    async def lacking(self) -> list[str]:
        """Return the rights that the service needs and its role does not have, such as `INSERT on payments`.

        Raises StoreUnavailableError.
        """
        tables = [row["relname"] for row in await self.database.repeat(_TABLES)]
        needed = [
            (table, privilege)
            for table in tables
            for privilege in ("SELECT", "INSERT", "UPDATE")
            if privilege in _rights(table)
        ]
        deleted = [table for table in tables if table in _DELETES]
        rows = await self.database.repeat(
            _LACKS, [table for table, _ in needed], [privilege for _, privilege in needed], deleted
        )
        return [f"{row['privilege']} on {row['tab']}" for row in rows]
