"""HTTP requests to rails, with the evidence of what is known when one fails.

Every connector uses a Transport. It never repeats a request that may move money, follows no
redirect, takes no proxy or credentials from the environment, keeps no cookies, and never raises for what the
network does: that comes back as a TransportFailure with its evidence.
"""

import asyncio
import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote

import msgspec

from synccash.rails.http.http_connection import BODY_LIMIT, HttpConnection, RawResponse
from synccash.rails.http.http_pool import HttpPool, Origin
from synccash.rails.http.transport_fault import ExchangeError, TransportFault
from synccash.resilience.evidence import Evidence
from synccash.settings.secret import Secret, revealed

__all__ = ["BODY_LIMIT", "Exchange", "Transport", "TransportFailure", "TransportFault", "decode_object"]

_READING_METHODS = frozenset({"GET"})
_URL = re.compile(r"(https?://[^/?#]+)(/?[^#]*)(?:#.*)?", re.IGNORECASE | re.DOTALL)
_PLAIN = re.compile(r"[!-~]+")
_FIRST_LINES = "User-Agent: synccash\r\nAccept: application/json\r\nAccept-Encoding: gzip, deflate"
_CODINGS = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


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


class Transport:
    """Sends requests over one pool of connections for all rails of a process. Belongs to the event loop of
    its first use."""

    def __init__(self) -> None:
        self._pool = HttpPool()
        self._origins: dict[str, Origin] = {}
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
        A header that holds a credential is given as a Secret, which is revealed for the connection only.
        """
        began = time.monotonic()
        if self._closed or timeout_s <= 0:
            fault = TransportFault.CLOSED if self._closed else TransportFault.TIMEOUT
            return TransportFailure(evidence=Evidence.NOT_SENT, fault=fault, latency_s=0.0)
        sending = _Sending(method, began + timeout_s, connect_timeout_s)
        try:
            origin, target = self._address(url)
            body = data if json is None else msgspec.json.encode(json)
            labelled = headers if json is None else {**headers, "Content-Type": "application/json"}
            request = _written(method, origin, target, labelled, body)
            response = await sending.run(self._pool, origin, request)
            if 300 <= response.status < 400:
                raise ExchangeError(TransportFault.REDIRECTED)
            content = _decoded(response)
        except ExchangeError as error:
            # An error that follows the first byte says nothing about what the rail has done.
            evidence = Evidence.AMBIGUOUS if sending.may_have_left else Evidence.NOT_SENT
            took_s = time.monotonic() - began
            return TransportFailure(evidence=evidence, fault=error.fault, latency_s=took_s)
        return Exchange(
            status=response.status,
            headers=response.headers,
            body=content,
            latency_s=time.monotonic() - began,
        )

    async def aclose(self) -> None:
        """Close every connection. Later requests return NOT_SENT."""
        self._closed = True
        await self._pool.aclose()

    def _address(self, url: str) -> tuple[Origin, str]:
        """Return where a URL leads, and the target of the request. Raises ExchangeError for no URL."""
        match = _URL.fullmatch(url)
        if match is None:
            raise ExchangeError(TransportFault.BAD_URL)
        origin = self._origins.get(match[1])
        if origin is None:
            try:
                origin = self._origins[match[1]] = Origin.of(match[1])
            except ValueError as error:
                raise ExchangeError(TransportFault.BAD_URL) from error
        target = match[2] if match[2].startswith("/") else f"/{match[2]}"
        return origin, target if _PLAIN.fullmatch(target) else quote(target, safe="/?%&=:+,;@!$'()*~[]")


@dataclass(slots=True)
class _Sending:
    """One request on its way. `may_have_left`: it was given to a connection."""

    method: str
    ends_at: float
    connect_timeout_s: float
    may_have_left: bool = False

    async def run(self, pool: HttpPool, origin: Origin, request: bytes) -> RawResponse:
        """Send the request once. Raises ExchangeError.

        A request that only reads is sent again when its pooled connection was closed before any answer.
        """
        connection = await self._pooled(pool, origin)
        if connection is not None:
            try:
                return await self._exchange(pool, origin, connection, request)
            except ExchangeError as error:
                lost = error.fault is TransportFault.CONNECTION_LOST and not connection.has_received
                if not lost or self.method not in _READING_METHODS:
                    raise
        return await self._exchange(pool, origin, await self._connected(pool, origin), request)

    async def _pooled(self, pool: HttpPool, origin: Origin) -> HttpConnection | None:
        if self.method not in _READING_METHODS:
            # Two turns of the event loop notice pooled connections that the rail has closed. A send on such
            # a connection would be ambiguous, and a fresh connection avoids that.
            for _ in range(2):
                await asyncio.sleep(0)
        return pool.take_idle(origin)

    async def _connected(self, pool: HttpPool, origin: Origin) -> HttpConnection:
        left_s = self.ends_at - time.monotonic()
        try:
            async with asyncio.timeout(min(left_s, self.connect_timeout_s)):
                return await pool.connect(origin)
        except TimeoutError as error:
            is_last = left_s <= self.connect_timeout_s
            fault = TransportFault.TIMEOUT if is_last else TransportFault.CONNECT_TIMEOUT
            raise ExchangeError(fault) from error

    async def _exchange(
        self, pool: HttpPool, origin: Origin, connection: HttpConnection, request: bytes
    ) -> RawResponse:
        try:
            left_s = self.ends_at - time.monotonic()
            # Nothing is written then: the other side closed the connection, or connecting took all the time.
            if not connection.reusable or left_s <= 0:
                raise ExchangeError(TransportFault.TIMEOUT if left_s <= 0 else TransportFault.CONNECTION_LOST)
            self.may_have_left = True
            return await connection.exchange(request, left_s)
        finally:
            pool.give_back(origin, connection)


def _written(
    method: str, origin: Origin, target: str, headers: Mapping[str, str | Secret], body: bytes | None
) -> bytes:
    """Return a request as bytes. Raises ValueError for a header that would end its line."""
    lines = [f"{method} {target} HTTP/1.1\r\nHost: {origin.host_header}\r\n{_FIRST_LINES}"]
    if origin.authorization is not None and "Authorization" not in headers:
        lines.append(f"Authorization: {origin.authorization}")
    for name, value in headers.items():
        text = revealed(value)
        if "\r" in text or "\n" in text or "\0" in text:
            raise ValueError(f"the value of the header {name} has a line break")
        lines.append(f"{name}: {text}")
    if body is not None or method not in _READING_METHODS:
        lines.append(f"Content-Length: {len(body or b'')}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def _decoded(response: RawResponse) -> bytes:
    """Return the body without its content coding. Raises ExchangeError."""
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("identity", "") or not response.body:
        return bytes(response.body)
    if coding not in _CODINGS:
        raise ExchangeError(TransportFault.UNREADABLE)
    try:
        decoder = zlib.decompressobj(_CODINGS[coding])
        content = decoder.decompress(response.body, BODY_LIMIT + 1)
    except zlib.error as error:
        raise ExchangeError(TransportFault.UNREADABLE) from error
    if len(content) > BODY_LIMIT:
        raise ExchangeError(TransportFault.TOO_LARGE)
    if not decoder.eof:
        raise ExchangeError(TransportFault.UNREADABLE)
    return content
