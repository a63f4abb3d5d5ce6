"""Reads the whole body of a request before the application sees it, within limits of size and time."""

import asyncio
from dataclasses import dataclass, field

from synccash.middleware.refusal import App, Message, Receive, Refusal, Refuse, Scope, Send

BODY = "synccash.body"
"""Where a request's scope holds its whole body, once a layer has read it."""

_CLOSE = {"Connection": "close"}


@dataclass(slots=True, kw_only=True)
class WholeBody:
    """Buffers the whole body of a request before it calls the application. One per process.

    A body has at most `max_bytes` and must arrive within `timeout_s` seconds. All bodies that are still
    arriving hold at most `max_total_bytes`: beyond that the oldest one is refused, so a client that sends
    slowly on many connections loses its own requests. Place it behind layers that decide by headers alone.
    """

    app: App
    refuse: Refuse
    max_bytes: int = 65_536
    timeout_s: float = 10.0
    max_total_bytes: int = 64 * 1_048_576
    _arriving: dict[asyncio.Timeout, None] = field(default_factory=dict[asyncio.Timeout, None])
    _held: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Nothing is answered when the client hangs up before the body has arrived."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            if _content_length(scope) > self.max_bytes:
                raise ValueError
            body = await self._read(receive)
        except ValueError:
            await self.refuse(scope, send, self._too_large())
        except TimeoutError:
            await self.refuse(scope, send, _TOO_SLOW)
        else:
            if body is not None:
                scope[BODY] = body
                await self.app(scope, BufferedReceive(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """Return the body; None when the client hung up first. Raises ValueError and TimeoutError."""
        body = bytearray()
        try:
            async with asyncio.timeout(None) as limit:
                self._arriving[limit] = None
                # Most bodies are there by now: only one that has to be waited for needs a timer.
                starting = asyncio.get_running_loop().call_soon(self._start_timer, limit)
                try:
                    while True:
                        message = await receive()
                        if message["type"] == "http.disconnect":
                            return None
                        part = message.get("body", b"")
                        body += part
                        self._held += len(part)
                        if len(body) > self.max_bytes:
                            raise ValueError
                        if not message.get("more_body", False):
                            return bytes(body)
                        self._refuse_oldest()
                finally:
                    starting.cancel()
                    self._arriving.pop(limit, None)
        finally:
            self._held -= len(body)

    def _start_timer(self, limit: asyncio.Timeout) -> None:
        if limit.when() is None:  # it may have been refused in this turn of the event loop
            limit.reschedule(asyncio.get_running_loop().time() + self.timeout_s)

    def _refuse_oldest(self) -> None:
        if self._held > self.max_total_bytes and self._arriving:
            oldest = next(iter(self._arriving))
            del self._arriving[oldest]
            if not oldest.expired():  # its own time may have ended in this turn of the event loop
                oldest.reschedule(asyncio.get_running_loop().time())

    def _too_large(self) -> Refusal:
        return Refusal(
            status=413,
            code="body_too_large",
            detail=f"The request body is larger than the maximum of {self.max_bytes} bytes.",
            headers=_CLOSE,
        )


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes | None:
    """Return the whole body and keep it in the scope; it is read unless an earlier layer has done so.

    None when the client hung up first. Raises ValueError beyond `max_bytes`.
    """
    read: bytes | None = scope.get(BODY)
    if read is None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
            if not message.get("more_body", False):
                break
        read = scope[BODY] = bytes(body)
    elif len(read) > max_bytes:
        raise _too_large(max_bytes)
    return read


def _too_large(max_bytes: int) -> ValueError:
    return ValueError(f"The request body is larger than the maximum of {max_bytes} bytes.")


class BufferedReceive:
    """A `receive` that gives the body that was read, and then the messages of the connection."""

    __slots__ = ("_body", "_receive")

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _content_length(scope: Scope) -> int:
    """Return the Content-Length; 0 when there is none."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


_TOO_SLOW = Refusal(
    status=408,
    code="body_too_slow",
    detail="The request body did not arrive in time; nothing was done. Send the request again.",
    retryable=True,
    headers=_CLOSE,
)
