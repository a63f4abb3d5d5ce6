"""The audit log in PostgreSQL: what operators do, what merchants change, and who reads unmasked numbers."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
from structlog.contextvars import get_contextvars

from synccash.payments.approval import ExecutionEndedError
from synccash.payments.audit import AuditNote
from synccash.payments.masking import masked, masked_value
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import PooledConnection

_NOTE = """
INSERT INTO audit (actor, action, target, reason, request_id, merchant_id, details)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
# A second operator whose request took the execution over has moved `execute_until`. A repeat after a lost
# connection finds the approval executed by itself.
_EXECUTED = """
UPDATE approvals SET status = 'executed'
WHERE id = $1 AND execute_until = $2 AND status IN ('approved', 'executed') RETURNING id
"""
COLUMNS = "position, at, actor, action, target, reason, request_id, merchant_id, details::text AS details"
_LATEST = f"""
SELECT {COLUMNS} FROM audit
WHERE ($2::text IS NULL OR actor = $2) AND ($3::text IS NULL OR action = $3)
    AND ($4::text IS NULL OR target = $4) AND ($5::timestamptz IS NULL OR at >= $5)
    AND ($6::bigint IS NULL OR position < $6)
ORDER BY position DESC LIMIT $1
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One entry of the audit log. `details` is a JSON object, as it is stored."""

    position: int
    at: datetime
    actor: str
    action: str
    target: str
    reason: str
    request_id: str | None
    merchant_id: str | None
    details: str

    def document(self) -> dict[str, Any]:
        """Return the entry for JSON."""
        return {
            "position": self.position,
            "at": self.at,
            "actor": self.actor,
            "action": self.action,
            "target": self.target,
            "reason": self.reason,
            "request_id": self.request_id,
            "merchant_id": self.merchant_id,
            "details": msgspec.json.decode(self.details),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries to return; None allows all. `before` is a position: the entries below it."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: datetime | None = None
    before: int | None = None


ALL_ENTRIES = AuditFilter()


@dataclass(frozen=True, slots=True)
class PostgresAudit:
    """Writes and reads audit entries. Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database

    async def note(self, *, actor: str, action: str, target: str, reason: str) -> None:
        """Record an action. Call it before the action: a failure then leaves an entry without an action, and
        never an action without an entry."""
        await self.write(AuditNote(actor=actor, action=action, target=target, reason=reason))

    async def write(self, note: AuditNote) -> None:
        """Record an action that is no change of one statement in this database. Call it before the action."""
        await self.database.repeat(_NOTE, *_values(note))

    async def latest(self, limit: int, where: AuditFilter = ALL_ENTRIES) -> Sequence[AuditEntry]:
        """Return the `limit` latest entries, newest first."""
        values = (where.actor, where.action, where.target, where.since, where.before)
        return [
            AuditEntry(**dict(row.items())) for row in await self.database.repeat(_LATEST, limit, *values)
        ]


async def change_with_note(
    database: Database,
    note: AuditNote | None,
    statement: str,
    *arguments: Any,
    has_changed: Callable[[list[asyncpg.Record]], bool] = bool,
) -> list[asyncpg.Record]:
    """Run a statement that is safe to commit twice, and record `note` in its transaction if it changes
    anything: `has_changed` tells that by its rows.

    With an execution in the note, the approval becomes `executed` in the same transaction. A repeat after a
    lost connection may record a change twice, and never not at all. Raises StoreUnavailableError, and
    ExecutionEndedError where the execution is no longer the valid one: then nothing is changed.
    """
    if note is None:
        return await database.repeat(statement, *arguments)
    work = noted(note, statement, *arguments, has_changed=has_changed)
    return await database.repeat_with(database.once_with, work)


def noted(
    note: AuditNote,
    statement: str,
    *arguments: Any,
    has_changed: Callable[[list[asyncpg.Record]], bool] = bool,
) -> Callable[[PooledConnection], Awaitable[list[asyncpg.Record]]]:
    """Return what runs a statement on a connection and, if it changes anything, records `note` in its
    transaction. It raises ExecutionEndedError where the execution in the note is no longer the valid one."""

    async def change(connection: PooledConnection) -> list[asyncpg.Record]:
        async with connection.transaction():
            rows = await connection.fetch(statement, *arguments)
            if has_changed(rows):
                await connection.execute(_NOTE, *_values(note))
                execution = note.execution
                if execution is not None and not await connection.fetch(
                    _EXECUTED, execution.approval_id, execution.until
                ):
                    raise ExecutionEndedError(execution.approval_id)
            return rows

    return change


def _values(note: AuditNote) -> tuple[Any, ...]:
    # The middleware binds the request's id for the log, so the two agree. A shell has none.
    request_id = get_contextvars().get("request_id")
    details = msgspec.json.encode(masked_value(note.details), order="sorted")
    target, reason = masked(note.target), masked(note.reason)
    return note.actor, note.action, target, reason, request_id, note.merchant_id, details
