"""HTTP requests to rails, with the evidence of what is known when one fails.

Every connector uses a Transport. It never repeats a request that may move money, follows no
redirect, takes no proxy or credentials from the environment, keeps no cookies, and never raises for what the
network does: that comes back as a TransportFailure with its evidence.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import msgspec
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, TraceConfig

from synccash.rails.system_lookups import SystemLookups
from synccash.resilience.evidence import Evidence
from synccash.settings.secret import Secret, revealed

BODY_LIMIT = 1 << 20
"""The maximum size of an answer, in bytes."""

_CONNECTIONS_PER_HOST = 100
# Shorter than the idle time-out of common gateways, so that a pooled connection is rarely one that they have
# just closed. When it is one all the same, a POST on it counts as ambiguous.
_KEEP_ALIVE_S = 15.0
_EXACT = float("inf")  # aiohttp rounds time-outs above its threshold up to whole seconds
_CHUNK = 64 * 1024
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class TransportFault(StrEnum):
    """Why there is no answer to read."""

    TIMEOUT = "timeout"
    """No answer, or not all of it, in time. The evidence says whether the request may have left."""
    CONNECT_TIMEOUT = "connect_timeout"
    """No connection in time, or no free one in the pool."""
    UNREACHABLE = "unreachable"
    """The name is unknown, or the connection is refused."""
    TLS = "tls"
    """The handshake or the certificate failed."""
    BAD_URL = "bad_url"
    CONNECTION_LOST = "connection_lost"
    UNREADABLE = "unreadable"
    """What came is not HTTP, or the body broke off."""
    TOO_LARGE = "too_large"
    """The answer is longer than BODY_LIMIT."""
    REDIRECTED = "redirected"
    """A 3xx answer. It is not followed, and the rail may have executed the request."""
    CLOSED = "closed"
    """The transport was closed before."""


def decode_object(body: bytes) -> dict[str, Any] | None:
    """Return a body where it is a JSON object, else None. Never raises."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return cast("dict[str, Any]", decoded) if isinstance(decoded, dict) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A complete response. `headers` can be read in any case; neither they nor the body are printed."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    latency_s: float

    def json_object(self) -> dict[str, Any] | None:
        """Return the body where it is a JSON object, else None. The content type is not trusted."""
        return decode_object(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportFailure:
    """No answer. `evidence` is NOT_SENT only where no byte of the request can have left, else AMBIGUOUS."""

    evidence: Evidence
    fault: TransportFault
    latency_s: float


@dataclass(slots=True)
class _RequestProgress:
    """Tracks how far one request got: its connection and its tries."""

    method: str
    connected: bool = False
    tries: int = 0

    async def once(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Let the library try a POST once.

        aiohttp 3.14 repeats only idempotent methods, and only on a pooled connection that was closed; for
        money this must hold whatever it learns to repeat later.
        """
        self.tries += 1
        if self.tries > 1 and self.method not in _SAFE_METHODS:
            raise aiohttp.ClientConnectionError("a request that may move money is not repeated")
        return await handler(request)


class Transport:
    """Sends requests over one pool of connections for all rails of a process. Belongs to the event loop of
    its first use."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._lookups = SystemLookups()
        self._closed = False

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str | Secret],
        timeout_s: float,
        connect_timeout_s: float = 2.0,
        json: object = None,
        data: bytes | None = None,
    ) -> Exchange | TransportFailure:
        """Send one request and read the whole answer within `timeout_s` (seconds, from now to the last byte).

        `json` is encoded and labelled as JSON; `data` goes out as it is, with the caller's Content-Type.
        A header that holds a credential is given as a Secret, which only the HTTP library gets to see.
        """
        progress = _RequestProgress(method)
        began = time.monotonic()
        if self._closed or timeout_s <= 0:
            fault = TransportFault.CLOSED if self._closed else TransportFault.TIMEOUT
            return TransportFailure(evidence=Evidence.NOT_SENT, fault=fault, latency_s=0.0)
        if method not in _SAFE_METHODS:
            await _detect_closed_connections()
        body = data if json is None else msgspec.json.encode(json)
        labelled = headers if json is None else {**headers, "Content-Type": "application/json"}
        limits = aiohttp.ClientTimeout(
            total=timeout_s, connect=min(connect_timeout_s, timeout_s), ceil_threshold=_EXACT
        )
        try:
            async with self._open().request(
                method,
                url,
                headers={name: revealed(value) for name, value in labelled.items()},
                data=body,
                timeout=limits,
                allow_redirects=False,
                middlewares=(progress.once,),
                trace_request_ctx=progress,
            ) as response:
                if 300 <= response.status < 400:
                    return _failed(progress, TransportFault.REDIRECTED, began)
                content = await _read(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return _failed(progress, _fault(error), began)
        if content is None:
            return _failed(progress, TransportFault.TOO_LARGE, began)
        return Exchange(
            status=response.status,
            headers=response.headers,
            body=content,
            latency_s=time.monotonic() - began,
        )

    async def aclose(self) -> None:
        """Close every connection. Later requests return NOT_SENT."""
        self._closed = True
        if self._session is not None:
            await self._lookups.close()
            await self._session.close()
            # Closed sockets leave the loop with its next turn.
            await asyncio.sleep(0)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # A limit for each host, none over all: a rail that hangs must not use up what the others need.
            # The resolver is explicit: as soon as aiodns is installed, aiohttp takes c-ares, which asks no
            # other source than `hosts` and DNS.
            connector = aiohttp.TCPConnector(
                limit=0,
                limit_per_host=_CONNECTIONS_PER_HOST,
                keepalive_timeout=_KEEP_ALIVE_S,
                resolver=self._lookups,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "synccash", "Accept": "application/json"},
                skip_auto_headers=("Content-Type",),
                trust_env=False,
                trace_configs=[_connection_trace()],
            )
        return self._session


