"""Two PostgreSQL servers, one of which follows the other by streaming replication."""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from synccash.servers.binaries import Binaries, copy_for_all_users, find_postgres
from synccash.servers.data_directory import (
    DataDirectory,
    change_owner,
    open_data_folder,
    prepare_data_directory,
    private_folder,
    stored_password,
)
from synccash.servers.lock import lock_folder
from synccash.servers.postgres import PASSWORD, postgres_url, prepare_postgres, superuser_url
from synccash.servers.process import run
from synccash.servers.server import Server, environment

_STANDBYS = "SELECT count(*) FROM pg_stat_replication"


@dataclass(slots=True)
class Node:
    """One PostgreSQL server. `folder` holds its data and the folder of its socket."""

    name: str
    folder: DataDirectory
    server: Server | None = None

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder.home / "postgres"

    @property
    def url(self) -> str:
        """Its URL for the superuser."""
        return superuser_url(self.folder)

    async def execute(self, statement: str) -> Any:
        """Run a statement as the superuser, and return its first value."""
        connection = await asyncpg.connect(self.url, timeout=5)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()


@dataclass(slots=True)
class Pair:
    """A primary and its standby. `synchronous`: the primary's commits wait for the standby."""

    binaries: Binaries
    lock: int
    primary: Node
    standby: Node
    synchronous: bool = False
    nodes: tuple[Node, Node] = field(init=False)

    def __post_init__(self) -> None:
        self.nodes = (self.primary, self.standby)

    def url(self, role: str, password: str, database: str) -> str:
        """A URL that names both servers."""
        hosts = ",".join(str(node.folder.run) for node in self.nodes)
        return f"postgresql://{role}:{password}@/{database}?host={hosts}"

    @property
    def owner_url(self) -> str:
        """The URL of both servers for the owner of the tables."""
        parts = urlsplit(postgres_url(self.primary.folder))
        return self.url(parts.username or "", parts.password or "", parts.path[1:])

    def start(self, node: Node) -> None:
        """Start a server, and wait until it answers."""
        spec = prepare_postgres(self.binaries, node.folder, durable=True, lock=self.lock)
        node.server = Server(spec, self.lock)
        node.server.wait()

    def follow(self) -> None:
        """Make the standby a copy of the primary that follows it."""
        if self.standby.server is not None:
            self.standby.server.stop()
        shutil.rmtree(self.standby.data, ignore_errors=True)
        private_folder(self.standby.data, self.standby.folder.account)
        password = stored_password(self.primary.folder.home / PASSWORD)
        source = f"host={self.primary.folder.run} user=postgres password={password}"
        code, printed = run(
            [
                str(self.binaries.path.with_name("pg_basebackup")),
                f"--dbname={source} application_name={self.standby.name}",
                f"--pgdata={self.standby.data}",
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
            ],
            env=environment(),
            cwd=self.standby.folder.home,
            account=self.standby.folder.account,
        )
        assert code == 0, printed
        # Of several lines for a setting the last one counts. A promoted server has no standby at first.
        self._configure(self.standby, "synchronous_standby_names = ''")
        self.start(self.standby)
        asyncio.run(self._replicating())

    async def _replicating(self) -> None:
        if self.synchronous:
            await self.primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            await self.primary.execute("SELECT pg_reload_conf()")
        state = "sync" if self.synchronous else "async"
        query = f"SELECT count(*) FROM pg_stat_replication WHERE sync_state = '{state}'"
        async with asyncio.timeout(30):
            while await self.primary.execute(query) != 1:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)

    def disconnect_standby(self) -> None:
        """Take the network between the servers away: the standby gets nothing more."""
        self._configure(self.standby, "primary_conninfo = ''")
        assert self.standby.server is not None
        self.standby.server.process.send_signal(signal.SIGHUP)
        asyncio.run(self._disconnected())

    async def _disconnected(self) -> None:
        async with asyncio.timeout(30):
            while await self.primary.execute(_STANDBYS):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)

    def fail(self) -> None:
        """Stop the primary at once, as a failure does."""
        assert self.primary.server is not None
        self.primary.server.process.send_signal(signal.SIGQUIT)
        self.primary.server.process.wait(timeout=30)

    def promote(self) -> None:
        """Promote the standby; the servers change their roles. Returns when it takes writes."""
        code, printed = run(
            [
                str(self.binaries.path.with_name("pg_ctl")),
                "promote",
                f"--pgdata={self.standby.data}",
                "--wait",
            ],
            env=environment(),
            cwd=self.standby.folder.home,
            account=self.standby.folder.account,
        )
        assert code == 0, printed
        self.primary, self.standby = self.standby, self.primary

    def _configure(self, node: Node, line: str) -> None:
        with (node.data / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


@contextlib.contextmanager
def standby_pair(*, synchronous: bool) -> Generator[Pair]:
    """Start a primary and its standby."""
    # Not pytest's own folder: when root runs this, the servers' user could not enter that.
    root = Path(tempfile.mkdtemp(prefix="synccash-pair-"))
    root.chmod(0o711)
    folders = [prepare_data_directory(open_data_folder(root / name)) for name in ("node_a", "node_b")]
    binaries = find_postgres()
    if folders[0].account is not None:
        binaries = copy_for_all_users(binaries, folders[0].home / "bin" / "postgres")
    lock = lock_folder(root / "servers.lock", 3.0)
    first, second = (Node(name, folder) for name, folder in zip(("node_a", "node_b"), folders, strict=True))
    pair = Pair(binaries, lock, first, second, synchronous)
    try:
        for folder in folders:
            (folder.home / "log").mkdir(mode=0o700, exist_ok=True)
            change_owner(folder.home / "log", folder.account)
        pair.start(first)
        shutil.copy(first.folder.home / PASSWORD, second.folder.home / PASSWORD)
        pair.follow()
        yield pair
    finally:
        for node in pair.nodes:
            if node.server is not None:
                node.server.stop()
        os.close(lock)
        shutil.rmtree(root, ignore_errors=True)
