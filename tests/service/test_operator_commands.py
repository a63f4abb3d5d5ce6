"""The commands of operators: they act through the API, as the operator who has signed in."""

import asyncio
import json
import stat

import pytest

from service.in_process import running_service
from service.installation import call
from service.operators import token_of
from service.test_operators import audit_of, opened_operators
from synccash.administration.api import management_api
from synccash.administration.errors import AdministrationError
from synccash.administration.token_file import delete_token, store_token, stored_token
from synccash.settings.loader import Settings

pytestmark = pytest.mark.slow


@pytest.fixture
def service(database_url, tmp_path):
    with running_service(database_url, tmp_path / "rails") as running:
        yield running


@pytest.fixture
def tokens(database_url):
    async def made():
        async with opened_operators(database_url) as store:
            people = (("ama", "admin"), ("kofi", "operator"), ("yaw", "viewer"))
            return {name: await token_of(store, name, role) for name, role in people}

    return asyncio.run(made())


@pytest.fixture
def typed(command, service, tokens, tmp_path):
    """Types a command as an operator, in a shell that has no database credentials."""

    def run(who, *words):
        here = {
            "SYNCCASH_DATABASE_URL": "",
            "SYNCCASH_BREAK_GLASS": "false",
            "SYNCCASH_API_URL": service.url,
            "SYNCCASH_OPERATOR_TOKEN": tokens[who],
        }
        return command(*words, environment=here, folder=tmp_path)

    return run


def test_an_admin_adds_a_merchant_and_a_viewer_only_sees_it(typed, database_url):
    code, printed, told = typed("ama", "merchants", "add", "Makola Traders", "--json")
    assert code == 0, told
    merchant = json.loads(printed)["id"]
    assert merchant in typed("yaw", "merchants", "list")[1]
    code, _, told = typed("yaw", "merchants", "suspend", merchant, "--reason", "x")
    assert (code, "scope admin:write" in told) == (1, True), told
    code, _, told = typed("kofi", "merchants", "suspend", merchant, "--reason", "x")
    assert (code, told.strip()) == (1, "synccash: This call needs the role admin. Ask an admin.")
    assert typed("ama", "merchants", "suspend", merchant, "--reason", "stolen key")[0] == 0
    entries = [
        (one.actor, one.action) for one in asyncio.run(audit_of(database_url)) if one.target == merchant
    ]
    assert entries == [("operator:ama", "merchant_suspend"), ("operator:ama", "merchant_add")]


def test_only_an_unknown_caller_is_told_to_sign_in(command, service, tmp_path):
    here = {"SYNCCASH_DATABASE_URL": "", "SYNCCASH_BREAK_GLASS": "false", "SYNCCASH_API_URL": service.url}
    unknown = {**here, "SYNCCASH_OPERATOR_TOKEN": "sk_operator_unknown"}
    code, _, told = command("operators", "list", environment=unknown, folder=tmp_path)
    assert (code, "expired or was revoked" in told, "synccash login NAME" in told) == (1, True, True), told
    reader = {**here, "SYNCCASH_ADMIN_KEY": service.key}
    code, _, told = command("operators", "list", environment=reader, folder=tmp_path)
    assert (code, "scope admin:read" in told, "synccash login" in told) == (1, True, False), told


def test_a_key_is_created_replaced_and_revoked_over_the_api(typed, service):
    words = ("keys", "create", "--merchant", "mer_one", "--test", "--scopes", "payments:read")
    code, printed, told = typed("ama", *words, "--expires-in", "90d", "--json")
    assert code == 0, told
    key = json.loads(printed)
    assert (key["scopes"], key["expires_in_s"]) == (["payments:read"], 90 * 86_400)

    def answered(secret):
        return call("GET", f"{service.url}/api/v1/payments", Authorization=f"Bearer {secret}").status

    assert answered(key["secret"]) == 200
    assert typed("kofi", *words)[0] == 1, "only an admin creates keys"
    code, printed, told = typed("ama", "keys", "rotate", key["id"], "--overlap", "1h", "--json")
    assert code == 0, told
    replacement = json.loads(printed)
    assert answered(replacement["secret"]) == 200
    assert typed("kofi", "keys", "revoke", replacement["id"])[0] == 0
    listed = json.loads(typed("yaw", "keys", "list", "--json")[1])["data"]
    assert [one["revoked_at"] is None for one in listed if one["id"] == replacement["id"]] == [False]
    assert key["secret"] not in json.dumps(listed)
    code, _, told = typed("ama", "keys", "create", "--merchant", "mer_nobody", "--test")
    assert (code, "No merchant" in told) == (1, True), told


