"""The programs of docs/how-to/verify-a-webhook.md take what Standard Webhooks signs, and nothing else."""

import base64
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from synccash.local.free_ports import free_run_of_ports

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "verify-a-webhook.md"
SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(bytes(24)).decode()
BODY = '{"type":"payment.succeeded","data":{"object":{"description":"waakye € 🍛"}}}'
LANGUAGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "py": ("verify.py", (sys.executable,)),
    "js": ("verify.js", ("node",)),
    "php": ("verify.php", ("php",)),
    "go": ("verify.go", ("go", "run")),
    "java": ("Verify.java", ("java",)),
}


@pytest.fixture(params=list(LANGUAGES))
def program(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command of one language's program. Java and Go compile it."""
    name, command = LANGUAGES[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed, so its program on {PAGE.name} was not run")
    found = re.search(rf"^```{request.param}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    source = tmp_path / name
    source.write_text(found[1], encoding="utf-8")
    return [*command, str(source)]


@pytest.fixture
def node_server(tmp_path: Path) -> Iterator[str]:
    """The page's server in JavaScript: the function of its first program, and the lines of its second."""
    if shutil.which("node") is None:
        pytest.skip(f"node is not installed, so the server on {PAGE.name} was not run")
    program, lines = re.findall(r"^```js\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    source = tmp_path / "server.js"
    source.write_text("\n".join([*program.splitlines()[:-3], lines]), encoding="utf-8")
    port = free_run_of_ports(1)
    environment = {**os.environ, "PORT": str(port), "WEBHOOK_SECRET": SECRET}
    with subprocess.Popen(["node", source], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield f"http://127.0.0.1:{port}/"
        process.kill()


def post(url: str, body: str, headers: Mapping[str, str]) -> tuple[int, str]:
    request = urllib.request.Request(url, body.encode(), dict(headers), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def signed(body: str) -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature(body, now),
    }


def test_the_server_answers_the_challenge_and_takes_signed_events_alone(node_server: str):
    challenge = '{"type":"endpoint.verification","data":{"object":{"challenge":"c7"}}}'
    assert post(node_server, challenge, signed(challenge)) == (200, '{"challenge":"c7"}')
    assert post(node_server, BODY, signed(BODY)) == (200, "")
    assert post(node_server, BODY, signed(BODY + " ")) == (400, "")
    assert post(node_server, BODY, {}) == (400, "")


def signature(body: str, at: datetime, secret: str = SECRET) -> str:
    return Webhook(secret).sign("evt_1", at, body)


def verdict(program: list[str], body: str, at: datetime, signatures: str) -> str:
    given = {
        "WEBHOOK_ID": "evt_1",
        "WEBHOOK_TIMESTAMP": str(int(at.timestamp())),
        "WEBHOOK_SIGNATURE": signatures,
        "WEBHOOK_SECRET": SECRET,
    }
    done = subprocess.run(
        program,
        input=body.encode(),
        env={**os.environ, **given},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_a_program_takes_what_was_signed_with_its_secret_and_nothing_else(program: list[str]):
    now = datetime.now(UTC)
    early, late = now - timedelta(minutes=10), now + timedelta(minutes=10)
    fits, of_former = signature(BODY, now), signature(BODY, now, OTHER_SECRET)
    assert verdict(program, BODY, now, fits) == "verified"
    assert verdict(program, BODY, now, f"{of_former} {fits}") == "verified"
    assert verdict(program, BODY + " ", now, fits) == "refused"
    assert verdict(program, BODY, now, of_former) == "refused"
    assert verdict(program, BODY, early, signature(BODY, early)) == "refused"
    assert verdict(program, BODY, late, signature(BODY, late)) == "refused"
