"""The HTTP server of a process without an API: its metrics and its health, on a port of its own."""

import contextlib
import socket
from collections.abc import Generator, Iterable

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from synccash.api.metrics import Metrics
from synccash.api.problem import not_found, refuse
from synccash.api.request_context import INTERNAL_ERROR
from synccash.middleware.refusal import App, Receive, Scope, Send
from synccash.processes.http_server import server_config
from synccash.settings.loader import SettingsError

log = structlog.get_logger("synccash.worker")
_OK = b'{"status":"ok"}'

_PATHS = ("/metrics", "/health/live", "/health/ready")
_NOT_FOUND = not_found(f"No route matches. This port serves GET {', '.join(_PATHS)}.")


def metrics_app(collectors: Iterable[Collector]) -> App:
    """Return the ASGI application that serves `/metrics`, `/health/live` and `/health/ready` of a process
    without an API."""
    metrics = Metrics(collectors)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        found = {
            "/metrics": lambda: (CONTENT_TYPE_LATEST, metrics.text()),
            "/health/live": lambda: ("application/json", _OK),
            # While the process cannot work yet, `schema_wait` serves in the place of this.
            "/health/ready": lambda: ("application/json", _OK),
        }.get(scope["path"])
        if found is None or scope["method"] not in ("GET", "HEAD"):
            await refuse(scope, send, _NOT_FOUND)
            return
        try:
            kind, body = found()
        except Exception:
            log.exception("request_failed")
            await refuse(scope, send, INTERNAL_ERROR)
            return
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def metrics_of(api: App) -> App:
    """Return the part of an API that serves its metrics and its health."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in _PATHS and scope["method"] in ("GET", "HEAD"):
            await api(scope, receive, send)
        else:
            await refuse(scope, send, _NOT_FOUND)

    return app


class SmallServer(uvicorn.Server):
    """Serves an application beside the work of a process, and leaves signals to the process."""

    def __init__(self, app: App, listener: socket.socket) -> None:
        super().__init__(server_config(app, host="", port=0, timeout_s=10.0, grace_s=1))
        self._listener = listener

    async def answer(self) -> None:
        """Serve until stopped."""
        await self.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Stop soon."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals to the process."""
        yield


class MetricsServer(SmallServer):
    """Serves a process's metrics and health. Raises SettingsError that names `setting` when the port cannot
    be opened."""

    def __init__(self, app: App, *, host: str, port: int, setting: str) -> None:
        super().__init__(app, listen(host, port, setting))


def listen(host: str, port: int, setting: str) -> socket.socket:
    """Return a listening socket. Raises SettingsError that names `setting` when it cannot be opened."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise SettingsError(
            f"{setting}: cannot listen on {host} port {port} ({error.strerror}); "
            "set another port: each process on a host needs its own"
        ) from error
