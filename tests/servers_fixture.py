"""The real servers for tests that ask for them, started by the service's own supervisor.

`database_url`: a migrated database of the test's own. `empty_database_url`: the same without a table.
`valkey_url`: an empty Valkey. Each process of a parallel run has servers of its own.
"""

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis

from synccash.servers.bundle import Servers, start_servers

CREDIT = """
INSERT INTO balance_entries (merchant_id, livemode, currency, kind, amount, source)
SELECT merchant, livemode, 'GHS', 'credit', 1000000000000000, format('credit:%s:%s', merchant, livemode)
FROM (VALUES (true), (false)) modes(livemode), unnest(ARRAY[
    'm_1', 'm_2', 'm_drill', 'm_matrix', 'm_restore', 'm_upgrade',
    'mer_1', 'mer_one', 'mer_two', 'mer_test', 'mer_other'
]) AS merchant
"""
"""What the merchants of tests that are about other things may pay out. Tests of balances have others."""


SERVICE_ROLE = "test_service"


@pytest.fixture(scope="session")
def servers() -> Generator[Servers]:
    # Not pytest's own folder: when root runs the suite, the servers' user could not enter that.
    folder = Path(tempfile.mkdtemp(prefix="synccash-tests-"))
    try:
        with start_servers(folder, durable=False) as servers:
            yield servers
        shutil.rmtree(servers.home)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_template(servers: Servers) -> Generator[str]:
    """The name of a database that no test writes to; it is there to be copied."""
    from synccash.stores.postgres.schema.migrations import migrate

    with fresh_database(servers) as url:
        migrate(url)
        execute(url, CREDIT)
        yield urlsplit(url).path[1:]


@pytest.fixture
def database_url(servers: Servers, migrated_template: str) -> Generator[str]:
    with fresh_database(servers, migrated_template) as url:
        yield url


@pytest.fixture
def empty_database_url(servers: Servers) -> Generator[str]:
    with fresh_database(servers) as url:
        yield url


@pytest.fixture
def valkey_url(servers: Servers) -> str:
    assert servers.valkey_url is not None
    with redis.Redis.from_url(servers.valkey_url) as client:
        client.flushall()
    return servers.valkey_url


@contextmanager
def fresh_database(servers: Servers, template: str = "template0") -> Generator[str]:
    """The URL of a new database; it is dropped afterwards, whoever is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    url = servers.database_url
    assert url is not None
    # Copied as files: through the write-ahead log it takes twice as long.
    execute(url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        execute(url, f"DROP DATABASE {name} WITH (FORCE)")


async def service_url(database_url: str) -> str:
    """The URL of the same database for the service's own role, which gets its rights in it."""
    from synccash.stores.postgres.schema.runtime_role import ensure_role, grant_runtime_role

    parts = urlsplit(database_url)
    superuser = parts._replace(netloc=f"postgres:{parts.password}@")
    await ensure_role(superuser.geturl(), SERVICE_ROLE, SERVICE_ROLE)
    await grant_runtime_role(database_url, SERVICE_ROLE)
    return parts._replace(netloc=f"{SERVICE_ROLE}:{SERVICE_ROLE}@").geturl()


def execute(url: str, statement: str) -> None:
    """Run one statement, in a loop of its own that leaves the test's loop alone."""

    async def once() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(once())
    finally:
        loop.close()
