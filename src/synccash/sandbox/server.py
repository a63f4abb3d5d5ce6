"""Starts the sandbox: a main port for everything, and one port each for every rail and the fraud service."""

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import cast

import uvloop
from aiohttp import web

from synccash.sandbox.callbacks import CallbackSender
from synccash.sandbox.control import problem, serve_control
from synccash.sandbox.faults import Faults
from synccash.sandbox.fraud import NAME as FRAUD
from synccash.sandbox.fraud import FraudSimulator
from synccash.sandbox.journal import Journal, JournalError
from synccash.sandbox.ports import Port
from synccash.sandbox.rail import Clock, Rail, Timings
from synccash.sandbox.registry import WIRES
from synccash.sandbox.wire import Call, Reply

DEFAULT_PORT = 8100
DEFAULT_DATA_DIR = ".synccash/sandbox"


class SandboxError(Exception):
    """The sandbox cannot start; the message has the remedy."""


class Sandbox:
    """A running sandbox. `url` is the URL of the main port, `rail_urls` has those of the rails' own ports."""

    def __init__(
        self, rails: Mapping[str, Rail], fraud: FraudSimulator, main: Port, own: Mapping[str, Port]
    ) -> None:
        self.rails = rails
        self.fraud = fraud
        self.url = main.url
        self.rail_urls = {name: own[name].url for name in rails}
        self.fraud_url = own[FRAUD].url
        self._main = main
        self._own = own
        self._main_http = _http(self._serve_main)
        served: dict[str, Rail | FraudSimulator] = {**rails, FRAUD: fraud}
        self._own_http = {name: _http(partial(_serve_rail, rail, "")) for name, rail in served.items()}

    async def start(self) -> None:
        """Restore the state from the journals and open the ports."""
        for rail in self.rails.values():
            rail.start()
            await self._obey_down(rail)
        self.fraud.start()
        await self._open_or_close(FRAUD, down=self.fraud.faults.down)
        await self._main.open(_protocol(self._main_http))

    async def stop(self) -> None:
        """Close the ports and end every connection."""
        for port in (self._main, *self._own.values()):
            port.release()
        for http in (self._main_http, *self._own_http.values()):
            _cut_connections(http)
            await http.shutdown(timeout=0.1)
        for rail in self.rails.values():
            rail.stop()

    async def set_faults(self, name: str, faults: Faults) -> None:
        """Change the standing faults of a rail; `down` closes or opens its own port. Raises OSError."""
        self.rails[name].set_faults(faults)
        await self._obey_down(self.rails[name])

    async def _obey_down(self, rail: Rail) -> None:
        """Open or close a rail's own port according to its fault `down`."""
        await self._open_or_close(rail.wire.rail_id, down=rail.faults.down)

    async def _open_or_close(self, name: str, *, down: bool) -> None:
        if not down:
            await self._own[name].open(_protocol(self._own_http[name]))
            return
        self._own[name].close()
        _cut_connections(self._own_http[name])

    async def _serve_main(self, request: web.BaseRequest) -> web.StreamResponse:
        first, _, rest = request.path.removeprefix("/").partition("/")
        if first in self.rails:
            return await _serve_rail(self.rails[first], f"/{first}", request)
        if first == FRAUD:
            return await _serve_rail(self.fraud, f"/{FRAUD}", request)
        if first == "control" and rest:
            try:
                reply = await self._control(request.method, rest, await request.read())
            except OSError as error:
                reply = problem(409, f"The rail's own port cannot be opened again: {error}.")
            return _response(reply)
        if first in ("", "control", "health"):
            return _response(
                Reply.json(200, {"status": "ok", "rails": self.rail_urls, FRAUD: self.fraud_url})
            )
        known = ", ".join(f"/{name}/…" for name in (*self.rails, FRAUD, "control"))
        return _response(problem(404, f"Nothing is at {request.path}; there are: {known}."))

    async def _control(self, method: str, path: str, body: bytes) -> Reply:
        first, _, resource = path.partition("/")
        if first == FRAUD:
            reply = self.fraud.control(resource, method, body)
        else:
            reply = await serve_control(self.rails, method, f"/{path}", body, self._obey_down)
            if path == "reset" and method == "POST":
                self.fraud.reset()
        await self._open_or_close(FRAUD, down=self.fraud.faults.down)
        return reply


async def _serve_rail(
    rail: Rail | FraudSimulator, prefix: str, request: web.BaseRequest
) -> web.StreamResponse:
    path = request.path.removeprefix(prefix)
    call = Call(request.method, path, request.headers, await request.read(), request.query)
    reply = await rail.serve(call)
    if reply is not None:
        return _response(reply)
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # is never sent: the connection is closed


def _response(reply: Reply) -> web.Response:
    response = web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))
    if reply.content_type:
        response.headers["Content-Type"] = reply.content_type
    return response


def _http(handler: Callable[[web.BaseRequest], object]) -> web.Server:
    return web.Server(handler, access_log=None)  # pyright: ignore[reportArgumentType]


