"""Runs an application for one request and holds back its response until the middleware sends it."""

import asyncio

from synccash.middleware.refusal import App, Message, Receive, Scope, Send


class CapturedResponse:
    """Buffers the response of one request. A body above `max_bytes` is sent on as it comes instead."""

    __slots__ = ("_max_bytes", "_send", "body", "headers", "overflowed", "status")

    def __init__(self, send: Send, max_bytes: int) -> None:
        self._send = send
        self._max_bytes = max_bytes
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.overflowed = False

    async def collect(self, message: Message) -> None:
        """Take a message of the application: this is the `send` that it is called with."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = list(message.get("headers", ()))
            return
        if self.overflowed or message["type"] != "http.response.body":
            await self._send(message)
            return
        self.body += message.get("body", b"")
        if len(self.body) > self._max_bytes:
            self.overflowed = True
            more = message.get("more_body", False)
            await self._send({"type": "http.response.start", "status": self.status, "headers": self.headers})
            await self._send({"type": "http.response.body", "body": bytes(self.body), "more_body": more})
            self.body.clear()

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


async def run(app: App, scope: Scope, body: bytes, send: Send, max_bytes: int) -> CapturedResponse:
    """Run the application on a body that was read, and return its response."""
    response = CapturedResponse(send, max_bytes)
    await app(scope, receive_body(body), response.collect)
    return response
