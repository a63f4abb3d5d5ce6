"""Every order keeps the API key and the request that made it, and operators see them."""

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.in_process import RunningService, running_service
from service.installation import call, wait_until
from service.objects import BASE, NUMBER


@pytest.fixture
def service(database_url: str, tmp_path: Path):
    with running_service(database_url, tmp_path) as running:
        yield running


def test_payments_payouts_and_refunds_keep_what_made_them(
    service: RunningService, database_url: str, command: Any
):
    made: dict[str, tuple[str, str]] = {}

    def make(table: str, path: str, body: Any) -> str:
        headers = {"Authorization": f"Bearer {service.key}", "Idempotency-Key": uuid.uuid4().hex}
        answer = call("POST", f"{service.url}{BASE}{path}", body, **headers)
        assert answer.status in (201, 202), answer.raw
        again = call("POST", f"{service.url}{BASE}{path}", body, **headers)
        assert again.headers["idempotent-replayed"] == "true", "the first request stays on record"
        made[table] = answer.body["id"], answer.headers["request-id"]
        return answer.body["id"]

    common = {"amount": 100, "currency": "GHS"}
    payment = make("payments", "/payments", {**common, "payer": {"msisdn": NUMBER}, "reference": "a"})
    shown = f"{service.url}{BASE}/payments/{payment}"
    wait_until(
        "the payment ends",
        lambda: call("GET", shown, Authorization=f"Bearer {service.key}").body["status"] == "succeeded",
    )
    make("refunds", f"/payments/{payment}/refunds", {"amount": 10})
    make("payouts", "/payouts", {**common, "amount": 50, "payee": {"msisdn": NUMBER}, "reference": "b"})

    async def rows() -> dict[str, Any]:
        connection = await asyncpg.connect(database_url)
        try:
            return {
                table: await connection.fetchrow(
                    f"SELECT o.id, o.request_id, k.merchant_id FROM {table} o JOIN api_keys k "
                    "ON k.id = o.api_key_id"
                )
                for table in made
            }
        finally:
            await connection.close()

    for table, row in asyncio.run(rows()).items():
        assert tuple(row.values()) == (*made[table], "mer_one"), table
    for order_id, request_id in made.values():
        code, printed, _ = command("payments", "show", order_id, "--json")
        found = json.loads(printed)
        assert (code, found["request_id"]) == (0, request_id)
        assert found["api_key_id"].startswith("key_")
    assert f"{made['payments'][1]}" in command("payments", "show", payment)[1]
