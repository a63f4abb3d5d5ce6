"""A child of `synccash up` that starts before its environment is known."""

import os
import subprocess
import sys

import pytest

from synccash.local.supervisor import Program, Supervisor

READS = """
import os, sys, json
words = sys.argv[1:]
if "--environment-fd" in words:
    os.environ.update(json.load(open(int(words[words.index("--environment-fd") + 1]))))
with open(words[0], "a") as file:
    print(os.environ.get("WORD", "none"), file=file)
sys.exit(int(os.environ["CODE"]))
"""


@pytest.fixture
def supervisor():
    supervisor = Supervisor(print)
    yield supervisor
    supervisor.stop()


def program(path):
    return Program(
        name="child", argv=[sys.executable, "-c", READS, str(path)], env={**os.environ, "CODE": "9"}, log=None
    )


def test_it_gets_its_environment_at_its_release_and_again_when_it_is_restarted(supervisor, tmp_path):
    path = tmp_path / "words"
    supervisor.prepare(program(path)).release({**os.environ, "WORD": "sent", "CODE": "0"})
    while not path.exists() or len(path.read_text().splitlines()) < 2:
        supervisor._restart_if_ended(supervisor._children[0])
    assert path.read_text().splitlines()[:2] == ["sent", "sent"]


def test_one_that_has_ended_before_its_release_is_restarted_with_the_environment(supervisor, tmp_path):
    path = tmp_path / "words"
    prepared = supervisor.prepare(
        Program(name="child", argv=[sys.executable, "-c", "", str(path)], env=dict(os.environ), log=None)
    )
    assert prepared.child.process.wait(30) == 0
    prepared.release({**os.environ, "WORD": "sent"})
    assert prepared.child.program.env["WORD"] == "sent"


def test_one_that_is_never_released_ends_with_its_owner(supervisor, tmp_path):
    child = supervisor.prepare(program(tmp_path / "words")).child
    supervisor.stop()
    assert child.process.poll() is not None
    assert not (tmp_path / "words").exists()


IMPORTED = """
import sys
from synccash.commands.child import imported_program
imported_program(sys.argv[1], {"--fd": "3"})
print(*sys.modules)
import synccash.observability.tracing  # traces can still be switched on
"""


def modules_of(program: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", IMPORTED, program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("program", ["serve", "worker", "webhooks"])
def test_no_process_imports_what_its_libraries_only_might_use(program: str):
    assert modules_of(program).isdisjoint({"rich", "opentelemetry.sdk"})


@pytest.mark.parametrize("program", ["worker", "webhooks"])
def test_a_process_without_a_port_imports_no_web_server(program: str):
    assert modules_of(program).isdisjoint({"litestar", "uvicorn"})


def test_up_imports_what_prepares_the_database_after_it_has_started_the_api():
    script = "import sys, synccash.local.up; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(run.stdout.split()).isdisjoint({"asyncpg", "synccash.local.preparing"})
