"""The connections of a process to its rails, by the scheme, host and port of their URLs."""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from base64 import b64encode
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from aiohappyeyeballs import start_connection  # pyright: ignore[reportUnknownVariableType]

from synccash.rails.http.http_connection import HttpConnection
from synccash.rails.http.system_lookups import AddressInfo, SystemLookups
from synccash.rails.http.transport_fault import ExchangeError, TransportFault

_CONNECTIONS_PER_ORIGIN = 100
# Shorter than the idle time-out of common gateways, so that a pooled connection is rarely one that they have
# just closed. When it is one all the same, a POST on it counts as ambiguous.
_KEEP_ALIVE_S = 15.0
_UNACKNOWLEDGED_MS = 20_000
"""Milliseconds; less than the time after which a rail's "not found" is trusted (`EngineSettings.settle_s`).
What the network holds back must not arrive later. The kernel would try for about 15 minutes (tcp(7))."""
_NEXT_ADDRESS_S = 0.25
"""How long one address of a name is tried alone (RFC 8305, section 5)."""
_PORTS = {"http": 80, "https": 443}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request goes: scheme, host and port of its URL. `authorization`: from the URL's user and
    password, as the value of the header."""

    host: str
    port: int
    is_tls: bool
    host_header: str
    authorization: str | None = field(repr=False)

    @classmethod
    def of(cls, url: str) -> "Origin":
        """Read a URL without path. Raises ValueError for one that is none."""
        parts = urlsplit(url)
        default, host = _PORTS[parts.scheme], parts.hostname
        if not host:
            raise ValueError("the URL has no host")
        if not host.isascii():
            host = host.encode("idna").decode()
        port = default if parts.port is None else parts.port
        shown = f"[{host}]" if ":" in host else host
        return cls(
            host=host,
            port=port,
            is_tls=parts.scheme == "https",
            host_header=shown if port == default else f"{shown}:{port}",
            authorization=None if parts.username is None else _basic(parts.username, parts.password or ""),
        )


def _basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()


@dataclass(slots=True, eq=False)
class _Place:
    """Live: the connections to one origin. `taken` counts those that exist or are being made; a request that
    waits gets a connection, or None when it may make one."""

    taken: int = 0
    idle: list[tuple[HttpConnection, float]] = field(default_factory=list[tuple[HttpConnection, float]])
    open: set[HttpConnection] = field(default_factory=set[HttpConnection])
    waiting: "deque[asyncio.Future[HttpConnection | None]]" = field(
        default_factory=deque["asyncio.Future[HttpConnection | None]"]
    )


@dataclass(slots=True, eq=False)
class HttpPool:
    """Live: belongs to the event loop of its first use. An origin has at most 100 connections, so a rail that
    hangs does not use up what others need. An idle connection is closed after 15 seconds."""

    _lookups: SystemLookups = field(default_factory=SystemLookups)
    _places: dict[Origin, _Place] = field(default_factory=dict[Origin, _Place])
    _sweep: asyncio.TimerHandle | None = None
    _tls: ssl.SSLContext | None = None
    _closed: bool = False

    def take_idle(self, origin: Origin) -> HttpConnection | None:
        """Return the connection that was used last; None when none is idle."""
        place = self._places.get(origin)
        while place is not None and place.idle:
            connection, _ = place.idle.pop()
            if connection.reusable:
                return connection
        return None

    async def connect(self, origin: Origin) -> HttpConnection:
        """Return a new connection, or that of another request at the limit. Raises ExchangeError."""
        if self._closed:
            raise ExchangeError(TransportFault.CLOSED)
        place = self._places.setdefault(origin, _Place())
        while place.taken >= _CONNECTIONS_PER_ORIGIN:
            connection = await self._wait(place)
            if connection is None:
                break
            # Its other side may have closed it before this request had its turn.
            if connection.reusable:
                return connection
        else:
            place.taken += 1
        try:
            connection = await self._open(origin, place)
        except BaseException:
            _free(place)
            raise
        if connection.is_closed:
            _free(place)
        else:
            place.open.add(connection)
        if self._closed:
            connection.close()
            raise ExchangeError(TransportFault.CLOSED)
        return connection

    def give_back(self, origin: Origin, connection: HttpConnection) -> None:
        """Take a connection whose request has ended."""
        if not connection.reusable:
            connection.close()
            return
        place = self._places[origin]
        if not _hand_over(place, connection):
            loop = asyncio.get_running_loop()
            place.idle.append((connection, loop.time()))
            if self._sweep is None:
                self._sweep = loop.call_later(_KEEP_ALIVE_S, self._close_idle)

    async def aclose(self) -> None:
        """Close every connection, and make no more."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._lookups.close()
        for place in self._places.values():
            for waiting in place.waiting:
                if not waiting.done():
                    waiting.set_exception(ExchangeError(TransportFault.CLOSED))
            for connection in list(place.open):
                connection.fail(TransportFault.CONNECTION_LOST)
        # Closed sockets leave the loop with its next turn.
        await asyncio.sleep(0)

    async def _wait(self, place: _Place) -> HttpConnection | None:
        turn: asyncio.Future[HttpConnection | None] = asyncio.get_running_loop().create_future()
        place.waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                connection = turn.result()
                if connection is None:
                    _free(place)
                elif not _hand_over(place, connection):
                    connection.close()
            raise

    async def _open(self, origin: Origin, place: _Place) -> HttpConnection:
        loop = asyncio.get_running_loop()

        def ended(connection: HttpConnection) -> None:
            # One whose handshake failed was never in the set.
            if connection in place.open:
                place.open.discard(connection)
                _free(place)

        try:
            connected = await start_connection(
                await self._addresses(origin), happy_eyeballs_delay=_NEXT_ADDRESS_S, loop=loop
            )
            try:
                _give_up_early(connected)
                _, connection = await loop.create_connection(
                    lambda: HttpConnection(loop, ended),
                    sock=connected,
                    ssl=self._context() if origin.is_tls else None,
                    server_hostname=origin.host if origin.is_tls else None,
                )
            except BaseException:
                connected.close()
                raise
        except ssl.SSLError as error:
            raise ExchangeError(TransportFault.TLS) from error
        except OSError as error:
            raise ExchangeError(TransportFault.UNREACHABLE) from error
        return connection

    async def _addresses(self, origin: Origin) -> list[AddressInfo]:
        try:
            family = _FAMILIES[ipaddress.ip_address(origin.host).version]
        except ValueError:
            return await self._lookups.resolve(origin.host, origin.port)
        return [(family, socket.SOCK_STREAM, 0, "", (origin.host, origin.port))]

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def _close_idle(self) -> None:
        """Close what was idle for long, and look again when the next connection will have been."""
        loop, self._sweep = asyncio.get_running_loop(), None
        first = float("inf")
        for place in self._places.values():
            usable = [one for one in place.idle if one[0].reusable]
            kept = [one for one in usable if loop.time() - one[1] < _KEEP_ALIVE_S]
            for connection, _ in usable[: len(usable) - len(kept)]:
                connection.close()
            place.idle = kept
            first = min(first, kept[0][1] if kept else first)
        if first < float("inf"):
            self._sweep = loop.call_at(first + _KEEP_ALIVE_S, self._close_idle)


def _give_up_early(connected: socket.socket) -> None:
    """Let the kernel discard what the other side does not acknowledge, also when this process has ended."""
    # Only Linux has it. A kernel that refuses it must not keep payments from their rail.
    with contextlib.suppress(AttributeError, OSError):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)


def _hand_over(place: _Place, connection: HttpConnection) -> bool:
    """Give a connection to the request that has waited longest; False when none waits."""
    while place.waiting:
        turn = place.waiting.popleft()
        if not turn.done():
            turn.set_result(connection)
            return True
    return False


def _free(place: _Place) -> None:
    """Let the request that has waited longest make a connection in place of one that is gone."""
    while place.waiting:
        turn = place.waiting.popleft()
        if not turn.done():
            turn.set_result(None)
            return
    place.taken -= 1
