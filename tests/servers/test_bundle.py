"""The bundled servers: start, stop, passwords, locks and restarts."""

import os
import signal
import stat

import asyncpg
import pytest
import redis

from servers.observation import connected, owner, processes_at_work_in, valkey
from synccash.servers.bundle import ServersError, start_servers


async def test_stored_data_survives_a_stop_and_a_start(folder):
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


def test_only_the_requested_server_runs(folder):
    with start_servers(folder, postgres=False) as servers:
        assert servers.database_url is None
        assert set(processes_at_work_in(servers.home).values()) == {"valkey-server"}


async def test_connections_need_the_password(folder):
    with start_servers(folder) as servers:
        address = {"host": str(servers.directory.run), "user": "synccash", "database": "synccash"}
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(**address, password="guessed")
        with (
            redis.Redis(unix_socket_path=str(servers.directory.run / "valkey.sock"), retry=None) as cache,
            pytest.raises(redis.AuthenticationError),
        ):
            cache.ping()


async def test_only_the_servers_user_can_enter_the_socket_folder(folder):
    with start_servers(folder) as servers:
        assert stat.S_IMODE(servers.directory.run.stat().st_mode) == 0o700
        sockets = [path for path in servers.directory.run.iterdir() if path.is_socket()]
        assert {path.name for path in sockets} == {".s.PGSQL.5432", "valkey.sock"}
        assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in sockets} == {0}
        for secret in ("postgres.password", "valkey.password"):
            assert stat.S_IMODE((servers.home / secret).stat().st_mode) == 0o600
        async with connected(servers.database_url) as database:
            assert await database.fetchval("SHOW listen_addresses") == ""


async def test_the_service_role_is_no_superuser_and_can_create_databases(folder):
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


def test_a_second_instance_is_refused_with_the_pid_of_the_first(folder):
    with owner(folder) as first:
        with pytest.raises(ServersError, match=rf"in use by process {first.process.pid};.*--data-dir"):
            start_servers(folder, patience_s=0)
        assert processes_at_work_in(folder).keys() >= set(first.processes)


async def test_a_server_that_died_is_reported_and_restarted_on_the_same_url(folder):
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
