"""One socket to Valkey that all callers share: commands leave together, answers come back in their order.

redis-py gives each command a connection and several trips through the event loop; what many callers do at
once is limited by that, not by Valkey. See docs/decisions/0010-one-socket-for-all-limits.md.
"""

# hiredis and redis-py leave some arguments untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import hiredis
from redis.asyncio.connection import parse_url
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as LateError

Argument = bytes | str | int
Reply = Any
_GRACE_S = 0.002
_DEMOTED = ("READONLY", "MASTERDOWN")


class ValkeyConnection:
    """Live: connects at its first command, and again after a loss at the next one. For one event loop.

    Each command is answered within `deadline_s` seconds, or raises one of client.UNREACHABLE; it is sent at
    most once. An answer that is late costs the connection, so that no other's answer is mistaken for it; so
    does one that tells of a server that may not be written to: after a failover the address leads to another.
    """

    __slots__ = ("_connecting", "_deadline_s", "_socket", "_where")

    def __init__(self, url: str, *, deadline_s: float = 0.05) -> None:
        self._where: dict[str, Any] = dict(parse_url(url))
        self._deadline_s = deadline_s
        self._socket: _Socket | None = None
        self._connecting: asyncio.Task[_Socket] | None = None

    async def call(self, *command: Argument) -> Reply:
        """Send one command and return its answer. Raises ResponseError for an error that Valkey answers."""
        socket = self._socket
        if socket is None or socket.lost:
            socket = await self._connected()
        return answered(await socket.send(command))

    def start(self, *command: Argument) -> "asyncio.Future[Reply] | None":
        """Send one command now, with what waits to be sent; its answer is for `answered` to read.

        None while there is no connection: `call` makes one.
        """
        socket = self._socket
        if socket is None or socket.lost:
            return None
        future = socket.send(command)
        socket.flush()
        return future

    async def aclose(self) -> None:
        """Hang up. Whoever waits gets an error."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
            self._connecting = None
        if self._socket is not None:
            self._socket.hang_up(LostError("closed"))
            self._socket = None

    async def _connected(self) -> "_Socket":
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.get_running_loop().create_task(self._connect(), name="valkey line")
            # Its callers may all have been cancelled: an error that nobody sees is no news.
            self._connecting.add_done_callback(lambda task: task.cancelled() or task.exception())
        # One caller who gives up must not take the connection from the others.
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> "_Socket":
        loop, where = asyncio.get_running_loop(), self._where
        try:
            async with asyncio.timeout(self._deadline_s):
                if "path" in where:
                    _, socket = await loop.create_unix_connection(
                        lambda: _Socket(self._deadline_s), where["path"]
                    )
                else:
                    secure = ssl.create_default_context() if "connection_class" in where else None
                    _, socket = await loop.create_connection(
                        lambda: _Socket(self._deadline_s),
                        where.get("host", "localhost"),
                        where.get("port", 6379),
                        ssl=secure,
                    )
        except TimeoutError:
            raise LateError("Valkey did not take the connection in time") from None
        except (OSError, RuntimeError) as error:
            raise LostError(str(error)) from None
        for command in self._greeting():
            reply = await socket.send(command)
            if isinstance(reply, hiredis.ReplyError):
                socket.hang_up(LostError("refused"))
                raise ResponseError(str(reply))
        self._socket = socket
        return socket

    def _greeting(self) -> list[Sequence[Argument]]:
        where = self._where
        commands: list[Sequence[Argument]] = []
        if where.get("password"):
            user = [where["username"]] if where.get("username") else []
            commands.append(["AUTH", *user, where["password"]])
        if where.get("db"):
            commands.append(["SELECT", where["db"]])
        return commands


def answered(reply: Reply) -> Reply:
    """The answer of a command. Raises ResponseError where it is an error."""
    if isinstance(reply, hiredis.ReplyError):
        raise ResponseError(str(reply))
    return reply


class _Socket(asyncio.Protocol):
    """One connection. What is sent in one turn of the loop leaves in one write."""

    def __init__(self, deadline_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline_s = deadline_s
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[bytes] = []
        self._waiting: deque[tuple[float, asyncio.Future[Reply]]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._late: asyncio.Future[Reply] | None = None
        self.lost = False

    def send(self, command: Sequence[Argument]) -> "asyncio.Future[Reply]":
        future: asyncio.Future[Reply] = self._loop.create_future()
        if self.lost:
            future.set_exception(LostError("the connection to Valkey was lost"))
            return future
        if not self._outgoing:
            self._loop.call_soon(self.flush)
        self._outgoing.append(hiredis.pack_command(tuple(command)))  # pyright: ignore[reportArgumentType]
        self._waiting.append((self._loop.time() + self._deadline_s, future))
        if self._watch is None:
            self._watch = self._loop.call_later(self._deadline_s, self._look)
        return future

    def hang_up(self, error: Exception) -> None:
        if self.lost:
            return
        self.lost = True
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)

    def flush(self) -> None:
        """Write what waits to be sent."""
        outgoing, self._outgoing = self._outgoing, []
        if not outgoing or self._transport is None or self.lost:
            return
        try:
            self._transport.write(b"".join(outgoing))
        except (OSError, RuntimeError) as error:
            # uvloop answers so to a write on a transport that is closed and has not said so yet.
            self.hang_up(LostError(f"the connection to Valkey was lost: {error!r}"))

    def _look(self) -> None:
        """Hang up if the oldest answer is late; else look again when it would be."""
        self._watch = None
        if not self._waiting:
            return
        due, oldest = self._waiting[0]
        left_s = due - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
        elif self._late is not oldest:
            # Perhaps it was this loop that stood still, and the answer is there to be read: read first.
            self._late = oldest
            self._watch = self._loop.call_later(_GRACE_S, self._look)
        else:
            self.hang_up(LateError("Valkey did not answer in time"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.hang_up(LostError(f"the connection to Valkey was lost: {exc or 'closed by the other side'}"))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while self._waiting and (reply := self._reader.gets()) is not False:
                _, future = self._waiting.popleft()
                if not future.done():
                    future.set_result(reply)
                if type(reply) is hiredis.ReplyError and str(reply).startswith(_DEMOTED):
                    self.hang_up(LostError("Valkey is no longer the primary"))
        except hiredis.ProtocolError as error:
            self.hang_up(LostError(f"Valkey spoke no RESP: {error}"))
