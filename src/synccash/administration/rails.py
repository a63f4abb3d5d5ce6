"""Rail accounts and their credentials, in PostgreSQL directly: what is recorded, and confirmations."""

from collections.abc import Sequence
from typing import Any

from synccash.administration.database import noted, shell_user, with_database
from synccash.administration.errors import AdministrationError
from synccash.engine.system import SystemClock
from synccash.payments.rail import Environment, RailAccount
from synccash.rails.registry import build_rails
from synccash.rails.transport import Transport
from synccash.settings.loader import Settings, SettingsError
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.rail_accounts import PostgresRailAccounts


def list_rails(settings: Settings) -> Sequence[dict[str, Any]]:
    """All recorded identities, oldest first. Raises AdministrationError."""
    return with_database(settings, lambda database: PostgresRailAccounts(database).all())


def confirm_rail(settings: Settings, rail: str) -> dict[str, Any]:
    """Record that a rail's present credentials are its account's own business's, and return what is recorded.

    They are those of the settings; where these do not set the rail up, the one identity of it that a running
    process has recorded and nobody has confirmed. Raises AdministrationError.
    """
    try:
        configured = build_rails(settings, Transport(), SystemClock()).get(rail)
    except SettingsError as error:
        raise AdministrationError(str(error)) from error

    async def confirm(database: Database) -> dict[str, Any]:
        store = PostgresRailAccounts(database)
        if configured is None:
            account, environment = _awaited(await store.all(), rail)
        else:
            account, environment = configured.account, configured.environment
        facts = f"{account.identity} as {environment.value} account {account.account}"
        await noted(database, "rail_confirm", rail, facts)
        if not await store.confirm(account, environment, by=shell_user()):
            raise AdministrationError(
                f"{rail}: these credentials are recorded under another label than {account.account}; "
                "`synccash rails list` shows which: one account has one label"
            )
        return {
            "rail": rail,
            "label": account.account,
            "identity": account.identity,
            "environment": environment.value,
            "confirmed": True,
        }

    return with_database(settings, confirm)


def _awaited(recorded: Sequence[dict[str, Any]], rail: str) -> tuple[RailAccount, Environment]:
    """The one identity of the rail that waits for a confirmation. Raises AdministrationError."""
    awaited = [one for one in recorded if one["rail"] == rail and one["confirmed_at"] is None]
    if len(awaited) != 1:
        found = "nothing of it waits" if not awaited else f"{len(awaited)} identities of it wait"
        raise AdministrationError(
            f"{rail} is not set up in the settings of this shell, and {found} for a confirmation: "
            "`synccash rails list` shows what is recorded; run this with the settings of the service"
        )
    (one,) = awaited
    account = RailAccount(
        rail=rail, account=one["label"], base_url="", target_environment="", identity=one["identity"]
    )
    return account, Environment(one["environment"])
