from collections.abc import AsyncGenerator

import pytest_asyncio

from encryption_samples import ENCRYPTION
from stores.postgres_world import PostgresWorld
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.pool import Pool, connect


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncGenerator[Pool]:
    pool = await connect(database_url, min_size=1, max_size=8)
    yield pool
    await pool.close()


@pytest_asyncio.fixture
async def world(pool: Pool) -> PostgresWorld:
    return PostgresWorld(pool, PostgresOrderStore(Database(pool)))


@pytest_asyncio.fixture
async def encrypted_world(pool: Pool) -> PostgresWorld:
    return PostgresWorld(pool, PostgresOrderStore(Database(pool, encryption=ENCRYPTION)))
