"""Starts and stops the bundled PostgreSQL and Valkey of one data folder."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from synccash.servers.binaries import Binaries, copy_for_all_users, find_postgres, find_valkey
from synccash.servers.data_directory import (
    DataDirectory,
    open_data_folder,
    prepare_data_directory,
    remove_run_folder,
)
from synccash.servers.errors import ServersError, ServersMissingError
from synccash.servers.lock import lock_folder
from synccash.servers.postgres import postgres_url, prepare_postgres
from synccash.servers.server import Server, ServerSpec
from synccash.servers.valkey import prepare_valkey, valkey_url

__all__ = ["Servers", "ServersError", "ServersMissingError", "start_servers"]


@dataclass(slots=True)
class Servers:
    """The running servers of this process. A context manager that stops them. Main thread only.

    The URLs stay the same until `stop`, also when a server is restarted; a URL is None when that server was
    not requested.
    """

    directory: DataDirectory
    lock: int
    database_url: str | None = field(default=None, repr=False)
    valkey_url: str | None = field(default=None, repr=False)
    running: list[Server] = field(default_factory=list[Server])
    _stopped: bool = False

    @property
    def home(self) -> Path:
        """The folder of the databases."""
        return self.directory.home

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the person who started the servers: where files are, and why."""
        return self.directory.notes

    @property
    def processes(self) -> tuple[int, ...]:
        """The pids of the servers (of PostgreSQL: the postmaster's)."""
        return tuple(server.process.pid for server in self.running)

    def died(self) -> str | None:
        """Return a sentence about a server that has ended by itself, with its log; None while all run."""
        return next((dead for server in self.running if (dead := server.ended())), None)

    def tend(self, say: Callable[[str], None]) -> None:
        """Restart a server that has died and report it to `say`. Call it regularly; it never blocks."""
        for server in self.running:
            server.tend(say)

    def stop(self) -> None:
        """Stop both servers cleanly (sessions end, data is on disk), and unlock the folder."""
        if self._stopped:
            return
        self._stopped = True
        try:
            for server in reversed(self.running):
                server.stop()
            remove_run_folder(self.directory)
        finally:
            os.close(self.lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_servers(
    data_dir: Path,
    *,
    postgres: bool = True,
    valkey: bool = True,
    durable: bool = True,
    patience_s: float = 3.0,
) -> Servers:
    """Start the requested servers on this data folder; return when they accept connections. Main thread only.

    The first start creates the databases. `durable=False` turns fsync off, for data that may be lost with the
    machine. `patience_s` is how long to wait for an instance that is stopping to unlock the folder. Raises
    ServersMissingError without binaries, ServersError when the folder is in use or a server fails.
    """
    found_postgres = find_postgres() if postgres else None
    found_valkey = find_valkey() if valkey else None
    folder = open_data_folder(data_dir)
    lock = lock_folder(folder / "servers.lock", patience_s)
    try:
        servers = Servers(prepare_data_directory(folder), lock)
    except BaseException:
        os.close(lock)
        raise
    directory = servers.directory
    try:
        (directory.home / "log").mkdir(mode=0o700, exist_ok=True)
        if found_postgres:
            binaries = _readable(found_postgres, directory, "postgres")
            _begin(servers, prepare_postgres(binaries, directory, durable=durable, lock=lock))
            servers.database_url = postgres_url(directory)
        if found_valkey:
            binaries = _readable(found_valkey, directory, "valkey")
            _begin(servers, prepare_valkey(binaries, directory, durable=durable))
            servers.valkey_url = valkey_url(directory)
        for server in servers.running:
            server.wait()
    except BaseException:
        servers.stop()
        raise
    return servers


def _begin(servers: Servers, spec: ServerSpec) -> None:
    servers.running.append(Server(spec, servers.lock))


def _readable(binaries: Binaries, directory: DataDirectory, kind: str) -> Binaries:
    """Return programs that the servers' user can read: servers started by root run as another user."""
    return (
        binaries if directory.account is None else copy_for_all_users(binaries, directory.home / "bin" / kind)
    )
