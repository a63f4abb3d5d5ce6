"""What a process says that cannot start."""

import subprocess
import sys

import pytest

INSTALLATION = {"SYNCCASH_INSTALLATION_KEY": "5c" * 32}


@pytest.mark.parametrize("role", ["serve", "worker"])
def test_without_a_migrated_schema_a_process_says_to_migrate(command, role, empty_database_url):
    code, printed, told = command(
        role, environment=INSTALLATION | {"SYNCCASH_DATABASE_URL": empty_database_url}
    )
    assert (code, printed) == (1, "")
    assert told.splitlines()[-1] == (
        "synccash: The database's schema is of another version. Run `synccash migrate`"
    )


@pytest.mark.parametrize("words", [("login", "ama"), ("enrol", "ama"), ("operators", "password")])
def test_a_command_that_asks_says_that_it_needs_a_terminal(command, words):
    token = {"SYNCCASH_OPERATOR_TOKEN": "sk_operator_1"}
    code, _, told = command(*words, environment=token)
    assert code == 1
    assert told.splitlines()[-1].startswith("synccash: The input has ended.")
    assert "Traceback" not in told


def test_a_reader_who_has_seen_enough_causes_no_traceback():
    words = [sys.executable, "-u", "-m", "synccash.cli", "config", "show"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.close()
        assert writer.stderr is not None
        told = writer.stderr.read()
    assert (writer.returncode, told) == (141, b"")
