"""Live and test keys at a whole installation, whose rails are all test accounts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.installation import FINAL, Installation, call, fresh, wait_until
from synccash.rails.registry import RAILS


def shell(folder: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "synccash.cli", *arguments, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def installation(tmp_path: Path):
    """It runs on the data folder that commands look for in their own folder."""
    up = Installation.start(tmp_path / ".synccash")
    yield up
    up.stop()


def test_a_test_key_moves_money_at_the_sandbox_and_a_live_key_does_not(
    installation: Installation, tmp_path: Path
):
    recorded = shell(tmp_path, "rails", "list")["data"]
    assert {one["rail"] for one in recorded} == set(RAILS)
    assert {(one["environment"], one["confirmed_at"] is not None) for one in recorded} == {("test", True)}
    merchant = shell(tmp_path, "merchants", "add", "Makola Traders")["id"]
    told = {}
    for mode in ("live", "test"):
        key = shell(tmp_path, "keys", "create", "--merchant", merchant, f"--{mode}")["secret"]
        body = {
            "amount": 777,
            "currency": "GHS",
            "payer": {"msisdn": "0244444444"},
            "reference": "order 1",
            "rail": "mtn_momo",
        }
        headers = {"Authorization": f"Bearer {key}", "Idempotency_Key": fresh()}
        told[mode] = call("POST", f"{installation.api}/payments", body, **headers)
    assert (told["live"].status, told["live"].body["code"]) == (422, "no_rail_for_mode")
    assert told["test"].status in (201, 202)
    payment_id = told["test"].body["id"]

    def ended() -> Any:
        payment = call("GET", f"{installation.api}/payments/{payment_id}", None, **headers).body
        return payment if payment["status"] in FINAL else None

    payment = wait_until("the test payment ends", ended)
    assert payment["status"] == "succeeded"
    booked = [debit["reference"] for debit in installation.book()["debits"]]
    assert booked == [attempt["reference"] for attempt in payment["attempts"]], "of the test key alone"
