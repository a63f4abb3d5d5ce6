"""The bundled PostgreSQL: created at the first start, and served on a unix socket with a password."""

import contextlib
import shutil
from pathlib import Path
from signal import SIGINT, SIGQUIT
from urllib.parse import quote

from synccash.servers.binaries import Binaries
from synccash.servers.data_directory import DataDirectory, change_owner, private_folder, stored_password
from synccash.servers.errors import ServersError
from synccash.servers.process import run
from synccash.servers.server import ServerSpec, environment

NAME = "PostgreSQL"
ROLE = DATABASE = "synccash"
PASSWORD = "postgres.password"  # noqa: S105 - the name of the file
SERVICE_ROLE = "synccash_service"
SERVICE_PASSWORD = "postgres.service.password"  # noqa: S105 - the name of the file
_READY_LINE = 7  # of postmaster.pid; postmaster/pidfile.h: LOCK_FILE_LINE_PM_STATUS is 8, counted from 1
_QUIET = {
    # Details of an error and statements hold the values of rows: payers' numbers stay out of logs.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}
# Commits still reach the operating system before they are answered: only the machine's own end can lose them.
_THROWAWAY = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_connections": "400"}


def postgres_url(directory: DataDirectory) -> str:
    """Return the URL of the database `synccash`, for asyncpg and dbmate. Its owner may create others."""
    return _url(directory, ROLE, PASSWORD)


def service_url(directory: DataDirectory) -> str:
    """Return the URL of the same database for the role that the service runs as."""
    return _url(directory, SERVICE_ROLE, SERVICE_PASSWORD)


def superuser_url(directory: DataDirectory) -> str:
    """Return the URL of the same database for the superuser of the cluster, who has the owner's password."""
    return _url(directory, "postgres", PASSWORD)


def _url(directory: DataDirectory, role: str, password_file: str) -> str:
    password = stored_password(directory.home / password_file)
    return f"postgresql://{role}:{password}@/{DATABASE}?host={quote(str(directory.run), safe='/')}"


def prepare_postgres(binaries: Binaries, directory: DataDirectory, *, durable: bool, lock: int) -> ServerSpec:
    """Create the database cluster at the first start; return how to run it. Raises ServersError."""
    data = directory.home / "postgres"
    if not data.exists():
        _make(binaries, directory, data, durable=durable, lock=lock)
    _check(binaries, directory, data)
    settings = {
        "listen_addresses": "",
        # Read as a list of quoted names: without the quotes a comma in the path would part it.
        "unix_socket_directories": '"' + str(directory.run).replace('"', '""') + '"',
        "unix_socket_permissions": "0700",
        "timezone": "UTC",
        "log_timezone": "UTC",
        **_QUIET,
        **({} if durable else _THROWAWAY),
    }
    options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    return ServerSpec(
        name=NAME,
        argv=[str(binaries.path), "-D", str(data), *options],
        folder=data,
        log=directory.home / "log" / "postgres.log",
        account=directory.account,
        answers=lambda pid: _serves(data / "postmaster.pid", pid),
        sweep=lambda: _remove_stale_pid_file(data),
        patience_s=120.0,
        endings=((SIGINT, 30.0), (SIGQUIT, 10.0)),
    )


def _make(binaries: Binaries, directory: DataDirectory, data: Path, *, durable: bool, lock: int) -> None:
    draft = data.with_name("postgres.making")
    shutil.rmtree(draft, ignore_errors=True)
    private_folder(draft, directory.account)
    password = stored_password(directory.home / PASSWORD)
    # initdb reads it as the servers' user, from a folder that no other user may enter.
    handed = directory.run / "initdb.password"
    handed.touch(mode=0o600)
    handed.write_text(password, encoding="ascii")
    change_owner(handed, directory.account)
    # The built-in locale came with 17: collation does not depend on the machine's C library.
    locale = ["--locale-provider=builtin", "--locale=C.UTF-8"] if binaries.major >= 17 else ["--locale=C"]
    sync = [] if durable else ["--no-sync"]
    initdb = [str(binaries.path.with_name("initdb")), "-D", str(draft), "-U", "postgres", "--encoding=UTF8"]
    initdb += ["--auth=scram-sha-256", f"--pwfile={handed}", "--no-instructions", *locale, *sync]
    single = [str(binaries.path), "--single", "-D", str(draft)]
    single += [f"--{name.replace('_', '-')}={value}" for name, value in _QUIET.items()]
    single += ["postgres"] if durable else ["-F", "postgres"]
    # The service's own role is no superuser: what it can be tricked into stays inside its databases.
    statements = (
        f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{password}';\n"
        f"CREATE DATABASE {DATABASE} OWNER {ROLE};\n"
    )
    try:
        for argv, text in ((initdb, ""), (single, statements)):
            code, printed = run(
                argv, text=text, env=environment(), cwd=draft, account=directory.account, pass_fds=(lock,)
            )
            # A single-user server reports a failed statement and goes on to exit 0.
            if code != 0 or "ERROR:" in printed or "FATAL:" in printed:
                raise ServersError(f"{Path(argv[0]).name} failed in {draft}:\n{printed[-2000:]}")
    finally:
        handed.unlink()
    draft.rename(data)


def _check(binaries: Binaries, directory: DataDirectory, data: Path) -> None:
    version = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    if version != str(binaries.major):
        raise ServersError(
            f"{data} was created by PostgreSQL {version}, but {binaries.path} is {binaries.version};"
            f" install PostgreSQL {version}, or move the folder away to start with an empty database"
        )
    if not (directory.home / PASSWORD).exists():
        raise ServersError(
            f"{directory.home / PASSWORD} is missing, and {data} cannot be opened without it; "
            "restore that file"
        )


def _serves(pid_file: Path, pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        lines = pid_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return len(lines) > _READY_LINE and lines[0] == str(pid) and lines[_READY_LINE].strip() == "ready"
    return False


def _remove_stale_pid_file(data: Path) -> None:
    """Remove a pid file whose process is no server of this folder, because PostgreSQL would not start.

    PostgreSQL only checks that the pid exists. Another process may have it by now, or a zombie that pid 1 of
    a container does not reap. The lock of the folder guarantees that no server of it is left.
    """
    pid_file = data / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError, ValueError):
        pid = int(pid_file.read_text(encoding="utf-8", errors="replace").split("\n", 1)[0])
        if Path(f"/proc/{pid}").exists() and not _works_in(pid, data):
            pid_file.unlink()


def _works_in(pid: int, data: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == data
    except OSError:
        return False
