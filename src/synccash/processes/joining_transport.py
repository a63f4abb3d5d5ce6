"""Sends the head and the body of a response by one system call."""

import asyncio
from typing import Any


class JoiningTransport:
    """A server's connection that joins each two writes that follow one another.

    uvicorn writes the head of a response and then its body. Each write costs about 15 µs of CPU and wakes the
    client. So a write is held until the next one, at most until the event loop has finished its iteration:
    nothing waits for a body that comes later.
    """

    __slots__ = ("_held", "_loop", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: bytes | None = None
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Send `data` together with what is held, or hold it."""
        held = self._held
        if held is None:
            self._held = data
            self._loop.call_soon(self._flush)
        else:
            self._held = None
            self._transport.write(b"".join((held, data)))

    def close(self) -> None:
        """Send what is held, then close the connection."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held = self._held, None
        if held is not None and not self._transport.is_closing():
            self._transport.write(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
