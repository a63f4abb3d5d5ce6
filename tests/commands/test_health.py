"""`synccash health` while PostgreSQL, and with it every key, is out of reach."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from synccash.administration.errors import AdministrationError
from synccash.commands.breakers import list_breakers
from synccash.commands.health import health

HANGS = "PostgreSQL hangs."
UNAVAILABLE = {"detail": "unreachable", "code": "service_unavailable"}


class WithoutDatabase(BaseHTTPRequestHandler):
    """Answers 503 to everything, as a process without PostgreSQL does."""

    def do_GET(self) -> None:
        ready = {"status": "unavailable", "degraded": ["postgresql"], "warnings": {"postgresql": HANGS}}
        body = json.dumps(ready if self.path == "/health/ready" else UNAVAILABLE).encode()
        self.send_response(503)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_given: object) -> None:
        """Print nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), WithoutDatabase)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_other_commands_name_it(url, monkeypatch):
    monkeypatch.setenv("SYNCCASH_ADMIN_KEY", "ak_test")
    with pytest.raises(AdministrationError, match="`synccash health` says how PostgreSQL fails"):
        list_breakers(url=url)


def test_it_shows_what_needs_no_key(url, monkeypatch, capsys):
    monkeypatch.setenv("SYNCCASH_ADMIN_KEY", "ak_test")
    assert health(url=url) == 2
    assert HANGS in capsys.readouterr().out


def test_a_long_text_is_wrapped_where_a_person_reads_it(url, monkeypatch, capsys):
    monkeypatch.setenv("SYNCCASH_ADMIN_KEY", "ak_test")
    monkeypatch.setattr("synccash.commands.health.terminal_width", lambda: 12)
    assert health(url=url) == 2
    assert "\n  PostgreSQL\n  hangs.\n" in capsys.readouterr().out
