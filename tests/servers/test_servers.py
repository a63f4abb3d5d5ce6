import asyncpg


async def test_each_test_has_a_database_of_its_own(empty_database_url):
    connection = await asyncpg.connect(empty_database_url)
    try:
        await connection.execute("CREATE TABLE payments ()")
        assert await connection.fetchval("SELECT count(*) FROM payments") == 0
    finally:
        await connection.close()


async def test_another_test_sees_nothing_of_it(empty_database_url, valkey_url):
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert await connection.fetchval("SELECT to_regclass('payments')") is None
    finally:
        await connection.close()
