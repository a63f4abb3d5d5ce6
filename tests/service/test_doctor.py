"""`synccash doctor` on a real PostgreSQL, Valkey and sandbox rails: in a shell, and check by check."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from api.served import settings
from postgres_proxy import postgres_proxy
from servers_fixture import execute, service_url
from synccash.administration.maintenance.doctor.examination import examine
from synccash.administration.maintenance.doctor.readers import Subject
from synccash.administration.maintenance.doctor.readings import Level
from synccash.local.preparing import sandbox_rails
from synccash.processes.assembly.checks import check_settings
from synccash.rails.registry import RAILS
from synccash.sandbox.server import run_sandbox
from synccash.settings.loader import Settings, load_settings
from synccash.stores.encryption import encryption_of
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import connect

INSTALLATION = {"SYNCCASH_INSTALLATION_KEY": "5c" * 32}


@asynccontextmanager
async def opened(url: str, given: Settings) -> AsyncGenerator[Database]:
    pool = await connect(url, min_size=0, max_size=3)
    try:
        yield Database(pool, encryption=encryption_of(given))
    finally:
        await pool.close()


async def examined(url: str, given: Settings, **more) -> dict[str, list]:
    async with opened(url, given) as database:
        results = await examine(Subject(given, database, False, check_settings), **more)
    return {result.check: list(result.findings) for result in results}


def levels(findings) -> set[str]:
    return {finding.level for finding in findings}


@asynccontextmanager
async def rails_of_sandbox(folder) -> AsyncGenerator[tuple[str, dict[str, str]]]:
    """A sandbox with an account at each rail: its URL, and the settings that lead there."""
    async with run_sandbox(data_dir=folder / "sandbox") as sandbox:
        offered = await asyncio.to_thread(
            sandbox_rails, sandbox.url, folder / "credentials.json", "http://localhost:8000", time.sleep
        )
        yield sandbox.url, {f"SYNCCASH_{key.upper()}": value for key, value in offered.items()}


async def put(url: str, body: dict) -> None:
    async with aiohttp.ClientSession() as session, session.put(url, json=body) as answer:
        assert answer.status == 200


async def test_a_sound_installation_has_no_failure_and_the_run_is_in_the_audit_log(
    database_url, valkey_url, tmp_path
):
    role_url = await service_url(database_url)
    async with rails_of_sandbox(tmp_path) as (_, rails):
        given = load_settings(
            {
                **rails,
                **INSTALLATION,
                "SYNCCASH_DATABASE_URL": role_url,
                "SYNCCASH_VALKEY_URL": valkey_url,
                "SYNCCASH_ENCRYPTION_KEYS": "1:" + "e1" * 32,
                "SYNCCASH_LOOKUP_KEY": "e2" * 32,
            }
        ).settings
        found = await examined(role_url, given)
    failed = [one for findings in found.values() for one in findings if one.level is Level.FAILED]
    assert failed == []
    assert {finding.message.split()[0] for finding in found["rails"]} == set(RAILS)
    assert levels(found["role"]) == levels(found["valkey"]) == levels(found["clock"]) == {Level.OK}
    async with opened(role_url, given) as database:
        [entry] = await database.repeat("SELECT actor, action, reason FROM audit")
    assert tuple(entry) == ("database:test_service", "doctor", "break_glass")


async def test_each_rail_that_fails_is_named_with_its_cause(database_url, tmp_path):
    async with rails_of_sandbox(tmp_path) as (sandbox, rails):
        await put(f"{sandbox}/control/hubtel/faults", {"down": True})
        wrong = {
            **rails,
            **INSTALLATION,
            "SYNCCASH_PAYSTACK_SECRET_KEY": "wrong",
            "SYNCCASH_MTN_MOMO_COLLECTION_KEY": "wrong",
            "SYNCCASH_PAWAPAY_TOKEN": "wrong",
        }
        found = await examined(database_url, load_settings(wrong).settings)
    told = {" ".join(finding.message.split()[:2]): finding for finding in found["rails"]}
    for call in ("paystack collect:", "mtn_momo collect:", "pawapay collect:"):
        assert "refuses the credentials" in told[call].message, told[call]
        assert told[call].level is Level.FAILED
    assert told["mtn_momo payout:"].level is Level.OK
    assert "refuses the connection" in told["hubtel collect:"].message


async def test_what_only_the_database_lacks_is_told_check_by_check(database_url):
    role_url = await service_url(database_url)
    for change in (
        "REVOKE INSERT ON events FROM test_service",
        "DELETE FROM schema_migrations WHERE version = (SELECT max(version) FROM schema_migrations)",
    ):
        await asyncio.to_thread(execute, database_url, change)
    found = await examined(role_url, settings(role_url))
    assert "lacks INSERT on events" in found["role"][0].message
    assert "migrations are missing: 00" in found["schema"][0].message


async def test_an_owner_of_the_tables_is_a_warning(database_url):
    found = await examined(database_url, settings(database_url))
    assert levels(found["role"]) == {Level.WARNING}


async def test_without_a_database_the_other_checks_still_run(tmp_path):
    url = "postgresql://nobody@127.0.0.1:9/nothing"
    found = await examined(url, settings(url, valkey_url="redis://127.0.0.1:9"))
    assert levels(found["database"]) == levels(found["valkey"]) == {Level.FAILED}
    assert levels(found["schema"]) == levels(found["audit"]) == levels(found["clock"]) == {Level.SKIPPED}
    assert levels(found["disk"]) <= {Level.OK, Level.WARNING}
    assert "SYNCCASH_DATABASE_URL" in found["database"][0].remedy


async def test_a_server_that_hangs_is_told_from_one_that_is_away(database_url, stoppable_valkey):
    async with postgres_proxy(database_url) as between:
        between.silence()
        stoppable_valkey.freeze()
        given = settings(between.url, valkey_url=stoppable_valkey.url)
        found = await examined(between.url, given)
    assert found["database"][0].message.startswith("PostgreSQL hangs")
    assert found["valkey"][0].message.startswith("Valkey hangs")
    assert "`kill -CONT`" in found["database"][0].remedy
    assert "`kill -CONT`" in found["valkey"][0].remedy
    stoppable_valkey.thaw()
    stoppable_valkey.kill()
    found = await examined(between.url, given)
    assert found["valkey"][0].message.startswith("Valkey accepts no connection")


async def test_a_check_that_takes_too_long_is_a_failure_of_its_own(database_url):
    found = await examined(database_url, settings(database_url), deadline_s=0.0)
    assert "no result within 0 s" in found["disk"][0].message or levels(found["disk"]) == {Level.OK}
    assert levels(found["database"]) == {Level.FAILED}


def test_the_command_prints_each_finding_and_fails_where_a_check_fails(command):
    code, printed, _ = command("doctor", environment=INSTALLATION)
    assert code == 0, printed
    assert "ok       schema" in printed
    code, printed, told = command("doctor", "--json")
    found = json.loads(printed)
    assert (code, found["ok"], told) == (1, False, "")
    assert {
        "check": "settings",
        "level": "failed",
        "message": "installation_key is not set",
        "remedy": "set SYNCCASH_INSTALLATION_KEY as for the service's processes",
    } in found["data"]


@pytest.mark.parametrize("live", [True, False])
def test_config_check_and_the_start_refuse_what_live_mode_refuses(command, live):
    rail = {
        "SYNCCASH_PAYSTACK_ENVIRONMENT": "live" if live else "test",
        "SYNCCASH_PAYSTACK_SECRET_KEY": "sk_live_canary" if live else "sk_test_canary",
        "SYNCCASH_PAYSTACK_EMAIL": "pay@shop.example",
    }
    code, printed, told = command("config", "check", environment=rail | INSTALLATION)
    assert code == int(live), told
    assert ("SYNCCASH_ALLOW_INSECURE=public_url_localhost" in told) is live
    if live:
        for role in ("serve", "worker", "webhooks"):
            code, printed, told = command(role, environment=rail | INSTALLATION)
            assert (code, printed) == (1, "")
            assert "public_url" in told
        allowed = rail | INSTALLATION | {"SYNCCASH_ALLOW_INSECURE": "public_url_localhost"}
        code, printed, _ = command("config", "check", environment=allowed)
        assert (code, "Warning: allowed by allow_insecure: public_url" in printed) == (0, True)
