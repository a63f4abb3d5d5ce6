"""Actions that need a second operator: stores them as approvals, and executes each once it is approved."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from synccash.payments.access import CallerKind, OperatorRole, Principal
from synccash.payments.approval import (
    Action,
    Approval,
    ApprovalStatus,
    Executed,
    Execution,
    ExecutionEndedError,
    OperatorNeededError,
    SecondOperatorError,
)
from synccash.payments.audit import AuditNote
from synccash.payments.errors import (
    ObjectNotFoundError,
    OperatorRequiredError,
    RequestError,
    StateConflictError,
)
from synccash.payments.ports import Identities
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.operations.approvals import PostgresApprovals
from synccash.stores.postgres.operations.operators import PostgresOperators

log = structlog.get_logger("synccash.four_eyes")
EXECUTE_S = 30.0
"""How long an approved action may take before another operator may have it executed again."""
OPERATORS_MIN = 2
_RECORDED = frozenset(
    {"amount", "amount_received", "currency", "livemode", "outcome", "rail", "role", "scopes"}
)
"""The parameters of actions that the audit log has too. Others may hold digests of secrets."""
OFF_BY_SETTING = "Four eyes is off by the setting four_eyes, so each operator acts alone."
OFF_FOR_WANT_OF_OPERATORS = (
    "Fewer than two operators with the role operator or admin can sign in, so four eyes is off: each acts "
    "alone. Add another with `synccash operators create`."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRule:
    """How one kind of action is executed.

    `run` executes it in the name of `by` and returns the result as JSON; called a second time for the same
    approval, it moves nothing a second time. `needs_second` tells whether a second operator is needed; it
    raises RequestError if the action cannot be executed anyway. `role`: what the operator who requests it
    must still be when it is approved. `notes_itself`: `run` writes the audit entry in the transaction of the
    change, and without `was_executed` also records the execution of an approval there. `was_executed` tells,
    for changes of orders, whether an approval has changed the order already. `needs_operator` tells whether
    an admin key cannot execute it, also where no second operator is needed. `details` adds parameters that
    the second operator has to see, such as the amount.
    """

    run: Callable[[Action, str], Awaitable[bytes]]
    needs_second: Callable[[Action], Awaitable[bool]]
    role: OperatorRole
    notes_itself: bool = False
    was_executed: Callable[[Action, str], Awaitable[bool]] | None = None
    needs_operator: Callable[[Action], Awaitable[bool]] | None = None
    details: Callable[[Action], Awaitable[Mapping[str, Any]]] | None = None


@dataclass(frozen=True, slots=True)
class FourEyes:
    """Executes operators' actions, at once or after a second operator's approval.

    Every method raises StoreUnavailableError without PostgreSQL.
    """

    store: PostgresApprovals
    operators: PostgresOperators
    audit: PostgresAudit
    identities: Identities
    rules: Mapping[str, ActionRule]
    is_on: bool
    valid_s: float

    async def notice(self) -> str | None:
        """Return why no second operator is needed now; None while one is."""
        if not self.is_on:
            return OFF_BY_SETTING
        if await self.operators.able_to_approve() < OPERATORS_MIN:
            return OFF_FOR_WANT_OF_OPERATORS
        return None

    async def perform(self, action: Action, caller: Principal) -> Executed | Approval:
        """Execute an action at once, or store it until a second operator approves it.

        Raises RequestError if it cannot be executed, or if an admin key wants what needs two operators.
        """
        rule = self.rules[action.name]
        if (
            caller.kind is not CallerKind.OPERATOR
            and rule.needs_operator is not None
            and await rule.needs_operator(action)
        ):
            raise OperatorNeededError(
                "an admin key cannot make or replace admin keys: sign in as an operator with the role admin, "
                "or use database credentials (SYNCCASH_BREAK_GLASS)"
            )
        if await self.notice() is None and await rule.needs_second(action):
            if caller.kind is not CallerKind.OPERATOR:
                raise SecondOperatorError(
                    "this action needs two operators by name, and an admin key is none: sign in as one"
                )
            if rule.details is not None:
                action = replace(action, parameters={**action.parameters, **await rule.details(action)})
            approval_id = self.identities.new("apr")
            by, note = caller.actor_id, audit_note(caller.actor_id, f"{action.name}_request", action)
            return await self.store.add(approval_id, action, by=by, valid_s=self.valid_s, note=note)
        if not rule.notes_itself:
            await self.audit.write(audit_note(caller.actor_id, action.name, action))
        return Executed(document=await rule.run(action, caller.actor_id))

    async def approvals(self, status: ApprovalStatus | None, limit: int) -> Sequence[Approval]:
        """Return the newest approvals, newest first."""
        return await self.store.all(status, limit)

    async def approval(self, approval_id: str) -> Approval:
        """Return one approval. Raises ObjectNotFoundError."""
        found = await self.store.approval(approval_id)
        if found is None:
            raise ObjectNotFoundError("approval", approval_id)
        return found

    async def approve(self, approval_id: str, caller: Principal, reason: str) -> Executed:
        """Approve an action as the second operator, and execute it.

        If the process dies meanwhile, another approval after 30 s executes it again, unless the change was
        committed; the actions move nothing a second time. Raises RequestError: ObjectNotFoundError,
        SecondOperatorError for the one who requested it, StateConflictError if it is not pending, and what
        the execution raises.
        """
        waiting = await self.approval(approval_id)
        by = caller.actor_id
        if waiting.requested_by == by:
            raise SecondOperatorError("you have requested this action, so another operator has to approve it")
        name = waiting.action.name
        role = self.rules[name].role
        note = audit_note(by, f"{name}_approve", waiting.action, f"{approval_id}: {reason}")
        approved = await self.store.approve(
            approval_id, by=by, reason=reason, execute_s=EXECUTE_S, role=role, note=note
        )
        if approved is None:
            raise await self._not_pending(approval_id)
        return await self._execute(approved)

    async def decline(self, approval_id: str, caller: Principal, reason: str) -> Approval:
        """End an action that is pending, or that was approved and whose execution did not end in time; the
        one who requested it may do so too.

        Raises ObjectNotFoundError, and StateConflictError if it is neither.
        """
        waiting = await self.approval(approval_id)
        name, by = waiting.action.name, caller.actor_id
        await self._finish_if_executed(waiting)
        note = audit_note(by, f"{name}_decline", waiting.action, f"{approval_id}: {reason}")
        declined = await self.store.decline(approval_id, by=by, reason=reason, note=note)
        if declined is None:
            raise await self._not_pending(approval_id)
        return declined

    async def _execute(self, approval: Approval) -> Executed:
        execution = _execution(approval)
        by = f"{approval.requested_by} and {approval.decided_by} ({approval.id})"
        action = replace(approval.action, execution=execution)
        try:
            document = await self.rules[action.name].run(action, by)
        except ExecutionEndedError:
            # Nothing was changed: the request that took it over or declined it decides how it ends.
            raise
        except (RequestError, OperatorRequiredError) as error:
            # It can never be executed as it was approved; an error of PostgreSQL leaves it approved instead.
            await self.store.finish(execution, ApprovalStatus.FAILED, str(error))
            log.warning("approved_action_failed", approval_id=approval.id, action=action.name, why=str(error))
            raise
        await self.store.finish(execution, ApprovalStatus.EXECUTED)
        return Executed(document=document, approval=await self.approval(approval.id))

    async def _finish_if_executed(self, approval: Approval) -> None:
        """Record that an approved action was executed, where its process died between the change of an order
        and this record. Then declining it finds it `executed`."""
        was_executed = self.rules[approval.action.name].was_executed
        if approval.status is not ApprovalStatus.APPROVED or was_executed is None:
            return
        if await was_executed(approval.action, approval.id):
            await self.store.finish(_execution(approval), ApprovalStatus.EXECUTED)

    async def _not_pending(self, approval_id: str) -> StateConflictError:
        found = await self.approval(approval_id)
        if found.status is ApprovalStatus.PENDING:
            return StateConflictError(
                "this action has expired, or the operator who requested it or you have lost the role for it: "
                "request it again"
            )
        if found.status is ApprovalStatus.APPROVED:
            return StateConflictError(
                f"{found.decided_by} has approved this action and it is being executed; if it still is after "
                "30 seconds, approve it again or decline it"
            )
        return StateConflictError(f"only a pending action can be decided; this one is {found.status.value}")


def _execution(approval: Approval) -> Execution:
    # Set by the transition to `approved`; the fallback matches no row.
    return Execution(approval.id, approval.execute_until or approval.requested_at)


def audit_note(actor: str, name: str, action: Action, reason: str | None = None) -> AuditNote:
    """Return the audit entry of a step of an action: its own reason, unless the step has another."""
    told = action.reason if reason is None else reason
    details = {key: value for key, value in action.parameters.items() if key in _RECORDED}
    return AuditNote(
        actor=actor,
        action=name,
        target=action.target,
        reason=told,
        details=details,
        execution=action.execution,
    )


def parameter(action: Action, name: str) -> Any:
    """Return an optional parameter of an action."""
    return action.parameters.get(name)
