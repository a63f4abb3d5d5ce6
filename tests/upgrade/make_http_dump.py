"""Writes what a release stores about requests that arrive over HTTP, however their paths are spelled.

Run it with the release's own code, as `make_dump.py`:

    PYTHONPATH=../release/src:../release/tests \
        .venv/bin/python tests/upgrade/make_http_dump.py tests/upgrade/release_5b9d1e5

`requests.sql` is the database as plain SQL; all its orders have ended. `requests.json` has the requests with
their responses, and the responses that Valkey held.
"""

import asyncio
import http.client
import json
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import redis
from make_dump import dumped
from service.whole import Whole, whole

from synccash.servers.bundle import start_servers
from synccash.stores.postgres.schema.migrations import migrate

PAYMENTS, PAYOUTS = "/api/v1/payments", "/api/v1/payouts"
NUMBER = "0241234567"
SPELLINGS = {"plain": "{}", "slash": "{}/", "doubled": "/{}"}
# History that no repeat reads, and the keys of this run.
LEFT_OUT = "DELETE FROM timeline; DELETE FROM events; DELETE FROM api_keys"


def send(running: Whole, method: str, path: str, name: str = "", body: Any = None) -> tuple[int, bytes]:
    """Send one request with its path exactly as it is given."""
    address = urlsplit(running.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    headers = {"Authorization": f"Bearer {running.key}", "Content-Type": "application/json"}
    if name:
        headers["Idempotency-Key"] = name
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply.status, content


def record(running: Whole, sent: list[dict[str, Any]], name: str, path: str, body: Any) -> None:
    """Send a request that moves money, and write down what was sent and told."""
    status, content = send(running, "POST", path, name, body)
    assert status in (201, 202), (name, path, status, content)
    digest = sha256(content).hexdigest()
    told = {"id": json.loads(content)["id"], "status": status, "body_sha256": digest}
    sent.append({"key": name, "path": path, "body": body} | told)


def succeeded(running: Whole, path: str) -> None:
    """Wait until an order has succeeded."""
    for _ in range(200):
        _, content = send(running, "GET", path)
        if json.loads(content)["status"] == "succeeded":
            return
        time.sleep(0.05)
    raise TimeoutError(path)


def play(running: Whole) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    for how, template in SPELLINGS.items():
        payer = {"payer": {"msisdn": NUMBER}, "amount": 2_000, "currency": "GHS", "rail": "mtn_momo"}
        record(running, sent, f"pay-{how}", template.format(PAYMENTS), payer | {"reference": f"order-{how}"})
        payment_id = sent[-1]["id"]
        succeeded(running, f"{PAYMENTS}/{payment_id}")
        refunds = template.format(f"{PAYMENTS}/{payment_id}/refunds")
        record(running, sent, f"refund-{how}", refunds, {"amount": 300})
        succeeded(running, f"/api/v1/refunds/{sent[-1]['id']}")
        payee = {"payee": {"msisdn": NUMBER}, "amount": 1_000, "currency": "GHS", "rail": "mtn_momo"}
        record(running, sent, f"payout-{how}", template.format(PAYOUTS), payee | {"reference": f"wage-{how}"})
        succeeded(running, f"{PAYOUTS}/{sent[-1]['id']}")
    return sent


async def leave_out(url: str) -> None:
    """Delete what would only make the file larger."""
    connection = await asyncpg.connect(url)
    await connection.execute(LEFT_OUT)
    await connection.close()


def main() -> None:
    out = Path(sys.argv[1])
    folder = Path(tempfile.mkdtemp(prefix="synccash-release-"))
    folder.chmod(0o711)
    with start_servers(folder, durable=False) as servers:
        assert servers.database_url is not None
        assert servers.valkey_url is not None
        migrate(servers.database_url)
        with whole(servers.database_url, folder / "sandbox", valkey_url=servers.valkey_url) as running:
            sent = play(running)
        with redis.Redis.from_url(servers.valkey_url) as client:
            names = sorted(client.scan_iter(match="*:answer:*"))
            cached = {name.decode(): client.get(name).hex() for name in names}
        content = {"sent": sent, "cached": cached}
        (out / "requests.json").write_text(json.dumps(content, indent=1) + "\n")
        asyncio.run(leave_out(servers.database_url))
        (out / "requests.sql").write_text(dumped(servers.database_url))


if __name__ == "__main__":
    main()