def test_a_credit_is_granted_when_a_second_operator_has_typed_the_approval(typed):
    before = credit_of(typed)
    credit = ("balances", "credit", "mer_one", "2500", "--test", "--reason", "prefunded")
    code, printed, told = typed("ama", *credit)
    assert code == 0, told
    approval = next(word for word in printed.split() if word.startswith("apr_"))
    assert approval in typed("kofi", "approvals", "list")[1]
    code, _, told = typed("ama", "approvals", "approve", approval, "--reason", "me too")
    assert (code, "another operator" in told) == (1, True), told
    assert credit_of(typed) == before
    code, printed, told = typed("kofi", "approvals", "approve", approval, "--reason", "bank statement")
    assert (code, "executed" in printed) == (0, True), told
    assert credit_of(typed) == before + 2500


def credit_of(typed):
    found = json.loads(typed("yaw", "balances", "mer_one", "--json")[1])["data"]
    return sum(one["credit"] for one in found if not one["livemode"])


def test_lists_of_orders_come_from_the_api(typed, service):
    assert typed("yaw", "payments", "list")[:2] == (0, "No payments match.\n")
    assert typed("yaw", "payments", "waiting")[:2] == (0, "Nothing is waiting for review.\n")
    code, _, told = typed("yaw", "payments", "show", "pay_nobody")
    assert (code, "No order" in told) == (1, True), told
    code, _, told = typed("yaw", "payments", "list", "--payer", "12")
    assert (code, "--payer" in told) == (1, True), told


def test_without_a_sign_in_nothing_is_done_with_database_credentials_by_itself(command, tmp_path):
    code, printed, told = command(
        "merchants", "add", "x", environment={"SYNCCASH_BREAK_GLASS": "false"}, folder=tmp_path
    )
    assert (code, printed, "synccash login" in told) == (1, "", True)


def test_the_first_operator_is_made_with_database_credentials_and_only_the_first(
    command, database_url, tmp_path
):
    here = {"environment": {"SYNCCASH_BREAK_GLASS": "false"}, "folder": tmp_path}
    code, printed, told = command("operators", "create", "ama", "--role", "admin", "--json", **here)
    assert code == 0, told
    assert json.loads(printed)["enrolment_code"].startswith("enrol_")
    assert json.loads(printed)["expires_at"].endswith("Z")
    code, _, told = command("operators", "create", "kofi", "--role", "admin", **here)
    assert (code, "--reason is missing" in told) == (1, True), "only the first one has a reason by itself"
    code, _, told = command("operators", "create", "kofi", "--role", "admin", "--reason", "nights", **here)
    assert (code, "synccash login" in told) == (1, True)
    code, _, told = command("operators", "reset", "ama", "--reason", "lost phone", "--break-glass", **here)
    assert code == 0, told
    entries = asyncio.run(audit_of(database_url))
    assert [(one.action, one.reason) for one in entries] == [
        ("operator_reset", "break_glass: lost phone"),
        ("operator_create", "break_glass: first operator (role admin)"),
    ]
    assert all(one.actor.startswith("database:") for one in entries)
    again = ("operators", "create", "Ama Mensah", "--role", "admin", "--reason", "x", "--break-glass")
    code, _, told = command(*again, **here)
    assert (code, "lower-case" in told) == (1, True)


def test_a_stored_token_is_for_its_address_and_for_this_user_only(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    store_token("https://pay.example.com", "sk_operator_1")
    store_token("https://other.example.com", "sk_operator_2")
    (file,) = (tmp_path / "synccash").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = stored_token("https://pay.example.com")
    assert found is not None
    assert found.reveal() == "sk_operator_1"
    assert stored_token("https://evil.example.com") is None
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AdministrationError, match="Nobody is signed in"):
        management_api(Settings(), "https://evil.example.com")
    delete_token("https://pay.example.com")
    assert stored_token("https://pay.example.com") is None
    assert stored_token("https://other.example.com") is not None


def test_logout_ends_the_session_and_not_the_token_of_a_program(
    command, service, tokens, tmp_path, monkeypatch, database_url
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    store_token(service.url, tokens["ama"])
    here = {
        "SYNCCASH_API_URL": service.url,
        "SYNCCASH_OPERATOR_TOKEN": tokens["kofi"],
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    code, _, told = command("logout", environment=here, folder=tmp_path)
    assert code == 0, told

    async def left(name):
        async with opened_operators(database_url) as store:
            return len(await store.tokens(name))

    assert (asyncio.run(left("ama")), asyncio.run(left("kofi"))) == (0, 1)


def test_in_the_folder_of_a_running_installation_its_key_and_address_are_found(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".synccash").mkdir()
    (tmp_path / ".synccash" / "keys.json").write_text('{"admin": "sk_admin_1"}')
    (tmp_path / ".synccash" / "api.json").write_text('{"url": "http://localhost:9123"}')
    api = management_api(Settings(), None)
    assert (api.url, api.key and api.key.reveal()) == ("http://localhost:9123", "sk_admin_1")
