"""An HTTP connection that costs little CPU: it sends ready-made bytes and reads only statuses."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """One connection, with one request under way. `answered` gets the status, or `hung up`."""

    def __init__(self, answered: Callable[["Connection", str], None]) -> None:
        self._answered = answered
        self._given = b""
        self.waits = False
        self.closes = False
        # Of uvloop, whose transports are no asyncio.Transport.
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, data: bytes) -> None:
        """Send the beginning of a request, or all of it."""
        self.waits, self._given = True, b""
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._given += data
        head, gap, rest = self._given.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not gap or (length is not None and len(rest) < int(length[1])):
            return
        self.closes = _CLOSES.search(head) is not None or length is None
        self.end(head[9:12].decode())

    def connection_lost(self, _error: Exception | None) -> None:
        self.closes = True
        self.end("hung up")

    def end(self, answer: str) -> None:
        """Count the answer of the request under way."""
        if self.waits:
            self.waits = False
            self._answered(self, answer)
