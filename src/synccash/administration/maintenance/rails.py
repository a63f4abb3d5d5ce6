"""Lists the recorded credentials of rail accounts and confirms them, directly in PostgreSQL."""

from collections.abc import Sequence
from typing import Any

from synccash.administration.database import database_actor, with_database, write_audit_entry
from synccash.administration.errors import AdministrationError
from synccash.engine.system import SystemClock
from synccash.payments.rail import Environment, RailAccount
from synccash.rails.http.transport import Transport
from synccash.rails.registry import build_rails
from synccash.settings.loader import Settings, SettingsError
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.rail_accounts import PostgresRailAccounts


def list_rails(settings: Settings) -> Sequence[dict[str, Any]]:
    """Returns all recorded identities, oldest first. Raises AdministrationError."""
    return with_database(settings, lambda database: PostgresRailAccounts(database).all())


def confirm_rail(settings: Settings, rail: str) -> dict[str, Any]:
    """Confirms that a rail's present credentials belong to its account's business, and returns the record.

    Takes the credentials from the settings. If these do not configure the rail, takes its one unconfirmed
    identity that a running process has recorded. Raises AdministrationError.
    """
    try:
        configured = build_rails(settings, Transport(), SystemClock()).get(rail)
    except SettingsError as error:
        raise AdministrationError(str(error)) from error

    async def confirm(database: Database) -> dict[str, Any]:
        store = PostgresRailAccounts(database)
        if configured is None:
            account, environment = _unconfirmed_account(await store.all(), rail)
        else:
            account, environment = configured.account, configured.environment
        facts = f"{account.identity} as {environment.value} account {account.account}"
        await write_audit_entry(database, "rail_confirm", rail, facts)
        if not await store.confirm(account, environment, by=await database_actor(database)):
            raise AdministrationError(
                f"{rail}: these credentials are recorded under another label than {account.account}, and "
                "an account has only one label. Find it with: synccash rails list"
            )
        return {
            "rail": rail,
            "label": account.account,
            "identity": account.identity,
            "environment": environment.value,
            "confirmed": True,
        }

    return with_database(settings, confirm)


def _unconfirmed_account(recorded: Sequence[dict[str, Any]], rail: str) -> tuple[RailAccount, Environment]:
    """Returns the one unconfirmed identity of the rail. Raises AdministrationError."""
    unconfirmed = [one for one in recorded if one["rail"] == rail and one["confirmed_at"] is None]
    if len(unconfirmed) != 1:
        waiting = "no identity" if not unconfirmed else f"{len(unconfirmed)} identities"
        raise AdministrationError(
            f"{rail} is not configured in the settings of this shell, and {waiting} of it can be confirmed. "
            "Run this with the settings of the service; `synccash rails list` shows what is recorded"
        )
    (one,) = unconfirmed
    account = RailAccount(
        rail=rail, account=one["label"], base_url="", target_environment="", identity=one["identity"]
    )
    return account, Environment(one["environment"])
