"""One HTTP/1.1 connection to a rail: writes one request at a time, and reads its response."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httptools

from synccash.rails.http.transport_fault import ExchangeError, TransportFault

BODY_LIMIT = 1 << 20
"""The maximum size of an answer, in bytes."""

_HEAD_LIMIT = 32_768
# What headers, chunk headers and trailers may add to a body.
_RECEIVED_LIMIT = 4 * BODY_LIMIT
_WITHOUT_BODY = frozenset({204, 304})


_DISCARD = struct.pack("ii", 1, 0)
"""SO_LINGER on, for 0 seconds: closing resets the connection (tcp(7), socket(7))."""


class ResponseHeaders(Mapping[str, str]):
    """The headers of a response, by name in any case. Of several with one name it has the first."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def add(self, name: bytes, value: bytes) -> None:
        """Take a header as it came."""
        self._values.setdefault(name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape"))

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(slots=True)
class RawResponse:
    """A response as it came, with its content coding."""

    status: int = 0
    headers: ResponseHeaders = field(default_factory=ResponseHeaders, repr=False)
    body: bytearray = field(default_factory=bytearray, repr=False)


class HttpConnection(asyncio.Protocol):
    """Live. `ended` is called once, when the connection is closed.

    The parser is llhttp's: a message whose end is not certain is an error. What comes while no request is
    under way closes the connection, so it cannot be taken for the response to a later request.
    """

    __slots__ = (
        "_answer",
        "_ended",
        "_head_complete",
        "_loop",
        "_parser",
        "_received",
        "_response",
        "_transport",
        "_until_end",
        "is_closed",
        "reusable",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, ended: "Callable[[HttpConnection], None]") -> None:
        self._loop = loop
        self._ended = ended
        self._transport: Any = None  # Of uvloop, whose transports are no asyncio.Transport.
        self._parser: Any = httptools.HttpResponseParser(self)
        # As lenient as most clients, for gateways that are not exact.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._answer: asyncio.Future[RawResponse] | None = None
        self._response = RawResponse()
        self._received = 0
        self._head_complete = self._until_end = False
        self.reusable, self.is_closed = True, False

    @property
    def has_received(self) -> bool:
        """Whether any byte of the present response has come."""
        return self._received > 0

    async def exchange(self, request: bytes, timeout_s: float) -> RawResponse:
        """Write a request and return its response. Cancelling it closes the connection.

        Raises ExchangeError.
        """
        answer = self._answer = self._loop.create_future()
        self._response, self._received = RawResponse(), 0
        self._head_complete = self._until_end = False
        timer = self._loop.call_later(timeout_s, self.fail, TransportFault.TIMEOUT)
        try:
            self._transport.write(request)
            return await answer
        except (OSError, RuntimeError) as error:
            # uvloop raises on a write to a closed transport.
            self.close()
            raise ExchangeError(TransportFault.CONNECTION_LOST) from error
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            timer.cancel()
            self._answer = None

    def fail(self, fault: TransportFault) -> None:
        """End the request under way, and close the connection."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ExchangeError(fault))
        self.close()

    def close(self) -> None:
        """Close the connection at once.

        What the other side has not received of a request under way is discarded. The kernel would go on to
        send it, after an interruption of the network too, and a rail might carry out what was given up.
        """
        self.reusable = False
        if self._transport is not None:
            if self._answer is not None:
                _discard_unsent(self._transport)
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection's transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read a part of the response."""
        if self._answer is None or self._answer.done():
            self.close()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.fail(TransportFault.UNREADABLE)
            return
        if not self._head_complete and self._received > _HEAD_LIMIT:
            self.fail(TransportFault.UNREADABLE)
        elif len(self._response.body) > BODY_LIMIT or self._received > _RECEIVED_LIMIT:
            self.fail(TransportFault.TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin a response. One that nobody waits for closes the connection."""
        self._head_complete = False
        if self._answer is None or self._answer.done():
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; ignore one of a trailer."""
        if not self._head_complete:
            self._response.headers.add(name, value)

    def on_headers_complete(self) -> None:
        """Note where the response ends."""
        response = self._response
        response.status = self._parser.get_status_code()
        self._head_complete = response.status >= 200
        if not self._head_complete:
            return
        has_length = "content-length" in response.headers or "transfer-encoding" in response.headers
        self._until_end = not has_length and response.status not in _WITHOUT_BODY

    def on_body(self, part: bytes) -> None:
        """Take a part of the body."""
        self._response.body += part

    def on_message_complete(self) -> None:
        """Give the response to its request. One of status 1xx precedes it."""
        if self._head_complete:
            self.reusable = self.reusable and self._parser.should_keep_alive()
            self._complete()
        # Whatever follows is no part of the response that was given.
        self._response = RawResponse()

    def eof_received(self) -> bool:
        """Close the connection, as its other side has done."""
        self._end(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner, and end the request under way."""
        self.is_closed = True
        self._end(exc)
        self._ended(self)

    def _end(self, error: Exception | None) -> None:
        self.reusable = False
        if self._head_complete and self._until_end and error is None:
            self._complete()
        elif self._answer is not None and not self._answer.done():
            broke_off = TransportFault.UNREADABLE if self._head_complete else TransportFault.CONNECTION_LOST
            self._answer.set_exception(ExchangeError(broke_off))

    def _complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            if len(self._response.body) > BODY_LIMIT:
                self.fail(TransportFault.TOO_LARGE)
            else:
                self._answer.set_result(self._response)


def _discard_unsent(transport: Any) -> None:
    # It may be closed already.
    with contextlib.suppress(OSError, AttributeError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD)
