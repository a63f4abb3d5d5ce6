"""An operator's key is sent only to its configured address."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from synccash.administration.api import ManagementApi, management_api
from synccash.administration.errors import AdministrationError
from synccash.administration.local_keys import local_key
from synccash.settings.loader import convert_settings
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


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        (None, True),
        ("http://127.0.0.1:8123", True),
        ("http://localhost:8123/", True),
        ("http://127.0.0.1:8124", False),
        ("http://198.51.100.7:8123", False),
        ("https://localhost:8123", False),
        ("http://127.0.0.1:8123@shop.example", False),
        ("http://127.0.0.1:port", False),
    ],
)
def test_the_key_of_a_local_installation_goes_to_that_installation_only(tmp_path, monkeypatch, url, is_here):
    folder = tmp_path / ".synccash"
    folder.mkdir()
    (folder / "keys.json").write_text(json.dumps({"admin": KEY, "test": KEY}))
    (folder / "api.json").write_text(json.dumps({"url": "http://localhost:8123"}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    settings = convert_settings({})
    if is_here:
        assert management_api(settings, url).key.reveal() == KEY
        return
    with pytest.raises(AdministrationError, match="not sent") as refused:
        management_api(settings, url)
    assert KEY not in str(refused.value)
    with pytest.raises(AdministrationError, match="not sent"):
        local_key("test", url, settings)
