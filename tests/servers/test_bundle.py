"""The bundled servers as their owner sees them."""

import os
import signal
import stat

import asyncpg
import pytest
import redis

from servers.watching import connected, owner, processes_at_work_in, valkey
from synccash.servers.bundle import ServersError, start_servers


async def test_what_was_stored_is_there_after_a_stop_and_a_start(folder):
    with start_servers(folder) as first:
        async with connected(first.database_url) as database:
            await database.execute("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('akwaaba')")
        with valkey(first.valkey_url) as cache:
            cache.set("word", "akwaaba")
    with start_servers(folder) as second:
        async with connected(second.database_url) as database:
            assert await database.fetchval("SELECT word FROM kept") == "akwaaba"
        with valkey(second.valkey_url) as cache:
            assert cache.get("word") == b"akwaaba"
        assert (second.database_url, second.valkey_url) == (first.database_url, first.valkey_url)


def test_a_stop_leaves_no_process_and_can_be_repeated(folder):
    servers = start_servers(folder)
    assert set(servers.processes) <= set(processes_at_work_in(servers.home))
    servers.stop()
    servers.stop()
    assert processes_at_work_in(servers.home) == {}


def test_only_the_server_that_was_asked_for_runs(folder):
    with start_servers(folder, postgres=False) as servers:
        assert servers.database_url is None
        assert set(processes_at_work_in(servers.home).values()) == {"valkey-server"}


async def test_nobody_gets_in_without_the_password(folder):
    with start_servers(folder) as servers:
        address = {"host": str(servers.place.run), "user": "synccash", "database": "synccash"}
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(**address, password="guessed")
        with (
            redis.Redis(unix_socket_path=str(servers.place.run / "valkey.sock"), retry=None) as cache,
            pytest.raises(redis.AuthenticationError),
        ):
            cache.ping()


async def test_sockets_lie_in_a_folder_of_the_servers_user_alone(folder):
    with start_servers(folder) as servers:
        assert stat.S_IMODE(servers.place.run.stat().st_mode) == 0o700
        sockets = [path for path in servers.place.run.iterdir() if path.is_socket()]
        assert {path.name for path in sockets} == {".s.PGSQL.5432", "valkey.sock"}
        assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in sockets} == {0}
        for secret in ("postgres.password", "valkey.password"):
            assert stat.S_IMODE((servers.home / secret).stat().st_mode) == 0o600
        async with connected(servers.database_url) as database:
            assert await database.fetchval("SHOW listen_addresses") == ""


async def test_the_service_is_no_superuser_and_may_make_databases(folder):
    with start_servers(folder) as servers:
        async with connected(servers.database_url) as database:
            row = await database.fetchrow(
                "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
            )
            assert tuple(row) == (False, True)


async def test_a_commit_is_on_disk_unless_the_data_was_declared_throwaway(folder):
    for durable, fsync in ((True, "on"), (False, "off")):
        with start_servers(folder, durable=durable) as servers:
            async with connected(servers.database_url) as database:
                assert await database.fetchval("SHOW fsync") == fsync


def test_a_second_instance_is_refused_and_told_who_has_the_folder(folder):
    with owner(folder) as first:
        with pytest.raises(ServersError, match=rf"in use by process {first.process.pid};.*--data-dir"):
            start_servers(folder, patience_s=0)
        assert processes_at_work_in(folder).keys() >= set(first.processes)


async def test_a_server_that_died_is_named_and_started_again_on_the_same_url(folder):
    said: list[str] = []
    with start_servers(folder) as servers:
        servers.tend(said.append)
        assert (servers.died(), said) == (None, [])
        for number, name in enumerate(("PostgreSQL", "Valkey")):
            os.kill(servers.processes[number], signal.SIGKILL)
            servers.running[number].process.wait()
            assert f"{name} (pid {servers.processes[number]}) ended by SIGKILL" in servers.died()
            while servers.died():
                servers.tend(said.append)
            servers.running[number].wait()
            assert name in said[number]
        assert len(said) == 2
        async with connected(servers.database_url) as database:
            assert await database.fetchval("SELECT 1") == 1
        with valkey(servers.valkey_url) as cache:
            assert cache.ping()
