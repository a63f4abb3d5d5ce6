"""An operator's key is sent only to its configured address."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from synccash.administration.api import ManagementApi
from synccash.administration.errors import AdministrationError
from synccash.settings.secret import Secret

KEY = "sk_admin_canary"


class Server:
    """Answers every request the same, and keeps what it was asked and with which key."""

    def __init__(self, status=200, **headers):
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append((self.command, self.path, self.headers.get("Authorization")))
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": "2"}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"{}")

            def do_POST(self):
                self.do_GET()

            def log_message(self, *_):
                """Nothing is printed."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@contextmanager
def running(*servers: Server) -> Generator[None]:
    threads = [threading.Thread(target=server.http.serve_forever, args=(0.01,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for server in servers:
            server.http.shutdown()
            server.http.server_close()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_redirect_is_not_followed(status, method):
    elsewhere = Server()
    service = Server(status, Location=f"{elsewhere.url}/stolen")
    with running(service, elsewhere):
        with pytest.raises(AdministrationError, match="redirect") as refused:
            getattr(ManagementApi(service.url, Secret(KEY)), method)("resilience", "circuit-breakers")
        assert KEY not in str(refused.value)
    assert len(service.asked) == 1
    assert elsewhere.asked == []


def test_a_proxy_of_the_environment_is_not_used(monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    service, proxy = Server(), Server()
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    with running(service, proxy):
        assert ManagementApi(service.url, Secret(KEY)).get("resilience", "circuit-breakers") == {}
    assert proxy.asked == []
    assert service.asked == [("GET", "/api/v1/resilience/circuit-breakers", f"Bearer {KEY}")]
