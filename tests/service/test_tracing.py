"""One trace leads from a merchant's request through every process to the webhook, and names the order."""

import contextlib
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from service.http_servers import webhook_receiver
from service.installation import Installation, fresh, wait_until
from synccash.processes.assembly.traces import open_tracing
from synccash.settings.loader import Settings, SettingsError

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NUMBER = "0241234567"


@dataclass(frozen=True, slots=True)
class Span:
    process: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, str]


class Collector:
    """A stand-in for an OpenTelemetry collector: takes OTLP over HTTP, and keeps the spans."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Span] = []

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            process = text_values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [
                    Span(
                        process,
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        text_values(span.attributes),
                    )
                    for span in scope.spans
                ]

    def of_trace(self, trace: str) -> list[Span]:
        return [span for span in self.spans if span.trace == trace]


def text_values(attributes: Any) -> dict[str, str]:
    return {one.key: str(getattr(one.value, one.value.WhichOneof("value"))) for one in attributes}


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.take(self.rfile.read(int(self.headers["Content-Length"])))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    kept.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_payment_is_one_trace_through_all_processes(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("traced")
    settings = {"SYNCCASH_WEBHOOK_PRIVATE_ADDRESSES": "true"}
    with collector() as kept, webhook_receiver() as merchant:
        service = Installation.start(folder, SYNCCASH_TRACES_URL=kept.url, **settings)
        try:
            service.send("POST", "/webhook-endpoints", {"url": merchant.url})
            body = {
                "amount": 2500,
                "currency": "GHS",
                "payer": {"msisdn": NUMBER},
                "reference": fresh(),
                "rail": "mtn_momo",
            }
            headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "Idempotency_Key": fresh()}
            answer = service.send("POST", "/payments", body, **headers)
            payment = service.ended(answer.body["id"])
            assert answer.headers["traceparent"].split("-")[1] == TRACE
            delivered = webhook_of(merchant.requests)

            def seen() -> list[Span] | None:
                spans = kept.of_trace(TRACE)
                return spans if {"callback", "work on order", "webhook"} <= {s.name for s in spans} else None

            wait_until("the spans of every process arrive", seen)
        finally:
            assert service.stop() == 0
        spans = kept.of_trace(TRACE)
        assert {(span.process, span.name) for span in spans} >= {
            ("synccash-api", "POST /api/v1/payments"),
            ("synccash-api", "commit"),
            ("synccash-api", "rail send"),
            ("synccash-api", "callback"),
            ("synccash-worker", "work on order"),
            ("synccash-worker", "rail inquiry"),
            ("synccash-worker", "commit"),
            ("synccash-webhooks", "webhook"),
        }
        assert {span.attributes["synccash.order_id"] for span in spans} == {payment["id"]}
        ids = {span.id for span in spans}
        assert [span.name for span in spans if span.parent not in ids] == ["POST /api/v1/payments"]
        assert next(span.parent for span in spans if span.parent not in ids) == SPAN
        webhooks = {f"00-{TRACE}-{span.id}-01" for span in spans if span.name == "webhook"}
        assert delivered["traceparent"] in webhooks
        assert NUMBER[1:] not in str(kept.spans)


def webhook_of(requests: "queue.Queue[tuple[dict[str, str], bytes]]") -> dict[str, str]:
    headers, _ = requests.get(timeout=30)
    return {name.lower(): value for name, value in headers.items()}


def test_without_traces_a_process_does_not_load_the_exporter():
    """Valkey's client loads a part of OpenTelemetry wherever it is installed."""
    roles = "synccash.processes.api, synccash.processes.worker, synccash.processes.webhooks"
    ours = ("synccash.observability.tracing", "opentelemetry.exporter")
    program = f"import sys, {roles}; print([name for name in sys.modules if name.startswith({ours})])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_traces_without_their_packages_stop_the_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "synccash.observability.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    settings = Settings(traces_url="http://127.0.0.1:4318/v1/traces")
    async with contextlib.AsyncExitStack() as stack:
        with pytest.raises(SettingsError, match=r"pip install 'synccash\[server,otel\]'"):
            open_tracing(settings, stack, role="api", instance="proc_1")
