"""Administration from a shell, on a real PostgreSQL, by the command itself."""

import asyncio
import json

import httpx
import pytest

from api.served import payment, served
from synccash.processes.api import application
from synccash.processes.assembly.service import assembled
from synccash.settings.loader import Settings
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import connect


async def test_a_key_created_in_a_shell_is_valid_until_it_is_revoked(command, database_url):
    code, printed, _ = command("merchants", "add", "Makola Traders", "--json")
    merchant = json.loads(printed)
    assert (code, merchant["name"]) == (0, "Makola Traders")
    code, printed, _ = command("keys", "create", "--merchant", merchant["id"], "--live", "--json")
    key = json.loads(printed)
    assert code == 0
    assert key["secret"].startswith("sk_live_")
    settings = Settings(
        database_url=database_url,
        installation_key="5c" * 32,
        encryption_keys="1:" + "e1" * 32,
        lookup_key="e2" * 32,
    )

    async def asked():
        async with assembled(settings, database_url) as service:
            transport = httpx.ASGITransport(application(service, settings))
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                headers = {"Authorization": f"Bearer {key['secret']}"}
                return (await client.get("/api/v1/payments", headers=headers)).status_code

    assert await asked() == 200
    code, printed, _ = command("keys", "list")
    assert key["id"] in printed
    assert key["secret"] not in printed
    assert command("keys", "revoke", key["id"])[0] == 0
    assert await asked() == 401
    code, _, told = command("keys", "revoke", key["id"])
    assert (code, "No active key" in told) == (1, True)


def test_a_key_is_created_with_its_scopes_and_rotated_with_an_overlap(command):
    merchant = json.loads(command("merchants", "add", "Kejetia Shoes", "--json")[1])["id"]
    create = ("keys", "create", "--merchant", merchant, "--test", "--json")
    usual = json.loads(command(*create)[1])
    assert usual["scopes"] == ["payments:read", "payments:write", "refunds:write", "webhooks:write"]
    more = ("--scopes", "payouts:write, payments:read", "--ips", "203.0.113.0/24", "--expires-in", "90d")
    key = json.loads(command(*create, *more, "--name", "payroll")[1])
    assert (key["scopes"], key["allowed_ips"]) == (["payments:read", "payouts:write"], ["203.0.113.0/24"])
    code, printed, _ = command("keys", "rotate", key["id"], "--overlap", "2h", "--json")
    made = json.loads(printed)
    assert (code, made["former_id"], made["name"]) == (0, key["id"], "payroll")
    assert (made["scopes"], made["allowed_ips"]) == (key["scopes"], key["allowed_ips"])
    assert made["secret"].startswith("sk_test_")
    listed = {one["id"]: one for one in json.loads(command("keys", "list", "--json")[1])["data"]}
    assert listed[key["id"]]["replaced_by"] == made["id"]
    assert listed[key["id"]]["expires_at"] == made["former_expires_at"]
    table = command("keys", "list")[1]
    assert "payments:read, payouts:write" in table
    assert "LAST USED" in table
    assert made["secret"] not in table
    code, _, told = command("keys", "rotate", key["id"])
    assert (code, "has a replacement already" in told) == (1, True), told


def test_a_refused_command_says_what_to_do(command):
    for arguments, word in (
        (("keys", "create", "--admin", "--scopes", "payments:read"), "admin:read, admin:write"),
        (("keys", "create", "--merchant", "m", "--test", "--scopes", "payments:pay"), "payments:pay given"),
        (("keys", "create", "--merchant", "m", "--test", "--ips", "203.0.113.7/24"), "host bits"),
        (("keys", "create", "--merchant", "m", "--test", "--expires-in", "soon"), "such as 24h"),
        (("keys", "create", "--merchant", "m", "--test", "--expires-in", "0d"), "revoke"),
        (("keys", "rotate", "key_nobody"), "keys list"),
        (("keys", "rotate", "key_nobody", "--overlap", "91d"), "at most 90d"),
        (("keys", "create"), "--merchant"),
        (("keys", "create", "--merchant", "mer_nobody", "--test"), "merchants list"),
        (("keys", "create", "--merchant", "mer_nobody"), "either --live"),
        (("keys", "create", "--merchant", "mer_nobody", "--live", "--test"), "either --live"),
        (("keys", "create", "--admin", "--live"), "no mode"),
        (("merchants", "add", " "), "printable"),
    ):
        code, printed, told = command(*arguments)
        assert (code, printed, word in told) == (1, "", True)


