"""A bare stand-in for a rail: `python -m bench.payments.sink sandbox`, with its addresses in the environment.

It accepts each payment, sends its callback 0.3 s later as the sandbox does, and answers that it succeeded.
"""

import asyncio
import json
import os
from typing import Any

import aiohttp
import uvicorn

_CALLBACK_S = 0.3
_STATUS = b'{"status":"SUCCESSFUL","amount":"25","currency":"GHS"}'


class Sink:
    """The ASGI application."""

    def __init__(self, api_url: str) -> None:
        self._api_url = api_url
        self._http: aiohttp.ClientSession | None = None
        self._tasks = set[asyncio.Task[None]]()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        given = await receive()
        asked = scope["path"].startswith("/status")
        body = _STATUS if asked else b""
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200 if asked else 202, "headers": [length]})
        await send({"type": "http.response.body", "body": body})
        if scope["path"] == "/pay":
            asyncio.get_running_loop().call_later(_CALLBACK_S, self._begin, json.loads(given["body"])["cb"])

    def _begin(self, token: str) -> None:
        task = asyncio.get_running_loop().create_task(self._call_back(token))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call_back(self, token: str) -> None:
        if self._http is None:
            self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        url = f"{self._api_url}/callbacks/{token}"
        async with self._http.post(url, data=b'{"status":"SUCCESSFUL"}') as reply:
            await reply.read()


if __name__ == "__main__":
    uvicorn.run(
        Sink(os.environ["SINK_API_URL"]),
        host="127.0.0.1",
        port=int(os.environ["SINK_PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="critical",
        timeout_keep_alive=900,
        lifespan="off",
    )
