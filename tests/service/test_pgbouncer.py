"""The service behind PgBouncer in transaction mode, which gives each transaction another connection."""

import asyncio
import contextlib
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from servers_fixture import service_url
from service.in_process import RunningService, running_service
from service.installation import call, fresh, wait_until
from synccash.local.free_ports import free_run_of_ports
from synccash.stores.postgres.schema.migrations import MigrationError, migrate

PROGRAM = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="pgbouncer is not installed (Debian's package pgbouncer)"
)
SERVER_CONNECTIONS = 3
"""Fewer than the service's own, so that its connections share those of the server."""


def configuration(url: str, port: int) -> str:
    """Every client is the role of the URL. Only TCP, and no file of passwords, is needed for that."""
    parts = urlsplit(url)
    folder = parse_qs(parts.query)["host"][0]
    return f"""
[databases]
pooled = host={folder} dbname={parts.path[1:]} user={parts.username} password={unquote(parts.password or "")}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {SERVER_CONNECTIONS}
max_client_conn = 200
"""


@contextlib.contextmanager
def pgbouncer(url: str, folder: Path) -> Generator[str]:
    """Yields a URL that leads to the database of `url` through a pooler."""
    assert PROGRAM is not None
    port = free_run_of_ports(1)
    file = folder / "pgbouncer.ini"
    file.write_text(configuration(url, port))
    command = [PROGRAM]
    if os.geteuid() == 0:
        # It refuses to run as root, and only their user may enter the folder of the servers' sockets.
        owner = pwd.getpwuid(Path(parse_qs(urlsplit(url).query)["host"][0]).stat().st_uid).pw_name
        command += ["-u", owner]
    # It reads its file as this user, and changes the user afterwards.
    process = subprocess.Popen([*command, str(file)], stderr=subprocess.PIPE, text=True)
    try:
        wait_until("pgbouncer listens", lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, process.communicate()[1]
        yield f"postgresql://anybody:x@127.0.0.1:{port}/pooled"
    finally:
        process.terminate()
        process.communicate(timeout=30)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def pooled_service(database_url: str, folder: Path, **settings: Any) -> Generator[RunningService]:
    own_url = asyncio.run(service_url(database_url))
    with (
        pgbouncer(own_url, folder) as url,
        running_service(url, folder / "service", role_url=url, **settings) as service,
    ):
        yield service


def test_payments_and_refunds_end_and_their_webhooks_are_sent(database_url: str, tmp_path: Path):
    with pooled_service(database_url, tmp_path, database_prepared_statements="off") as service:
        headers = {"Authorization": f"Bearer {service.key}"}

        def send(method: str, path: str, body: Any = None) -> Any:
            keys = {"Idempotency_Key": fresh()} if method == "POST" else {}
            answer = call(method, f"{service.url}/api/v1{path}", body, **headers, **keys)
            assert answer.status < 300, answer.raw
            return answer.body

        paid = [
            send(
                "POST",
                "/payments",
                {
                    "amount": 500,
                    "currency": "GHS",
                    "payer": {"msisdn": f"02412345{n:02}"},
                    "reference": fresh(),
                },
            )["id"]
            for n in range(20)
        ]
        for order in paid:
            wait_until(
                f"{order} succeeds",
                lambda order=order: send("GET", f"/payments/{order}")["status"] == "succeeded",
            )
        refund = send("POST", f"/payments/{paid[0]}/refunds", {"amount": 200})["id"]
        wait_until("the refund succeeds", lambda: send("GET", f"/refunds/{refund}")["status"] == "succeeded")


def test_a_migration_through_the_pooler_is_refused(empty_database_url: str, tmp_path: Path):
    with (
        pgbouncer(empty_database_url, tmp_path) as url,
        pytest.raises(MigrationError, match="migrate over a direct connection"),
    ):
        migrate(url)