async def _detect_closed_connections() -> None:
    """Yield to the event loop twice, so that it notices pooled connections that the rail has closed.

    A send on a closed connection would be ambiguous, and a fresh connection avoids that.
    """
    for _ in range(2):
        await asyncio.sleep(0)


def _connection_trace() -> TraceConfig:
    """Record when a connection exists: from then on bytes of the request may leave."""

    async def connected(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
        context.trace_request_ctx.connected = True

    config = TraceConfig()
    config.on_connection_create_end.append(connected)
    config.on_connection_reuseconn.append(connected)
    config.on_request_headers_sent.append(connected)
    return config


async def _read(response: ClientResponse) -> bytes | None:
    """Return the body, or None where it is longer than the limit."""
    content = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        content += chunk
        if len(content) > BODY_LIMIT:
            response.close()
            return None
    return bytes(content)


_BEFORE_SENDING = frozenset(
    {
        TransportFault.TIMEOUT,
        TransportFault.CONNECT_TIMEOUT,
        TransportFault.UNREACHABLE,
        TransportFault.TLS,
        TransportFault.BAD_URL,
    }
)


def _failed(progress: _RequestProgress, fault: TransportFault, began: float) -> TransportFailure:
    # NOT_SENT needs both: an error of a kind that precedes sending, and that there never was a connection.
    unsent = fault in _BEFORE_SENDING and not progress.connected
    return TransportFailure(
        evidence=Evidence.NOT_SENT if unsent else Evidence.AMBIGUOUS,
        fault=fault,
        latency_s=time.monotonic() - began,
    )


_FAULTS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], TransportFault], ...] = (
    (aiohttp.ConnectionTimeoutError, TransportFault.CONNECT_TIMEOUT),
    ((aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError), TransportFault.TLS),
    (aiohttp.ClientConnectorError, TransportFault.UNREACHABLE),
    ((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError), TransportFault.BAD_URL),
    (TimeoutError, TransportFault.TIMEOUT),
    ((aiohttp.ClientPayloadError, aiohttp.ClientResponseError), TransportFault.UNREADABLE),
)


def _fault(error: BaseException) -> TransportFault:
    """Classify an error by the first row that matches: aiohttp's classes overlap."""
    for kinds, fault in _FAULTS:
        if isinstance(error, kinds):
            return fault
    return TransportFault.CONNECTION_LOST
