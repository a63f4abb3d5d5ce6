"""What people decide: orders that are held for their risk, and orders whose outcome no rail will tell."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from synccash.engine.commit_builder import Case, CommitBuilder, Order, merged, order_of, render
from synccash.engine.ports import OrderStore
from synccash.engine.progress.attempt_timing import AttemptTiming
from synccash.engine.progress.attempts import Attempts
from synccash.engine.requests.replies import read_order
from synccash.payments import lifecycle
from synccash.payments.attempt import Attempt
from synccash.payments.case import Commit, PaymentCase, PayoutCase, RefundCase, ReleaseLease
from synccash.payments.errors import ObjectNotFoundError, StateConflictError
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payment import Refund, StatusDetail
from synccash.payments.ports import Clock, WorkSignal
from synccash.payments.rail import RailStatus, StatusAnswer

_BY_HAND = "resolved_by_hand"
_Kind = TypeVar("_Kind", PaymentCase, RefundCase, PayoutCase)
_NAMES: Mapping[type[Case], str] = {
    PaymentCase: "payment",
    RefundCase: "refund",
    PayoutCase: "payout",
}
_Held = PaymentCase | PayoutCase
_MoveOf = Callable[[_Held], Commit]


class Resolution(StrEnum):
    """What a human found out about an order under review."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ReviewRequests:
    """Every decision is written to the order's timeline with who took it and why.

    All methods return the order as JSON and raise ObjectNotFoundError and StateConflictError.
    """

    order_store: OrderStore
    commit_builder: CommitBuilder
    work_signal: WorkSignal
    clock: Clock
    timing: AttemptTiming
    attempts: Attempts

    async def approve(self, order_id: str, *, by: str, reason: str, kind: type[_Held] = PaymentCase) -> bytes:
        """Let a payment or payout that waits for its risk review go on to a rail."""

        def commit(case: _Held) -> Commit:
            order = _taken(lifecycle.queued(order_of(case), now=self.clock.now()))
            return self._decided(case, order, "approved", by, reason, lease=ReleaseLease(0.0))

        return await self._risk(kind, order_id, commit)

    async def decline(self, order_id: str, *, by: str, reason: str, kind: type[_Held] = PaymentCase) -> bytes:
        """End a payment or payout that waits for its risk review."""

        def commit(case: _Held) -> Commit:
            failure = Failure(FailureCode.RISK_DECLINED)
            order = _taken(lifecycle.failed(order_of(case), failure, now=self.clock.now()))
            entry = self.commit_builder.entry("declined", {"by": by, "reason": reason})
            # What a recovery has lost may have been approved and sent.
            return self.commit_builder.commit(
                case, order, lease=ReleaseLease(None), timeline=(entry,), outside_recovery=True
            )

        return await self._risk(kind, order_id, commit)

    async def resolve(
        self,
        kind: type[_Kind],
        order_id: str,
        outcome: Resolution,
        *,
        by: str,
        evidence: str,
        received: int | None = None,
        rail: str | None = None,
    ) -> bytes:
        """End an order of this kind under review as a human has found it to be at the rail.

        It stands for the rail's own answer, so `evidence` says where it was seen: a statement's line, a
        ticket of the provider. `received`: the pesewas that came in, where they are not the order's amount.
        `rail`: where it succeeded by an attempt that the ledger lost before a recovery.
        """
        while True:
            case = await self._case(kind, order_id)
            if order_of(case).status_detail is not StatusDetail.UNDER_REVIEW:
                raise StateConflictError("only an order under review can be resolved; this one is not")
            lost = None if rail is None else self._lost(case, rail, outcome)
            order, changed = self._resolved(case, _told(outcome, received), lost)
            # A rail that can say otherwise is asked to once more.
            ended = replace(case, attempts=merged(case.attempts, changed))
            lease = self.timing.release_ended(ended)
            commit = self._decided(case, order, "resolved", by, evidence, *changed, lease=lease)
            if await self.order_store.record(commit):
                return render(order, ended.attempts)

    def _lost(self, case: Case, rail: str, outcome: Resolution) -> Attempt:
        """The attempt at `rail` that the ledger has lost and a human has found. Raises StateConflictError."""
        if outcome is not Resolution.SUCCEEDED or case.live is not None:
            raise StateConflictError(
                "`rail` is for an order that succeeded by an attempt which the database has lost; it has no "
                "live attempt then"
            )
        if not case.restored and case.may_send:
            raise StateConflictError(
                "this order was opened after the latest recovery, so no attempt of it was lost: leave "
                "`rail` out"
            )
        able = [rail for rail, one in self.attempts.rails.items() if one.capabilities.operations]
        if rail not in able or (isinstance(case, RefundCase) and rail != case.debit.rail):
            named = case.debit.rail if isinstance(case, RefundCase) else ", ".join(able)
            raise StateConflictError(f"the rail {rail} cannot have had this order; it may have had: {named}")
        return self.attempts.lost(case, rail, case.next_sequence)

    def _resolved(
        self, case: Case, told: StatusAnswer, lost: Attempt | None
    ) -> tuple[Order, tuple[Attempt, ...]]:
        """The order and the attempts that change, as a human found them. Where no attempt is live, or a
        closed one is known to have moved money, the order is ended by itself: a live attempt is asked about
        further, and what it brings goes back."""
        now = self.clock.now()
        if lost is not None:
            found = lost.after_inquiry(told)
            order = order_of(case)
            begun = order if isinstance(order, Refund) else lifecycle.begin(order, found)
            return _taken(lifecycle.succeeded(begun, found, now=now)), (found,)
        moved = any(a.money_moved for a in case.attempts if a is not case.live)
        if case.live is not None and not (moved and told.status_at_rail is RailStatus.SUCCEEDED):
            after = case.live.after_inquiry(told)
            if told.status_at_rail is RailStatus.FAILED:
                # What the rail reported before is what the human has looked into.
                after = replace(after, moved_at=None)
            return _taken(lifecycle.reflect(order_of(case), after, now=now)), (after,)
        if told.status_at_rail is RailStatus.FAILED:
            assert told.failure is not None, "a human's answer of failure carries one"
            return _taken(lifecycle.failed(order_of(case), told.failure, now=now)), ()
        paid = _payer_of(case, told.amount)
        return _taken(lifecycle.succeeded(order_of(case), paid, now=now)), (paid,)

    async def _risk(self, kind: type[_Held], order_id: str, move_of: _MoveOf) -> bytes:
        while True:
            case = await read_order(self.order_store, order_id)
            if not isinstance(case, kind):
                raise ObjectNotFoundError(_NAMES[kind], order_id)
            order, named = order_of(case), _NAMES[kind]
            if case.money_moved:
                raise StateConflictError(
                    f"money is known to have moved for this {named}; it is neither approved nor declined now"
                )
            if not case.may_send:
                raise StateConflictError(
                    f"the database is being recovered and may lack what was decided on this {named}; try "
                    "again when the rails have been asked about it"
                )
            if order.status_detail is not StatusDetail.RISK_REVIEW:
                status_at_rail = order.status_detail or order.status
                raise StateConflictError(
                    f"only a {named} in risk review can be decided on; this one is {status_at_rail.value}"
                )
            commit = move_of(case)
            if await self.order_store.record(commit):
                self.work_signal.ring()
                return render(commit.order, case.attempts)

    async def _case(self, kind: type[_Kind], order_id: str) -> _Kind:
        case = await read_order(self.order_store, order_id)
        if not isinstance(case, kind):
            raise ObjectNotFoundError(_NAMES[kind], order_id)
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


def _taken(order: Order) -> Order:
    """A human's decision shuts out whoever works on the order now."""
    return replace(order, fence=order.fence + 1)


def _payer_of(case: Case, received: int | None) -> Attempt:
    """The closed attempt whose money an order without a live one is resolved by: the latest that is known to
    have moved some, else the latest. `received`: the pesewas that a human saw, where he says so."""
    moved = [a for a in case.attempts if a.money_moved and a is not case.live]
    if not case.attempts:
        raise StateConflictError(
            "nothing was ever sent for this order as far as the database knows, so it cannot have succeeded; "
            "where a recovery has lost an attempt, name its `rail`"
        )
    paid = (moved or case.attempts)[-1]
    amount = received if received is not None else paid.amount_received or paid.amount
    return replace(paid, amount_received=amount)


def _told(outcome: Resolution, received: int | None) -> StatusAnswer:
    if outcome is Resolution.SUCCEEDED:
        return StatusAnswer(status_at_rail=RailStatus.SUCCEEDED, amount=received, provider_code=_BY_HAND)
    failure = Failure(FailureCode.PROVIDER_ERROR, provider_code=_BY_HAND)
    return StatusAnswer(status_at_rail=RailStatus.FAILED, failure=failure, provider_code=_BY_HAND)