def test_every_group_of_commands_says_what_it_is_for(command):
    code, printed, _ = command("--help")
    assert code == 0
    groups = (
        "breakers",
        "config",
        "drill",
        "keys",
        "merchants",
        "migrate",
        "payments",
        "rails",
        "sandbox",
        "up",
    )
    for name in groups:
        assert f" {name} " in printed


async def test_payments_of_all_merchants_are_found_and_shown(command, database_url):
    async with served(database_url) as api:
        first = (await api.pay(reference="order 1")).json()
        other = await api.send(
            "POST", "/payments", payment(reference="order 2"), key=api.other_key, Idempotency_Key="k"
        )
        second = other.json()
    code, printed, _ = command("payments", "list")
    lines = printed.splitlines()
    assert (code, lines[0].split()[:2]) == (0, ["ID", "CREATED"])
    assert [line.split()[0] for line in lines[1:]] == [second["id"], first["id"]]
    assert "0241234567" not in printed
    assert "233241234567" not in printed
    page = json.loads(command("payments", "list", "--limit", "1", "--json")[1])
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([second["id"]], True)
    page = json.loads(command("payments", "list", "--after", page["next"], "--json")[1])
    assert ([one["id"] for one in page["data"]], page["next"]) == ([first["id"]], None)
    for narrowed in (
        ("--merchant", "mer_test"),
        ("--reference", "order 1"),
        ("--merchant", "mer_test", "--payer", "024 123 4567"),
        ("--merchant", "mer_test", "--status", "processing", "--detail", "queued"),
    ):
        page = json.loads(command("payments", "list", *narrowed, "--json")[1])
        assert [one["id"] for one in page["data"]] == [first["id"]], narrowed
    code, printed, _ = command("payments", "list", "--detail", "risk_review")
    assert (code, printed) == (0, "No payments match.\n")


async def test_payouts_are_found_by_their_reference_and_payee(command, database_url):
    async with served(database_url) as api:
        body = {
            "amount": 4200,
            "currency": "GHS",
            "payee": {"msisdn": "0241234567"},
            "reference": "wages 1",
        }
        made = (await api.send("POST", "/payouts", body, Idempotency_Key="k")).json()
    for narrowed in ((), ("--reference", "wages 1"), ("--merchant", "mer_test", "--payee", "024 123 4567")):
        page = json.loads(command("payments", "payouts", *narrowed, "--json")[1])
        assert [one["id"] for one in page["data"]] == [made["id"]], narrowed
    code, printed, _ = command("payments", "payouts")
    assert (code, "42.00" in printed, "233241234567" in printed) == (0, True, False)
    assert command("payments", "payouts", "--after", made["id"])[1] == "No payouts match.\n"


