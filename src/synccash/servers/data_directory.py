"""Prepares the folders of the bundled servers: owner, rights, and socket paths that are short enough."""

import contextlib
import os
import pwd
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from synccash.servers.errors import ServersError
from synccash.servers.process import Account

ELSEWHERE = Path("/var/lib/synccash")
# sun_path of unix(7) holds 108 bytes, one of them the closing zero.
SOCKET_PATH_BYTES = 107
LONGEST_SOCKET = ".s.PGSQL.5432.lock"
_SERVERS = ("postgres", "valkey")
_SHORT = "synccash-"


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """`home` holds the databases, `run` the sockets. `account` is the user that runs the servers; None for
    the current user. `notes` are sentences for the person who started them.
    """

    home: Path
    run: Path
    account: Account | None
    notes: tuple[str, ...] = ()

    def folder(self, name: str) -> Path:
        """Create a folder in `home` that only the servers' user may enter, and return it."""
        return private_folder(self.home / name, self.account)


def open_data_folder(path: Path) -> Path:
    """Create the data folder if it is missing; return its full path. Raises ServersError."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = path.resolve(strict=True)
        if os.geteuid() == 0:
            # The servers' user passes through this folder; it may not list it.
            folder.chmod(folder.stat().st_mode | 0o011)
    except OSError as error:
        raise ServersError(f"the data folder {path} cannot be used: {error}; choose another") from error
    return folder


def prepare_data_directory(data_dir: Path) -> DataDirectory:
    """Choose home, user and socket folder, and remove what a former run left there. The caller has the lock.

    As root the servers run as the owner of existing data, else `postgres`, else `nobody`, because PostgreSQL
    refuses root. When that user may not enter a parent of the data folder, home is a folder of
    /var/lib/synccash, which the file `elsewhere` in the data folder names. Raises ServersError.
    """
    home, account, notes = data_dir, None, ()
    if os.geteuid() == 0:
        home, account, notes = _as_root(data_dir)
    run, note = _run_folder(home, account)
    return DataDirectory(home, run, account, (*notes, *note))


def remove_run_folder(directory: DataDirectory) -> None:
    """Remove the socket folder of a stopped instance when it is outside its home."""
    if directory.run.parent != directory.home:
        shutil.rmtree(directory.run, ignore_errors=True)
        (directory.home / "run").unlink(missing_ok=True)


def private_folder(path: Path, account: Account | None) -> Path:
    """Create a folder that only the servers' user and root may enter, and return it."""
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    change_owner(path, account)
    return path


def change_owner(path: Path, account: Account | None) -> None:
    """Make the servers' user the owner of a file or folder."""
    if account is not None:
        os.chown(path, account.uid, account.gid)


def stored_password(path: Path) -> str:
    """Return the password in this file; the first call generates and stores it (mode 0600)."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="ascii").strip()
    word = secrets.token_hex(24)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(word + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return word


def first_closed_folder(folder: Path, account: Account) -> Path | None:
    """Return the first folder of the path that this user, without further groups, may not enter."""
    for step in (*reversed(folder.parents), folder):
        found = step.stat()
        bit = 0o100 if found.st_uid == account.uid else 0o010 if found.st_gid == account.gid else 0o001
        if not found.st_mode & bit:
            return step
    return None


def _as_root(data_dir: Path) -> tuple[Path, Account, tuple[str, ...]]:
    pointer = data_dir / "elsewhere"
    if pointer.exists():
        home = _opened(Path(pointer.read_text(encoding="utf-8").strip()))
        return home, _account(home), (f"the databases of {data_dir} are in {home}",)
    account = _account(data_dir)
    closed = first_closed_folder(data_dir, account)
    if closed is None:
        return data_dir, account, ()
    if (data_dir / "postgres").exists():
        raise ServersError(
            f"{data_dir} holds databases of the user {account.name}, who may not enter {closed};"
            f" run: chmod o+x {closed}, or move the data folder"
        )
    home = _opened(ELSEWHERE / secrets.token_hex(6))
    draft = data_dir / "elsewhere.new"
    draft.write_text(f"{home}\n", encoding="utf-8")
    draft.replace(pointer)
    note = (
        f"the servers run as the user {account.name}, who may not enter {closed}:"
        f" the databases of {data_dir} are in {home}"
    )
    return home, account, (note,)


def _opened(home: Path) -> Path:
    try:
        home.mkdir(parents=True, exist_ok=True)
        for folder in (home, home.parent):
            folder.chmod(folder.stat().st_mode | 0o011)
    except OSError as error:
        raise ServersError(
            f"{home} cannot be used ({error}); choose a data folder whose parents every user may enter"
        ) from error
    return home.resolve()


def _account(home: Path) -> Account:
    for folder in (home / name for name in _SERVERS):
        if folder.exists() and (found := folder.stat()).st_uid != 0:
            return Account(_name(found.st_uid), found.st_uid, found.st_gid)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise ServersError(
        "PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody:"
        " start as another user, or run: useradd --system postgres"
    )


def _name(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _run_folder(home: Path, account: Account | None) -> tuple[Path, tuple[str, ...]]:
    run = home / "run"
    if run.is_symlink():
        old = run.readlink()
        if old.name.startswith(_SHORT) and old.parent == Path("/tmp"):  # noqa: S108 - made below, by mkdtemp
            shutil.rmtree(old, ignore_errors=True)
        run.unlink()
    shutil.rmtree(run, ignore_errors=True)
    if len(os.fsencode(run / LONGEST_SOCKET)) <= SOCKET_PATH_BYTES:
        return private_folder(run, account), ()
    short = Path(tempfile.mkdtemp(prefix=_SHORT, dir="/tmp"))
    run.symlink_to(short)
    note = f"the path of {home} is too long for a unix socket: the sockets are in {short}"
    return private_folder(short, account), (note,)
