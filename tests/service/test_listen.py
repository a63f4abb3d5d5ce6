"""`synccash listen`: events reach a server on the developer's machine, without an endpoint."""

import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.http_servers import webhook_receiver
from service.in_process import RunningService, running_service
from service.installation import Running, wait_until
from synccash.client import SyncCash, verify_webhook

PAYER = "0241234567"


def pay(cash: SyncCash) -> str:
    payment = cash.create_payment(amount=2500, msisdn=PAYER, reference=uuid.uuid4().hex, rail="mtn_momo")
    payment = cash.wait(payment, every_s=0.05)
    assert payment.status == "succeeded"
    return payment.id


def test_listen_forwards_new_events_signed_with_the_secret_that_it_prints(database_url: str, tmp_path: Path):
    with (
        running_service(database_url, tmp_path, tells=False) as service,
        SyncCash(service.url, service.key) as cash,
        webhook_receiver() as local,
    ):
        pay(cash)
        with listening(service, local.url) as listener:
            secret = listener.said("secret ")
            listener.said("Forwarding events to ")
            paid = pay(cash)
            events = []
            while not events or events[-1].type != "payment.succeeded":
                headers, body = local.next()
                events.append(verify_webhook(body, headers, secret))
            assert {event.object.id for event in events} == {paid}
            wait_until("it is shown", lambda: any("payment.succeeded" in line for line in listener.printed))
            [line] = [line for line in listener.printed if "payment.succeeded" in line]
            assert events[-1].id in line
            assert paid in line
            assert "HTTP 204" in line
            assert listener.stop(signal.SIGINT) == 0


@contextmanager
def listening(service: RunningService, url: str) -> Iterator[Running]:
    key = ("--api-key", service.key, "--url", service.url)
    running = Running.of("listen", "--forward-to", f"{url}/hooks", *key)
    try:
        yield running
    finally:
        running.stop()


def test_listen_refuses_a_secret_that_no_server_could_verify_with(command):
    target = ("--forward-to", "http://localhost:3000/")
    for secret in ("abc", "whsec_", "whsec_not base64"):
        code, _, error = command("listen", *target, "--api-key", "sk_test_1", "--secret", secret)
        assert (code, "--secret: expected whsec_" in error) == (1, True)


def test_listen_refuses_a_target_that_is_no_url(command):
    code, _, error = command("listen", "--forward-to", "localhost:3000", "--api-key", "sk_test_1")
    assert code == 1
    assert "--forward-to" in error
