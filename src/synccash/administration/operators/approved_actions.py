"""The operators' actions that may need a second operator, and how each is executed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_hex
from typing import Any

import msgspec

from synccash.administration.balances import (
    confirm_credit,
    grant_credit,
    require_merchant,
    unconfirmed_credit,
)
from synccash.administration.operators.four_eyes import ActionRule, audit_note, parameter
from synccash.administration.operators.operators import Operators
from synccash.administration.service import Administration
from synccash.engine.commit_builder import render
from synccash.engine.engine import Engine
from synccash.engine.progress.refund_openings import surplus_debits
from synccash.engine.requests.replies import read_order
from synccash.engine.requests.review import Resolution
from synccash.payments.access import AccessScope, OperatorRole
from synccash.payments.api_key import NewApiKey, new_secret, read_networks, read_scopes
from synccash.payments.approval import Action
from synccash.payments.audit import AuditNote
from synccash.payments.balance import BalanceAccount
from synccash.payments.case import Case, Claim, is_payment_case
from synccash.payments.document import moment, refund_document
from synccash.payments.errors import ObjectNotFoundError, StateConflictError
from synccash.payments.operator import CODE_HALF, Enrolment, enrolment_document, operator_document
from synccash.payments.payment import OrderKind, Payment, StatusDetail
from synccash.payments.request import Origin, RefundRequest, Role, Tenant
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.operating import PostgresOperating
from synccash.stores.postgres.orders.order_store import PostgresOrderStore

_REFUND_SCOPE = "operator:refund"
"""The scope of the claims of operators' refunds."""
_KINDS = {"payment": OrderKind.PAYMENT, "refund": OrderKind.REFUND, "payout": OrderKind.PAYOUT}


