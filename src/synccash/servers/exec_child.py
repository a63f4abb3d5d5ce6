"""Becomes another program that ends with its parent. `process.spawn` runs this file.

It imports only the standard library. Arguments: the parent's pid, the death signal, `uid:gid` or `-`, then
the program and its arguments. The death signal survives exec, but not a change of user, so the user changes
first.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
LOST_PARENT, NOT_ALLOWED, NOT_FOUND = 125, 126, 127


def die_with_parent(parent: int, death_signal: int) -> None:
    """Have this process receive `death_signal` when `parent` ends, kill -9 included.

    Ends this process with exit code 125 when the parent has already ended.

    The kernel watches the parent's *thread* that forked (prctl(2), PR_SET_PDEATHSIG), so that thread has to
    live as long as the parent. On systems other than Linux only the second check is made. Raises OSError.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(LOST_PARENT)


def become_user(account: str) -> None:
    """Change to the rights of `uid:gid` alone. Raises OSError when this process may not."""
    uid, gid = (int(part) for part in account.split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def main(arguments: Sequence[str]) -> None:
    """Never returns: ends as the program, or exits with 125, 126 or 127 and a line on stderr."""
    parent, death_signal, account, *argv = arguments
    try:
        if account != "-":
            become_user(account)
        die_with_parent(int(parent), int(death_signal))
        # Python ignores these two at start, and what is ignored stays so in the program.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.execv(argv[0], argv)  # noqa: S606 - that is what it is for
    except FileNotFoundError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(NOT_FOUND)
    except OSError as error:
        print(f"{argv[0]} as user {account}: {error}", file=sys.stderr)
        sys.exit(NOT_ALLOWED)


if __name__ == "__main__":
    main(sys.argv[1:])
