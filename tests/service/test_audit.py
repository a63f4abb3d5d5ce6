"""What is in the audit log, who may read it, and the commands that list, export and verify it."""

import contextlib
import json

import asyncpg
import pytest

from api.served import NUMBER, served
from servers_fixture import SERVICE_ROLE, service_url
from service.operators import token_of
from service.test_operators import opened_operators
from synccash.processes.audit_sealing import AuditSealing
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.audit_chain import PostgresAuditChain
from synccash.stores.postgres.pool import connect
from synccash.stores.postgres.schema.runtime_role import RoleCheck

URL = "https://shop.example/hooks?token=canary-secret"
OTHER_URL = "https://other.example/canary-path"


@contextlib.asynccontextmanager
async def opened_database(url):
    pool = await connect(url, min_size=0, max_size=2)
    try:
        yield Database(pool)
    finally:
        await pool.close()


async def entries_of(url, **filters):
    async with opened_database(url) as database:
        found = await PostgresAudit(database).latest(50)
    return [one for one in reversed(found) if all(getattr(one, k) == v for k, v in filters.items())]


async def test_a_merchants_changes_of_endpoints_are_recorded_under_the_key(database_url):
    async with served(database_url) as api:
        made = await api.send("POST", "/webhook-endpoints", {"url": URL})
        assert made.status_code == 201, made.text
        path = f"/webhook-endpoints/{made.json()['id']}"
        assert (await api.send("PATCH", path, {"url": OTHER_URL})).status_code == 200
        rotated = await api.send("PATCH", path, {"rotate_secret": True})
        assert (await api.send("DELETE", path)).status_code == 204
        # What changes nothing leaves no entry.
        assert (await api.send("DELETE", path)).status_code == 404
        assert (
            await api.send("POST", "/webhook-endpoints", {"url": "http://shop.example"})
        ).status_code == 422
    entries = await entries_of(database_url, merchant_id="mer_test")
    assert [one.action for one in entries] == [
        "endpoint_create",
        "endpoint_change",
        "endpoint_rotate_secret",
        "endpoint_remove",
    ]
    assert {(one.actor[:4], one.target) for one in entries} == {("key_", made.json()["id"])}
    assert [one.request_id for one in entries][:2] == [
        made.headers["request-id"],
        entries[1].request_id,
    ]
    assert entries[1].document()["details"]["host"] == "other.example"
    for secret in ("canary", made.json()["secret"], rotated.json()["secret"]):
        assert secret not in repr(entries)


async def test_another_merchants_endpoint_is_neither_changed_nor_recorded(database_url):
    async with served(database_url) as api:
        made = await api.send("POST", "/webhook-endpoints", {"url": URL})
        path = f"/webhook-endpoints/{made.json()['id']}"
        assert (await api.send("DELETE", path, key=api.other_key)).status_code == 404
        assert (await api.send("PATCH", path, {"url": OTHER_URL}, key=api.other_key)).status_code == 404
    assert [one.action for one in await entries_of(database_url)] == ["endpoint_create"]


async def test_operators_reads_of_unmasked_numbers_are_recorded_with_what_was_asked(database_url):
    async with served(database_url) as api:
        paid = (await api.pay()).json()
        async with opened_operators(database_url) as store:
            token = await token_of(store, "ama", "viewer")
        listed = await api.send("GET", f"/admin/payments?wallet={NUMBER}&limit=5", key=token)
        assert [one["id"] for one in listed.json()["data"]] == [paid["id"]]
        assert (await api.send("GET", "/admin/payouts?merchant=mer_test", key=token)).status_code == 200
        assert (await api.send("GET", f"/admin/orders/{paid['id']}", key=api.admin_key)).status_code == 200
        # These show no number.
        for path in ("/admin/waiting", "/admin/merchants", "/admin/api-keys"):
            assert (await api.send("GET", path, key=token)).status_code == 200
    entries = [one for one in await entries_of(database_url) if one.action.endswith("_read")]
    assert [(one.action, one.target) for one in entries] == [
        ("payments_read", "all"),
        ("payouts_read", "mer_test"),
        ("order_read", paid["id"]),
    ]
    assert [one.actor for one in entries[:2]] == ["operator:ama"] * 2
    assert entries[0].document()["details"] == {"limit": "5", "wallet": "23324****567"}
    assert entries[0].request_id == listed.headers["request-id"]
    assert entries[1].merchant_id == "mer_test"


async def test_payments_and_failed_sign_ins_write_nothing(database_url):
    async with served(database_url) as api:
        before = len(await entries_of(database_url))
        paid = (await api.pay()).json()
        await api.send("GET", f"/payments/{paid['id']}")
        body = {"name": "ama", "password": "guess-of-somebody", "totp": "000000"}
        assert (await api.client.post("/api/v1/operators/sign-in", json=body)).status_code == 401
        assert len(await entries_of(database_url)) == before


async def test_an_admin_lists_and_exports_and_others_do_not(database_url):
    async with served(database_url) as api:
        async with opened_operators(database_url) as store:
            tokens = {role: await token_of(store, role, role) for role in ("viewer", "operator", "admin")}
        for path in ("/admin/audit", "/admin/audit/export"):
            for who, status in (("viewer", 403), ("operator", 403), ("admin", 200)):
                assert (await api.send("GET", path, key=tokens[who])).status_code == status, (path, who)
            assert (await api.send("GET", path)).status_code == 403
        first = (await api.send("GET", "/admin/audit?limit=2", key=tokens["admin"])).json()
        assert (len(first["data"]), first["has_more"]) == (2, True)
        path = f"/admin/audit?limit=1&before={first['next']}&actor=operator:viewer"
        [older] = (await api.send("GET", path, key=tokens["admin"])).json()["data"]
        assert older["position"] < first["next"]
        assert older["actor"] == "operator:viewer"
        for query in ("since=2026-01-01T00:00:00", "since=soon", "before=0", "limit=0", "actor=%00"):
            answer = await api.send("GET", f"/admin/audit?{query}", key=tokens["admin"])
            assert answer.status_code in (400, 422), query


