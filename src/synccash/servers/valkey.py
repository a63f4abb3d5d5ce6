"""The bundled Valkey: a cache on a unix socket with a password."""

import contextlib
import os
import shutil
import socket
from pathlib import Path
from signal import SIGTERM
from urllib.parse import quote

from synccash.servers.binaries import Binaries
from synccash.servers.data_directory import DataDirectory, change_owner, stored_password
from synccash.servers.server import ServerSpec

NAME = "Valkey"
PASSWORD = "valkey.password"  # noqa: S105 - the name of the file


def valkey_url(directory: DataDirectory) -> str:
    """Return the URL for redis-py's `from_url`."""
    password = stored_password(directory.home / PASSWORD)
    return f"unix://:{password}@{quote(str(socket_path(directory)), safe='/')}?db=0"


def prepare_valkey(binaries: Binaries, directory: DataDirectory, *, durable: bool) -> ServerSpec:
    """Write the configuration; return how to run the server."""
    folder = directory.folder("valkey")
    password = stored_password(directory.home / PASSWORD)
    path = folder / "valkey.conf"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(
        _configuration(folder, socket_path(directory), password, durable=durable), encoding="utf-8"
    )
    change_owner(path, directory.account)
    return ServerSpec(
        name=NAME,
        argv=[str(binaries.path), str(path)],
        folder=folder,
        log=directory.home / "log" / "valkey.log",
        account=directory.account,
        answers=lambda _: _serves(socket_path(directory), password),
        sweep=lambda: None,
        patience_s=60.0,
        endings=((SIGTERM, 10.0),),
        # The service works without any key of Valkey, so a damaged file is deleted instead of staying down.
        forget=lambda: shutil.rmtree(folder / "appendonlydir", ignore_errors=True),
    )


def _configuration(folder: Path, path: Path, password: str, *, durable: bool) -> str:
    # The password is in this file (0600), because arguments can be read by every user of the machine.
    lines = [
        "port 0",
        f"unixsocket {_quoted(path)}",
        "unixsocketperm 700",
        f"requirepass {password}",
        f"dir {_quoted(folder)}",
        "daemonize no",
        'logfile ""',
        'save ""',
        f"appendonly {'yes' if durable else 'no'}",
        "appendfsync everysec",
    ]
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def socket_path(directory: DataDirectory) -> Path:
    """Return the path of the server's socket."""
    return directory.run / "valkey.sock"


def _serves(path: Path, password: str) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as link:
        link.settimeout(1.0)
        link.connect(os.fspath(path))
        link.sendall(f"AUTH {password}\r\nPING\r\n".encode())
        reply = b""
        while reply.count(b"\r\n") < 2 and (more := link.recv(4096)):
            reply += more
        return reply.endswith(b"+PONG\r\n")
    return False
