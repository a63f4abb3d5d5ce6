"""Whether a lookup key is found to be another one than that of the stored rows."""

import pytest_asyncio

from encryption_samples import ENCRYPTION, KEY, LOOKUP_KEY, OTHER_KEY, ROTATED
from stores.canary import filled, world_of
from synccash.settings.encryption_keys import EncryptionKeys
from synccash.stores.encryption import Encryption
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import Pool
from synccash.stores.postgres.schema.lookup_key import is_lookup_key_wrong

OTHER_LOOKUP_KEY = Encryption(EncryptionKeys(1, {1: KEY}), OTHER_KEY)
UNABLE_TO_READ = Encryption(EncryptionKeys(7, {7: KEY}), OTHER_KEY)


@pytest_asyncio.fixture(autouse=True)
async def merchant(pool: Pool) -> None:
    await pool.execute("INSERT INTO merchants (id, name) VALUES ('m_1', 'm_1')")


async def is_wrong(pool: Pool, encryption: Encryption | None) -> bool:
    return await is_lookup_key_wrong(Database(pool, encryption=encryption))


async def test_only_the_key_of_the_stored_orders_is_right(pool: Pool):
    await filled(world_of(pool, ENCRYPTION), 1)
    assert not await is_wrong(pool, ENCRYPTION)
    assert not await is_wrong(pool, ROTATED)
    assert await is_wrong(pool, OTHER_LOOKUP_KEY)


async def test_without_an_order_that_can_be_read_no_key_is_wrong(pool: Pool):
    assert not await is_wrong(pool, OTHER_LOOKUP_KEY)
    await filled(world_of(pool, None), 1)
    assert not await is_wrong(pool, OTHER_LOOKUP_KEY)
    assert not await is_wrong(pool, None)
    await filled(world_of(pool, ENCRYPTION), 2)
    assert not await is_wrong(pool, UNABLE_TO_READ)


async def test_erased_orders_say_nothing_about_the_key(pool: Pool):
    await filled(world_of(pool, ENCRYPTION), 1)
    await pool.execute("UPDATE payments SET erased_at = now()")
    assert not await is_wrong(pool, OTHER_LOOKUP_KEY)


async def test_one_changed_row_makes_no_key_wrong(pool: Pool):
    await filled(world_of(pool, ENCRYPTION), 1)
    await filled(world_of(pool, Encryption(EncryptionKeys(1, {1: KEY}), LOOKUP_KEY)), 2)
    await pool.execute("UPDATE payments SET reference = 'changed' WHERE id = 'pay_2'")
    assert not await is_wrong(pool, ENCRYPTION)
