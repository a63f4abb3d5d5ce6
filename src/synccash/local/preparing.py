"""Prepares an installation of `synccash up` before its API starts: database, keys, accounts and settings."""

import asyncio
import contextlib
import json
import os
import secrets
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from synccash.administration.database import ENCRYPTION_KEYS_FILE
from synccash.administration.errors import AdministrationError
from synccash.administration.operators.console_link import make_console_link
from synccash.engine.system import SystemClock
from synccash.local.messages import UpError, say
from synccash.payments.balance import BalanceAccount, credit_source
from synccash.payments.rail import Environment
from synccash.payments.references import KEY_BYTES_MIN
from synccash.payments.request import Role
from synccash.rails.http.transport import Transport
from synccash.rails.registry import RAILS, build_rails
from synccash.rails.sandbox_account import SandboxRail
from synccash.servers.bundle import Servers
from synccash.servers.data_directory import stored_password
from synccash.servers.postgres import (
    SERVICE_PASSWORD,
    SERVICE_ROLE,
    postgres_url,
    service_url,
    superuser_url,
)
from synccash.settings.encryption_keys import KEY_BYTES
from synccash.settings.loader import CONFIGURATION, LoadedSettings, SettingsError, load_settings
from synccash.settings.secret import Secret
from synccash.stores.encryption import encryption_of
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.balances import PostgresBalances
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.merchants import PostgresKeys
from synccash.stores.postgres.operations.resealing import PostgresResealing
from synccash.stores.postgres.pool import connect
from synccash.stores.postgres.rail_accounts import PostgresRailAccounts
from synccash.stores.postgres.schema.migrations import migrate as migrate
from synccash.stores.postgres.schema.runtime_role import RuntimeRoleError, ensure_role, grant_runtime_role

MERCHANT_ID = "mer_local"
LOCAL_CREDIT = 10**12
"""Pesewas that the local merchant may pay out in test mode beyond what it collects."""
_TIMEOUT_S = 30.0
_PAYOUT_LIMITS = (
    "payout_ceiling",
    "payout_payee_max_payouts",
    "payout_payee_max_amount",
    "payout_merchant_max_amount",
)


