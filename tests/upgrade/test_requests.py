"""Requests that a release took over HTTP are repeated at the present version, under every path they had."""

import http.client
import json
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import redis

from servers_fixture import execute, fresh_database
from service.in_process import RunningService, running_service
from synccash.servers.bundle import Servers
from synccash.stores.postgres.schema.migrations import migrate
from upgrade.stored import FOLDER


class Sent(msgspec.Struct, frozen=True):
    """A request of a merchant, and the response of the release."""

    key: str
    path: str
    body: dict[str, Any]
    id: str
    status: int
    body_sha256: str

    @property
    def plain_path(self) -> str:
        """The path without doubled or trailing slashes."""
        return "/" + "/".join(part for part in self.path.split("/") if part)


class _Requests(msgspec.Struct, frozen=True):
    sent: list[Sent]
    cached: dict[str, str]


REQUESTS = msgspec.json.decode((FOLDER / "requests.json").read_bytes(), type=_Requests)


@contextmanager
def upgraded_service(servers: Servers, folder: Path, *, valkey: bool) -> Generator[RunningService]:
    """The present version on the release's database, and on its Valkey where there is one. The rails' books
    are empty."""
    with fresh_database(servers) as url:
        execute(url, (FOLDER / "requests.sql").read_text())
        migrate(url)
        if not valkey:
            with running_service(url, folder) as service:
                yield service
            return
        assert servers.valkey_url is not None
        with redis.Redis.from_url(servers.valkey_url) as client:
            client.flushall()
            for name, value in REQUESTS.cached.items():
                client.set(name, bytes.fromhex(value))
        with running_service(url, folder, valkey_url=servers.valkey_url) as service:
            yield service


@pytest.fixture(scope="module", params=[False, True], ids=["postgresql", "valkey"])
def service(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Generator[RunningService]:
    with upgraded_service(servers, tmp_path_factory.mktemp("rails"), valkey=request.param) as service:
        yield service


def post(service: RunningService, path: str, key: str, body: Any) -> tuple[int, bytes, str | None]:
    """Send a request with its path exactly as it is given."""
    address = urlsplit(service.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    headers = {
        "Authorization": f"Bearer {service.key}",
        "Content-Type": "application/json",
        "Idempotency-Key": key,
    }
    connection.request("POST", path, json.dumps(body), headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content, response.headers.get("Idempotent-Replayed")


@pytest.mark.parametrize("sent", REQUESTS.sent, ids=[sent.key for sent in REQUESTS.sent])
def test_a_retry_across_the_upgrade_replays_and_moves_no_money(service: RunningService, sent: Sent):
    for path in (sent.path, sent.plain_path, f"{sent.plain_path}/", sent.path):
        status, content, replayed = post(service, path, sent.key, sent.body)
        assert (status, replayed) == (sent.status, "true"), (path, content)
        assert sha256(content).hexdigest() == sent.body_sha256
    assert service.booked("debits") == service.booked("credits") == []


@pytest.mark.parametrize("sent", REQUESTS.sent, ids=[sent.key for sent in REQUESTS.sent])
def test_another_body_under_a_key_of_the_release_is_refused(service: RunningService, sent: Sent):
    for path in (sent.path, sent.plain_path, f"{sent.plain_path}/"):
        status, content, _ = post(service, path, sent.key, sent.body | {"amount": 1})
        assert (status, json.loads(content)["code"]) == (422, "idempotency_key_reused")


def test_a_refund_key_of_the_release_is_refused_for_another_payment(service: RunningService):
    refunds = {sent.key: sent for sent in REQUESTS.sent if sent.key.startswith("refund")}
    other = refunds["refund-plain"].path
    for key in ("refund-slash", "refund-doubled"):
        status, content, _ = post(service, other, key, refunds[key].body)
        assert (status, json.loads(content)["code"]) == (422, "idempotency_key_reused")


def test_a_new_request_is_charged_once_under_both_paths(servers: Servers, tmp_path: Path):
    """The rails of the other tests take money: without this, their empty books would say nothing."""
    with upgraded_service(servers, tmp_path, valkey=False) as service:
        sent = next(one for one in REQUESTS.sent if one.key == "pay-plain")
        body = sent.body | {"reference": "order-new"}
        first = post(service, "/api/v1/payments", "new", body)
        again = post(service, "/api/v1/payments/", "new", body)
        assert (first[0], again) == (201, (201, first[1], "true"))
        assert len(service.booked("debits")) == 1
