"""Reads bodies whole before anything behind it sees the request: not too large, and not too slowly."""

import asyncio
from dataclasses import dataclass, field

from synccash.middleware.refusal import App, Message, Receive, Refusal, Refuse, Scope, Send

BODY = "synccash.body"
"""Where a request's scope holds its whole body, once a layer has read it."""

_CLOSE = {"Connection": "close"}


@dataclass(slots=True, kw_only=True)
class WholeBody:
    """Live: one per process.

    A body has at most `most` bytes and `within_s` seconds to arrive. All bodies that are still arriving hold
    at most `together` bytes: beyond that the one that has taken longest is given up, so whoever sends slowly
    on many connections loses his own. Headers come first: put it behind what decides by them alone.
    """

    app: App
    refuse: Refuse
    most: int = 65_536
    within_s: float = 10.0
    together: int = 64 * 1_048_576
    _arriving: dict[asyncio.Timeout, None] = field(default_factory=dict[asyncio.Timeout, None])
    _held: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; a client who hangs up meanwhile is forgotten."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            if _announced(scope) > self.most:
                raise ValueError
            body = await self._read(receive)
        except ValueError:
            await self.refuse(scope, send, self._too_large())
        except TimeoutError:
            await self.refuse(scope, send, _TOO_SLOW)
        else:
            if body is not None:
                scope[BODY] = body
                await self.app(scope, _Replayed(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The body; None where the client hung up first. Raises ValueError and TimeoutError."""
        body = bytearray()
        try:
            async with asyncio.timeout(self.within_s) as limit:
                self._arriving[limit] = None
                try:
                    while True:
                        message = await receive()
                        if message["type"] == "http.disconnect":
                            return None
                        part = message.get("body", b"")
                        body += part
                        self._held += len(part)
                        if len(body) > self.most:
                            raise ValueError
                        if not message.get("more_body", False):
                            return bytes(body)
                        self._make_room()
                finally:
                    self._arriving.pop(limit, None)
        finally:
            self._held -= len(body)

    def _make_room(self) -> None:
        if self._held > self.together and self._arriving:
            slowest = next(iter(self._arriving))
            del self._arriving[slowest]
            slowest.reschedule(asyncio.get_running_loop().time())

    def _too_large(self) -> Refusal:
        return Refusal(
            status=413,
            code="body_too_large",
            detail=f"The request body is larger than the maximum of {self.most} bytes.",
            headers=_CLOSE,
        )


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes | None:
    """Return the whole body, which is read unless a layer before has done so, and keep it in the scope.

    None where the client hung up first. Raises ValueError beyond `max_bytes`.
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


class _Replayed:
    """Gives the body that was read, then what the connection says."""

    __slots__ = ("_body", "_receive")

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _announced(scope: Scope) -> int:
    """The length that the caller announces; 0 where he does not."""
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
