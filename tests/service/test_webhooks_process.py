"""`synccash webhooks` as a process of its own: hanging endpoints and a silent name server delay no other."""

import asyncio
import re
import socket
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from service.http_servers import webhook_receiver
from service.in_process import running_service
from service.installation import Running, wait_until
from synccash.client import SyncCash, verify_webhook
from synccash.processes.webhooks import webhook_server, webhook_service
from synccash.settings.loader import Settings, SettingsError

HANGING, SILENT = 24, 16
SECRETS = '[{"text": "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]'
PAYER = "0241234567"


@contextmanager
def unresponsive(kind: socket.SocketKind) -> Iterator[int]:
    """Listen on a port, and never answer."""
    with socket.socket(socket.AF_INET, kind) as listener:
        listener.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            listener.listen(512)
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def delivering(database_url: str, port: int, **settings: object) -> Iterator[Running]:
    given = {
        "database_url": database_url,
        "webhook_port": port,
        "webhook_private_addresses": True,
        "encryption_keys": "1:" + "e1" * 32,
        "lookup_key": "e2" * 32,
        **settings,
    }
    environment = {f"SYNCCASH_{name.upper()}": str(value) for name, value in given.items()}
    running = Running.of("webhooks", environment=environment)
    try:
        yield running
    finally:
        running.stop()


def metric(port: int, name: str) -> float | None:
    """The value of a metric of the process; None until it serves them."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
            text = reply.read().decode()
    except OSError:
        return None
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])


def run(database_url: str, statement: str, *arguments: object) -> object:
    async def execute() -> object:
        connection = await asyncpg.connect(database_url)
        try:
            return await connection.fetchval(statement, *arguments)
        finally:
            await connection.close()

    return asyncio.run(execute())


def owe_to_hanging_endpoints(database_url: str, tcp_port: int) -> None:
    """Endpoints of three merchants that were verified once and hang now, with an event due for each."""
    for number in range(HANGING + SILENT):
        silent = number >= HANGING
        url = f"http://w{number}.silent.example/hook" if silent else f"http://127.0.0.1:{tcp_port}/{number}"
        merchant_id = "mer_silent" if silent else f"mer_hanging_{number % 2}"
        run(
            database_url,
            "INSERT INTO webhook_endpoints (id, merchant_id, livemode, url, secrets, status) "
            "VALUES ($1, $2, false, $3, $4, 'enabled')",
            f"we_hang_{number}",
            merchant_id,
            url,
            SECRETS,
        )
    run(
        database_url,
        "INSERT INTO deliveries (event_id, endpoint_id, due_at) SELECT e.id, w.id, now() "
        "FROM (SELECT id FROM events LIMIT 1) e, webhook_endpoints w WHERE w.id LIKE 'we_hang_%'",
    )


def pay(cash: SyncCash) -> str:
    payment = cash.create_payment(amount=2500, msisdn=PAYER, reference=uuid.uuid4().hex, rail="mtn_momo")
    payment = cash.wait(payment, every_s=0.05)
    assert payment.status == "succeeded"
    return payment.id


def test_hanging_endpoints_and_a_silent_name_server_delay_no_payment_and_no_other_merchant(
    database_url: str, tmp_path: Path
):
    port = free_port()
    with (
        unresponsive(socket.SOCK_STREAM) as tcp_port,
        unresponsive(socket.SOCK_DGRAM) as dns_port,
        running_service(database_url, tmp_path, tells=False) as service,
        SyncCash(service.url, service.key) as cash,
        webhook_receiver() as merchant,
    ):
        pay(cash)
        owe_to_hanging_endpoints(database_url, tcp_port)
        # Longer than the test: what hangs, hangs to its end.
        slow = {"webhook_timeout_s": 300, "webhook_name_servers": f"127.0.0.1:{dns_port}"}
        with delivering(database_url, port, **slow) as process:
            wait_until("the endpoints hang", lambda: (metric(port, "webhook_under_way") or 0) >= HANGING)
            endpoint = cash.create_webhook_endpoint(f"{merchant.url}/hooks", types=["payment.succeeded"])
            assert endpoint.status == "pending"
            for _ in range(5):
                began = time.monotonic()
                paid = pay(cash)
                assert time.monotonic() - began < 10
                headers, body = merchant.next()
                assert verify_webhook(body, headers, endpoint.secret or "").object.id == paid
                assert time.monotonic() - began < 20
            assert cash.get_webhook_endpoint(endpoint.id).status == "enabled"
            assert metric(port, "webhook_under_way") >= HANGING
            began = time.monotonic()
            assert process.stop() == 0
            assert time.monotonic() - began < 15
        cut = "endpoint_id LIKE 'we_hang_%' AND due_at <= now() AND tries = 0"
        assert run(database_url, f"SELECT count(*) FROM deliveries WHERE {cut}") >= HANGING


def test_only_the_webhooks_process_delivers(database_url: str, tmp_path: Path, command):
    with (
        running_service(database_url, tmp_path, tells=False) as service,
        SyncCash(service.url, service.key) as cash,
        webhook_receiver() as merchant,
    ):
        endpoint = cash.create_webhook_endpoint(f"{merchant.url}/hooks", types=["payment.succeeded"])
        paid = pay(cash)
        assert cash.get_webhook_endpoint(endpoint.id).status == "pending"
        with delivering(database_url, free_port()):
            headers, body = merchant.next()
            assert verify_webhook(body, headers, endpoint.secret or "").object.id == paid


async def test_the_process_serves_its_metrics_and_names_the_setting_of_a_port_in_use(database_url: str):
    settings = Settings(database_url=database_url, encryption_keys="1:" + "e1" * 32, lookup_key="e2" * 32)
    async with webhook_service(settings, database_url) as service:
        with unresponsive(socket.SOCK_STREAM) as port, pytest.raises(SettingsError, match="webhook_port"):
            webhook_server(service, "127.0.0.1", port)


def test_a_wrong_name_server_stops_the_start(command):
    code, _, error = command("webhooks", environment={"SYNCCASH_WEBHOOK_NAME_SERVERS": "dns.example"})
    assert code == 1
    assert "webhook_name_servers" in error
    assert "expected an IP address" in error
