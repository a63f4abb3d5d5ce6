"""A server that answers what a test wrote down, over real sockets, and keeps what it was asked."""

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Scripted:
    """`answers`: (status, headers, body) each, "cut" for a connection that dies without a word, or "silence"
    for one that says nothing until the end. `connections` counts those that were opened.
    """

    def __init__(self):
        self.answers = deque()
        self.asked = []
        self.connections = 0
        self.ended = threading.Event()
        handler = type("Handler", (_Handler,), {"script": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def say(self, status, body, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append((status, named, json.dumps(body).encode()))

    def cut(self):
        self.answers.append("cut")

    def close(self):
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Scripted

    def _serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.script.asked.append((self.command, self.path, dict(self.headers.items()), body))
        answer = self.script.answers.popleft()
        if answer == "silence":
            self.script.ended.wait()
        if isinstance(answer, str):
            self.close_connection = True
            return
        status, headers, raw = answer
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def setup(self):
        super().setup()
        self.script.connections += 1

    do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    def log_message(self, *_):
        pass
