"""A child of `synccash up` that starts before its environment is known."""

import os
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
