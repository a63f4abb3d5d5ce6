from collections.abc import AsyncGenerator, Generator

import pytest
import pytest_asyncio

from api.served import Served, served
from servers_fixture import fresh_database
from synccash.servers.bundle import Servers


@pytest.fixture(scope="module")
def database_of_file(servers: Servers, migrated_template: str) -> Generator[str]:
    with fresh_database(servers, migrated_template) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(database_of_file: str) -> AsyncGenerator[Served]:
    """One API for all tests of a file; each of them makes its own objects."""
    async with served(database_of_file) as api:
        yield api
