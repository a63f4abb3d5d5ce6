"""Starts and stops the bundled PostgreSQL and Valkey of one data folder."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from synccash.servers.binaries import Binaries, copied, find_postgres, find_valkey
from synccash.servers.data_directory import Place, leave, open_data_folder, settle
from synccash.servers.errors import ServersError, ServersMissingError
from synccash.servers.lock import lock_folder
from synccash.servers.postgres import postgres_url, prepare_postgres
from synccash.servers.server import Server, ServerSpec
from synccash.servers.valkey import prepare_valkey, valkey_url

__all__ = ["Servers", "ServersError", "ServersMissingError", "start_servers"]


@dataclass(slots=True)
class Servers:
    """Live: the running servers of this process. A context manager that stops them. Main thread only.

    The URLs stay the same until `stop`, also when a server is started again; one is None where that server
    was not asked for.
    """

    place: Place
    lock: int
    database_url: str | None = None
    valkey_url: str | None = None
    running: list[Server] = field(default_factory=list[Server])
    _stopped: bool = False

    @property
    def home(self) -> Path:
        """Where the databases are."""
        return self.place.home

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the person who started the servers, on where things are and why."""
        return self.place.notes

    @property
    def processes(self) -> tuple[int, ...]:
        """The pids of the servers (of PostgreSQL: the postmaster's)."""
        return tuple(server.process.pid for server in self.running)

    def died(self) -> str | None:
        """A sentence naming a server that has ended by itself, with its log; None while all run."""
        return next((dead for server in self.running if (dead := server.ended())), None)

    def tend(self, say: Callable[[str], None]) -> None:
        """Start a server that has died again; `say` hears of it. Call it now and then; it does not block."""
        for server in self.running:
            server.tend(say)

    def stop(self) -> None:
        """Stop both cleanly (sessions are ended, all is on disk) and free the folder. Again: nothing."""
        if self._stopped:
            return
        self._stopped = True
        try:
            for server in reversed(self.running):
                server.stop()
            leave(self.place)
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
    """Start the asked-for servers on this data folder; return when they serve. Main thread only.

    The first start makes the databases. `durable=False` is for data that may be lost with the machine: it
    turns fsync off. `patience_s`: how long an instance that is stopping may still hold the folder.
    Raises ServersMissingError without binaries, ServersError where the folder is in use or a server fails.
    """
    found_postgres = find_postgres() if postgres else None
    found_valkey = find_valkey() if valkey else None
    folder = open_data_folder(data_dir)
    lock = lock_folder(folder / "servers.lock", patience_s)
    try:
        servers = Servers(settle(folder), lock)
    except BaseException:
        os.close(lock)
        raise
    place = servers.place
    try:
        (place.home / "log").mkdir(mode=0o700, exist_ok=True)
        if found_postgres:
            binaries = _readable(found_postgres, place, "postgres")
            _begin(servers, prepare_postgres(binaries, place, durable=durable, lock=lock))
            servers.database_url = postgres_url(place)
        if found_valkey:
            binaries = _readable(found_valkey, place, "valkey")
            _begin(servers, prepare_valkey(binaries, place, durable=durable))
            servers.valkey_url = valkey_url(place)
        for server in servers.running:
            server.wait()
    except BaseException:
        servers.stop()
        raise
    return servers


def _begin(servers: Servers, recipe: ServerSpec) -> None:
    servers.running.append(Server(recipe, servers.lock))


def _readable(binaries: Binaries, place: Place, kind: str) -> Binaries:
    """Root's servers give up its rights, so they need programs outside of root's private folders."""
    return binaries if place.account is None else copied(binaries, place.home / "bin" / kind)
