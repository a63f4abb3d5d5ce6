"""Starting on a data folder that a crash or an operator left in disorder."""

import contextlib
import os
import signal

import asyncpg
import pytest

from servers.observation import connected, owner, processes_at_work_in, valkey
from synccash.servers.bundle import ServersError, start_servers
from synccash.servers.lock import lock_folder
from synccash.servers.process import spawn


async def test_after_kill_9_of_the_owner_no_process_is_left_and_every_commit_is_there(folder):
    with owner(folder) as victim:
        async with connected(victim.database_url) as database:
            await database.execute("CREATE TABLE debits (pesewas bigint); INSERT INTO debits VALUES (2500)")
        open_session = await _in_transaction(victim.database_url)
        left = processes_at_work_in(folder)
        assert left.keys() > set(victim.processes)
        victim.kill()
    # The lock is what the next start waits for: it is free when the last of the old processes is gone.
    os.close(lock_folder(folder / "servers.lock", 0))
    open_session.terminate()
    assert processes_at_work_in(folder) == {}
    with start_servers(folder) as servers:
        async with connected(servers.database_url) as database:
            assert await database.fetch("SELECT pesewas FROM debits") == [(2500,)]


async def test_kill_9_of_everything_at_once_loses_no_commit(folder):
    with owner(folder) as victim:
        async with connected(victim.database_url) as database:
            await database.execute("CREATE TABLE refunds (pesewas bigint); INSERT INTO refunds VALUES (60)")
        pids = processes_at_work_in(folder)
        victim.kill()
        for pid in pids:
            _kill(pid)
    with start_servers(folder) as servers:
        async with connected(servers.database_url) as database:
            assert await database.fetchval("SELECT pesewas FROM refunds") == 60


def test_a_first_start_that_was_killed_begins_again(new_folder):
    (new_folder / "postgres.making").mkdir()
    (new_folder / "postgres.making" / "PG_VERSION").write_text("18\n")
    with start_servers(new_folder) as servers:
        assert servers.died() is None
    assert not (new_folder / "postgres.making").exists()


def test_a_pid_file_of_a_reused_pid_does_not_keep_postgresql_down(folder):
    with start_servers(folder) as servers:
        home, account = servers.home, servers.directory.account
    with spawn(["sleep", "1000"], account=account) as stranger:
        pid_file = home / "postgres" / "postmaster.pid"
        pid_file.write_text(f"{stranger.pid}\n{home / 'postgres'}\n0\n5432\n\n\n\n")
        with start_servers(folder) as servers:
            assert servers.died() is None
        stranger.kill()


def test_a_damaged_cache_file_loses_only_the_cache(folder):
    with start_servers(folder) as servers, valkey(servers.valkey_url) as cache:
        cache.set("answer", "x" * 1000)
    for part in (servers.home / "valkey" / "appendonlydir").glob("*.aof"):
        part.write_bytes(b"*3\r\n$3\r\nSET\r\n$-9\r\nbroken" + part.read_bytes())
    with start_servers(folder) as servers, valkey(servers.valkey_url) as cache:
        assert cache.get("answer") is None


def test_databases_of_another_major_version_are_left_alone_and_named(folder):
    with start_servers(folder) as servers:
        version = servers.home / "postgres" / "PG_VERSION"
    own = version.read_text()
    version.write_text("14\n")
    with pytest.raises(ServersError, match=r"created by PostgreSQL 14, .*install PostgreSQL 14, or move"):
        start_servers(folder)
    version.write_text(own)
    start_servers(folder).stop()


def test_a_lost_password_is_reported_and_not_replaced(folder):
    with start_servers(folder) as servers:
        password = servers.home / "postgres.password"
    kept = password.read_text()
    password.unlink()
    with pytest.raises(ServersError, match=r"postgres\.password is missing"):
        start_servers(folder)
    password.write_text(kept)
    start_servers(folder).stop()


def test_a_server_that_cannot_start_says_why_and_frees_the_folder(folder):
    with start_servers(folder) as servers:
        control = servers.home / "postgres" / "global" / "pg_control"
    hidden = control.with_name("hidden")
    control.rename(hidden)
    with pytest.raises(ServersError, match=r"(?s)PostgreSQL .*ended with exit code .*pg_control"):
        start_servers(folder)
    assert processes_at_work_in(servers.home) == {}
    hidden.rename(control)
    start_servers(folder).stop()


async def test_a_path_too_long_for_a_socket_gets_a_short_one_that_is_removed(new_folder):
    deep = new_folder / ("a" * 60) / ("b, 'c' d" * 5)
    deep.parent.mkdir(mode=0o755)
    with start_servers(deep) as servers:
        short = servers.directory.run
        assert "too long for a unix socket" in servers.notes[-1]
        async with connected(servers.database_url) as database:
            assert await database.fetchval("SELECT 1") == 1
        with valkey(servers.valkey_url) as cache:
            assert cache.ping()
    assert not short.exists()
    with owner(deep) as victim:
        left = (deep / "run").readlink()
        victim.kill()
    with start_servers(deep) as servers:
        assert servers.directory.run != left
        assert not left.exists()


async def _in_transaction(url):
    connection = await asyncpg.connect(url)
    await connection.execute("BEGIN; INSERT INTO debits VALUES (1)")
    return connection


def _kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
