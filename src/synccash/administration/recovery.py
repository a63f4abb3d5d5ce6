"""Holding all sends after a restored backup, and letting them go on, in PostgreSQL directly."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from synccash.administration.database import noted, shell_user, with_database
from synccash.administration.errors import AdministrationError
from synccash.payments.references import ReferenceKey
from synccash.settings.loader import Settings
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.recovery import PostgresRecovery, RecoveryState


def recovery_state(settings: Settings) -> dict[str, Any]:
    """How the recovery stands. Raises AdministrationError."""
    return _changed(settings, PostgresRecovery.state)


def start_recovery(settings: Settings, reason: str) -> dict[str, Any]:
    """Hold all sends, and return how the recovery stands. Raises AdministrationError."""
    if not reason.strip():
        raise AdministrationError("--reason: say why, for those who find the sends held")

    async def start(recovery: PostgresRecovery) -> RecoveryState:
        await noted(recovery.database, "recovery_start", "database", reason)
        return await recovery.start(by=shell_user(), reason=reason)

    return _changed(settings, start)


def release_recovery(settings: Settings, reason: str, *, other_key: bool = False) -> dict[str, Any]:
    """Let sends go on, and return how the recovery stands. Raises AdministrationError, also where the
    installation key is not the one of the latest references, unless `other_key` says that this is known."""
    if not reason.strip():
        raise AdministrationError("--reason: say why, for those who look this up later")

    async def release(recovery: PostgresRecovery) -> RecoveryState:
        if not (await recovery.state()).active:
            raise AdministrationError("no recovery is under way, so there is nothing to release")
        if not other_key and settings.installation_key is not None:
            ours, latest = ReferenceKey.of(settings.installation_key).id, await recovery.latest_key()
            if latest not in (None, ours):
                raise AdministrationError(
                    f"the installation key ({ours}) is not the one that the latest references were derived "
                    f"with ({latest}): the rails would be asked for references that they never had, and "
                    "orders that the database has lost would be sent again. Give all processes the former "
                    "key. If that is lost for good, resolve or cancel what may have been sent first, then "
                    "say --other-key"
                )
        await noted(recovery.database, "recovery_release", "database", reason)
        return await recovery.release(by=shell_user())

    return _changed(settings, release)


def _changed(
    settings: Settings, work: Callable[[PostgresRecovery], Awaitable[RecoveryState]]
) -> dict[str, Any]:
    async def run(database: Database) -> RecoveryState:
        return await work(PostgresRecovery(database))

    return asdict(with_database(settings, run))
