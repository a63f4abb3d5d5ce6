"""The commands of the first payment, in README and on its page, run as they stand against a whole service."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers_fixture import fresh_database
from service.in_process import RunningService, running_service
from synccash.client import SyncCash
from synccash.servers.bundle import Servers

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)$", re.MULTILINE)
PAYMENT_ID = re.compile(r'"id": ?"(pay_\w+)"')


@pytest.fixture
def service(servers: Servers, migrated_template: str, tmp_path: Path) -> Iterator[RunningService]:
    with (
        fresh_database(servers, migrated_template) as url,
        running_service(url, tmp_path) as running,
    ):
        yield running


def sections() -> Iterator[object]:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    yield pytest.param(readme.split("## Your first payment\n")[1].split("\n## ")[0], id="README")
    yield pytest.param(
        (ROOT / "docs/how-to/first-payment.md").read_text(encoding="utf-8"), id="first-payment"
    )


@pytest.mark.parametrize("text", [*sections()])
def test_the_commands_make_one_debit_for_each_order(text: str, service: RunningService):
    commands = [one for block in BLOCK.findall(text) for one in COMMAND.findall(block)]
    answers: list[str] = []
    payment_id = ""
    for command in commands:
        if command.startswith("export KEY="):
            continue
        answers.append(run(command.replace("pay_…", payment_id), service))
        if ' -d \'{"amount"' in command:
            found = PAYMENT_ID.search(answers[-1])
            assert found is not None, answers[-1]
            payment_id = found[1]
            if " 201 " in answers[-1]:  # that of a lost answer is waited for where the page says so
                ended(service, payment_id)
        elif command.startswith("curl -s -X DELETE"):
            ended(service, payment_id)
    posts = [answer for answer in answers if answer.startswith("HTTP/1.1 20")]
    assert [post.split(" ")[1] for post in posts] == ["201", "201", "202"]
    assert "awaiting_payer" in posts[0]
    assert "idempotent-replayed: true" in posts[1].lower()
    assert "outcome_unknown" in posts[2]
    assert [debit["amount"] for debit in service.booked("debits")] == [2500, 2500]
    assert len(json.loads(answers[-1])["debits"]) == 2


@pytest.mark.parametrize(("language", "name"), [("js", "pay.mjs"), ("php", "pay.php")])
def test_the_program_makes_one_payment_however_often_it_runs(
    language: str, name: str, service: RunningService, tmp_path: Path
):
    command = {"js": "node", "php": "php"}[language]
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed, so its program on first-payment.md was not run")
    if (
        command == "php"
        and subprocess.run(["php", "-r", "exit((int) !extension_loaded('curl'));"]).returncode
    ):
        pytest.skip("PHP has no extension curl (Debian: php-curl), so its program was not run")
    page = (ROOT / "docs/how-to/first-payment.md").read_text(encoding="utf-8")
    found = re.search(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    source = tmp_path / name
    source.write_text(found[1], encoding="utf-8")
    environment = {**os.environ, "KEY": service.key, "API": f"{service.url}/api/v1"}
    printed = [
        subprocess.run(
            [command, source], env=environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout
        for _ in range(2)
    ]
    assert printed[0] == printed[1]
    payment_id, *state = printed[0].split()
    assert (payment_id.startswith("pay_"), state) == (True, ["processing", "awaiting_payer"])
    refused = subprocess.run(
        [command, source], env=environment | {"KEY": "sk_test_x"}, capture_output=True, text=True, timeout=60
    )
    assert refused.returncode != 0
    assert "key" in refused.stderr + refused.stdout


def run(command: str, service: RunningService) -> str:
    """Run one command with the addresses of the test's service."""
    command = command.replace("localhost:8000", service.url.removeprefix("http://"))
    command = command.replace("localhost:8100", service.sandbox_url.removeprefix("http://"))
    done = subprocess.run(
        ["bash", "-ec", command],
        env={**os.environ, "KEY": service.key},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def ended(service: RunningService, payment_id: str) -> None:
    with SyncCash(service.url, service.key) as cash:
        payment = cash.wait(cash.get_payment(payment_id), every_s=0.1)
    assert payment.status == "succeeded"
