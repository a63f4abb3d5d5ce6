"""`synccash encryption`, `erase` and `retention` in a shell, and the start of a process without keys."""

import asyncio
import json

import asyncpg
import pytest

from api.served import served
from synccash.payments.payer import ERASED

pytestmark = pytest.mark.slow

WITHOUT = {"SYNCCASH_ENCRYPTION_KEYS": "", "SYNCCASH_LOOKUP_KEY": ""}
ROTATED = {"SYNCCASH_ENCRYPTION_KEYS": f"2:{'e3' * 32},1:{'e1' * 32}"}
ONLY_NEW = {"SYNCCASH_ENCRYPTION_KEYS": f"2:{'e3' * 32}"}


async def execute(database_url: str, statement: str) -> str:
    connection = await asyncpg.connect(database_url)
    try:
        return await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("role", ["serve", "worker"])
def test_without_keys_a_process_does_not_start_and_says_what_to_do(command, role):
    installation = {"SYNCCASH_INSTALLATION_KEY": "5c" * 32}
    code, printed, told = command(role, environment=WITHOUT | installation)
    assert (code, printed) == (1, "")
    assert "SYNCCASH_ENCRYPTION_KEYS=1:KEY" in told
    assert "openssl rand -hex 32" in told
    one_missing = installation | {"SYNCCASH_LOOKUP_KEY": ""}
    assert "lookup_key is not set" in command(role, environment=one_missing)[2]


async def test_rows_are_encrypted_again_after_a_rotation(command, database_url):
    async with served(database_url) as api:
        paid = (await api.pay(reference="order 1")).json()
    assert all(one["rows"] == 0 for one in json.loads(command("encryption", "status", "--json")[1])["data"])
    stale = json.loads(command("encryption", "status", "--json", environment=ROTATED)[1])["data"]
    assert {one["table"]: one["rows"] for one in stale}["payments"] == 1
    code, _, told = command("encryption", "seal", environment=ONLY_NEW)
    assert code == 1, told
    code, printed, _ = command("encryption", "seal", environment=ROTATED)
    assert (code, printed.splitlines()[0].split()) == (0, ["TABLE", "ENCRYPTED", "UNREADABLE"])
    shown = json.loads(command("payments", "show", paid["id"], "--json", environment=ONLY_NEW)[1])
    assert (shown["reference"], shown["payer"]["msisdn"]) == ("order 1", "233241234567")
    code, _, told = command("payments", "list", environment=WITHOUT)
    assert (code, "Set SYNCCASH_ENCRYPTION_KEYS" in told) == (1, True)
    assert command("encryption", "status", environment=WITHOUT)[0] == 1


async def test_a_number_is_erased_once_nothing_needs_it(command, database_url):
    async with served(database_url) as api:
        paid = (await api.pay(reference="order 1")).json()
    erase = ("erase", "--msisdn", "0241234567", "--reason", "request of 3 May")
    code, printed, told = command(*erase)
    assert (code, printed) == (1, "")
    assert f"open: {paid['id']}" in told
    await execute(database_url, "UPDATE payments SET status = 'failed', due_at = NULL, lease_until = NULL")
    code, _, told = command(*erase, environment={"SYNCCASH_RETENTION_DAYS": "30"})
    assert (code, f"younger than retention_days: {paid['id']}" in told) == (1, True)
    assert command(*erase)[0] == 0
    shown = json.loads(command("payments", "show", paid["id"], "--json")[1])
    assert (shown["payer"]["msisdn"], shown["reference"], shown["amount"]) == (
        ERASED,
        "erased",
        paid["amount"],
    )
    connection = await asyncpg.connect(database_url)
    try:
        audited = await connection.fetch("SELECT * FROM audit WHERE action = 'erase'")
    finally:
        await connection.close()
    assert [row["target"] for row in audited] == ["23324****567 (1 orders)"]
    code, _, told = command("erase", "--msisdn", "12", "--reason", "x")
    assert (code, "--msisdn" in told) == (1, True)


async def test_with_another_lookup_key_no_process_starts_and_nothing_seems_erased(command, database_url):
    async with served(database_url) as api:
        await api.pay(reference="order 1")
    other = {"SYNCCASH_LOOKUP_KEY": "e4" * 32}
    installation = {"SYNCCASH_INSTALLATION_KEY": "5c" * 32}
    for words in (
        ("serve",),
        ("worker",),
        ("webhooks",),
        ("erase", "--msisdn", "0241234567", "--reason", "asked"),
    ):
        code, printed, told = command(*words, environment=other | installation)
        assert (code, printed) == (1, ""), words
        assert "Set SYNCCASH_LOOKUP_KEY to the same key as for the other processes" in told


async def test_the_retention_needs_its_setting_and_erases_what_is_older(command, database_url):
    async with served(database_url) as api:
        paid = (await api.pay(reference="order 1")).json()
    assert "retention_days is not set" in command("retention")[2]
    await execute(
        database_url,
        "UPDATE payments SET status = 'failed', due_at = NULL, lease_until = NULL,"
        " created_at = now() - interval '31 days', updated_at = now() - interval '8 days'",
    )
    await execute(
        database_url,
        "INSERT INTO webhook_endpoints (id, merchant_id, livemode, url, secrets, status, updated_at)"
        " VALUES ('we_1', 'mer_test', false, 'https://shop.example/hook', '[]', 'removed',"
        " now() - interval '31 days')",
    )
    code, printed, _ = await asyncio.to_thread(
        command, "retention", "--json", environment={"SYNCCASH_RETENTION_DAYS": "30"}
    )
    assert code == 0
    assert json.loads(printed)["data"] == [
        {"table": "payments", "orders": 1},
        {"table": "payouts", "orders": 0},
        {"table": "webhook_endpoints", "rows": 1},
        {"table": "approvals", "rows": 0},
    ]
    shown = json.loads(command("payments", "show", paid["id"], "--json")[1])
    assert shown["payer"]["msisdn"] == ERASED
