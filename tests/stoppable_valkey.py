"""The fixture `stoppable_valkey`: a Valkey of the test's own, which it can kill, freeze and empty.

The server runs and answers at the start of each test.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from synccash.servers.bundle import Servers, start_servers


@dataclass
class StoppableValkey:
    servers: Servers
    frozen: bool = field(default=False)

    @property
    def url(self):
        return self.servers.valkey_url

    def kill(self):
        server = self.servers.running[0]
        server.process.kill()
        server.process.wait()

    def start(self):
        server = self.servers.running[0]
        server.start()
        server.wait()

    def restart(self):
        self.kill()
        self.start()

    def freeze(self):
        """It keeps its connections and answers nothing."""
        os.kill(self.servers.running[0].process.pid, signal.SIGSTOP)
        self.frozen = True

    def thaw(self):
        os.kill(self.servers.running[0].process.pid, signal.SIGCONT)
        self.frozen = False

    def revive(self):
        if self.frozen:
            self.thaw()
        if self.servers.died():
            self.start()

    def flush(self):
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def forget_scripts(self):
        with redis.Redis.from_url(self.url) as client:
            client.script_flush()


@pytest.fixture(scope="session")
def stoppable_server() -> Generator[Servers]:
    # Not pytest's own folder: when root runs the suite, the servers' user could not enter that.
    folder = Path(tempfile.mkdtemp(prefix="synccash-stoppable-"))
    try:
        with start_servers(folder, postgres=False, durable=False) as servers:
            yield servers
        shutil.rmtree(servers.home)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stoppable_valkey(stoppable_server: Servers) -> Generator[StoppableValkey]:
    valkey = StoppableValkey(stoppable_server)
    valkey.revive()
    valkey.flush()
    yield valkey
    valkey.revive()
