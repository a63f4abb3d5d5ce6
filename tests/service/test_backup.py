"""After a restore, what was paid after the backup is found at the rails, and is not sent again."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from servers_fixture import execute, fresh_database
from service.in_process import running_service
from service.installation import call, wait_until
from synccash.rails.registry import RAILS

pytestmark = pytest.mark.slow

NUMBER = "0241234567"
BACKUP_KEY = {"SYNCCASH_BACKUP_KEY": "b1" * 32}
INSTALLATION = {"SYNCCASH_INSTALLATION_KEY": "5c" * 32}
WITHOUT_HUBTEL = ("client_id", "client_secret", "pos_sales_id", "prepaid_deposit_id", "environment")
QUICK: dict[str, Any] = {
    "tells": False,
    "lease_s": 2,
    "heartbeat_s": 0.5,
    # Hubtel publishes no answer for a reference that it does not know, so a search there proves nothing.
    **{f"hubtel_{name}": None for name in WITHOUT_HUBTEL},
}
Command = Callable[..., tuple[int, str, str]]


def pay(service, reference: str) -> dict[str, Any]:
    body = {"amount": 2_500, "currency": "GHS", "payer": {"msisdn": NUMBER}, "reference": reference}
    headers = {"Authorization": f"Bearer {service.key}", "Idempotency_Key": reference}
    answer = call("POST", f"{service.url}/api/v1/payments", body, **headers)
    assert answer.status in (201, 202), answer.raw
    return answer.body


def shown(service, payment_id: str) -> dict[str, Any]:
    return call(
        "GET", f"{service.url}/api/v1/payments/{payment_id}", Authorization=f"Bearer {service.key}"
    ).body


def wait_for(service, payment_id: str, status: str) -> dict[str, Any]:
    def ended():
        found = shown(service, payment_id)
        return found if found["status"] == status else None

    return wait_until(f"{payment_id} {status}", ended)


def debits(service) -> list[Any]:
    return [entry for rail in RAILS for entry in service.booked("debits", rail)]


@pytest.mark.parametrize("key", [{}, BACKUP_KEY])
def test_payments_made_after_the_backup_are_found_at_the_rails_and_never_sent_again(
    command: Command, database_url, servers, tmp_path, key
):
    file = tmp_path / "synccash.backup"
    environment = {**INSTALLATION, **key}
    with running_service(database_url, tmp_path / "sandbox", **QUICK) as service:
        early = wait_for(service, pay(service, "before")["id"], "succeeded")
        code, printed, told = command("backup", str(file), "--json", environment=environment)
        assert code == 0, told
        manifest = json.loads(printed)
        assert manifest["encrypted"] is bool(key)
        assert file.read_bytes().startswith(b"synccash backup 1\n" if key else b"PGDMP")
        for number in range(3):
            wait_for(service, pay(service, f"after-{number}")["id"], "succeeded")
        assert len(debits(service)) == 4

    with fresh_database(servers) as restored_url:
        there = {**environment, "SYNCCASH_DATABASE_URL": restored_url}
        code, printed, told = command("restore", str(file), "--reason", "disk lost", environment=there)
        assert code == 0, told
        assert "held for all orders" in printed
        assert "synccash recovery release" in printed
        with running_service(restored_url, tmp_path / "sandbox", **QUICK) as service:
            # The keys of the tests are new in each run; the merchant is the same.
            assert shown(service, early["id"])["status"] == "succeeded"
            repeated = [pay(service, f"after-{number}") for number in range(3)]
            assert {one["status_detail"] for one in repeated} == {"queued"}
            assert len(debits(service)) == 4
            assert command("recovery", "release", "--reason", "compared", environment=there)[0] == 0
            for one in repeated:
                wait_for(service, one["id"], "succeeded")
            assert len(debits(service)) == 4
        code, printed, _ = command("audit", "list", "--json", environment=there)
        actions = [entry["action"] for entry in json.loads(printed)["data"]]
        assert {"restore", "backup", "recovery_release"} <= set(actions)


def test_a_damaged_or_incomplete_backup_restores_nothing(command: Command, servers, database_url, tmp_path):
    file = tmp_path / "synccash.backup"
    assert command("backup", str(file), environment=INSTALLATION | BACKUP_KEY)[0] == 0
    code, _, told = command("backup", str(file), environment=INSTALLATION | BACKUP_KEY)
    assert (code, "no backup is overwritten" in told) == (1, True)
    with fresh_database(servers) as empty:
        there = {**INSTALLATION, **BACKUP_KEY, "SYNCCASH_DATABASE_URL": empty}

        def refused(**more: str) -> str:
            code, printed, told = command(
                "restore", str(file), "--reason", "a test", environment=there | more
            )
            assert (code, printed) == (1, "")
            return told

        assert "Set SYNCCASH_BACKUP_KEY" in refused(SYNCCASH_BACKUP_KEY="")
        assert "Nothing was restored" in refused(SYNCCASH_BACKUP_KEY="b2" * 32)
        assert "not empty" in refused(SYNCCASH_DATABASE_URL=database_url)
        with file.open("r+b") as opened:
            opened.seek(-1, os.SEEK_END)
            opened.truncate()
        assert "is not as it was written" in refused()
        assert command("migrate", environment=there)[0] == 0, "nothing was restored"


def test_a_restore_that_fails_on_the_way_leaves_the_database_as_it_was(command: Command, servers, tmp_path):
    file = tmp_path / "synccash.backup"
    assert command("backup", str(file), environment=INSTALLATION)[0] == 0
    with fresh_database(servers) as target:
        # A name that the last statements of the archive want: the tables are there by then.
        execute(target, "CREATE SEQUENCE due_payments_in_order")
        there = {**INSTALLATION, "SYNCCASH_DATABASE_URL": target}
        code, _, told = command("restore", str(file), "--reason", "a test", environment=there)
        assert (code, "psql failed" in told) == (1, True), told
        execute(target, "DROP SEQUENCE due_payments_in_order")
        code, _, told = command("restore", str(file), "--reason", "a test", environment=there)
        assert code == 0, told
