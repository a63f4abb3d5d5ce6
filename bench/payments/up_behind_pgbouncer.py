"""`synccash up` with PgBouncer in transaction mode before its PostgreSQL:
`python -m bench.payments.up_behind_pgbouncer up …`."""

import contextlib
import os
import pwd
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from synccash import cli
from synccash.local import up
from synccash.local.free_ports import free_run_of_ports
from synccash.local.supervisor import Program

PROGRAM = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
SERVER_CONNECTIONS = 16
_CONFIGURATION = """
[databases]
pooled = host={folder} dbname={database} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 1000
log_connections = 0
log_disconnections = 0
"""


class _UpBehindPgBouncer(up.Up):
    def _environment(self, *given: Any) -> dict[str, str]:
        environment: Mapping[str, str] = super()._environment(*given)
        url = self._start_pgbouncer(environment["SYNCCASH_DATABASE_URL"])
        return {
            **environment,
            "SYNCCASH_DATABASE_URL": url,
            "SYNCCASH_DATABASE_PREPARED_STATEMENTS": "off",
        }

    def _start_pgbouncer(self, url: str) -> str:
        """Start it, and return the URL that leads through it."""
        assert PROGRAM is not None
        parts, port = urlsplit(url), free_run_of_ports(1)
        folder = parse_qs(parts.query)["host"][0]
        file = self.options.data_dir / "pgbouncer.ini"
        file.write_text(
            _CONFIGURATION.format(
                folder=folder,
                database=parts.path[1:],
                user=parts.username,
                password=unquote(parts.password or ""),
                port=port,
                connections=SERVER_CONNECTIONS,
            ),
            encoding="utf-8",
        )
        argv = [PROGRAM]
        if os.geteuid() == 0:
            # It refuses to run as root, and only their user may enter the folder of the servers' sockets.
            argv += ["-u", pwd.getpwuid(Path(folder).stat().st_uid).pw_name]
        log = self._log("pgbouncer")
        self.supervisor.add(
            Program(name="pgbouncer", argv=[*argv, str(file)], env=os.environ, log=log, grace_s=5.0)
        )
        while not _listens(port):
            self._wait(0.05)
        return f"postgresql://anybody:x@127.0.0.1:{port}/pooled"


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


if __name__ == "__main__":
    up.Up = _UpBehindPgBouncer
    cli.main()
