"""The audit log in PostgreSQL: the manual actions of operators."""

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
    """Writes and reads audit entries. Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database

    async def note(self, *, actor: str, action: str, target: str, reason: str) -> None:
        """Record an action. Call it before the action: a failure then leaves an entry without an action, and
        never an action without an entry."""
        await self.database.repeat(_NOTE, actor, action, target, reason)

    async def latest(self, limit: int) -> Sequence[AuditEntry]:
        """Return the `limit` latest entries, newest first."""
        return [AuditEntry(**dict(row.items())) for row in await self.database.repeat(_LATEST, limit)]
