"""Child processes end with their parent, however it ends."""

import os
import pwd
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from servers.observation import wait_until_gone
from synccash.servers import exec_child
from synccash.servers.process import Account, lives, run, spawn

PARENT = """
import subprocess, sys
from signal import Signals
from synccash.servers.process import spawn
child = spawn(sys.argv[2:], death_signal=Signals(int(sys.argv[1])), stdout=subprocess.PIPE)
print(child.pid, flush=True)
print(child.stdout.readline().decode(), end="", flush=True)
sys.stdin.read()
"""
STUBBORN = "trap 'echo asked; exit 0' INT; echo here; while :; do sleep 0.05; done"


def parent_of(*argv, death_signal):
    command = [sys.executable, "-c", PARENT, str(int(death_signal)), *argv]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


@pytest.mark.parametrize("death_signal", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_when_its_parent_is_killed(death_signal):
    with parent_of("sh", "-c", "echo here; exec sleep 1000", death_signal=death_signal) as parent:
        child = int(parent.stdout.readline())
        assert parent.stdout.readline() == "here\n"
        assert lives(child)
        parent.kill()
        parent.wait()
        assert wait_until_gone(child)


def test_a_child_with_a_gentle_death_signal_may_finish_its_work(tmp_path):
    script = STUBBORN.replace("echo asked", f"echo asked > {tmp_path}/answer")
    with parent_of("sh", "-c", script, death_signal=signal.SIGINT) as parent:
        child = int(parent.stdout.readline())
        assert parent.stdout.readline() == "here\n"
        parent.kill()
        parent.wait()
        assert wait_until_gone(child)
    assert (tmp_path / "answer").read_text() == "asked\n"


def test_a_child_whose_parent_ended_before_it_was_ready_never_runs(tmp_path):
    stranger = os.getppid()
    command = [sys.executable, exec_child.__file__, str(stranger), "9", "-", "touch", str(tmp_path / "ran")]
    assert subprocess.run(command).returncode == exec_child.LOST_PARENT
    assert list(tmp_path.iterdir()) == []


def test_a_child_can_only_be_started_from_the_main_thread():
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="main thread"):
        pool.submit(spawn, ["true"]).result()


def test_the_pid_is_the_programs_own_and_leads_a_session():
    code, printed = run(["sh", "-c", "echo $$; ps -o sid= -p $$"])
    pid, session = printed.split()
    assert (code, pid) == (0, session)


def test_a_missing_program_ends_with_127_and_its_name():
    code, printed = run(["no-such-program"])
    assert code == exec_child.NOT_FOUND
    assert "no-such-program: No such file" in printed


def test_a_child_sees_the_environment_and_the_files_it_was_given_and_no_others(tmp_path):
    with (tmp_path / "given").open("w+") as given, (tmp_path / "kept").open("w+") as kept:
        os.set_inheritable(kept.fileno(), True)
        script = f"echo $WORD >&{given.fileno()}; ls /proc/self/fd"
        env = {"WORD": "akwaaba", "PATH": os.environ["PATH"]}
        code, printed = run(["bash", "-c", script], env=env, pass_fds=(given.fileno(),))
        assert (code, (tmp_path / "given").read_text()) == (0, "akwaaba\n")
        assert str(given.fileno()) in printed.split()
        assert str(kept.fileno()) not in printed.split()


def test_a_child_does_not_inherit_the_signals_that_python_ignores():
    code, printed = run(["grep", "SigIgn", "/proc/self/status"])
    ignored = int(printed.split()[1], 16)
    assert code == 0
    assert not ignored >> (signal.SIGPIPE - 1) & 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_child_of_root_keeps_no_root_rights():
    nobody = pwd.getpwnam("nobody")
    account = Account(nobody.pw_name, nobody.pw_uid, nobody.pw_gid)
    groups = os.getgroups()
    os.setgroups([0, 54_321])
    try:
        code, printed = run(["sh", "-c", "id -u; id -G"], account=account)
    finally:
        os.setgroups(groups)
    assert (code, printed.split()) == (0, [str(nobody.pw_uid), str(nobody.pw_gid)])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_program_that_the_user_may_not_run_ends_with_126(tmp_path):
    program = tmp_path / "program"
    program.touch(mode=0o700)
    tmp_path.chmod(0o700)
    nobody = pwd.getpwnam("nobody")
    code, printed = run([str(program)], account=Account(nobody.pw_name, nobody.pw_uid, nobody.pw_gid))
    assert code == exec_child.NOT_ALLOWED
    assert f"{program} as user {nobody.pw_uid}:{nobody.pw_gid}: [Errno 13] Permission denied" in printed


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")
def test_an_ordinary_user_cannot_run_a_child_as_another_account():
    code, printed = run(["id"], account=Account("nobody", 65534, 65534))
    assert code == exec_child.NOT_ALLOWED
    assert "Operation not permitted" in printed
