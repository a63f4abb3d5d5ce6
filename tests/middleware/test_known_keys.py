"""What a process knows of keys: the store is asked seldom, by few strangers, and shuts no good key out."""

import asyncio

import pytest

from synccash.middleware.known_keys import KnownKeys
from synccash.middleware.refusal import Refusal

NO = Refusal(status=429, code="no", detail="not now")


class Ring:
    """The store, and what it was asked."""

    def __init__(self, *good):
        self.keys = {key: f"holder of {key.decode()}" for key in good}
        self.asked, self.listed = [], 0
        self.answering = asyncio.Event()
        self.answering.set()

    async def principal(self, secret_hash):
        self.asked.append(secret_hash)
        await self.answering.wait()
        return self.keys.get(secret_hash)

    async def good(self):
        self.listed += 1
        return frozenset(self.keys)


class World:
    def __init__(self, *good):
        self.now, self.leave = 100.0, None
        self.ring = Ring(*good)
        self.keys = KnownKeys(self.ring, good_s=5.0, bad_s=2.0, clock=lambda: self.now)

    async def find(self, key):
        return await self.keys.find(key, self.stranger)

    async def stranger(self):
        return self.leave


@pytest.fixture
def world():
    return World(b"a", b"b")


async def test_a_good_key_is_looked_up_once_in_a_while(world):
    assert [await world.find(b"a") for _ in range(3)] == ["holder of a"] * 3
    assert world.ring.asked == [b"a"]
    world.now += 5
    await world.find(b"a")
    assert world.ring.asked == [b"a", b"a"]


async def test_a_revoked_key_is_unknown_when_it_is_next_looked_up(world):
    await world.find(b"a")
    del world.ring.keys[b"a"]
    world.now += 5
    assert await world.find(b"a") is None


async def test_an_unknown_key_costs_one_look_and_works_soon_after_it_was_made(world):
    assert [await world.find(b"new") for _ in range(3)] == [None] * 3
    assert world.ring.asked == [b"new"]
    world.ring.keys[b"new"] = "holder of new"
    world.now += 2
    assert await world.find(b"new") == "holder of new"


async def test_a_stranger_without_leave_is_refused_and_the_store_is_not_asked_for_him(world):
    world.leave = NO
    assert [await world.find(b"guess%d" % n) for n in range(50)] == [NO] * 50
    assert (world.ring.asked, world.ring.listed) == ([], 1)
    world.now += 5
    await world.find(b"guess")
    assert world.ring.listed == 2


async def test_a_good_key_passes_where_strangers_have_no_leave(world):
    await world.find(b"a")
    world.leave = NO
    world.now += 60
    assert await world.find(b"a") == "holder of a", "it was good here before"
    assert await world.find(b"b") == "holder of b", "it was never seen here"
    world.ring.keys[b"new"] = "holder of new"
    assert await world.find(b"new") is NO
    world.now += 5
    assert await world.find(b"new") == "holder of new", "it was made meanwhile"


async def test_many_requests_with_one_key_wait_for_one_look_and_those_who_leave_take_it_from_nobody(world):
    world.ring.answering.clear()
    asking = [asyncio.create_task(world.find(b"a")) for _ in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    world.ring.answering.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert found[1:] == ["holder of a"] * 19
    assert world.ring.asked == [b"a"]


async def test_strangers_from_everywhere_together_ask_only_a_few_at_a_time(world):
    world.ring.answering.clear()
    asking = [asyncio.create_task(world.find(b"guess%d" % n)) for n in range(100)]
    for _ in range(10):
        await asyncio.sleep(0)
    at_once = len(world.ring.asked)
    world.ring.answering.set()
    assert await asyncio.gather(*asking) == [None] * 100
    assert at_once <= 4


async def test_what_is_kept_has_an_end(world):
    for n in range(10_050):
        await world.find(b"guess%d" % n)
    assert len(world.keys._bad) == 10_000


async def test_a_store_out_of_reach_is_told_and_nothing_is_remembered_of_it(world):
    async def away(_):
        raise ConnectionError

    lookup, world.ring.principal = world.ring.principal, away
    with pytest.raises(ConnectionError):
        await world.find(b"a")
    world.ring.principal = lookup
    assert await world.find(b"a") == "holder of a"
