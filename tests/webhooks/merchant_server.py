"""A merchant's server that records its requests and gives scripted responses."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from standardwebhooks import Webhook


@dataclass
class MerchantServer:
    url: str = ""
    answers: list[web.Response] = field(default_factory=list)
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    arrived: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    hold: asyncio.Event | None = None
    challenges: list[str] = field(default_factory=list)
    answers_challenges: bool = True
    echoes: bool = False

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if (challenge := _challenge(body)) is not None and self.answers_challenges:
            self.challenges.append(challenge)
            return web.json_response({"challenge": challenge})
        self.received.append((dict(request.headers), body))
        self.arrived.put_nowait(request.headers["webhook-id"])
        if self.hold is not None:
            await self.hold.wait()
        if self.echoes:
            return web.Response(body=body)
        return self.answers.pop(0) if self.answers else web.Response(status=204)

    def verified(self, secret: str) -> list[dict]:
        return [Webhook(secret).verify(body, headers) for headers, body in self.received]


def _challenge(body: bytes) -> str | None:
    event = json.loads(body)
    return event["data"]["object"]["challenge"] if event.get("type") == "endpoint.verification" else None


@asynccontextmanager
async def merchant_server() -> AsyncGenerator[MerchantServer]:
    server = MerchantServer()
    app = web.Application()
    app.router.add_post("/hook", server.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield server
    finally:
        await runner.cleanup()
