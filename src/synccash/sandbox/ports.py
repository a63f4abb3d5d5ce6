"""A listening port that can be closed and opened again, and that no other process can take meanwhile."""

import asyncio
import socket
from collections.abc import Callable


class Port:
    """One TCP port of one address. Open, it serves; closed, it refuses connections and stays bound.

    While closed, a second socket keeps the port bound without listening. Without it the kernel could give the
    number to an outgoing connection: the port could not be opened again, and a client that connects to it
    could even be connected to itself.
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
        """Listen; does nothing when already listening.

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
        """Refuse new connections; the caller ends those that exist."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._keeper = self._bound(self.number)

    def release(self) -> None:
        """Give the port back."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None
