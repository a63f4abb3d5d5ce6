"""Actions of operators that a second operator has to approve, and their approvals."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from synccash.payments.document import moment
from synccash.payments.errors import RequestError, StateConflictError


class ApprovalStatus(StrEnum):
    """The state of an approval. `approved`: it is being executed, or the process died meanwhile."""

    PENDING = "pending"
    APPROVED = "approved"
    EXECUTED = "executed"
    FAILED = "failed"
    DECLINED = "declined"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution of an approved action. `until` tells it from an earlier one that did not end."""

    approval_id: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What an operator wants to do: its name, what it is done to, with which parameters, and why.

    `execution` is set while it is executed after an approval.
    """

    name: str
    target: str
    parameters: Mapping[str, Any]
    reason: str
    execution: Execution | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """An action that needs a second operator. `failure` says why its execution was refused; after
    `execute_until` an approved one may be executed again."""

    id: str
    action: Action
    status: ApprovalStatus
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    decision_reason: str | None
    failure: str | None
    execute_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """An action that was done. `document` is its result as JSON."""

    document: bytes
    approval: Approval | None = None


def approval_document(approval: Approval) -> dict[str, Any]:
    """Return an approval as the API shows it."""
    return {
        "object": "approval",
        "id": approval.id,
        "status": approval.status.value,
        "action": approval.action.name,
        "target": approval.action.target,
        "parameters": dict(approval.action.parameters),
        "reason": approval.action.reason,
        "requested_by": approval.requested_by,
        "requested_at": moment(approval.requested_at),
        "expires_at": moment(approval.expires_at),
        "decided_by": approval.decided_by,
        "decided_at": None if approval.decided_at is None else moment(approval.decided_at),
        "decision_reason": approval.decision_reason,
        "failure": approval.failure,
    }


class SecondOperatorError(RequestError):
    """The caller may not do this alone, or may not be the second operator; the text says why."""


class OperatorNeededError(RequestError):
    """Only an operator who has signed in may do this, and the caller is an admin key; the text says why."""


class ExecutionEndedError(StateConflictError):
    """This execution of an approved action is no longer the valid one; its change was rolled back."""

    def __init__(self, approval_id: str) -> None:
        super().__init__(f"{approval_id} was declined, or is executed by another operator's request")


class AlreadyWaitingError(RequestError):
    """The same action waits for a second operator already, as `approval_id`."""

    def __init__(self, approval_id: str) -> None:
        super().__init__(f"this action waits for a second operator already, as {approval_id}")
        self.approval_id = approval_id
