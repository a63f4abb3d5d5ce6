"""`synccash reconcile` and `synccash breakers` in the folder of a whole installation."""

import csv
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from service.installation import Installation, call, fresh, wait_until

HEADER = ["Id", "External id", "Date", "Status", "Type", "Amount", "Currency"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reconcile")


@pytest.fixture(scope="module")
def service(folder):
    service = Installation.start(folder / ".synccash")
    yield service
    service.stop()


@pytest.fixture
def command(service, folder):
    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "synccash.cli", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def ended_well(service, path):
    def succeeded():
        shown = service.send("GET", path).body
        assert shown["status"] != "failed", shown
        return shown if shown["status"] == "succeeded" else None

    return wait_until(f"{path} succeeds", succeeded)


def statement_of(service, rail, began):
    """The rail's book as a portal would export it."""
    book = call("GET", f"{service.sandbox}/control/{rail}/book").body
    rows = [
        [
            number,
            entry["reference"],
            began.isoformat(),
            "Successful",
            kind,
            f"{entry['amount'] / 100:,.2f}",
            "GHS",
        ]
        for kind, side in (("Debit", "debits"), ("Transfer", "credits"))
        for number, entry in enumerate(book[side], 1 if side == "debits" else 1001)
    ]
    return [HEADER, *rows]


def test_a_rail_s_book_is_reconciled_with_real_payments_refunds_and_payouts(service, command, folder):
    began = datetime.now(UTC)
    amounts = [2500, 123456, 700]
    payments = [service.ended(service.pay(amount=amount).body["id"]) for amount in amounts]
    refund = service.refund(payments[0]["id"], 500).body
    payout = service.send(
        "POST",
        "/payouts",
        {
            "amount": 900,
            "currency": "GHS",
            "payee": {"msisdn": "0241234567"},
            "reference": fresh(),
            "rail": "mtn_momo",
        },
        Idempotency_Key=fresh(),
    ).body
    ended_well(service, f"/refunds/{refund['id']}")
    assert ended_well(service, f"/payouts/{payout['id']}")["rail"] == "mtn_momo"
    rows = statement_of(service, "mtn_momo", datetime.now(UTC) + timedelta(minutes=1))
    file = folder / "statement.csv"

    def reconcile(rows, *more):
        with file.open("w", newline="", encoding="utf-8-sig") as out:
            csv.writer(out, delimiter=";").writerows(rows)
        return command("reconcile", str(file), "--rail", "mtn_momo", "--from", began.isoformat(), *more)

    code, printed, told = reconcile(rows, "--json")
    assert (code, told) == (0, "")
    summary = json.loads(printed)["summary"]
    assert (summary["rows"], summary["matched"]) == (5, 5)

    tampered = [list(row) for row in rows]
    lost = next(row for row in tampered if row[1] == payments[2]["attempts"][0]["reference"])
    tampered.remove(lost)
    changed = next(row for row in tampered if row[1] == payments[1]["attempts"][0]["reference"])
    changed[5] = "1,000.00"
    tampered += [
        [9001, fresh(), rows[1][2], "Successful", "Debit", "3.00", "GHS"],
        ["?", "", "", "", "", "", "x"],
    ]
    code, printed, _ = reconcile(tampered)
    assert code == 1
    for words in (
        ("missing", payments[2]["id"]),
        ("amount_differs", "1000.00", "1234.56", payments[1]["id"]),
        ("surplus", "3.00"),
        ("broken", "7"),
        ("matched", "3"),
    ):
        assert any(all(word in line for word in words) for line in printed.splitlines()), (words, printed)
    code, _, _ = reconcile(tampered, "--out", str(folder / "report.csv"))
    with (folder / "report.csv").open(newline="") as written:
        verdicts = sorted(row["verdict"] for row in csv.DictReader(written))
    assert (code, verdicts) == (
        1,
        ["amount_differs", "broken", "matched", "matched", "matched", "missing", "surplus"],
    )


def test_breakers_are_listed_forced_open_and_reset_from_a_shell(service, command):
    port = service.api.split(":")[2].split("/")[0]
    here = ("--url", f"http://localhost:{port}")
    code, printed, _ = command("breakers", "list", *here)
    assert (code, "mtn_momo:payout" in printed) == (0, True)
    shut = command("breakers", "force-open", "hubtel", "--reason", "maintenance", "--json", *here)
    assert (shut[0], json.loads(shut[1])["state"]) == (0, "forced_open")
    assert "maintenance" in command("breakers", "list", *here)[1]
    code, printed, _ = command("breakers", "reset", "hubtel", *here)
    assert (code, "hubtel:collect" in printed) == (0, True)
    code, printed, told = command("breakers", "reset", "visa", *here)
    assert (code, printed, "No circuit breaker is named" in told) == (1, "", True)
