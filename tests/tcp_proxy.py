"""A TCP proxy in front of a server's unix socket, which may be told to hang up on whoever connects.

It runs in threads of its own: a client in the test's event loop finds its connection closed at any moment.
"""

import socket
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

Manner = Literal["carry", "close", "reset"]
_RESET = struct.pack("ii", 1, 0)


class TcpProxy:
    """`port` of 127.0.0.1 leads to `path`. `hung_up_on` counts the connections that were not carried."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._manner: Manner = "carry"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._clients: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self.hung_up_on = 0
        self._start(self._accept)

    def be(self, manner: Manner) -> None:
        """Treat connections so from now on; those that are there end, unless they are carried still."""
        with self._lock:
            self._manner = manner
            if manner != "carry":
                for client in self._clients:
                    with suppress(OSError):
                        client.shutdown(socket.SHUT_RDWR)

    def shut(self) -> None:
        """End the listener and every thread."""
        self.be("reset")
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _start(self, run, *given) -> None:
        thread = threading.Thread(target=run, args=given, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._manner != "carry":
                    self.hung_up_on += 1
                    if self._manner == "reset":
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    client.close()
                    continue
                self._clients.add(client)
            behind = socket.socket(socket.AF_UNIX)
            behind.connect(str(self._path))
            self._start(self._carry, client, behind)
            self._start(self._carry_back, behind, client)

    def _carry(self, client: socket.socket, behind: socket.socket) -> None:
        _pump(client, behind)
        with suppress(OSError):
            behind.shutdown(socket.SHUT_RDWR)

    def _carry_back(self, behind: socket.socket, client: socket.socket) -> None:
        _pump(behind, client)
        with self._lock:
            self._clients.discard(client)
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            client.close()
        behind.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)


@contextmanager
def tcp_proxy(path: Path) -> Generator[TcpProxy]:
    proxy = TcpProxy(path)
    try:
        yield proxy
    finally:
        proxy.shut()
