"""A primary, its replica and the Sentinels that watch them: real processes of the bundled server."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_server

import redis

from synccash.servers.binaries import find_valkey

SERVICE = "synccash"
USER, PASSWORD = "service", "pass/word"
SENTINELS = 3
PATIENCE_S = 60.0


@dataclass
class Program:
    port: int
    process: subprocess.Popen[bytes]

    def run(self, *command: str):
        with redis.Redis(port=self.port, socket_timeout=5) as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Watched:
    """`servers` by port; one of them is the primary."""

    servers: dict[int, Program]
    sentinels: list[Program]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"valkey+sentinel://{hosts}/{SERVICE}"

    def primary(self) -> Program:
        """The server that all Sentinels name."""
        named = {one.run("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1] for one in self._alive()}
        assert len(named) == 1, named
        return self.servers[int(named.pop())]

    def wait_for_another_primary(self, former: Program) -> None:
        def is_new() -> bool:
            named = {one.run("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1] for one in self._alive()}
            return (
                len(named) == 1
                and int(named.pop()) != former.port
                and self.primary().run("ROLE")[0] == b"master"
            )

        wait_until(is_new)

    def wait_until_demoted(self, former: Program) -> None:
        wait_until(lambda: former.run("ROLE")[0] == b"slave")

    def _alive(self) -> list[Program]:
        return [one for one in self.sentinels if one.process.poll() is None]


@contextmanager
def watched() -> Generator[Watched]:
    with tempfile.TemporaryDirectory(prefix="synccash-sentinel-") as folder:
        started: list[Program] = []
        try:
            servers = [_server(Path(folder), started) for _ in range(2)]
            primary, replica = servers
            replica.run("REPLICAOF", "127.0.0.1", str(primary.port))
            wait_until(lambda: replica.run("ROLE")[3] == b"connected")
            sentinels = [_sentinel(Path(folder), primary.port, started) for _ in range(SENTINELS)]
            found = Watched({one.port: one for one in servers}, sentinels)
            wait_until(lambda: all(_sees_all(one) for one in sentinels))
            yield found
        finally:
            for program in started:
                program.kill()


def _sees_all(sentinel: Program) -> bool:
    [found] = sentinel.run("SENTINEL", "MASTERS")
    state = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
    named = {str(key.decode() if isinstance(key, bytes) else key): value for key, value in state.items()}
    return (int(named["num-slaves"]), int(named["num-other-sentinels"])) == (1, SENTINELS - 1)


def _server(folder: Path, started: list[Program]) -> Program:
    port = _free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    options += ["--dbfilename", f"{port}.rdb", "--repl-diskless-sync-delay", "0"]
    return _start(port, options, started)


def _sentinel(folder: Path, primary: int, started: list[Program]) -> Program:
    port = _free_port()
    file = folder / f"sentinel-{port}.conf"
    lines = [
        f"port {port}",
        "bind 127.0.0.1",
        f"dir {folder}",
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 2",
        f"sentinel down-after-milliseconds {SERVICE} 500",
        f"sentinel failover-timeout {SERVICE} 3000",
    ]
    file.write_text("\n".join(lines) + "\n")
    return _start(port, [str(file), "--sentinel"], started)


def _start(port: int, options: list[str], started: list[Program]) -> Program:
    argv = [str(find_valkey().path), *options]
    program = Program(port, subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    started.append(program)
    wait_until(lambda: program.run("PING"))
    return program


def _free_port() -> int:
    with create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def wait_until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if holds():
                return
        except (redis.RedisError, AssertionError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"not within {PATIENCE_S:.0f} s")