def load_or_create(path: Path, make: Callable[[], dict[str, str]]) -> dict[str, str]:
    """Returns the content of a JSON file; if it does not exist, writes the result of `make` to it first.

    The file is readable by this user only and on disk before this returns.
    """
    with contextlib.suppress(FileNotFoundError):
        return json.loads(path.read_text(encoding="utf-8"))
    made = make()
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - the mode must be right from the start
        json.dump(made, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return made


def prepare_service_role(servers: Servers) -> str:
    """Creates the role that the service's processes connect as, gives it its rights, and returns its URL.

    Operators' commands in this folder go on as the owner of the tables. Raises UpError.
    """
    url, password = service_url(servers.directory), stored_password(servers.home / SERVICE_PASSWORD)
    try:
        asyncio.run(ensure_role(superuser_url(servers.directory), SERVICE_ROLE, password))
        asyncio.run(grant_runtime_role(postgres_url(servers.directory), SERVICE_ROLE))
    except RuntimeRoleError as error:
        raise UpError(str(error)) from error
    return url


def register_keys(database_url: Secret | str, folder: Path) -> dict[str, str]:
    """Returns the API keys of this data folder, once they are registered in the database."""
    keys = load_or_create(
        folder / "keys.json",
        lambda: {
            "test": f"sk_test_{secrets.token_hex(24)}",
            "admin": f"sk_admin_{secrets.token_hex(24)}",
        },
    )
    asyncio.run(register(database_url, keys))
    return keys


def console_link(database_url: Secret | str, base: str) -> str:
    """Returns a one-time link to the console; its address where it needs a password."""

    async def make() -> str:
        pool = await connect(database_url, min_size=0, max_size=1)
        try:
            return await make_console_link(Database(pool), base)
        except AdministrationError:
            return f"{base}/console"
        finally:
            await pool.close()

    return asyncio.run(make())


def own_settings(folder: Path, loaded: LoadedSettings) -> dict[str, str | None]:
    """Returns the settings of this installation that do not depend on its servers and its sandbox."""
    return {
        "installation_key": _installation_key(folder),
        "four_eyes": "off",
        "drain_s": "0",
        **_encryption_keys(folder, loaded),
    }


def sandbox_settings(sandbox_url: str, rails: dict[str, str], loaded: LoadedSettings) -> dict[str, str]:
    """Returns the settings for a sandbox; `rails` are those of its rails."""
    settings = {
        "fraud_url": f"{sandbox_url}/fraud",
        # The sandbox moves no real money, and the examples exceed the default payout limits.
        **dict.fromkeys(_PAYOUT_LIMITS, str(10**12)),
        "ladder": "sandbox",
        "settle_s": "3",
        "resend_pause_max_s": "10",
        "queue_retry_s": "1",
        "breaker_open_s": "3",
        "float_poll_s": "5",
        **rails,
    }
    for rail in RAILS:
        addresses = {name for name in settings if name.startswith(rail) and name.endswith("_url")}
        if addresses & loaded.sources.keys():
            # The user's URL is not the sandbox's: only the operator knows its environment.
            settings.pop(f"{rail}_environment", None)
    return settings


def _installation_key(folder: Path) -> str:
    """Returns the installation key of this data folder.

    Without it, attempts that a restored database has lost cannot be found at the rails.
    """
    made = load_or_create(folder / "installation_key.json", lambda: {"key": secrets.token_hex(KEY_BYTES_MIN)})
    return made["key"]


def _encryption_keys(folder: Path, loaded: LoadedSettings) -> dict[str, str]:
    """Returns the keys that encrypt personal data in this data folder, as settings."""
    if {"encryption_keys", "lookup_key"} & loaded.sources.keys():
        return {}
    return load_or_create(
        folder / ENCRYPTION_KEYS_FILE,
        lambda: {
            "encryption_keys": f"1:{secrets.token_hex(KEY_BYTES)}",
            "lookup_key": secrets.token_hex(KEY_BYTES),
        },
    )


async def register(database_url: Secret | str, keys: Mapping[str, str]) -> None:
    """Registers the local merchant and its keys in the database. A repeat changes nothing."""
    pool = await connect(database_url, min_size=0, max_size=1)
    try:
        store = PostgresKeys(Database(pool))
        await store.ensure_merchant(MERCHANT_ID, "Local merchant")
        await store.ensure_key(
            sha256(keys["test"].encode()).digest(), Role.MERCHANT, merchant_id=MERCHANT_ID, livemode=False
        )
        await store.ensure_key(
            sha256(keys["admin"].encode()).digest(), Role.ADMIN, merchant_id=None, livemode=False
        )
        await grant_local_credit(Database(pool))
    finally:
        await pool.close()


async def encrypt_rows(database_url: Secret | str, environment: Mapping[str, str]) -> None:
    """Encrypts rows that a version without encryption wrote, while nothing else runs.

    Raises UpError if the settings are invalid.
    """
    try:
        encryption = encryption_of(load_settings(environment, CONFIGURATION).settings)
    except SettingsError as error:
        raise UpError(str(error)) from error
    if encryption is None:
        return
    pool = await connect(database_url, min_size=0, max_size=1)
    try:
        async for done in PostgresResealing(Database(pool), encryption).run():
            if done.written:
                say(f"encrypted {done.written} rows of {done.table}")
    finally:
        await pool.close()


async def confirm_test_accounts(database_url: Secret | str, environment: Mapping[str, str]) -> None:
    """Confirms the test accounts of the children's settings; these move no real money.

    Raises UpError if the settings are invalid.
    """
    try:
        settings = load_settings(environment, CONFIGURATION).settings
        rails = build_rails(settings, Transport(), SystemClock())
    except SettingsError as error:
        raise UpError(str(error)) from error
    pool = await connect(database_url, min_size=0, max_size=1)
    try:
        database = Database(pool)
        store = PostgresRailAccounts(database)
        confirmed = {(one.rail, one.identity) for one in await store.recorded() if one.confirmed}
        for rail in rails.values():
            if rail.environment is Environment.TEST:
                if (rail.name, rail.account.identity) not in confirmed:
                    facts = f"{rail.account.identity} as test account {rail.account.account}"
                    await _write_audit_entry(database, "rail_confirm", rail.name, facts)
                await store.confirm(rail.account, Environment.TEST, by="synccash up", may_correct=False)
    finally:
        await pool.close()


async def grant_local_credit(database: Database) -> None:
    """Grants the local merchant credit for test payouts. A repeat changes nothing."""
    balances = PostgresBalances(database)
    account = BalanceAccount(merchant_id=MERCHANT_ID, livemode=False, currency="GHS")
    for credit in await balances.unconfirmed():
        if credit.account == account:
            await _write_audit_entry(database, "balance_confirm", f"{account} 0", "the credit of an upgrade")
            await balances.confirm(credit, 0)
    granted, is_new = await balances.grant(account, LOCAL_CREDIT, credit_source("credit", account, "up"))
    if is_new:
        await _write_audit_entry(
            database, "balance_credit", f"{account} {granted}", "the local merchant may pay out"
        )


async def _write_audit_entry(database: Database, action: str, target: str, reason: str) -> None:
    """Writes an automatic action of `synccash up` to the audit log."""
    await PostgresAudit(database).note(actor="synccash up", action=action, target=target, reason=reason)


def rail_urls(sandbox_url: str, wait: Callable[[float], None]) -> dict[str, str]:
    """Returns the URL of each rail of a sandbox. Raises UpError if the sandbox does not answer."""
    return exchange("GET", f"{sandbox_url}/", None, wait)["rails"]


def sandbox_rails(
    sandbox_url: str, path: Path, public_url: str, wait: Callable[[float], None]
) -> dict[str, str]:
    """Registers credentials at the sandbox's rails and returns the settings for them.

    The file at `path` stores the values from which the credentials are built. Leaves out rails that the
    sandbox does not simulate, such as a sandbox of an older version that runs elsewhere.
    """
    urls = rail_urls(sandbox_url, wait)
    made = load_or_create(path, lambda: {"user": str(uuid.uuid4()), "key": secrets.token_hex(16)})
    settings: dict[str, str] = {}
    for rail, registered in RAILS.items():
        if rail not in urls:
            continue
        callbacks = f"{public_url}/api/v1/callbacks/{rail}"
        sandbox_rail = SandboxRail(url=urls[rail], user=made["user"], key=made["key"], callbacks=callbacks)
        account = registered.sandbox_account(sandbox_rail)
        for resource, body in account.control.items():
            exchange("PUT", f"{sandbox_url}/control/{rail}/{resource}", body, wait)
        settings |= account.settings
    return settings


def exchange(method: str, url: str, body: Any, wait: Callable[[float], None]) -> dict[str, Any]:
    """Sends one request to a sandbox, and retries while it starts. Raises UpError after 30 s."""
    data = None if body is None else json.dumps(body).encode()
    end = time.monotonic() + _TIMEOUT_S
    while True:
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310 - the operator's own sandbox
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise UpError(f"the sandbox at {url} answered {error.code}: {error.read()[:300]!r}") from error
        except OSError as error:
            if time.monotonic() > end:
                raise UpError(
                    f"the sandbox at {url} does not answer: {error}. Check that it runs; "
                    "the log of a sandbox of `synccash up` is logs/sandbox.log in the data folder"
                ) from error
        wait(0.05)
