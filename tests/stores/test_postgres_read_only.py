"""A server that takes no writes, as during a failover: its connections are left, and none of them is kept."""

from urllib.parse import urlsplit

import asyncpg

from api.served import served


async def takes_writes(url: str, *, taken: bool) -> None:
    """Decide what each connection that is made from now on takes; those that are there go on as they are."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET default_transaction_read_only = off")
        change = "RESET default_transaction_read_only" if taken else "SET default_transaction_read_only = on"
        await connection.execute(f"ALTER DATABASE {urlsplit(url).path[1:]} {change}")
    finally:
        await connection.close()


async def test_the_service_answers_503_and_recovers_without_a_restart(database_url):
    async with served(database_url) as api:
        assert (await api.pay()).status_code == 202
        await takes_writes(database_url, taken=False)
        terminate = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        )
        other = await asyncpg.connect(database_url)
        await other.execute(terminate + " AND pid <> pg_backend_pid()")
        await other.close()
        refused = [await api.pay() for _ in range(4)]
        assert 503 in {answer.status_code for answer in refused}
        assert all("retry-after" in answer.headers for answer in refused)
        await takes_writes(database_url, taken=True)
        assert (await api.pay()).status_code == 202
