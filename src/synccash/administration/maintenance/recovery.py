"""Holds and resumes all sends after a restored backup, directly in PostgreSQL."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from synccash.administration.database import database_actor, with_database, write_audit_entry
from synccash.administration.errors import AdministrationError
from synccash.payments.references import ReferenceKey
from synccash.settings.loader import Settings
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.recovery import PostgresRecovery, RecoveryState


def recovery_state(settings: Settings) -> dict[str, Any]:
    """Returns the state of the recovery. Raises AdministrationError."""
    return _with_recovery(settings, PostgresRecovery.state)


def start_recovery(settings: Settings, reason: str) -> dict[str, Any]:
    """Holds all sends, writes the missing rows of due_payments, and returns the state of the recovery.

    `repaired`: how many payments no worker would have found. Raises AdministrationError.
    """
    if not reason.strip():
        raise AdministrationError("--reason: give the reason for holding all sends")

    async def start(database: Database) -> dict[str, Any]:
        recovery = PostgresRecovery(database)
        await write_audit_entry(database, "recovery_start", "database", reason)
        await recovery.start(by=await database_actor(database), reason=reason)
        repaired = await recovery.repair_due_payments()
        if repaired:
            await write_audit_entry(
                database, "due_payments_repair", "database", f"{repaired} payments had no row in due_payments"
            )
        return {**asdict(await recovery.state()), "repaired": repaired}

    return with_database(settings, start)


def release_recovery(settings: Settings, reason: str, *, other_key: bool = False) -> dict[str, Any]:
    """Resumes sends and returns the state of the recovery.

    Raises AdministrationError, also if the installation key is not the one of the latest references, unless
    `other_key` confirms that the former key is lost.
    """
    if not reason.strip():
        raise AdministrationError("--reason: give the reason for resuming sends")

    async def release(recovery: PostgresRecovery) -> RecoveryState:
        if not (await recovery.state()).active:
            raise AdministrationError("No recovery is active, so there is nothing to release")
        if not other_key and settings.installation_key is not None:
            ours, latest = ReferenceKey.of(settings.installation_key.reveal()).id, await recovery.latest_key()
            if latest not in (None, ours):
                raise AdministrationError(
                    f"The latest references were derived with another installation key ({latest}), not this "
                    f"one ({ours}). With this key, the rails would be asked about references that they "
                    "never received, and orders that the database has lost would be sent again. Configure "
                    "the former key in all processes. If it is lost for good, first resolve or cancel the "
                    "orders that may have been sent, then use --other-key"
                )
        await write_audit_entry(recovery.database, "recovery_release", "database", reason)
        return await recovery.release(by=await database_actor(recovery.database))

    return _with_recovery(settings, release)


def _with_recovery(
    settings: Settings, work: Callable[[PostgresRecovery], Awaitable[RecoveryState]]
) -> dict[str, Any]:
    async def run(database: Database) -> RecoveryState:
        return await work(PostgresRecovery(database))

    return asdict(with_database(settings, run))
