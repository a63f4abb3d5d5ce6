"""Runs an application for one request and keeps what it answers, until somebody decides to send it."""

import asyncio

from synccash.middleware.refusal import App, Message, Receive, Scope, Send


class Captured:
    """Live: the answer of one run. Beyond `cap` bytes it is not kept but sent on as it comes."""

    __slots__ = ("_cap", "_send", "body", "headers", "overflowed", "status")

    def __init__(self, send: Send, cap: int) -> None:
        self._send = send
        self._cap = cap
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.overflowed = False

    async def take(self, message: Message) -> None:
        """The `send` that the application sees."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = list(message.get("headers", ()))
            return
        if self.overflowed or message["type"] != "http.response.body":
            await self._send(message)
            return
        self.body += message.get("body", b"")
        if len(self.body) > self._cap:
            self.overflowed = True
            more = message.get("more_body", False)
            await self._send({"type": "http.response.start", "status": self.status, "headers": self.headers})
            await self._send({"type": "http.response.body", "body": bytes(self.body), "more_body": more})
            self.body.clear()

    def header(self, name: bytes) -> bytes | None:
        """The first header of that name, which is given in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)


def given(body: bytes) -> Receive:
    """A `receive` that gives the body once, and afterwards never hears that the client hung up."""
    left: list[bytes] = [body]

    async def receive() -> Message:
        if not left:
            await asyncio.get_running_loop().create_future()
        return {"type": "http.request", "body": left.pop(), "more_body": False}

    return receive


async def run(app: App, scope: Scope, body: bytes, send: Send, cap: int) -> Captured:
    """Run the application on a body that was read, and keep its answer."""
    captured = Captured(send, cap)
    await app(scope, given(body), captured.take)
    return captured
