"""Approvals of operators' actions in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import msgspec

from synccash.payments.access import OperatorRole
from synccash.payments.approval import (
    Action,
    AlreadyWaitingError,
    Approval,
    ApprovalStatus,
    Execution,
)
from synccash.payments.audit import AuditNote
from synccash.stores.encryption import Encryption
from synccash.stores.postgres import sealing
from synccash.stores.postgres.audit import change_with_note
from synccash.stores.postgres.database import Database

_COLUMNS = """
id, action, target, parameters::text AS parameters, reason, requested_by, requested_at, expires_at, status,
decided_by, decided_at, decision_reason, failure, execute_until,
sealed, sealed_decision_reason, sealed_failure
"""
_EXPIRE = "UPDATE approvals SET status = 'expired' WHERE status = 'pending' AND expires_at <= now()"
_ADD = f"""
INSERT INTO approvals (id, action, target, requested_by, expires_at, parameters, reason, sealed)
VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5), $6, $7, $8)
ON CONFLICT DO NOTHING
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants
_OPEN = """
SELECT id FROM approvals WHERE action = $1 AND target = $2 AND status IN ('pending', 'approved')
"""
_ONE = f"SELECT {_COLUMNS} FROM approvals WHERE id = $1"  # noqa: S608
_ALL = f"""
SELECT {_COLUMNS} FROM approvals WHERE $1::text IS NULL OR status = $1 ORDER BY requested_at DESC, id LIMIT $2
"""  # noqa: S608
# The one transition that lets an action be executed. Both operators must have the roles now: processes cache
# tokens for some seconds, and the one who requested it may have lost the role. An approved one that did not
# end is executed again after `execute_until`.
_APPROVE = f"""
UPDATE approvals a SET status = 'approved', decided_by = coalesce(a.decided_by, $2),
    decided_at = coalesce(a.decided_at, now()), execute_until = now() + make_interval(secs => $3),
    decision_reason = CASE WHEN a.decided_by IS NULL THEN $5 ELSE a.decision_reason END,
    sealed_decision_reason = CASE WHEN a.decided_by IS NULL THEN $6 ELSE a.sealed_decision_reason END
WHERE id = $1 AND requested_by <> $2 AND (
    (status = 'pending' AND expires_at > now() AND EXISTS (
        SELECT FROM operators o WHERE 'operator:' || o.name = a.requested_by AND o.disabled_at IS NULL
            AND o.role = ANY($4::text[])
    ))
    OR (status = 'approved' AND execute_until <= now())
) AND EXISTS (
    SELECT FROM operators o WHERE 'operator:' || o.name = $2 AND o.disabled_at IS NULL
        AND o.password_hash IS NOT NULL AND o.role IN ('operator', 'admin')
)
RETURNING {_COLUMNS}
"""  # noqa: S608
# An approved one is being executed until `execute_until`; one that did not end by then may be declined.
_DECLINE = f"""
UPDATE approvals SET status = 'declined', decided_by = $2, decided_at = now(), decision_reason = $3,
    sealed_decision_reason = $4
WHERE id = $1 AND (status = 'pending' OR (status = 'approved' AND execute_until <= now()))
RETURNING {_COLUMNS}
"""  # noqa: S608
_FINISH = f"""
UPDATE approvals SET status = $3, failure = $4, sealed_failure = $5
WHERE id = $1 AND execute_until = $2 AND status = 'approved'
RETURNING {_COLUMNS}
"""  # noqa: S608

_DELETE_ENDED = """
DELETE FROM approvals
WHERE status NOT IN ('pending', 'approved') AND requested_at < now() - make_interval(days => $1)
RETURNING id
"""

DECISION_REASON: Final = "decision_reason"
FAILURE: Final = "failure"


class _Request(msgspec.Struct):
    """What the column `sealed` holds. The parameters stay byte for byte."""

    parameters: msgspec.Raw
    reason: str


_request = msgspec.json.Decoder(_Request).decode


