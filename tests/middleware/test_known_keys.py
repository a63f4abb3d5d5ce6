"""The cache of API keys: few lookups reach the store, and guessed keys lock out no valid key."""

import asyncio
from typing import NamedTuple

import pytest

from synccash.middleware.known_keys import KnownKeys
from synccash.middleware.refusal import Refusal

NO = Refusal(status=429, code="no", detail="not now")


class Key(NamedTuple):
    """What the store knows of a key; here its principal is only a name."""

    principal: str
    expires_in_s: float | None = None
    networks: tuple = ()


class Store:
    """The key store, and the lookups that it had."""

    def __init__(self, *valid):
        self.keys = {key: Key(key.decode()) for key in valid}
        self.lookups, self.listed = [], 0
        self.available = asyncio.Event()
        self.available.set()

    async def credential(self, secret_hash):
        self.lookups.append(secret_hash)
        await self.available.wait()
        return self.keys.get(secret_hash)

    async def good(self):
        self.listed += 1
        return frozenset(self.keys)


class World:
    def __init__(self, *valid):
        self.now, self.refusal = 100.0, None
        self.store = Store(*valid)
        self.keys = KnownKeys(self.store, valid_s=5.0, invalid_s=2.0, clock=lambda: self.now)

    async def find(self, key):
        return await self.keys.find(key, self.check)

    async def check(self):
        return self.refusal


@pytest.fixture
def world():
    return World(b"a", b"b")


async def test_a_valid_key_is_looked_up_once_in_valid_s(world):
    assert [await world.find(b"a") for _ in range(3)] == [Key("a")] * 3
    assert world.store.lookups == [b"a"]
    world.now += 5
    await world.find(b"a")
    assert world.store.lookups == [b"a", b"a"]


async def test_a_revoked_key_is_unknown_at_its_next_lookup(world):
    await world.find(b"a")
    del world.store.keys[b"a"]
    world.now += 5
    assert await world.find(b"a") is None


async def test_a_key_is_refused_from_the_moment_at_which_it_expires(world):
    world.store.keys[b"a"] = Key("a", expires_in_s=3.0)
    await world.find(b"a")
    world.now += 2.9
    assert await world.find(b"a") == Key("a", expires_in_s=3.0)
    assert world.store.lookups == [b"a"]
    del world.store.keys[b"a"]
    world.now += 0.1
    assert await world.find(b"a") is None, "the cache would have kept another key for 5 s"


async def test_a_slow_lookup_prolongs_no_key(world):
    world.store.keys[b"a"] = Key("a", expires_in_s=3.0)
    world.store.available.clear()
    asking = asyncio.create_task(world.find(b"a"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert world.store.lookups == [b"a"]
    world.now += 4
    world.store.available.set()
    await asking
    del world.store.keys[b"a"]
    assert await world.find(b"a") is None


async def test_an_unknown_key_costs_one_lookup_and_works_soon_after_it_was_created(world):
    assert [await world.find(b"new") for _ in range(3)] == [None] * 3
    assert world.store.lookups == [b"new"]
    world.store.keys[b"new"] = Key("new")
    world.now += 2
    assert await world.find(b"new") == Key("new")


async def test_unknown_keys_beyond_the_limit_are_refused_without_a_lookup(world):
    world.refusal = NO
    assert [await world.find(b"guess%d" % n) for n in range(50)] == [NO] * 50
    assert (world.store.lookups, world.store.listed) == ([], 1)
    world.now += 5
    await world.find(b"guess")
    assert world.store.listed == 2


async def test_a_valid_key_passes_while_unknown_keys_are_refused(world):
    await world.find(b"a")
    world.refusal = NO
    world.now += 60
    assert await world.find(b"a") == Key("a"), "it was valid here before"
    assert await world.find(b"b") == Key("b"), "this process has not seen it"
    world.store.keys[b"new"] = Key("new")
    assert await world.find(b"new") is NO
    world.now += 5
    assert await world.find(b"new") == Key("new"), "it was created meanwhile"


async def test_requests_with_one_key_share_a_lookup_that_goes_on_when_one_is_cancelled(world):
    world.store.available.clear()
    asking = [asyncio.create_task(world.find(b"a")) for _ in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    world.store.available.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert found[1:] == [Key("a")] * 19
    assert world.store.lookups == [b"a"]


async def test_unknown_keys_from_many_addresses_are_looked_up_a_few_at_a_time(world):
    world.store.available.clear()
    asking = [asyncio.create_task(world.find(b"guess%d" % n)) for n in range(100)]
    for _ in range(10):
        await asyncio.sleep(0)
    at_once = len(world.store.lookups)
    world.store.available.set()
    assert await asyncio.gather(*asking) == [None] * 100
    assert at_once <= 4


async def test_the_cache_has_a_maximum_size(world):
    for n in range(10_050):
        await world.find(b"guess%d" % n)
    looked_up = len(world.store.lookups)
    await world.find(b"guess50")
    assert len(world.store.lookups) == looked_up, "the last 10,000 keys are in the cache"
    await world.find(b"guess49")
    assert len(world.store.lookups) == looked_up + 1, "an older key is not"


async def test_an_error_of_the_store_is_raised_and_not_cached(world):
    async def away(_):
        raise ConnectionError

    lookup, world.store.credential = world.store.credential, away
    with pytest.raises(ConnectionError):
        await world.find(b"a")
    world.store.credential = lookup
    assert await world.find(b"a") == Key("a")
