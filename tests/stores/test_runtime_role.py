"""The service's own database role: it does all that the service does, and cannot touch what guards it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest

from servers_fixture import SERVICE_ROLE, execute, service_url
from synccash.payments.audit import AuditNote
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.audit_chain import PostgresAuditChain
from synccash.stores.postgres.pool import connect
from synccash.stores.postgres.schema.runtime_role import (
    RoleCheck,
    RuntimeRoleError,
    grant_runtime_role,
)

T = TypeVar("T")


def in_a_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run it in a loop of its own, which leaves the test's loop alone."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


@pytest.fixture
def runtime_url(database_url: str) -> str:
    return in_a_loop(service_url(database_url))


REFUSED = [
    "UPDATE audit SET actor = 'x'",
    "DELETE FROM audit",
    "TRUNCATE audit",
    "DROP TABLE audit",
    "ALTER TABLE audit DISABLE TRIGGER USER",
    "ALTER TABLE audit DISABLE TRIGGER audit_is_append_only",
    "DROP TRIGGER audit_is_append_only ON audit",
    "ALTER TABLE audit OWNER TO CURRENT_USER",
    "CREATE RULE quiet AS ON INSERT TO audit DO INSTEAD NOTHING",
    "INSERT INTO audit (position, actor, action, target, reason) OVERRIDING SYSTEM VALUE"
    " VALUES (-1, 'a', 'b', 'c', '')",
    "INSERT INTO audit (at, actor, action, target, reason) VALUES (now(), 'a', 'b', 'c', '')",
    "SELECT setval(pg_get_serial_sequence('audit', 'position'), 1)",
    "UPDATE audit_seals SET digest = sha256('x')",
    "DELETE FROM audit_seals",
    "TRUNCATE audit_seals",
    "DROP TABLE audit_seals",
    "ALTER TABLE audit_seals DISABLE TRIGGER USER",
    "SET session_replication_role = replica",
    "CREATE OR REPLACE FUNCTION refuse_to_change_audit() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RETURN NEW; END $$",
    "DROP FUNCTION refuse_to_change_audit CASCADE",
    "CREATE TABLE more (id int)",
    "CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "ALTER TABLE payments DISABLE TRIGGER an_end_absorbs",
    "DROP TRIGGER an_end_absorbs ON payments",
    "DELETE FROM payments",
    "DELETE FROM timeline",
    "TRUNCATE payments",
    "UPDATE balance_entries SET amount = 1",
    "DELETE FROM balance_entries",
    "DELETE FROM api_keys",
    "DELETE FROM operators",
    "CREATE ROLE other",
    "SET ROLE synccash",
    "CREATE DATABASE more",
]


@pytest.mark.parametrize("statement", REFUSED)
def test_what_guards_the_service_is_out_of_its_reach(runtime_url: str, database_url: str, statement: str):
    execute(runtime_url, "INSERT INTO audit (actor, action, target, reason) VALUES ('a', 'b', 'c', '')")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        execute(runtime_url, statement)


def test_it_gives_itself_no_right(runtime_url: str):
    # PostgreSQL warns, and gives nothing.
    execute(runtime_url, "GRANT UPDATE ON audit TO CURRENT_USER")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        execute(runtime_url, "UPDATE audit SET actor = 'x'")


async def test_it_writes_seals_and_verifies_the_audit_log(database_url: str, runtime_url: str):
    pool = await connect(runtime_url, min_size=1, max_size=2)
    try:
        database = Database(pool)
        await PostgresAudit(database).write(AuditNote(actor="a", action="b", target="c"))
        chain = PostgresAuditChain(database)
        assert len(await chain.seal()) == 1
        assert (await chain.verify()).problems == []
        assert await RoleCheck(database).notice() is None
    finally:
        await pool.close()
    pool = await connect(database_url, min_size=1, max_size=2)
    try:
        notice = await RoleCheck(Database(pool)).notice()
        assert notice is not None
        assert "owns the tables" in notice
    finally:
        await pool.close()


def test_rights_are_given_again_and_again(runtime_url: str, database_url: str):
    execute(database_url, f"GRANT DELETE ON audit TO {SERVICE_ROLE}")
    in_a_loop(grant_runtime_role(database_url, SERVICE_ROLE))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        execute(runtime_url, "DELETE FROM audit")


def test_a_missing_role_and_the_owners_own_are_refused_with_advice(database_url: str):
    with pytest.raises(RuntimeRoleError, match="CREATE ROLE"):
        in_a_loop(grant_runtime_role(database_url, "nobody_yet"))
    with pytest.raises(RuntimeRoleError, match="CREATE ROLE"):
        in_a_loop(grant_runtime_role(database_url, "nobody_yet", "secret"))
    with pytest.raises(RuntimeRoleError, match="SYNCCASH_MIGRATION_DATABASE_URL"):
        in_a_loop(grant_runtime_role(database_url, urlsplit(database_url).username or ""))