def _protocol(http: web.Server) -> Callable[[], asyncio.Protocol]:
    return cast("Callable[[], asyncio.Protocol]", http)


def _cut_connections(http: web.Server) -> None:
    for connection in http.connections:
        transport = connection.transport
        if transport is not None:
            transport.abort()


@contextlib.contextmanager
def _owned(data_dir: Path) -> Generator[None]:
    """Lock the data folder. The kernel releases the lock when the process ends for any reason."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(data_dir / "sandbox.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SandboxError(
            f"another sandbox uses {data_dir}; stop it, or choose another folder with --data-dir"
        ) from None
    else:
        yield
    finally:
        os.close(descriptor)


def _bind(stack: contextlib.ExitStack, host: str, number: int, option: str) -> Port:
    try:
        port = Port(host, number)
    except OSError as error:
        raise SandboxError(
            f"port {number} of {host} cannot be used ({error.strerror}); choose another with {option}"
        ) from error
    stack.callback(port.release)
    return port


@contextlib.asynccontextmanager
async def run_sandbox(
    *,
    data_dir: Path,
    port: int = 0,
    rail_ports: Mapping[str, int] | None = None,
    host: str = "127.0.0.1",
    clock: Clock = time.time,
    rng: Random | None = None,
    timings: Timings | None = None,
) -> AsyncGenerator[Sandbox]:
    """Run the sandbox inside this event loop until the block ends.

    `port` 0 selects free ports; else rails without a port in `rail_ports` use those after `port`, in the
    order of the registry. `clock` returns Unix seconds. Restores the state of an earlier run from `data_dir`.

    Raises:
        SandboxError: if the folder or a port is in use, or the folder's journal cannot be read.
    """
    chosen = rail_ports or {}
    dice = rng or Random()  # noqa: S311  # faults and test credentials, nothing secret
    with contextlib.ExitStack() as stack:
        stack.enter_context(_owned(data_dir))
        main = _bind(stack, host, port, "--port")
        callback_sender = CallbackSender()
        own: dict[str, Port] = {}
        rails: dict[str, Rail] = {}
        for offset, (name, make_wire) in enumerate(WIRES.items(), start=1):
            number = chosen.get(name, port and port + offset)
            own[name] = _bind(stack, host, number, "--port")
            journal = Journal(data_dir / f"{name}.jsonl")
            stack.callback(journal.close)
            rails[name] = Rail(
                make_wire(clock, dice),
                journal,
                callback_sender,
                clock=clock,
                rng=dice,
                timings=timings or Timings(),
            )
        own[FRAUD] = _bind(stack, host, port and port + len(WIRES) + 1, "--port")
        fraud_journal = Journal(data_dir / f"{FRAUD}.jsonl")
        stack.callback(fraud_journal.close)
        sandbox = Sandbox(rails, FraudSimulator(fraud_journal, dice), main, own)
        try:
            await _start(sandbox)
            yield sandbox
        finally:
            await sandbox.stop()
            await callback_sender.close()


async def _start(sandbox: Sandbox) -> None:
    try:
        await sandbox.start()
    except (JournalError, OSError) as error:
        raise SandboxError(f"the sandbox cannot start: {error}") from error


async def serve(*, port: int, data_dir: Path, host: str = "127.0.0.1", seed: int | None = None) -> None:
    """Run the sandbox until SIGINT or SIGTERM. Prints each URL on a line of its own once it is reachable.

    Raises:
        SandboxError: see `run_sandbox`.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    dice = Random(seed)  # noqa: S311  # faults and test credentials, nothing secret
    async with run_sandbox(data_dir=data_dir, port=port, host=host, rng=dice) as sandbox:
        print(f"sandbox {sandbox.url}", flush=True)
        for name, url in sandbox.rail_urls.items():
            print(f"{name} {url}", flush=True)
        print(f"{FRAUD} {sandbox.fraud_url}", flush=True)
        await stopped.wait()


def main_from_cli(
    *,
    port: int = DEFAULT_PORT,
    data_dir: str | Path = DEFAULT_DATA_DIR,
    host: str = "127.0.0.1",
    seed: int | None = None,
) -> int:
    """Run the sandbox in this process until it is stopped; return the exit code."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(port=port, data_dir=Path(data_dir), host=host, seed=seed))
    except SandboxError as error:
        print(f"synccash sandbox: {error}", flush=True)
        return 1
    return 0


def main(argv: Sequence[str]) -> int:
    """Parse the command line, run the sandbox and return the exit code."""
    parser = argparse.ArgumentParser(prog="synccash sandbox", description="Only the simulated rails.")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes free ports")
    parser.add_argument("--data-dir", default=DEFAULT_DATA_DIR)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--seed", type=int, default=None, help="makes chance repeatable")
    arguments = parser.parse_args(argv)
    return main_from_cli(
        port=arguments.port, data_dir=arguments.data_dir, host=arguments.host, seed=arguments.seed
    )
