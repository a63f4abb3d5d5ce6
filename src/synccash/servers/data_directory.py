"""Where the servers live and as whom: rights, owners, and paths that are not too long."""

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
class Place:
    """`home` holds what lasts, `run` the sockets. `account`: who runs the servers, None for this very user.

    `notes` are sentences for the person who started it.
    """

    home: Path
    run: Path
    account: Account | None
    notes: tuple[str, ...] = ()

    def folder(self, name: str) -> Path:
        """A folder in `home` for the servers' user alone."""
        return private(self.home / name, self.account)


def open_data_folder(path: Path) -> Path:
    """Make the data folder where it is missing; return its full path. Raises ServersError."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = path.resolve(strict=True)
        if os.geteuid() == 0:
            # The servers' user passes through this folder; it may not list it.
            folder.chmod(folder.stat().st_mode | 0o011)
    except OSError as error:
        raise ServersError(f"the data folder {path} cannot be used: {error}; choose another") from error
    return folder


def settle(data_dir: Path) -> Place:
    """Choose home, user and socket folder, and clear what a former run left there. The caller has the lock.

    As root the servers run as the owner of existing data, else `postgres`, else `nobody`, because PostgreSQL
    refuses root; where that user may not enter a parent of the data folder, home is a folder of
    /var/lib/synccash, which the file `elsewhere` in the data folder names. Raises ServersError.
    """
    home, account, notes = data_dir, None, ()
    if os.geteuid() == 0:
        home, account, notes = _as_root(data_dir)
    run, note = _run_folder(home, account)
    return Place(home, run, account, (*notes, *note))


def leave(place: Place) -> None:
    """Remove what only a running instance needs outside of its home."""
    if place.run.parent != place.home:
        shutil.rmtree(place.run, ignore_errors=True)
        (place.home / "run").unlink(missing_ok=True)


def private(path: Path, account: Account | None) -> Path:
    """A folder that nobody but the servers' user may enter (and root)."""
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    give(path, account)
    return path


def give(path: Path, account: Account | None) -> None:
    """Hand a file or folder to the servers' user."""
    if account is not None:
        os.chown(path, account.uid, account.gid)


def secret(path: Path) -> str:
    """The password in that file, made and stored (0600) at the first call."""
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


def may_not_enter(folder: Path, account: Account) -> Path | None:
    """The first folder on the way that this user, without further groups, may not enter."""
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
    closed = may_not_enter(data_dir, account)
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
        return private(run, account), ()
    short = Path(tempfile.mkdtemp(prefix=_SHORT, dir="/tmp"))
    run.symlink_to(short)
    note = f"the path of {home} is too long for a unix socket: the sockets are in {short}"
    return private(short, account), (note,)