@dataclass(frozen=True, slots=True)
class ApprovedActions:
    """Executes the actions. Above `payout_above` and `refund_above` pesewas they need a second operator."""

    engine: Engine
    database: Database
    operators: Operators
    payout_above: int
    refund_above: int

    def rules(self) -> Mapping[str, ActionRule]:
        """Return the rule of each action by its name."""
        # The roles of `api/roles.py` for the calls that request the actions.
        operator, admin = OperatorRole.OPERATOR, OperatorRole.ADMIN
        resolve = ActionRule(
            run=self._resolve,
            needs_second=self._is_under_review,
            role=operator,
            notes_itself=True,
            was_executed=self._was_decided,
        )
        operators = ActionRule(run=self._operator_change, needs_second=_always, role=admin, notes_itself=True)
        return {
            **{f"{kind}_resolve": resolve for kind in _KINDS},
            "payout_approve": ActionRule(
                run=self._approve_payout,
                needs_second=self._is_large_payout,
                role=operator,
                notes_itself=True,
                was_executed=self._was_decided,
                details=self._payout_details,
            ),
            "payment_return_surplus": ActionRule(
                run=self._return_surplus,
                needs_second=self._is_large_surplus,
                role=operator,
                was_executed=self._was_returned,
            ),
            "payment_refund": ActionRule(run=self._refund, needs_second=self._is_large_refund, role=operator),
            "key_create": ActionRule(
                run=self._create_key,
                needs_second=self._is_powerful_key,
                role=admin,
                notes_itself=True,
                needs_operator=self._is_admin_key,
            ),
            "key_rotate": ActionRule(
                run=self._rotate_key,
                needs_second=self._replaces_powerful_key,
                role=admin,
                notes_itself=True,
                needs_operator=self._replaces_admin_key,
            ),
            "balance_credit": ActionRule(
                run=self._credit, needs_second=_raises_credit, role=admin, notes_itself=True
            ),
            "balance_confirm": ActionRule(
                run=self._confirm_credit, needs_second=self._raises_confirmed, role=admin, notes_itself=True
            ),
            **dict.fromkeys(
                ("operator_create", "operator_reset", "operator_enable", "operator_role"), operators
            ),
        }

    async def _resolve(self, action: Action, by: str) -> bytes:
        kind = _KINDS[action.name.partition("_")[0]]
        outcome = Resolution(action.parameters["outcome"])
        try:
            return await self.engine.reviewing.resolve(
                kind,
                action.target,
                outcome,
                by=by,
                evidence=action.reason,
                received=parameter(action, "amount_received"),
                rail=parameter(action, "rail"),
                note=_decision_note(action, by),
            )
        except StateConflictError as error:
            return await self._done_before(action, error)

    async def _approve_payout(self, action: Action, by: str) -> bytes:
        try:
            return await self.engine.reviewing.approve(
                action.target,
                by=by,
                reason=action.reason,
                kind=OrderKind.PAYOUT,
                note=_decision_note(action, by),
            )
        except StateConflictError as error:
            return await self._done_before(action, error)

    async def _done_before(self, action: Action, error: StateConflictError) -> bytes:
        """Return the order that this approval has already changed; else raise the error.

        The timeline names the approval, so a process that died after the change is no reason for a failure.
        """
        execution = action.execution
        if execution is None or not await self._was_decided(action, execution.approval_id):
            raise error
        case = await self._case(action.target, None)
        return render(case.order, case.attempts)

    async def _was_decided(self, action: Action, approval_id: str) -> bool:
        return await self._is_named(action.target, approval_id)

    async def _was_returned(self, action: Action, approval_id: str) -> bool:
        refunds = await PostgresOperating(self.database).refunds(action.target)
        return any([await self._is_named(refund["id"], approval_id) for refund in refunds])

    async def _is_named(self, order_id: str, approval_id: str) -> bool:
        """Tell whether an approval is named in the timeline of an order."""
        entries = await PostgresOperating(self.database).timeline(order_id)
        return any(approval_id in str(entry.data.get("by", "")) for entry in entries)

    async def _return_surplus(self, action: Action, by: str) -> bytes:
        origin = Origin(by.partition(" and ")[0], parameter(action, "request_id"))
        refunds = await self.engine.return_surplus(action.target, by=by, reason=action.reason, origin=origin)
        documents = [refund_document(case.order, case.attempts) for case in refunds]
        return msgspec.json.encode({"data": documents, "has_more": False, "next": None})

    async def _refund(self, action: Action, by: str) -> bytes:
        case = await self._case(action.target, OrderKind.PAYMENT)
        request = RefundRequest(
            tenant=Tenant(case.order.merchant_id, livemode=case.order.livemode),
            payment_id=action.target,
            amount=parameter(action, "amount"),
            reason=action.reason,
            origin=Origin(by.partition(" and ")[0], parameter(action, "request_id")),
        )
        execution = action.execution
        name = parameter(action, "key") or (execution and execution.approval_id) or token_hex(16)
        # The same name for another refund is refused: it would hide a mistake.
        fingerprint = sha256(f"{request.payment_id} {request.amount}".encode()).digest()
        reply = await self.engine.refund_payment(request, Claim(_REFUND_SCOPE, name, fingerprint))
        return reply.body

    async def _is_large_refund(self, action: Action) -> bool:
        order = (await self._case(action.target, OrderKind.PAYMENT)).order
        if not isinstance(order, Payment):
            raise ObjectNotFoundError("payment", action.target)
        left = order.amount_received - order.amount_refunded
        return (parameter(action, "amount") or left) > self.refund_above

    async def _credit(self, action: Action, by: str) -> bytes:
        execution, amount = action.execution, action.parameters["amount"]
        key = parameter(action, "key") or (None if execution is None else execution.approval_id)
        note = _credit_note(action, by)
        made = await grant_credit(self.database, _account(action), amount, key=key, note=note)
        return msgspec.json.encode(made)

    async def _confirm_credit(self, action: Action, by: str) -> bytes:
        amount, note = action.parameters["amount"], _credit_note(action, by)
        return msgspec.json.encode(await confirm_credit(self.database, _account(action), amount, note=note))

    async def _operator_change(self, action: Action, by: str) -> bytes:
        name, half = action.target, parameter(action, CODE_HALF)
        reason, execution = action.reason, action.execution
        match action.name:
            case "operator_create":
                role = OperatorRole(action.parameters["role"])
                return _encoded(
                    await self.operators.create(
                        name, role, by=by, reason=reason, execution=execution, first_half=half
                    )
                )
            case "operator_reset":
                return _encoded(
                    await self.operators.reset(
                        name, by=by, reason=reason, execution=execution, first_half=half
                    )
                )
            case "operator_enable":
                changed = await self.operators.enable(name, by=by, reason=reason, execution=execution)
            case _:
                role = OperatorRole(action.parameters["role"])
                changed = await self.operators.set_role(name, role, by=by, reason=reason, execution=execution)
        return msgspec.json.encode(operator_document(changed))

    async def _create_key(self, action: Action, by: str) -> bytes:
        given = action.parameters
        merchant_id, livemode = given["merchant_id"], given["livemode"]
        role = Role.ADMIN if merchant_id is None else Role.MERCHANT
        expires_in_s = given["expires_in_s"]
        key = NewApiKey(
            secret=new_secret(role, livemode=livemode),
            role=role,
            merchant_id=merchant_id,
            livemode=livemode,
            scopes=read_scopes(given["scopes"], role),
            name=given["name"],
            networks=read_networks(given["allowed_ips"]),
            expires_in=None if expires_in_s is None else timedelta(seconds=expires_in_s),
        )
        made = await Administration(self.database).create_key(key, by=by, execution=action.execution)
        return _encoded_key(made)

    async def _rotate_key(self, action: Action, by: str) -> bytes:
        overlap = timedelta(seconds=action.parameters["overlap_s"])
        made = await Administration(self.database).rotate_key(
            action.target, overlap, by=by, execution=action.execution
        )
        return _encoded_key(made)

    async def _is_powerful_key(self, action: Action) -> bool:
        """Tell whether a new key can pay out, or is an admin key, which outlives the operator who made it."""
        merchant_id = action.parameters["merchant_id"]
        if merchant_id is None:
            return True
        await require_merchant(self.database, merchant_id)
        return action.parameters["livemode"] and AccessScope.PAYOUTS_WRITE in action.parameters["scopes"]

    async def _replaces_powerful_key(self, action: Action) -> bool:
        keys = await Administration(self.database).keys()
        return any(
            one["id"] == action.target
            and (
                one["merchant_id"] is None or (one["livemode"] and AccessScope.PAYOUTS_WRITE in one["scopes"])
            )
            for one in keys
        )

    async def _is_admin_key(self, action: Action) -> bool:
        return action.parameters["merchant_id"] is None

    async def _replaces_admin_key(self, action: Action) -> bool:
        keys = await Administration(self.database).keys()
        return any(one["id"] == action.target and one["merchant_id"] is None for one in keys)

    async def _is_under_review(self, action: Action) -> bool:
        kind = _KINDS[action.name.partition("_")[0]]
        await self._require(action.target, kind, StatusDetail.UNDER_REVIEW)
        return True

    async def _is_large_payout(self, action: Action) -> bool:
        case = await self._require(action.target, OrderKind.PAYOUT, StatusDetail.RISK_REVIEW)
        return case.order.amount > self.payout_above

    async def _payout_details(self, action: Action) -> Mapping[str, Any]:
        payout = (await self._case(action.target, OrderKind.PAYOUT)).order
        return {"amount": payout.amount, "currency": payout.currency, "livemode": payout.livemode}

    async def _is_large_surplus(self, action: Action) -> bool:
        case = await self._case(action.target, OrderKind.PAYMENT)
        debits = surplus_debits(case) if is_payment_case(case) else ()
        return sum(debit.amount_received for debit in debits) > self.refund_above

    async def _raises_confirmed(self, action: Action) -> bool:
        provisional = await unconfirmed_credit(self.database, _account(action))
        return action.parameters["amount"] > provisional.amount

    async def _require(self, order_id: str, kind: OrderKind, detail: StatusDetail) -> Case:
        case = await self._case(order_id, kind)
        if case.order.status_detail is not detail:
            status = case.order.status_detail or case.order.status
            raise StateConflictError(
                f"only a {kind} in {detail.value} can be decided in this way; the status of this one is "
                f"{status.value}"
            )
        return case

    async def _case(self, order_id: str, kind: OrderKind | None) -> Case:
        case = await read_order(PostgresOrderStore(self.database), order_id)
        if case is None or kind not in (None, case.order.kind):
            raise ObjectNotFoundError(kind or "order", order_id)
        return case


async def _always(action: Action) -> bool:
    del action
    return True


async def _raises_credit(action: Action) -> bool:
    return action.parameters["amount"] > 0


def _encoded(made: Enrolment) -> bytes:
    return msgspec.json.encode(enrolment_document(made))


def _encoded_key(made: Mapping[str, Any]) -> bytes:
    shown = {name: moment(one) if isinstance(one, datetime) else one for name, one in made.items()}
    return msgspec.json.encode(shown)


def _credit_note(action: Action, by: str) -> AuditNote:
    return replace(audit_note(by, action.name, action), merchant_id=action.target)


def _decision_note(action: Action, by: str) -> AuditNote | None:
    """Return the audit entry of a decision on an order; None after an approval, whose own entry has it."""
    return audit_note(by, action.name, action) if action.execution is None else None


def _account(action: Action) -> BalanceAccount:
    return BalanceAccount(
        merchant_id=action.target,
        livemode=action.parameters["livemode"],
        currency=action.parameters["currency"],
    )
