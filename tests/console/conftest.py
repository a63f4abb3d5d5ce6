from collections.abc import AsyncGenerator, Generator

import pytest
import pytest_asyncio

from api.served import Served, served
from console.browsing import Browser, signed_in
from servers_fixture import fresh_database
from synccash.servers.bundle import Servers


@pytest.fixture(scope="module")
def database_of_file(servers: Servers, migrated_template: str) -> Generator[str]:
    with fresh_database(servers, migrated_template) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(database_of_file: str) -> AsyncGenerator[Served]:
    """One service for all tests of a file."""
    async with served(database_of_file, four_eyes="off") as api:
        yield api


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(api: Served) -> AsyncGenerator[Browser]:
    browser = await signed_in(api, "ama", "admin")
    yield browser
    await browser.client.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def viewer(api: Served) -> AsyncGenerator[Browser]:
    browser = await signed_in(api, "vida", "viewer")
    yield browser
    await browser.client.aclose()
