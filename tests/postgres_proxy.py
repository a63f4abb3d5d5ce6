"""A proxy in front of PostgreSQL that a test can cut or silence while the server itself keeps running."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

_NAME = ".s.PGSQL.5432"


class PostgresProxy:
    """Forwards connections to the server of `url`, in the event loop of the test."""

    def __init__(self, url: str, folder: Path) -> None:
        parts = urlsplit(url)
        self._behind = Path(parse_qs(parts.query)["host"][0]) / _NAME
        self._own = folder / _NAME
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._speaking = asyncio.Event()
        self._speaking.set()
        self._server: asyncio.Server | None = None
        self.opened = 0
        """How many connections were opened."""
        self.url = parts._replace(query=f"host={quote(str(folder), safe='/')}").geturl()

    async def restore(self) -> None:
        """Accept connections and forward both directions."""
        self._speaking.set()
        if self._server is None:
            self._server = await asyncio.start_unix_server(self._serve, self._own)

    async def cut(self) -> None:
        """Abort every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._own.unlink(missing_ok=True)
        for writer in self._writers:
            writer.transport.abort()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def silence(self) -> None:
        """Keep connections open and forward nothing."""
        self._speaking.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_unix_connection(self._behind)
        if self._server is None:
            # cut() was called while this connection was being opened.
            writer.transport.abort()
            behind_writer.transport.abort()
            return
        self.opened += 1
        for source, sink in ((reader, behind_writer), (behind_reader, writer)):
            self._writers.add(sink)
            task = asyncio.create_task(self._carry(source, sink), name="postgres_proxy")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                await self._speaking.wait()
                sink.write(data)
                await sink.drain()
        self._writers.discard(sink)
        sink.transport.abort()


@contextlib.asynccontextmanager
async def postgres_proxy(url: str) -> AsyncGenerator[PostgresProxy]:
    folder = Path(tempfile.mkdtemp(prefix="synccash-cut-"))
    between = PostgresProxy(url, folder)
    await between.restore()
    try:
        yield between
    finally:
        between._speaking.set()
        await between.cut()
        shutil.rmtree(folder)
