"""Merchants and keys from a shell, on a real PostgreSQL, by the command itself."""

import json
import os
import subprocess
import sys

import httpx
import pytest

from synccash.app import application, assembled
from synccash.settings import Settings


@pytest.fixture
def command(database_url):
    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "synccash.cli", *arguments],
            env={**os.environ, "SYNCCASH_DATABASE_URL": database_url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


async def test_a_key_made_in_a_shell_opens_the_api_until_it_is_revoked(command, database_url):
    code, printed, _ = command("merchants", "add", "Makola Traders", "--json")
    merchant = json.loads(printed)
    assert (code, merchant["name"]) == (0, "Makola Traders")
    code, printed, _ = command("keys", "create", "--merchant", merchant["id"], "--live", "--json")
    key = json.loads(printed)
    assert code == 0
    assert key["secret"].startswith("sk_live_")
    settings = Settings(database_url=database_url)

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
    assert (code, "no key" in told) == (1, True)


def test_what_cannot_be_done_says_what_to_do(command):
    for arguments, word in (
        (("keys", "create"), "--merchant"),
        (("keys", "create", "--merchant", "mer_nobody"), "merchants list"),
        (("merchants", "add", " "), "printable"),
    ):
        code, printed, told = command(*arguments)
        assert (code, printed, word in told) == (1, "", True)
