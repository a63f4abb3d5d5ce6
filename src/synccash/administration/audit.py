"""Reads, exports and verifies the audit log."""

from dataclasses import asdict, dataclass
from typing import Any

from synccash.administration.database import with_database
from synccash.settings.loader import Settings
from synccash.stores.postgres.audit import AuditFilter, PostgresAudit
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.audit_chain import AuditKey, PostgresAuditChain


@dataclass(frozen=True, slots=True)
class AuditLog:
    """Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database

    async def entries(self, limit: int, **filters: Any) -> dict[str, Any]:
        """Return one page of entries by the filters of `AuditFilter`, newest first; `next` is the `before` of
        the next page."""
        found = await PostgresAudit(self.database).latest(limit + 1, AuditFilter(**filters))
        more, shown = len(found) > limit, found[:limit]
        return {
            "data": [entry.document() for entry in shown],
            "has_more": more,
            "next": shown[-1].position if more else None,
        }

    async def export(self, after: int, limit: int) -> dict[str, Any]:
        """Return the entries above the position `after`, oldest first, and the seals that end among them.

        `next` is the `after` of the next page, and `head` names the newest seal.
        """
        chain = PostgresAuditChain(self.database)
        head = await chain.head()
        found = await chain.entries(after, limit + 1)
        more, shown = len(found) > limit, found[:limit]
        last = shown[-1].position if more else 2**63 - 1
        return {
            "data": [entry.document() for entry in shown],
            "seals": [seal.document() for seal in await chain.seals(after, last)],
            "head": None if head is None else head.head,
            "has_more": more,
            "next": last if more else None,
        }


def verify_audit_log(settings: Settings, known_head: str | None) -> dict[str, Any]:
    """Recomputes all digests with the keys and the database of the settings, and returns what was found.

    Raises AdministrationError.
    """

    async def verify(database: Database) -> dict[str, Any]:
        keys = AuditKey.of(settings.audit_key), AuditKey.of(settings.audit_former_key)
        return asdict(await PostgresAuditChain(database, *keys).verify(known_head))

    return with_database(settings, verify)
