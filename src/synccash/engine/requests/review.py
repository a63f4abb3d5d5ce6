"""Decisions by people: on orders held for risk review, and on orders whose outcome no rail reports."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from synccash.engine.commit_builder import CommitBuilder, merged, render
from synccash.engine.ports import OrderStore
from synccash.engine.progress.attempt_timing import AttemptTiming
from synccash.engine.progress.attempts import Attempts
from synccash.engine.requests.replies import read_order
from synccash.payments import lifecycle
from synccash.payments.attempt import Attempt
from synccash.payments.audit import AuditNote
from synccash.payments.case import Case, Commit, Order, ReleaseLease, returned_debit
from synccash.payments.errors import ObjectNotFoundError, StateConflictError
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payment import OrderKind, StatusDetail
from synccash.payments.ports import Clock, WorkSignal
from synccash.payments.rail import RailStatus, StatusAnswer

_BY_HAND = "resolved_by_hand"
_FAILED_BY_HAND = Failure(FailureCode.PROVIDER_ERROR, provider_code=_BY_HAND)
_BuildCommit = Callable[[Case], Commit]


class Resolution(StrEnum):
    """The outcome that an operator established for an order under review."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ReviewRequests:
    """Applies the decisions. Each is written to the order's timeline with its author and reason, and with
    `note` to the audit log, in one transaction.

    All methods return the order as JSON and raise ObjectNotFoundError and StateConflictError.
    """

    order_store: OrderStore
    commit_builder: CommitBuilder
    work_signal: WorkSignal
    clock: Clock
    timing: AttemptTiming
    attempts: Attempts

    async def approve(
        self,
        order_id: str,
        *,
        by: str,
        reason: str,
        kind: OrderKind = OrderKind.PAYMENT,
        note: AuditNote | None = None,
    ) -> bytes:
        """Release a payment or payout from risk review, so that it is sent to a rail."""

        def commit(case: Case) -> Commit:
            order = _fenced(lifecycle.queued(case.order, now=self.clock.now()))
            return self._decided(case, order, "approved", by, reason, lease=ReleaseLease(0.0))

        return await self._risk(kind, order_id, commit, note)

    async def decline(
        self,
        order_id: str,
        *,
        by: str,
        reason: str,
        kind: OrderKind = OrderKind.PAYMENT,
        note: AuditNote | None = None,
    ) -> bytes:
        """End a payment or payout that is in risk review as failed."""

        def commit(case: Case) -> Commit:
            failure = Failure(FailureCode.RISK_DECLINED)
            order = _fenced(lifecycle.failed(case.order, failure, now=self.clock.now()))
            entry = self.commit_builder.entry("declined", {"by": by, "reason": reason})
            # The order may have been approved and sent before a recovery lost that.
            return self.commit_builder.commit(
                case, order, lease=ReleaseLease(None), timeline=(entry,), refuse_in_recovery=True
            )

        return await self._risk(kind, order_id, commit, note)

    async def resolve(
        self,
        kind: OrderKind,
        order_id: str,
        outcome: Resolution,
        *,
        by: str,
        evidence: str,
        received: int | None = None,
        rail: str | None = None,
        note: AuditNote | None = None,
    ) -> bytes:
        """End an order under review with the outcome that an operator established at the rail.

        The outcome replaces the rail's own answer, so `evidence` says where it was seen: a statement line, or
        a ticket of the provider. `received`: the pesewas that arrived, where they differ from the order's
        amount. `rail`: the rail of an attempt that the database lost in a recovery, where the order succeeded
        by that attempt.
        """
        while True:
            case = await self._case(kind, order_id)
            if case.order.status_detail is not StatusDetail.UNDER_REVIEW:
                status = case.order.status_detail or case.order.status
                raise StateConflictError(
                    f"only an order under review can be resolved; the status of this one is {status.value}"
                )
            lost = None if rail is None else self._lost(case, rail, outcome)
            order, changed = self._resolved(case, _resolution_answer(outcome, received), lost)
            # A rail that may still contradict the outcome is asked once more.
            ended = replace(case, attempts=merged(case.attempts, changed))
            lease = self.timing.release_ended(ended)
            commit = self._decided(case, order, "resolved", by, evidence, *changed, lease=lease)
            if await self.order_store.record(commit, note):
                return render(order, ended.attempts)

    def _lost(self, case: Case, rail: str, outcome: Resolution) -> Attempt:
        """Return the attempt at `rail` that the database lost and an operator found.

        Raises StateConflictError.
        """
        if outcome is not Resolution.SUCCEEDED or case.live is not None:
            raise StateConflictError(
                "`rail` is only for an order without a live attempt that succeeded by an attempt which the "
                "database has lost; leave `rail` out"
            )
        if not case.restored and case.may_send:
            raise StateConflictError(
                "this order was opened after the latest recovery, so no attempt of it was lost: leave "
                "`rail` out"
            )
        able = [name for name, one in self.attempts.rails.items() if one.capabilities.operations]
        debit = returned_debit(case)
        possible = able if debit is None else [debit.rail]
        if rail not in able or rail not in possible:
            raise StateConflictError(
                f"this order cannot have been sent to the rail {rail}; possible rails: {', '.join(possible)}"
            )
        return self.attempts.as_if_lost_at(case, rail, case.next_sequence)

    def _resolved(
        self, case: Case, answer: StatusAnswer, lost: Attempt | None
    ) -> tuple[Order, tuple[Attempt, ...]]:
        """Return the order and the changed attempts with the outcome that an operator established. When no
        attempt is live, or a closed one is known to have moved money, only the order ends: inquiries about a
        live attempt continue, and money that it brings is refunded."""
        now = self.clock.now()
        if lost is not None:
            found = lost.after_inquiry(answer)
            begun = lifecycle.with_next_attempt(case.order, found)
            return _fenced(lifecycle.succeeded(begun, found, now=now)), (found,)
        moved = any(a.money_moved for a in case.attempts if a is not case.live)
        if case.live is not None and not (moved and answer.status_at_rail is RailStatus.SUCCEEDED):
            after = case.live.after_inquiry(answer)
            if answer.status_at_rail is RailStatus.FAILED:
                # The operator's finding replaces the rail's earlier report.
                after = replace(after, moved_at=None)
            return _fenced(lifecycle.with_status_of(case.order, after, now=now)), (after,)
        if answer.status_at_rail is RailStatus.FAILED:
            return _fenced(lifecycle.failed(case.order, _FAILED_BY_HAND, now=now)), ()
        paid = _paying_attempt(case, answer.amount)
        return _fenced(lifecycle.succeeded(case.order, paid, now=now)), (paid,)

    async def _risk(
        self, kind: OrderKind, order_id: str, build_commit: _BuildCommit, note: AuditNote | None
    ) -> bytes:
        while True:
            case = await self._case(kind, order_id)
            order = case.order
            if case.money_moved:
                raise StateConflictError(
                    f"money is known to have moved for this {kind}, so it can be neither approved nor "
                    "declined"
                )
            if not case.may_send:
                raise StateConflictError(
                    f"the database is being recovered and may lack an earlier decision on this {kind}; try "
                    "again when every rail has been asked about it"
                )
            if order.status_detail is not StatusDetail.RISK_REVIEW:
                status = order.status_detail or order.status
                raise StateConflictError(
                    f"only a {kind} in risk review can be approved or declined; the status of this one is "
                    f"{status.value}"
                )
            commit = build_commit(case)
            if await self.order_store.record(commit, note):
                self.work_signal.notify()
                return render(commit.order, case.attempts)

    async def _case(self, kind: OrderKind, order_id: str) -> Case:
        case = await read_order(self.order_store, order_id)
        if case is None or case.order.kind is not kind:
            raise ObjectNotFoundError(kind, order_id)
        return case

    def _decided(
        self,
        case: Case,
        order: Order,
        kind: str,
        by: str,
        reason: str,
        *changed: Attempt,
        lease: ReleaseLease,
    ) -> Commit:
        entry = self.commit_builder.entry(kind, {"by": by, "reason": reason})
        return self.commit_builder.commit(case, order, *changed, lease=lease, timeline=(entry,))


def _fenced(order: Order) -> Order:
    """Return the order with a raised fence: a worker that has leased it can no longer commit."""
    return replace(order, fence=order.fence + 1)


def _paying_attempt(case: Case, received: int | None) -> Attempt:
    """Return the attempt by which an order without a live one is resolved as succeeded: the latest that is
    known to have moved money, else the latest. `received`: the pesewas that an operator saw, if given."""
    moved = [a for a in case.attempts if a.money_moved and a is not case.live]
    if not case.attempts:
        raise StateConflictError(
            "nothing was ever sent for this order as far as the database knows, so it cannot have succeeded; "
            "where a recovery has lost an attempt, name its `rail`"
        )
    paid = (moved or case.attempts)[-1]
    amount = received if received is not None else paid.amount_received or paid.amount
    return replace(paid, amount_received=amount)


def _resolution_answer(outcome: Resolution, received: int | None) -> StatusAnswer:
    if outcome is Resolution.SUCCEEDED:
        return StatusAnswer(status_at_rail=RailStatus.SUCCEEDED, amount=received, provider_code=_BY_HAND)
    return StatusAnswer(status_at_rail=RailStatus.FAILED, failure=_FAILED_BY_HAND, provider_code=_BY_HAND)
