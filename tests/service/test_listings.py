"""Every command that lists something, on a real service: it fits a terminal, and ends with its reader."""

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl

import pytest

from service.conftest import KEYS
from service.in_process import running_service
from service.installation import call, wait_until

pytestmark = pytest.mark.slow
PROGRAM = [sys.executable, "-m", "synccash"]
COLUMNS = 80
LISTINGS = (
    "approvals list",
    "audit export",
    "audit list",
    "audit verify",
    "balances",
    "balances check",
    "breakers",
    "config show",
    "doctor",
    "encryption status",
    "health",
    "history",
    "history --by code",
    "keys list",
    "merchants list",
    "operators list",
    "payments contradictions",
    "payments list",
    "payments payouts",
    "payments show {payment}",
    "payments waiting",
    "rails float",
    "rails list",
    "recovery status",
    "routes --live",
)


@pytest.fixture(scope="module")
def database_of_file(servers, migrated_template):
    from servers_fixture import fresh_database

    with fresh_database(servers, migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def service(database_of_file, tmp_path_factory):
    settings = {"risk_review_from": 50_000, "four_eyes": "off"}
    folder = tmp_path_factory.mktemp("rails")
    with running_service(database_of_file, folder, tells=False, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def payment(service):
    """A payment that has succeeded; another one waits for an operator."""
    paid, held = (pay(service, amount, f"order-{amount}") for amount in (2_500, 60_000))
    url = f"{service.url}/api/v1/payments/{paid}"
    headers = {"Authorization": f"Bearer {service.key}"}
    wait_until("it has succeeded", lambda: call("GET", url, **headers).body["status"] == "succeeded")
    assert held != paid
    return paid


@pytest.fixture(scope="module")
def environment(service, database_of_file):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SYNCCASH_")}
    return {
        **clean,
        **KEYS,
        "SYNCCASH_DATABASE_URL": database_of_file,
        "SYNCCASH_API_URL": service.url,
        "SYNCCASH_ADMIN_KEY": service.admin_key,
        "TERM": "xterm",
        "NO_COLOR": "1",
    }


def pay(service, amount, reference):
    body = {"amount": amount, "currency": "GHS", "payer": {"msisdn": "0241234567"}, "reference": reference}
    headers = {"Authorization": f"Bearer {service.key}", "Idempotency-Key": reference}
    return call("POST", f"{service.url}/api/v1/payments", body, **headers).body["id"]


def on_terminal(words, environment):
    """What the command writes on a terminal of 80 columns, and its exit code."""
    leader, follower = pty.openpty()
    ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    with subprocess.Popen(
        [*PROGRAM, *words], env=environment, stdout=follower, stdin=follower, stderr=follower
    ) as process:
        os.close(follower)
        written = b""
        try:
            while part := os.read(leader, 65_536):
                written += part
        except OSError:
            pass  # Linux reports the end of a terminal's other side as EIO
    os.close(leader)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.decode())
    return plain.replace("\r\n", "\n"), process.returncode


@pytest.mark.parametrize("listing", LISTINGS)
def test_a_listing_fits_eighty_columns(listing, payment, environment):
    written, code = on_terminal(listing.format(payment=payment).split(), environment)
    assert "Traceback" not in written
    assert code in (0, 1, 2), written
    if listing != "audit export":  # JSON lines are for programs
        # No word is broken, so that it can be copied: a longer one may stand alone.
        too_wide = [line for line in written.splitlines() if len(line) > COLUMNS and len(line.split()) > 2]
        assert too_wide == []


@pytest.mark.parametrize("extra", [(), ("--json",)])
@pytest.mark.parametrize("listing", LISTINGS)
def test_a_listing_whose_reader_has_ended_says_nothing(listing, extra, payment, environment):
    if listing == "audit export" and extra:
        return
    words = [*listing.format(payment=payment).split(), *extra]
    with subprocess.Popen(
        [*PROGRAM, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        writer.stdout.close()
        assert writer.stderr.read() == b""
    assert writer.returncode == 141


def test_amounts_have_their_currency(payment, environment):
    written, _ = on_terminal(["payments", "list"], environment)
    assert "GHS 25.00" in written
    assert "GHS 600.00" in written
