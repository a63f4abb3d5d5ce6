"""The application behind the server that the service uses, over real sockets."""

import asyncio
import contextlib

import uvicorn

from synccash.processes.http_server import server_config


@contextlib.asynccontextmanager
async def listening(app, timeout_s=10.0):
    """Serve until the block is left; gives the port."""
    config = server_config(app, host="127.0.0.1", port=0, timeout_s=timeout_s, grace_s=1)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving
