"""A primary and its replica behind one address, which a failover leads from the one to the other."""

import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_server

import redis

from synccash.servers.binaries import find_valkey

PATIENCE_S = 30.0


@dataclass
class Server:
    path: Path
    port: int
    process: subprocess.Popen[bytes]

    def run(self, *command: str):
        with redis.Redis(unix_socket_path=str(self.path)) as client:
            return client.execute_command(*command)


@dataclass
class Pair:
    """`url` leads to the primary, as a name does that somebody changes."""

    address: Path
    primary: Server
    replica: Server

    @property
    def url(self) -> str:
        return f"unix://{self.address}"

    def fail_over(self, *, killed: bool) -> None:
        """The replica has all that was written, and takes over. The former primary dies or is demoted."""
        self.primary.run("WAIT", "1", "5000")
        if killed:
            self.primary.process.kill()
            self.primary.process.wait()
        self.replica.run("REPLICAOF", "NO", "ONE")
        new = self.address.with_suffix(".new")
        new.symlink_to(self.replica.path)
        new.rename(self.address)
        if not killed:
            self.primary.run("REPLICAOF", "127.0.0.1", str(self.replica.port))


@contextmanager
def pair() -> Generator[Pair]:
    with tempfile.TemporaryDirectory(prefix="synccash-pair-") as folder:
        servers: list[Server] = []
        try:
            servers.extend(_start(Path(folder), name) for name in ("a", "b"))
            primary, replica = servers
            for server in servers:
                _wait_until(lambda server=server: server.run("PING"))
            replica.run("REPLICAOF", "127.0.0.1", str(primary.port))
            _wait_until(lambda: replica.run("ROLE")[3] == b"connected")
            address = Path(folder) / "valkey.sock"
            address.symlink_to(primary.path)
            yield Pair(address, primary, replica)
        finally:
            for server in servers:
                server.process.kill()
                server.process.wait()


def _start(folder: Path, name: str) -> Server:
    path = folder / f"{name}.sock"
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "unixsocket": str(path),
        "dir": str(folder),
        "dbfilename": f"{name}.rdb",
        "save": "",
        "repl-diskless-sync-delay": "0",
    }
    argv = [
        str(find_valkey().path),
        *(word for key, value in options.items() for word in (f"--{key}", value)),
    ]
    return Server(path, port, subprocess.Popen(argv, stdout=subprocess.DEVNULL))


def _wait_until(holds) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if holds():
                return
        except redis.RedisError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"not within {PATIENCE_S:.0f} s")
