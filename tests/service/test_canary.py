"""A phone number in every field that a merchant can fill is in the clear nowhere: not in the database, in
Valkey, in the logs or in the metrics."""

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import redis

from service.installation import Installation, fresh, wait_until

CANARY, LOCAL, NAME = "233249177330", "0249177330", "Akosua-Canary"
SECRET_FORMS = (CANARY, LOCAL, CANARY[3:], NAME, "whsec_")
FORMS = tuple(form for one in SECRET_FORMS for form in (one.encode(), one.encode().hex().encode()))


def test_a_canary_number_is_in_the_clear_nowhere(database_url: str, valkey_url: str, tmp_path: Path):
    up = Installation.start(
        tmp_path,
        SYNCCASH_DATABASE_URL=database_url,
        SYNCCASH_VALKEY_URL=valkey_url,
        SYNCCASH_LOG_LEVEL="debug",
        SYNCCASH_RISK_REVIEW_FROM="7000",
        SYNCCASH_RISK_PAYER_MAX_PAYMENTS="50",
        SYNCCASH_WEBHOOK_PRIVATE_ADDRESSES="true",
    )
    try:
        fill(up)
        while not counts_users(valkey_url):
            pay(up)
        # Valkey first: the keys of limits live for seconds.
        found = [*in_valkey(valkey_url), *in_database(database_url), *in_logs(tmp_path), *in_metrics(up)]
        seen = up.send("GET", f"/payments?payer={LOCAL}").body["data"]
        assert {one["payer"]["msisdn"] for one in seen} == {CANARY}, "the merchant sees it"
    finally:
        up.stop()
    assert found == []


def fill(up: Installation) -> None:
    """Send the canary in every field and header that a merchant can fill, and in the key of a limit."""
    up.send(
        "POST",
        "/webhook-endpoints",
        {"url": up.api.replace("/api/v1", "/health/live")},
        Idempotency_Key=fresh(),
    )
    headers = {"X_User_Id": f"user-{LOCAL}"}
    texts = {
        "description": f"for {CANARY}",
        "metadata": {"phone": LOCAL, LOCAL: "as a name"},
    }
    payer = {"payer": {"msisdn": LOCAL, "network": "mtn"}}
    paid = {"amount": 2500, "currency": "GHS", **payer, **texts}
    first = {**paid, "reference": f"order {CANARY}"}
    for _ in range(2):
        answer = up.send("POST", "/payments", first, Idempotency_Key=f"k-{LOCAL}", **headers)
        assert answer.status in (201, 202), answer.raw
    up.send("POST", "/payments", {**first, "amount": 2501}, Idempotency_Key=f"k-{LOCAL}", **headers)
    up.send("POST", "/payments", first, Idempotency_Key=f"again-{LOCAL}")
    up.send("POST", "/payments", {**paid, "reference": LOCAL, "amount": -1}, Idempotency_Key=fresh())
    up.send("GET", f"/payments?payer={LOCAL}&reference=order%20{CANARY}")
    payment = up.ended(answer.body["id"])
    assert payment["status"] == "succeeded"
    refund = {"amount": 100, "reason": f"torn, called {LOCAL}"}
    refunded = up.send(
        "POST", f"/payments/{payment['id']}/refunds", refund, Idempotency_Key=f"r-{LOCAL}", **headers
    )
    assert refunded.status in (201, 202), refunded.raw
    held = up.send(
        "POST",
        "/payments",
        {**paid, "amount": 7_000, "reference": f"big {LOCAL}"},
        Idempotency_Key=f"b-{LOCAL}",
    )
    assert held.body["status_detail"] == "risk_review", held.raw
    payee = {"payee": {"msisdn": LOCAL, "name": NAME}}
    payout = {"amount": 700, "currency": "GHS", **payee, **texts, "reference": f"wages {LOCAL}"}
    sent = up.send("POST", "/payouts", payout, Idempotency_Key=f"p-{LOCAL}", **headers)
    assert sent.status in (201, 202), sent.raw
    wait_until(
        "the payout ends",
        lambda: up.send("GET", f"/payouts/{sent.body['id']}").body["status"] == "succeeded",
    )
    admin = up.running.said("admin key ")
    for path in (f"/resilience/rate-limits/user:{LOCAL}/payment_initiation",):
        for method in ("GET", "DELETE"):
            request = urllib.request.Request(
                up.api + path, method=method, headers={"Authorization": f"Bearer {admin}"}
            )
            with urllib.request.urlopen(request, timeout=30) as reply:
                assert reply.status == 200
    decline = urllib.request.Request(
        f"{up.api}/payments/{held.body['id']}/decline",
        # Without the number: the audit log, which is never changed, keeps operators' reasons as they are.
        json.dumps({"reason": "the holder called"}).encode(),
        {"Authorization": f"Bearer {admin}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(decline, timeout=30) as reply:
        assert reply.status == 200
    events = up.send("GET", "/events?limit=100").body["data"]
    assert any(CANARY in json.dumps(event) for event in events), "the merchant sees it"


def pay(up: Installation) -> None:
    body = {"amount": 2500, "currency": "GHS", "payer": {"msisdn": LOCAL}, "reference": fresh()}
    up.send("POST", "/payments", body, Idempotency_Key=fresh(), X_User_Id=f"user-{LOCAL}")


def counts_users(url: str) -> bool:
    """Whether Valkey counts a user: a process counts by itself when Valkey has not answered in 50 ms, and
    after a minute of rest nothing is left."""
    with redis.Redis.from_url(url) as client:
        return any(b"user" in name for name in client.scan_iter(count=1_000))


def leaks(where: str, text: bytes) -> Iterator[str]:
    for form in FORMS:
        at = text.find(form)
        if at >= 0:
            yield f"{where}: {text[max(0, at - 60) : at + 60]!r}"


def in_database(url: str) -> list[str]:
    async def read() -> list[str]:
        connection = await asyncpg.connect(url)
        found: list[str] = []
        rows = 0
        try:
            for table in await connection.fetch(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ):
                for row in await connection.fetch(f"SELECT t::text AS row FROM {table['tablename']} t"):
                    rows += 1
                    found += leaks(f"table {table['tablename']}", row["row"].encode())
        finally:
            await connection.close()
        assert rows > 30
        return found

    return asyncio.run(read())


def in_valkey(url: str) -> list[str]:
    found: list[str] = []
    names: list[bytes] = []
    with redis.Redis.from_url(url) as client:
        for name in client.scan_iter(count=1_000):
            names.append(name)
            # The serialized value, with short texts in it as they are.
            found += leaks("Valkey", name + b" " + (client.dump(name) or b""))
            if client.type(name) == b"string":
                found += leaks("Valkey", name + b" " + (client.get(name) or b""))
    assert any(b":answer:" in name for name in names), "nothing is cached"
    assert any(b":user:" in name or b"user" in name for name in names), names
    return found


def in_logs(folder: Path) -> list[str]:
    found: list[str] = []
    for file in (folder / "logs").glob("*.log"):
        if file.name != "sandbox.log":
            found += leaks(file.name, file.read_bytes())
    assert (folder / "logs" / "api.log").read_bytes(), "nothing is logged"
    return found


def in_metrics(up: Installation) -> list[str]:
    with urllib.request.urlopen(up.api.replace("/api/v1", "/metrics"), timeout=30) as reply:
        return list(leaks("metrics", reply.read()))
