"""Runs an application for one request and holds back its response until the middleware sends it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from synccash.middleware.refusal import App, Message, Receive, Scope, Send


class CapturedResponse:
    """Buffers the response of one request. A body above `max_bytes` is sent on as it comes instead.

    `completed` is called once, when the last part of the body has been taken. The application may go on
    working after that.
    """

    __slots__ = ("_completed", "_max_bytes", "_send", "body", "ended", "headers", "overflowed", "status")

    def __init__(
        self,
        send: Send,
        max_bytes: int,
        completed: "Callable[[CapturedResponse], Awaitable[None]] | None" = None,
    ) -> None:
        self._send = send
        self._max_bytes = max_bytes
        self._completed = completed
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.overflowed = False
        self.ended = False

    async def collect(self, message: Message) -> None:
        """Take a message of the application: this is the `send` that it is called with."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = list(message.get("headers", ()))
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        if self.ended or not self.status:
            raise RuntimeError("the application sent a body outside of its response")
        more = message.get("more_body", False)
        self.ended = not more
        if self.overflowed:
            await self._forward(message)
        else:
            self.body += message.get("body", b"")
            if len(self.body) > self._max_bytes:
                await self._overflow(more=more)
        if self.ended and self._completed is not None:
            await self._completed(self)

    async def _overflow(self, *, more: bool) -> None:
        self.overflowed = True
        await self._forward({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await self._forward({"type": "http.response.body", "body": bytes(self.body), "more_body": more})
        self.body.clear()

    async def _forward(self, message: Message) -> None:
        """Send a part of the response. A server may report a client that has hung up with an OSError: the
        request goes on without it."""
        with contextlib.suppress(OSError):
            await self._send(message)

    def header(self, name: bytes) -> bytes | None:
        """Return the first header with this name, which is given in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    async def deliver(self) -> None:
        """Send the response that was held back."""
        await self._send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await self._send({"type": "http.response.body", "body": bytes(self.body)})


def receive_body(body: bytes) -> Receive:
    """Return a `receive` that gives this body once. It never reports that the client hung up, because the
    request must go on without its client."""
    pending: list[bytes] = [body]

    async def receive() -> Message:
        if not pending:
            await asyncio.get_running_loop().create_future()
        return {"type": "http.request", "body": pending.pop(), "more_body": False}

    return receive


async def run(app: App, scope: Scope, body: bytes, response: CapturedResponse) -> None:
    """Run the application on a body that was read. Raises RuntimeError if its response is not complete."""
    extensions = scope.get("extensions")
    if extensions:
        # Other ways to send a response, such as a path to a file, would go past the buffer.
        scope["extensions"] = {
            name: value for name, value in extensions.items() if not name.startswith("http.response.")
        }
    await app(scope, receive_body(body), response.collect)
    if not response.ended:
        raise RuntimeError("the application returned before its response was complete")
