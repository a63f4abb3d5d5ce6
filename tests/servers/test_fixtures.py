"""The fixtures of the suite: each test has its own database and an empty Valkey."""

import pytest

from servers.observation import connected, valkey

TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"


@pytest.mark.parametrize("turn", ["first", "second"])
async def test_each_test_has_a_migrated_database_of_its_own(database_url, turn):
    async with connected(database_url) as database:
        assert await database.fetchval(TABLES) > 0
        assert await database.fetchval("SELECT to_regclass('left_behind')") is None
        await database.execute("CREATE TABLE left_behind ()")


@pytest.mark.parametrize("turn", ["first", "second"])
async def test_a_test_can_have_an_empty_database(empty_database_url, turn):
    async with connected(empty_database_url) as database:
        assert await database.fetchval(TABLES) == 0
        await database.execute("CREATE TABLE left_behind ()")


@pytest.mark.parametrize("turn", ["first", "second"])
def test_each_test_has_an_empty_valkey(valkey_url, turn):
    with valkey(valkey_url) as cache:
        assert cache.dbsize() == 0
        cache.set("left", "behind")
