"""A server that answers with the very bytes it is told to, and remembers every request it saw."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable

Speak = Callable[["Line"], Awaitable[None]]


class Line:
    """One connection, after a whole request was read from it."""

    def __init__(self, reader, writer, request):
        self.reader = reader
        self.writer = writer
        self.request = request

    async def say(self, text):
        self.writer.write(text if isinstance(text, bytes) else text.encode())
        await self.writer.drain()

    def cut(self):
        self.writer.transport.abort()


class RawServer:
    """`speak` is called for each request; without one the request is read and never answered."""

    def __init__(self, speak: Speak | None = None):
        self.speak = speak
        self.requests = []
        self.connections = 0
        self.heard = asyncio.Event()
        self._tasks = set()
        self._writers = set()

    async def _serve(self, reader, writer):
        self.connections += 1
        self._tasks.add(asyncio.current_task())
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.lower().splitlines():
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                self.requests.append(head + await reader.readexactly(length))
                self.heard.set()
                if self.speak is None:
                    await reader.read()
                    return
                await self.speak(Line(reader, writer, self.requests[-1]))

    async def close(self):
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()


@contextlib.asynccontextmanager
async def raw_server(speak: Speak | None = None, tls: ssl.SSLContext | None = None):
    server = RawServer(speak)
    server._server = await asyncio.start_server(server._serve, "127.0.0.1", 0, ssl=tls)
    port = server._server.sockets[0].getsockname()[1]
    server.url = f"http{'' if tls is None else 's'}://localhost:{port}"
    try:
        yield server
    finally:
        await server.close()


def answer(status, body=b"", *headers):
    """A whole HTTP answer with its length."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def answering(status, body=b"", *headers):
    """Speak the same answer to every request."""

    async def speak(line):
        await line.say(answer(status, body, *headers))

    return speak