async def test_everything_that_waits_for_review_is_listed_and_counted(command, database_url):
    async with served(database_url) as api:
        paid = (await api.pay(reference="order 1")).json()
    assert command("payments", "waiting")[:2] == (0, "Nothing is waiting for review.\n")
    settings = Settings(
        database_url=database_url,
        installation_key="5c" * 32,
        encryption_keys="1:" + "e1" * 32,
        lookup_key="e2" * 32,
    )
    async with assembled(settings, database_url) as service:
        parked = (
            "UPDATE payments SET status_detail = 'under_review', due_at = now() + interval '1 day',"
            " fence = fence + 1, lease_until = NULL"
        )
        await service.health.pool.execute(parked)
        await service.backlog.count()
        transport = httpx.ASGITransport(application(service, settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            told = (await client.get("/metrics")).text
    assert 'orders_waiting{kind="payment",why="under_review"} 1.0' in told
    assert 'orders_waiting{kind="payment",why="surplus"} 0.0' in told
    code, printed, _ = command("payments", "waiting")
    assert code == 0
    assert printed.splitlines()[1].split()[:2] == [paid["id"], "under_review"]
    assert "synccash payments resolve ID --outcome succeeded|failed --evidence TEXT" in printed
    (one,) = json.loads(command("payments", "waiting", "--json")[1])["data"]
    assert (one["id"], one["why"], one["next_look_at"] is not None) == (paid["id"], "under_review", True)


async def test_contradictions_are_listed_with_what_they_mean_until_they_are_closed(command, database_url):
    nothing = "No rail has contradicted itself.\n"
    assert command("payments", "contradictions")[:2] == (0, nothing)
    async with served(database_url) as api:
        paid = (await api.pay(reference="order 1")).json()["id"]
        await api.operators.store.database.repeat(
            "INSERT INTO contradictions (move_id, order_id, kind, attempts) "
            "VALUES ('move', $1, 'reversed', '[]')",
            paid,
        )
    code, printed, _ = command("payments", "contradictions")
    assert (code, printed.splitlines()[1].split()[:2]) == (0, [paid, "reversed"])
    assert "The rail took back money" in printed
    (one,) = json.loads(command("payments", "contradictions", "--json")[1])["data"]
    assert (one["id"], one["contradiction"]) == (paid, "reversed")
    assert command("payments", "close-contradictions", paid, "--reason", "settled")[0] == 0
    assert command("payments", "contradictions")[:2] == (0, nothing)
    code, _, refused = command("payments", "close-contradictions", paid, "--reason", "settled")
    assert (code, "has no open contradiction" in refused) == (1, True)


async def test_one_payment_is_shown_with_its_attempts_and_timeline(command, database_url):
    async with served(database_url) as api:
        paid = (await api.pay(reference="order 1")).json()
    code, printed, _ = command("payments", "show", paid["id"])
    assert code == 0
    for word in (paid["id"], "order 1", "mtn_momo", "collect", "created", "routed"):
        assert word in printed
    shown = json.loads(command("payments", "show", paid["id"], "--json")[1])
    assert shown["id"] == paid["id"]
    assert [entry["kind"] for entry in shown["timeline"]][:2] == ["created", "routed"]
    code, printed, told = command("payments", "show", "pay_nobody")
    assert (code, printed, "payments list --reference" in told) == (1, "", True)


def test_an_operators_commands_are_in_the_audit_log(command, database_url):
    merchant = json.loads(command("merchants", "add", "Makola Traders", "--json")[1])
    key = json.loads(command("keys", "create", "--merchant", merchant["id"], "--test", "--json")[1])
    command("keys", "revoke", key["id"])
    deeds = asyncio.run(noted(database_url))
    assert [(deed.action, deed.target) for deed in deeds] == [
        ("key_revoke", key["id"]),
        ("key_create", key["id"]),
        ("merchant_add", merchant["id"]),
    ]
    assert all(deed.actor.startswith("database:") for deed in deeds)
    assert all(deed.reason.startswith("break_glass") for deed in deeds)
    assert all(key["secret"] not in repr(deed) for deed in deeds)


async def noted(database_url):
    pool = await connect(database_url, min_size=1, max_size=1)
    try:
        return await PostgresAudit(Database(pool)).latest(10)
    finally:
        await pool.close()


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"SYNCCASH_DATABASE_URL": ""}, "Set it to your PostgreSQL database"),
        ({"SYNCCASH_DATABASE_URL": "postgresql://u:secret@127.0.0.1:9/x"}, "check SYNCCASH_DATABASE_URL"),
    ],
)
def test_without_its_database_a_command_says_what_is_missing(command, environment, word, tmp_path):
    code, printed, told = command("merchants", "list", environment=environment, folder=tmp_path)
    assert (code, printed, word in told, "secret" in told) == (1, "", True, False)


@pytest.mark.parametrize(
    ("environment", "word"),
    [({}, "SYNCCASH_ADMIN_KEY"), ({"SYNCCASH_ADMIN_KEY": "sk_admin_1"}, "--url")],
)
def test_without_a_service_to_ask_a_command_says_what_is_missing(command, environment, word, tmp_path):
    port = {"SYNCCASH_PORT": "9"}
    code, printed, told = command("breakers", "list", environment=environment | port, folder=tmp_path)
    assert (code, printed, word in told) == (1, "", True)
