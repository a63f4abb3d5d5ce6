"""Rail accounts in the API, at process start, in health and in the shell."""

import asyncio
import json
import uuid
from typing import Any

import pytest

from api.served import payment, served, settings
from synccash.processes.assembly.service import assembled
from synccash.settings.loader import SettingsError
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import connect

KEYS = ("USER", "KEY", "SUBSCRIPTION_KEY")
SHELL = {
    "SYNCCASH_MTN_MOMO_ENVIRONMENT": "test",
    "SYNCCASH_MTN_MOMO_BASE_URL": "http://127.0.0.1:9",
    **{
        f"SYNCCASH_MTN_MOMO_{product}_{key}": "x"
        for product in ("COLLECTION", "DISBURSEMENT")
        for key in KEYS
    },
}


def payout(**more: Any) -> dict[str, Any]:
    body = {
        "amount": 100,
        "currency": "GHS",
        "payee": {"msisdn": "0241234567"},
        "reference": uuid.uuid4().hex,
    }
    return {**body, **more}


@pytest.mark.parametrize(("path", "body"), [("/payments", payment), ("/payouts", payout)])
async def test_a_test_key_at_a_live_account_gets_422_and_nothing_is_stored(database_url, path, body):
    async with served(database_url, mtn_momo_environment="live") as api:
        for more in ({}, {"rail": "mtn_momo"}):
            told = await api.send("POST", path, body(**more), Idempotency_Key=uuid.uuid4().hex)
            assert (told.status_code, told.json()["code"]) == (422, "no_rail_for_mode")
            assert "no test rail account" in told.json()["detail"]
        assert (await api.send("GET", "/payments")).json()["data"] == []


async def test_a_key_without_a_rail_for_its_mode_may_repeat_once_there_is_one(database_url):
    body, key = payment(), uuid.uuid4().hex
    async with served(database_url, mtn_momo_environment="live") as api:
        assert (await api.send("POST", "/payments", body, Idempotency_Key=key)).status_code == 422
        used = api.key
    async with served(database_url, mtn_momo_collection_user="a", mtn_momo_environment="test") as api:
        taken = await api.send("POST", "/payments", body, key=used, Idempotency_Key=key)
        assert (taken.status_code, taken.json()["routing"]["chosen"]) == (202, "mtn_momo")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mtn_momo_environment": "live"}, "mtn_momo_environment is live, but .* recorded as test"),
        ({"mtn_momo_account": "second"}, "recorded under the label main"),
    ],
)
async def test_a_process_that_contradicts_the_records_does_not_start(database_url, changes, told):
    async with assembled(settings(database_url), database_url):
        pass
    with pytest.raises(SettingsError, match=told):
        async with assembled(settings(database_url, **changes), database_url):
            pass


async def test_new_credentials_are_unconfirmed_in_health_until_a_shell_confirms_them(
    command,
    database_url,
):
    async with served(database_url):
        pass
    async with served(database_url, mtn_momo_collection_user="new") as api:
        ready = (await api.client.get("/health/ready")).json()
        assert (ready["status"], ready["rails"]) == ("degraded", {"mtn_momo": "unconfirmed"})
        health = (await api.send("GET", "/resilience/health", key=api.admin_key)).json()
        (trouble,) = health["troubles"]
        assert (trouble["what"], trouble["state"]) == ("mtn_momo", "unconfirmed")
        assert "synccash rails confirm mtn_momo" in trouble["detail"]
        held = (await api.pay()).json()
        assert (held["status_detail"], held["attempts"]) == ("queued", [])
        route = (await api.send("GET", "/resilience/routes", key=api.admin_key)).json()
        assert (route["chosen"], route["reason"]) == (None, "account_unconfirmed")

        code, printed, _ = command("rails", "list")
        assert (code, "unconfirmed" in printed, "new/user" in printed) == (0, True, True)
        code, printed, told = await asyncio.to_thread(command, "rails", "confirm", "mtn_momo", "--json")
        assert (code, told) == (0, "")
        assert json.loads(printed)["identity"] == "new/user"
    async with served(database_url, mtn_momo_collection_user="new") as api:
        assert (await api.client.get("/health/ready")).json()["rails"] == {"mtn_momo": "ok"}
        assert (await api.pay()).json()["attempts"] != []
    pool = await connect(database_url, min_size=0, max_size=1)
    try:
        (deed, *_) = await PostgresAudit(Database(pool)).latest(1)
    finally:
        await pool.close()
    assert (deed.action, deed.target) == ("rail_confirm", "mtn_momo")
    assert "new/user as test account main" in deed.reason


def test_the_credentials_of_a_shell_are_confirmed_before_any_process_has_them(command):
    for user in ("x", "y"):
        shell = {**SHELL, "SYNCCASH_MTN_MOMO_COLLECTION_USER": user}
        code, printed, _ = command("rails", "confirm", "mtn_momo", environment=shell)
        assert (code, "confirmed" in printed) == (0, True)
    again = command("rails", "confirm", "mtn_momo", environment={**SHELL, "SYNCCASH_MTN_MOMO_ACCOUNT": "b"})
    assert (again[0], "another label than b" in again[2]) == (1, True)
    code, _, told = command("rails", "confirm", "mtn_momo")
    assert (code, "rails list" in told) == (1, True)
    corrected = {**SHELL, "SYNCCASH_MTN_MOMO_ENVIRONMENT": "live"}
    assert command("rails", "confirm", "mtn_momo", environment=corrected)[0] == 0
    recorded = json.loads(command("rails", "list", "--json")[1])["data"]
    assert {one["identity"]: one["environment"] for one in recorded} == {"x": "live", "y/x": "test"}
