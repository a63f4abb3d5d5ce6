"""The log of what operators did by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from synccash.stores.postgres.database import Database

_NOTE = "INSERT INTO audit (actor, action, target, reason) VALUES ($1, $2, $3, $4) RETURNING position"
_LATEST = "SELECT at, actor, action, target, reason FROM audit ORDER BY position DESC LIMIT $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One manual action. `actor` is the id of the operator's key."""

    at: datetime
    actor: str
    action: str
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class PostgresAudit:
    """Every method raises StoreUnavailableError when PostgreSQL is out of reach."""

    database: Database

    async def note(self, *, actor: str, action: str, target: str, reason: str) -> None:
        """Write a deed down. Call it before the deed: one that is noted and not done is the lesser evil."""
        await self.database.repeat(_NOTE, actor, action, target, reason)

    async def latest(self, limit: int) -> Sequence[AuditEntry]:
        """The newest deeds first."""
        return [AuditEntry(**dict(row.items())) for row in await self.database.repeat(_LATEST, limit)]
