"""Erases personal data: of one number when a person asks for it, and of all orders past their retention; with
these, deletes webhook endpoints that were removed before."""

from collections.abc import Sequence
from typing import Any

from synccash.administration.database import with_database, write_audit_entry
from synccash.administration.errors import AdministrationError
from synccash.payments.payer import Msisdn
from synccash.settings.loader import Settings
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.approvals import PostgresApprovals
from synccash.stores.postgres.operations.erasure import FoundOrder, PostgresErasure
from synccash.stores.postgres.operations.removed_endpoints import PostgresRemovedEndpoints
from synccash.stores.postgres.schema.lookup_key import WRONG_LOOKUP_KEY, is_lookup_key_wrong

_PAGE = 200
_WHY = {
    "open": "open",
    "look_back": "still checked at their rails",
    "refund_open": "with an open refund",
    "refundable": "refundable",
    "retention": "younger than retention_days",
    "undelivered": "with an event that was not delivered to a webhook endpoint yet",
}


def erase_number(settings: Settings, msisdn: str, *, reason: str) -> dict[str, Any]:
    """Erases the personal data of all orders of a number.

    Raises AdministrationError, and erases nothing, when an order must keep its data.
    """
    try:
        number = Msisdn.parse(msisdn)
    except ValueError as error:
        raise AdministrationError(f"--msisdn: {error}") from error

    async def write(database: Database) -> dict[str, Any]:
        erasure = _erasure(database, settings)
        # With another key no order would be found, and the number would seem to be erased.
        if await is_lookup_key_wrong(database):
            raise AdministrationError(WRONG_LOOKUP_KEY)
        found = await erasure.orders_of(number)
        _refuse_kept(found)
        # The audit log is never erased, so the number is masked in it.
        await write_audit_entry(database, "erase", f"{number} ({len(found)} orders)", reason)
        erased = 0
        for table in ("payments", "payouts"):
            ids = [one.id for one in found if one.table == table]
            for start in range(0, len(ids), _PAGE):
                erased += await erasure.erase(table, ids[start : start + _PAGE])
        await erasure.forget_networks(number, [one.tenant for one in found])
        return {"msisdn": str(number), "orders": erased}

    return with_database(settings, write)


def erase_old(settings: Settings) -> list[dict[str, Any]]:
    """Erases the personal data of all orders past `retention_days`, and deletes the webhook endpoints that
    were removed before; returns the number of each kind.

    Raises AdministrationError.
    """
    days = settings.retention_days
    if days is None:
        raise AdministrationError(
            "retention_days is not set, so personal data is kept. Set SYNCCASH_RETENTION_DAYS to the number "
            "of days that your records must be kept"
        )

    async def write(database: Database) -> list[dict[str, Any]]:
        erasure = _erasure(database, settings)
        await write_audit_entry(database, "retention", f"older than {days} days")
        done: list[dict[str, Any]] = []
        for table in ("payments", "payouts"):
            total, after = 0, ""
            while after is not None:
                erased, after, _ = await erasure.erase_old(table, after=after, limit=_PAGE)
                total += erased
            done.append({"table": table, "orders": total})
        endpoints = PostgresRemovedEndpoints(database, days)
        deleted = [step async for step in endpoints.delete_old()]
        approvals = await PostgresApprovals(database).delete_ended(older_than_days=days)
        return [
            *done,
            {"table": "webhook_endpoints", "rows": sum(deleted)},
            {"table": "approvals", "rows": approvals},
        ]

    return with_database(settings, write)


def _refuse_kept(found: Sequence[FoundOrder]) -> None:
    kept = [one for one in found if one.kept is not None]
    if not kept:
        return
    lines = [
        f"{text}: {', '.join(one.id for one in kept if one.kept == why)}"
        for why, text in _WHY.items()
        if any(one.kept == why for one in kept)
    ]
    raise AdministrationError("Nothing was erased. Orders of this number are\n" + "\n".join(lines))


def _erasure(database: Database, settings: Settings) -> PostgresErasure:
    if database.encryption is None:
        raise AdministrationError(
            "SYNCCASH_ENCRYPTION_KEYS and SYNCCASH_LOOKUP_KEY are not set. Set them as for the service"
        )
    return PostgresErasure(database, database.encryption, settings.refundable_days, settings.retention_days)
