"""Locks a data folder, so that one instance at a time uses it, as long as any of its servers lives."""

import errno
import fcntl
import os
import time
from pathlib import Path

from synccash.servers.errors import ServersError
from synccash.servers.process import lives

FORMER_S = 20.0


def lock_folder(path: Path, patience_s: float) -> int:
    """Lock the folder through the file `path`; return the descriptor that holds the lock.

    The servers inherit the descriptor, so the lock is free only when the owner *and* every process of its
    servers have ended; the new owner may then remove what they left behind. An owner that is alive gets
    `patience_s` seconds to finish stopping, servers whose owner was killed get 20. Raises ServersError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    began = time.monotonic()
    while not _locked(descriptor):
        owner = _owner(descriptor)
        waited = time.monotonic() - began
        if waited > (patience_s if owner == 0 or lives(owner) else max(patience_s, FORMER_S)):
            os.close(descriptor)
            raise ServersError(_in_use(path.parent, owner))
        time.sleep(0.02)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor


def _in_use(folder: Path, owner: int) -> str:
    if owner == 0 or lives(owner):
        who = f"process {owner}" if owner else "another process"
        return f"the data folder {folder} is in use by {who}; stop that one, or choose another --data-dir"
    return (
        f"servers of an earlier run, whose process {owner} is gone, still hold the data folder {folder};"
        f" see which with: fuser -v {folder / 'servers.lock'}; end them, or choose another --data-dir"
    )


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


def _owner(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0
