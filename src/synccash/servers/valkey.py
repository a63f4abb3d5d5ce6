"""The bundled Valkey: a cache on a unix socket that asks for a password."""

import contextlib
import os
import shutil
import socket
from pathlib import Path
from signal import SIGTERM
from urllib.parse import quote

from synccash.servers.binaries import Binaries
from synccash.servers.data_directory import Place, give, secret
from synccash.servers.server import ServerSpec

NAME = "Valkey"
_PASSWORD = "valkey.password"  # noqa: S105 - the name of the file


def valkey_url(place: Place) -> str:
    """The URL for redis-py's `from_url`."""
    return f"unix://:{secret(place.home / _PASSWORD)}@{quote(str(_socket(place)), safe='/')}?db=0"


def prepare_valkey(binaries: Binaries, place: Place, *, durable: bool) -> ServerSpec:
    """Write its configuration; return how to run it."""
    folder = place.folder("valkey")
    password = secret(place.home / _PASSWORD)
    path = folder / "valkey.conf"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(_configuration(folder, _socket(place), password, durable=durable), encoding="utf-8")
    give(path, place.account)
    return ServerSpec(
        name=NAME,
        argv=[str(binaries.path), str(path)],
        folder=folder,
        log=place.home / "log" / "valkey.log",
        account=place.account,
        answers=lambda _: _serves(_socket(place), password),
        sweep=lambda: None,
        patience_s=60.0,
        endings=((SIGTERM, 10.0),),
        # Nothing is decided from the absence of a key, so a broken file is no reason to stay down.
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


def _socket(place: Place) -> Path:
    return place.run / "valkey.sock"


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
