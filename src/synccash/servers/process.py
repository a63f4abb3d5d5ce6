"""Starts child processes that end with this process, also after kill -9."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, Signals

from synccash.servers import exec_child
from synccash.servers.exec_child import die_with_parent

__all__ = ["Account", "die_with_parent", "lives", "run", "spawn"]


@dataclass(frozen=True, slots=True)
class Account:
    """A user account of this machine."""

    name: str
    uid: int
    gid: int


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = None,
    stderr: int | None = None,
    pass_fds: Sequence[int] = (),
    death_signal: Signals = SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a program that receives `death_signal` when this process ends, be it by kill -9.

    Call it from the main thread, which must live as long as the children are wanted: the kernel sends the
    signal when the *thread* that started the child ends (prctl(2), PR_SET_PDEATHSIG). Anywhere else it
    raises RuntimeError. Grandchildren are not covered: a child that starts processes of its own has each of
    them call `die_with_parent(os.getppid(), SIGKILL)` first, or uses `spawn` too.

    The child leads a session of its own, so that a Ctrl-C at the terminal reaches this process alone, which
    stops its children in order. `account` drops root's rights; `pass_fds` stay open under the same numbers.
    The pid is the program's own, because `exec_child` becomes the program (it costs about 15 ms). A program
    that cannot be started ends with 126 (not allowed) or 127 (not found) and a line on its stderr; 125 says
    that this process had ended before the child was ready.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("spawn() from the main thread: a child ends with the thread that started it")
    user = "-" if account is None else f"{account.uid}:{account.gid}"
    steps = [sys.executable, "-I", "-S", exec_child.__file__, str(os.getpid()), str(int(death_signal)), user]
    # Found here, because another user may not be able to read what Python would load to search PATH.
    program = shutil.which(argv[0], path=(os.environ if env is None else env).get("PATH")) or argv[0]
    return subprocess.Popen(  # noqa: S603 - the program is the caller's choice
        [*steps, program, *argv[1:]],
        env=env,
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        start_new_session=True,
    )


def run(
    argv: Sequence[str],
    *,
    text: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
    pass_fds: Sequence[int] = (),
) -> tuple[int, str]:
    """Run a program to its end with `text` as its input; return its exit code and its output."""
    process = spawn(
        argv,
        env=env,
        cwd=cwd,
        account=account,
        pass_fds=pass_fds,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with process:
        try:
            printed, _ = process.communicate(text.encode())
        except BaseException:
            process.kill()
            raise
        return process.returncode, printed.decode(errors="replace")


def lives(pid: int) -> bool:
    """Tell whether a process runs. A zombie, which has ended and was not waited for, does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return state.rpartition(")")[2].split()[0] not in ("Z", "X")
