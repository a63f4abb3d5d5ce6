"""A listening port that can be closed and opened again, and that stays reserved while it is closed."""

import asyncio
import socket
from collections.abc import Callable


class Port:
    """One TCP port of one address. When closed, it refuses connections and stays bound.

    While the port is closed, a second socket keeps it bound without listening. Otherwise the kernel could
    assign the number to an outgoing connection: the port could not be opened again, and a client that
    connects to it could be connected to itself (TCP simultaneous open).
    """

    def __init__(self, host: str, number: int) -> None:
        self._host = host
        self._keeper: socket.socket | None = None
        self._server: asyncio.Server | None = None
        sock = self._bound(number)
        self.number: int = sock.getsockname()[1]
        self._keeper = sock

    def _bound(self, number: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((self._host, number))
        except OSError:
            sock.close()
            raise
        return sock

    @property
    def url(self) -> str:
        """The base URL of the port."""
        return f"http://{self._host}:{self.number}"

    async def open(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Start listening. Does nothing if the port is already open.

        Raises:
            OSError: if another process listens on this port.
        """
        if self._server is not None:
            return
        sock = self._bound(self.number)
        try:
            self._server = await asyncio.get_running_loop().create_server(protocol, sock=sock, backlog=1024)
        except OSError:
            sock.close()
            raise
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    def close(self) -> None:
        """Refuse new connections. The caller must end existing ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._keeper = self._bound(self.number)

    def release(self) -> None:
        """Close all sockets, which frees the port."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None
