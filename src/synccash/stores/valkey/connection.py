"""One connection to Valkey for all callers of a process: pipelines commands and returns replies in order.

redis-py uses a connection and several event-loop iterations per command, which limits many concurrent callers
more than Valkey does. See docs/decisions/0004-one-connection-and-script-for-rate-limits.md.
"""

# hiredis and redis-py leave some arguments untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import hiredis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as ValkeyConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as ValkeyTimeoutError

from synccash.settings.secret import Secret
from synccash.stores.valkey.client import described_connection, locate

Argument = bytes | str | int
ValkeyReply = Any
_GRACE_S = 0.002
_DEMOTED = ("READONLY", "MASTERDOWN")


class ValkeyConnection:
    """Connects at the first command, and again at the first command after a loss. For one event loop.

    Each command is sent at most once. It gets its reply within `deadline_s` seconds or raises one of
    client.UNREACHABLE. A late reply closes the connection, so that it cannot be taken for the reply of
    another command. So does a reply that the server is not the primary: after a failover the address leads
    to another server. Raises ValueError for a URL that `client.build_client` rejects.
    """

    __slots__ = ("_connecting", "_deadline_s", "_described", "_is_closed", "_password", "_socket")

    def __init__(self, url: Secret | str, deadline_s: float = 0.05) -> None:
        self._described = described_connection(url)
        self._password = Secret(self._described.password or "")
        # Only the Secret keeps it: tracebacks and logs show the connection.
        self._described.password = None
        self._deadline_s = deadline_s
        self._socket: _Socket | None = None
        self._connecting: asyncio.Task[_Socket] | None = None
        self._is_closed = False

    async def call(self, *command: Argument) -> ValkeyReply:
        """Send one command and return its reply. Raises ResponseError for an error reply."""
        socket = self._socket
        if socket is None or socket.lost:
            if self._is_closed:
                raise ValkeyConnectionError("the connection to Valkey was closed")
            socket = await self._connect_once()
        return unwrap_reply(await socket.send(command))

    def start(self, *command: Argument) -> "asyncio.Future[ValkeyReply] | None":
        """Send one command at once, with the commands that wait to be sent.

        Returns a future whose result `unwrap_reply` checks; None without a connection, which `call` makes.
        """
        socket = self._socket
        if socket is None or socket.lost:
            return None
        future = socket.send(command)
        socket.flush()
        return future

    async def aclose(self) -> None:
        """Close the connection for good. Pending and later commands raise a connection error."""
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
            self._connecting = None
        if self._socket is not None:
            self._socket.close(ValkeyConnectionError("closed"))
            self._socket = None

    async def _connect_once(self) -> "_Socket":
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.get_running_loop().create_task(self._connect(), name="valkey line")
            # Reads the exception, because asyncio logs one that is never read: all callers may be cancelled.
            self._connecting.add_done_callback(lambda task: task.cancelled() or task.exception())
        # A caller that is cancelled must not cancel the connecting for the others.
        try:
            return await asyncio.shield(self._connecting)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._is_closed and task is not None and not task.cancelling():
                raise ValkeyConnectionError("the connection to Valkey was closed") from None
            raise

    async def _connect(self) -> "_Socket":
        loop, address = asyncio.get_running_loop(), self._described
        try:
            async with asyncio.timeout(self._deadline_s):
                await locate(address, self._deadline_s)
                if isinstance(address, UnixDomainSocketConnection):
                    _, socket = await loop.create_unix_connection(
                        lambda: _Socket(self._deadline_s), address.path
                    )
                else:
                    secure = address.ssl_context.get() if isinstance(address, SSLConnection) else None
                    _, socket = await loop.create_connection(
                        lambda: _Socket(self._deadline_s), address.host, address.port, ssl=secure
                    )
        except TimeoutError:
            raise ValkeyTimeoutError("connecting to Valkey timed out") from None
        except (OSError, RuntimeError) as error:
            raise ValkeyConnectionError(str(error)) from None
        try:
            await self._introduce(socket)
        except BaseException:
            socket.close(ValkeyConnectionError("refused"))
            raise
        self._socket = socket
        return socket

    async def _introduce(self, socket: "_Socket") -> None:
        for command in self._handshake():
            unwrap_reply(
                await socket.send([part.reveal() if isinstance(part, Secret) else part for part in command])
            )

    def _handshake(self) -> list[Sequence[Argument | Secret]]:
        address = self._described
        commands: list[Sequence[Argument | Secret]] = []
        if self._password:
            user = [address.username] if address.username else []
            commands.append(["AUTH", *user, self._password])
        if address.db:
            commands.append(["SELECT", address.db])
        return commands


def unwrap_reply(reply: ValkeyReply) -> ValkeyReply:
    """Return the reply of a command. Raises ResponseError for an error reply."""
    if isinstance(reply, hiredis.ReplyError):
        raise ResponseError(str(reply))
    return reply


class _Socket(asyncio.Protocol):
    """One connection. Commands of one event-loop iteration are sent in one write."""

    def __init__(self, deadline_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline_s = deadline_s
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[bytes] = []
        self._pending: deque[tuple[float, asyncio.Future[ValkeyReply]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._overdue: asyncio.Future[ValkeyReply] | None = None
        self.lost = False

    def send(self, command: Sequence[Argument]) -> "asyncio.Future[ValkeyReply]":
        future: asyncio.Future[ValkeyReply] = self._loop.create_future()
        if self.lost:
            future.set_exception(ValkeyConnectionError("the connection to Valkey was lost"))
            return future
        if not self._outgoing:
            self._loop.call_soon(self.flush)
        self._outgoing.append(hiredis.pack_command(tuple(command)))  # pyright: ignore[reportArgumentType]
        self._pending.append((self._loop.time() + self._deadline_s, future))
        if self._timer is None:
            self._timer = self._loop.call_later(self._deadline_s, self._check_deadline)
        return future

    def close(self, error: Exception) -> None:
        if self.lost:
            return
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._pending:
            _, future = self._pending.popleft()
            if not future.done():
                future.set_exception(error)

    def flush(self) -> None:
        """Write the commands that wait to be sent."""
        outgoing, self._outgoing = self._outgoing, []
        if not outgoing or self._transport is None or self.lost:
            return
        try:
            self._transport.write(b"".join(outgoing))
        except (OSError, RuntimeError) as error:
            # uvloop raises on a write to a closed transport whose connection_lost was not called yet.
            self.close(ValkeyConnectionError(f"the connection to Valkey was lost: {error!r}"))

    def _check_deadline(self) -> None:
        """Close the connection if the oldest reply is overdue; else check again when it would be."""
        self._timer = None
        if not self._pending:
            return
        due, oldest = self._pending[0]
        left_s = due - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._check_deadline)
        elif self._overdue is not oldest:
            # If this event loop was blocked, the reply may already be in the socket: read it before closing.
            self._overdue = oldest
            self._timer = self._loop.call_later(_GRACE_S, self._check_deadline)
        else:
            self.close(ValkeyTimeoutError("Valkey did not reply in time"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports do not inherit from asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(
            ValkeyConnectionError(f"the connection to Valkey was lost: {exc or 'closed by the other side'}")
        )

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while self._pending and (reply := self._reader.gets()) is not False:
                _, future = self._pending.popleft()
                if not future.done():
                    future.set_result(reply)
                if type(reply) is hiredis.ReplyError and str(reply).startswith(_DEMOTED):
                    self.close(ValkeyConnectionError("Valkey is no longer the primary"))
        except hiredis.ProtocolError as error:
            self.close(ValkeyConnectionError(f"the reply of Valkey is not valid RESP: {error}"))
