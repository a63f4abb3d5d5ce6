"""What every process does first: wait until the database has the schema of this version."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from synccash.middleware.refusal import App, Receive, Refusal, Scope, Send
from synccash.payments.errors import StoreUnavailableError
from synccash.processes.assembly.wiring import FIRST_LOOK_S
from synccash.settings.secret import Secret
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.errors import OTHER_SCHEMA, SchemaNotReadyError
from synccash.stores.postgres.pool import connect
from synccash.stores.postgres.schema.schema_version import schema_problem

log = structlog.get_logger("synccash")
T = TypeVar("T")

LOOK_EVERY_S = 1.0


async def entered(stack: contextlib.AsyncExitStack, parts: AbstractAsyncContextManager[T]) -> T:
    """Return the started parts of a process, which the stack closes.

    Raises SchemaNotReadyError where they find a schema of another version.
    """
    try:
        return await stack.enter_async_context(parts)
    except OTHER_SCHEMA as error:
        raise SchemaNotReadyError(str(error)) from error


class WaitingServer(Protocol):
    """A server that runs while the process waits."""

    async def answer(self) -> None: ...
    def stop(self) -> None: ...


ServerOf = Callable[[App], WaitingServer]


async def schema_is_ready(database_url: Secret | str, server_of: ServerOf | None) -> bool:
    """Wait until the database has the schema of this version. Returns False when a signal ended the wait.

    `server_of` makes the server that meanwhile answers `/health/live` with 200 and anything else with 503;
    None for a process without a port. An unreachable PostgreSQL does not hold up the start: the process says
    at `/health/ready` that it is unavailable.
    """
    pool = await connect(database_url, min_size=0, max_size=1)
    try:
        database = Database(pool)
        problem = await _look(database)
        return problem is None or await _wait(database, problem, server_of)
    finally:
        await pool.close()


async def _look(database: Database, unreachable: str | None = None) -> str | None:
    try:
        async with asyncio.timeout(FIRST_LOOK_S):
            return await schema_problem(database)
    except (TimeoutError, StoreUnavailableError):
        return unreachable


async def _wait(database: Database, problem: str, server_of: ServerOf | None) -> bool:
    stopped = asyncio.Event()
    waiting = _WaitingApp(problem)
    log.warning("schema_not_ready", detail=problem)
    with _stop_signals(stopped.set):
        async with _serving(server_of and server_of(waiting)):
            while not await _stops_within(stopped, LOOK_EVERY_S):
                found = await _look(database, unreachable=waiting.problem)
                if found is None:
                    log.info("schema_ready")
                    return True
                if found != waiting.problem:
                    waiting.problem = found
                    log.warning("schema_not_ready", detail=found)
    return False


async def _stops_within(stopped: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopped.wait(), seconds)
    return stopped.is_set()


@contextlib.contextmanager
def _stop_signals(stop: Callable[[], None]) -> Generator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def _serving(server: WaitingServer | None) -> AsyncGenerator[None]:
    if server is None:
        yield
        return
    answering = asyncio.create_task(server.answer())
    try:
        yield
    finally:
        server.stop()
        await answering


class _WaitingApp:
    """Answers requests while the process waits: it lives, it is not ready, and it accepts nothing."""

    def __init__(self, problem: str) -> None:
        self.problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        match scope["path"]:
            case "/health/live":
                await respond(send, 200, {"status": "ok"})
            case "/health/ready":
                await respond(send, 503, not_ready("schema", self.problem))
            case _:
                # Imported here because a worker without a port needs no web framework.
                from synccash.api.problem import refuse

                await refuse(
                    scope,
                    send,
                    Refusal(
                        status=503,
                        code="service_unavailable",
                        detail=f"The service is not ready. {self.problem}.",
                        retryable=True,
                        retry_after_s=1.0,
                    ),
                )


def not_ready(part: str, detail: str) -> dict[str, Any]:
    """Return the body of `/health/ready` of a process that takes no work because of one part."""
    return {"status": "unavailable", "degraded": [part], "rails": {}, "warnings": {part: detail}}


async def respond(send: Send, status: int, body: object) -> None:
    """Send a response with a JSON body."""
    encoded = msgspec.json.encode(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(encoded)).encode())]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": encoded})
