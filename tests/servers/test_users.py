"""The servers started by root and by an ordinary user, in any folder."""

import os
import pwd
import sys
from pathlib import Path

import pytest

import synccash
from servers.observation import connected, owner, processes_at_work_in
from synccash.servers import exec_child
from synccash.servers.bundle import ServersError, start_servers
from synccash.servers.process import Account, run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become others")
SOURCES = Path(synccash.__file__).parents[1]


def plain_user():
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


@pytest.fixture
def closed_folder(new_folder):
    """A data folder whose parent only root may enter."""
    closed = new_folder / "home"
    closed.mkdir(mode=0o700)
    return closed / "data"


def owners_of(pids):
    return {Path(f"/proc/{pid}").stat().st_uid for pid in pids}


def test_root_starts_servers_that_are_not_root(folder):
    with start_servers(folder) as servers:
        pids = processes_at_work_in(servers.home)
        assert owners_of(pids) == {servers.directory.account.uid} != {0}


async def test_a_data_folder_that_the_user_may_not_enter_gets_its_databases_elsewhere(closed_folder):
    with start_servers(closed_folder) as servers:
        assert servers.home.parent == Path("/var/lib/synccash")
        assert len(servers.notes) == 1
        assert str(closed_folder.parent) in servers.notes[0]
        assert str(servers.home) in servers.notes[0]
        async with connected(servers.database_url) as database:
            await database.execute("CREATE TABLE kept AS SELECT 7 AS number")
    with start_servers(closed_folder) as again:
        assert again.home == servers.home
        async with connected(again.database_url) as database:
            assert await database.fetchval("SELECT number FROM kept") == 7


def test_databases_that_the_user_may_no_longer_enter_are_not_replaced(new_folder):
    folder = new_folder / "open" / "data"
    start_servers(folder).stop()
    folder.parent.chmod(0o700)
    with pytest.raises(ServersError, match=r"may not enter .*open; run: chmod o\+x"):
        start_servers(folder)
    folder.parent.chmod(0o755)
    start_servers(folder).stop()


async def test_databases_run_as_the_user_who_owns_them(new_folder):
    nobody = plain_user()
    start_servers(new_folder).stop()
    for name in ("postgres", "valkey"):
        for path in (new_folder / name, *(new_folder / name).rglob("*")):
            os.chown(path, nobody.uid, nobody.gid)
    with start_servers(new_folder) as servers:
        assert owners_of(processes_at_work_in(servers.home)) == {nobody.uid}
        async with connected(servers.database_url) as database:
            assert await database.fetchval("SELECT 1") == 1


async def test_an_ordinary_user_runs_the_servers_without_a_copy(new_folder):
    plain = plain_user()
    python, env = _python_of(plain)
    os.chown(new_folder, plain.uid, plain.gid)
    new_folder.chmod(0o700)
    steps = ["-I", "-S", exec_child.__file__, str(os.getpid()), "9", f"{plain.uid}:{plain.gid}"]
    with owner(new_folder, prefix=[sys.executable, *steps, python], env=env) as servers:
        assert servers.home == new_folder
        assert not (new_folder / "bin").exists()
        assert owners_of(processes_at_work_in(new_folder)) == {plain.uid}
        async with connected(servers.database_url) as database:
            assert await database.fetchval("SELECT 1") == 1
    assert processes_at_work_in(new_folder) == {}


def _python_of(plain):
    """A Python that an unprivileged user can run, with the service and the wheels in its sight."""
    import asyncpg

    packages = Path(asyncpg.__file__).parents[1]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{SOURCES}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"}
    probe = (
        "import sys, synccash.servers.bundle as b; from synccash.servers.binaries import *; find_postgres()"
    )
    said = []
    for python in (sys.executable, "/usr/bin/python3"):
        code, printed = run([python, "-c", probe], env=env, cwd=Path("/"), account=plain)
        if code == 0:
            return python, env
        said.append(f"{python}: {printed.strip().splitlines()[-1]}")
    pytest.skip("no Python that an unprivileged user may run with these packages: " + "; ".join(said))
