"""A proxy that may drop the service's responses, and a merchant's server that records its webhooks."""

import http.client
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from synccash.client import Event, answer_challenge


@dataclass(slots=True)
class Proxy:
    """`dropped`: how many of the next responses it drops. `keys`: the Idempotency-Keys that it saw."""

    url: str
    dropped: int = 0
    keys: list[str | None] = field(default_factory=list[str | None])


@contextmanager
def proxy_to(service: str) -> Iterator[Proxy]:
    """Forward requests to the service."""
    behind = urlsplit(service)
    proxy = Proxy("")

    class Handler(_Quiet):
        def serve(self, body: bytes) -> None:
            proxy.keys.append(self.headers.get("Idempotency-Key"))
            connection = http.client.HTTPConnection(behind.hostname or "", behind.port, timeout=30)
            try:
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                reply = connection.getresponse()
                answered = reply.read()
            finally:
                connection.close()
            if proxy.dropped:
                proxy.dropped -= 1
                self.close_connection = True
                return
            self.send_response_only(reply.status)
            for name, value in reply.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answered)

    with _serving(Handler) as proxy.url:
        yield proxy


@dataclass(slots=True)
class WebhookReceiver:
    """Webhooks that a merchant's server received, as (headers, body). It answers with status `answer`."""

    url: str
    requests: "queue.Queue[tuple[dict[str, str], bytes]]" = field(default_factory=queue.Queue)
    answer: int = 204

    def next(self) -> tuple[dict[str, str], bytes]:
        """Wait for a webhook."""
        return self.requests.get(timeout=30)


@contextmanager
def webhook_receiver() -> Iterator[WebhookReceiver]:
    """A merchant's server that takes webhooks."""
    receiver = WebhookReceiver("")

    class Handler(_Quiet):
        def serve(self, body: bytes) -> None:
            event = json.loads(body)
            if event["type"] == "endpoint.verification":
                answer = answer_challenge(Event.of(event)) or b""
                self.send_response(200)
            else:
                answer = b""
                receiver.requests.put((dict(self.headers.items()), body))
                self.send_response(receiver.answer)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    with _serving(Handler) as receiver.url:
        yield receiver


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def serve(self, body: bytes) -> None:
        raise NotImplementedError

    def _any(self) -> None:
        self.serve(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    do_GET = do_POST = do_PATCH = do_DELETE = _any  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def _serving(handler: type[_Quiet]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