def audit_lines(command):
    code, printed, told = command("audit", "export")
    assert code == 0, told
    return [json.loads(line) for line in printed.splitlines()]


async def seal(url):
    async with opened_database(url) as database:
        await AuditSealing(PostgresAuditChain(database)).seal()


async def test_the_commands_list_export_and_verify(command, database_url):
    command("merchants", "add", "Makola Traders")
    await seal(database_url)
    code, printed, _ = command("audit", "list", "--action", "merchant_add", "--since", "2026-01-01")
    assert (code, "break_glass: Makola Traders" in printed) == (0, True)
    assert "No entries match." in command("audit", "list", "--actor", "operator:nobody")[1]
    lines = audit_lines(command)
    assert [line["object"] for line in lines] == ["audit_entry", "audit_seal", "audit_head"]
    head = lines[-1]["head"]
    assert head == f"1:{lines[1]['digest']}"
    code, printed, _ = command("audit", "verify", "--head", head)
    assert (code, "matches its seals" in printed) == (0, True)
    code, _, told = command("audit", "verify", "--head", "nonsense")
    assert (code, "expected NUMBER:DIGEST" in told) == (1, True), "no sign of a log that was cut off"
    code, _, told = command("audit", "verify", "--head", "1:" + "0" * 64)
    assert (code, "does not exist" in told) == (1, True)


async def test_verify_exits_with_1_after_a_change_by_the_owner(command, database_url):
    command("merchants", "add", "Makola Traders")
    await seal(database_url)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("ALTER TABLE audit DISABLE TRIGGER USER")
        await connection.execute("UPDATE audit SET actor = 'database:nobody'")
    finally:
        await connection.close()
    code, _, told = command("audit", "verify")
    assert (code, "entry 1 was altered after seal 1 was made" in told) == (1, True)
    assert json.loads(command("audit", "verify", "--json")[1])["problems"]


@pytest.mark.parametrize("is_owner", [True, False])
async def test_health_names_a_service_that_owns_its_tables(database_url, is_owner, monkeypatch):
    if is_owner:

        async def owner(url):
            return url

        monkeypatch.setattr("api.served.service_url", owner)
    async with served(database_url) as api:
        health = (await api.send("GET", "/resilience/health", key=api.admin_key)).json()
    notices = [one["what"] for one in health["notices"]]
    assert ("database_role" in notices) is is_owner


async def test_migrate_gives_the_services_role_its_rights(command, database_url):
    own_url = await service_url(database_url)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(f"REVOKE ALL ON audit FROM {SERVICE_ROLE}")
        await connection.execute(f"GRANT DELETE ON audit_seals TO {SERVICE_ROLE}")
    finally:
        await connection.close()
    as_both = {"SYNCCASH_DATABASE_URL": own_url, "SYNCCASH_MIGRATION_DATABASE_URL": database_url}
    code, printed, told = command("migrate", environment=as_both)
    assert (code, SERVICE_ROLE in printed) == (0, True), told
    [entry] = await entries_of(database_url, action="migrate")
    assert (entry.actor, entry.reason) == ("database:synccash", "break_glass")
    assert entry.target.startswith("schema 00")
    async with opened_database(own_url) as database:
        await PostgresAudit(database).note(actor="a", action="b", target="c", reason="")
        assert await RoleCheck(database).notice() is None
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.repeat("DELETE FROM audit_seals")
    # Without another URL for migrations nothing changes: the owner migrates, and the service connects as it.
    code, printed, _ = command("migrate")
    assert (code, "role" in printed) == (0, False)
    as_one = {"SYNCCASH_MIGRATION_DATABASE_URL": database_url}
    code, _, told = command("migrate", environment=as_one)
    assert (code, "SYNCCASH_MIGRATION_DATABASE_URL" in told) == (1, True)
    missing = {**as_one, "SYNCCASH_DATABASE_RUNTIME_ROLE": "nobody_yet"}
    code, _, told = command("migrate", environment=missing)
    assert (code, "CREATE ROLE" in told) == (1, True)


async def test_a_decision_is_recorded_once_and_a_refused_one_is_not(database_url):
    async with served(database_url, risk_review_from=1) as api:
        paid = [(await api.pay()).json() for _ in range(2)]
        assert {one["status_detail"] for one in paid} == {"risk_review"}
        decision = {"reason": "a known buyer"}
        answers = [
            await api.send("POST", f"/payments/{payment['id']}/{kind}", decision, key=api.admin_key)
            for payment, kind in ((paid[0], "approve"), (paid[1], "decline"), (paid[1], "approve"))
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 409]
        resolved = {"outcome": "failed", "evidence": "statement line 7"}
        path = f"/payments/{paid[1]['id']}/resolve"
        assert (await api.send("POST", path, resolved, key=api.admin_key)).status_code == 409
    entries = [one for one in await entries_of(database_url) if one.target.startswith("pay_")]
    assert [(one.action, one.target, one.reason) for one in entries] == [
        ("payment_approve", paid[0]["id"], "a known buyer"),
        ("payment_decline", paid[1]["id"], "a known buyer"),
    ]
    assert [one.request_id for one in entries] == [one.headers["request-id"] for one in answers[:2]]