@dataclass(frozen=True, slots=True)
class PostgresApprovals:
    """Stores approvals. Every method raises StoreUnavailableError without PostgreSQL.

    A `note` is written to the audit log in the transaction of the change, if anything is changed. Methods
    that return approvals raise DecryptionError for one whose key is not configured.
    """

    database: Database

    async def add(
        self, approval_id: str, action: Action, *, by: str, valid_s: float, note: AuditNote | None = None
    ) -> Approval:
        """Store an action that waits for a second operator. Raises AlreadyWaitingError."""
        await self.database.repeat(_EXPIRE)
        request = seal_request(
            self.database.encryption, approval_id, msgspec.json.encode(action.parameters), action.reason
        )
        values = (approval_id, action.name, action.target, by, valid_s, *request)
        found = await change_with_note(self.database, note, _ADD, *values)
        if found:
            return self._approval(found[0])
        # A repeat after a lost connection finds its own row.
        stored = await self.approval(approval_id)
        if stored is not None:
            return stored
        waiting = await self.database.repeat(_OPEN, action.name, action.target)
        raise AlreadyWaitingError(waiting[0]["id"] if waiting else approval_id)

    async def delete_ended(self, *, older_than_days: int) -> int:
        """Delete approvals that were requested so long ago and do not wait; return how many. The audit log
        keeps who requested and decided what."""
        await self.database.repeat(_EXPIRE)
        return len(await self.database.repeat(_DELETE_ENDED, older_than_days))

    async def approval(self, approval_id: str) -> Approval | None:
        """Return an approval; None if there is none with this id."""
        found = await self.database.repeat(_ONE, approval_id)
        return self._approval(found[0]) if found else None

    async def all(self, status: ApprovalStatus | None, limit: int) -> Sequence[Approval]:
        """Return the newest approvals, newest first."""
        await self.database.repeat(_EXPIRE)
        found = await self.database.repeat(_ALL, None if status is None else status.value, limit)
        return [self._approval(row) for row in found]

    async def approve(
        self,
        approval_id: str,
        *,
        by: str,
        reason: str,
        execute_s: float,
        role: OperatorRole,
        note: AuditNote | None = None,
    ) -> Approval | None:
        """Approve a pending one, or take over one whose execution did not end within its `execute_s` seconds.

        None unless this call is the one that may execute it. `role`: what the one who requested it must be.
        """
        roles = [one.value for one in OperatorRole if one.includes(role)]
        values = (approval_id, by, execute_s, roles, *self._text(approval_id, DECISION_REASON, reason))
        found = await change_with_note(self.database, note, _APPROVE, *values)
        return self._approval(found[0]) if found else None

    async def decline(
        self, approval_id: str, *, by: str, reason: str, note: AuditNote | None = None
    ) -> Approval | None:
        """Decline one that is pending, or whose execution did not end in time; None if it is neither."""
        values = (approval_id, by, *self._text(approval_id, DECISION_REASON, reason))
        found = await change_with_note(self.database, note, _DECLINE, *values)
        return self._approval(found[0]) if found else None

    async def finish(self, execution: Execution, status: ApprovalStatus, failure: str | None = None) -> None:
        """Record how an execution has ended, unless another one has taken over or the change recorded it."""
        text = self._text(execution.approval_id, FAILURE, failure)
        await self.database.repeat(_FINISH, execution.approval_id, execution.until, status.value, *text)

    def _text(self, approval_id: str, column: str, text: str | None) -> tuple[str | None, bytes | None]:
        return seal_text(self.database.encryption, approval_id, column, text)

    def _approval(self, row: asyncpg.Record) -> Approval:
        return _approval(row, self.database.encryption)


def seal_request(
    encryption: Encryption | None, approval_id: str, parameters: bytes, reason: str
) -> tuple[bytes, str, bytes | None]:
    """Return the columns `parameters`, `reason` and `sealed` of an action. `parameters` is a JSON object."""
    if encryption is None:
        return parameters, reason, None
    plain = msgspec.json.encode(_Request(msgspec.Raw(parameters), reason))
    return b"{}", "", encryption.seal(_place(approval_id, "request"), plain)


def seal_text(
    encryption: Encryption | None, approval_id: str, column: str, text: str | None
) -> tuple[str | None, bytes | None]:
    """Return the plain and the sealed column of a text: DECISION_REASON or FAILURE."""
    if encryption is None or text is None:
        return text, None
    return None, encryption.seal(_place(approval_id, column), text.encode())


def open_request(encryption: Encryption | None, row: Any) -> tuple[bytes, str]:
    """Return the parameters and the reason of a stored action. Raises DecryptionError."""
    if row["sealed"] is None:
        return row["parameters"].encode(), row["reason"]
    request = _request(sealing.open_value(encryption, _place(row["id"], "request"), row["sealed"]))
    return bytes(request.parameters), request.reason


def open_text(encryption: Encryption | None, row: Any, column: str) -> str | None:
    """Return the text of a plain column and its sealed one. Raises DecryptionError."""
    sealed = row[f"sealed_{column}"]
    if sealed is None:
        return row[column]
    return sealing.open_value(encryption, _place(row["id"], column), sealed).decode()


def _place(approval_id: str, column: str) -> str:
    """Return the place of a sealed value, which is authenticated with it."""
    return f"approvals.{column} {approval_id}"


def _approval(row: asyncpg.Record, encryption: Encryption | None) -> Approval:
    parameters, reason = open_request(encryption, row)
    return Approval(
        id=row["id"],
        action=Action(
            name=row["action"],
            target=row["target"],
            parameters=msgspec.json.decode(parameters),
            reason=reason,
        ),
        status=ApprovalStatus(row["status"]),
        requested_by=row["requested_by"],
        requested_at=row["requested_at"],
        expires_at=row["expires_at"],
        decided_by=row["decided_by"],
        decided_at=row["decided_at"],
        decision_reason=open_text(encryption, row, DECISION_REASON),
        failure=open_text(encryption, row, FAILURE),
        execute_until=row["execute_until"],
    )
