"""The simulation's order store: PostgreSQL's promises in memory, with atomic effects.

Every method gives way once before its effect and once after, and a fault may make it raise at either place:
the caller is then told that the order store is out of reach, whether or not its commit happened.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from sim.loop import NODE, checkpoint
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.audit import AuditNote
from synccash.payments.case import (
    AlreadyClaimed,
    Case,
    Commit,
    Entry,
    Event,
    KeepLease,
    Lease,
    NotCovered,
    NotRefundable,
    Opened,
    Opening,
    OpeningResult,
    Order,
    OrderCase,
    PaymentCase,
    PayoutCase,
    ReferenceTaken,
    RefundCase,
    ReleaseLease,
    StoredAnswer,
    Suspended,
)
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.failure import Failure
from synccash.payments.payment import OrderKind, Payment, PaymentStatus, Refund, RefundStatus, StatusDetail
from synccash.payments.payout import Payout
from synccash.payments.rail import Operation
from synccash.payments.recovery import NO_RECOVERY, Recovery

AT_ONCE = float("-inf")
Fault = Literal["before", "after"]


class RefusedError(Exception):
    """A commit would have broken an invariant. Nothing was written."""


class Now(Protocol):
    def now(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Version:
    """A row as one commit left it. `step` orders the commits and the sends of a run; `by` is the node."""

    step: int
    at: datetime
    by: str | None
    order: Order
    attempts: tuple[Attempt, ...]
    told: tuple[str, ...]
    """The kinds of what the commit wrote: its timeline's, and its contradiction's."""
    contradiction: str | None = None

    @property
    def money_is_known(self) -> bool:
        """True when this commit says that money moved: by an attempt, or by a contradiction."""
        if self.contradiction is not None or "contradiction" in self.told:
            return True
        return any(a.amount_received > 0 or a.state is AttemptState.SUCCEEDED for a in self.attempts)


@dataclass(slots=True)
class _Row:
    order: Order
    move_id: str
    attempts: dict[str, Attempt] = field(default_factory=dict)
    lease_until: datetime | None = None
    due_at: datetime | float | None = None
    hinted: bool = False
    events: list[Event] = field(default_factory=list)
    timeline: list[Entry] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)
    history: list[Version] = field(default_factory=list)


@dataclass(slots=True)
class _Claimed:
    fingerprint: bytes
    order_id: str
    answer: StoredAnswer | None


def _no_fault(method: str) -> Fault | None:
    del method
    return None


def _nothing() -> None: ...


def _no_steps() -> int:
    return 0


class FakeOrderStore:
    """One truth for all nodes. `fault`: where each call fails; `changed` is told of new due times; `steps`
    numbers what happens in a run."""

    def __init__(
        self,
        clock: Now,
        *,
        fault: Callable[[str], Fault | None] = _no_fault,
        changed: Callable[[], None] = _nothing,
        steps: Callable[[], int] = _no_steps,
    ) -> None:
        self.clock = clock
        self.fault = fault
        self.changed = changed
        self.steps = steps
        self.rows: dict[str, _Row] = {}
        self.events: list[Event] = []
        self.unreadable: set[str] = set()
        """The orders whose rows raise when they are read: nobody takes them up."""
        self.set_aside: set[str] = set()
        """The unreadable orders that were due when a worker looked."""
        self.credits: dict[str, int] = {}
        """What an operator has granted, in pesewas; all other merchants have as much as they need."""
        self.suspended: set[str] = set()
        """The merchants for whom nothing new starts."""
        self.claims: dict[tuple[str, str], _Claimed] = {}
        self._claim_of: dict[str, _Claimed] = {}
        self._owners: dict[tuple[type, str, bool, str], str] = {}
        self.worked_on: list[str] = []
        """The orders on which a node worked on after a heartbeat had told it that its lease was lost."""
        self._lost: set[Lease] = set()
        self._tokens: dict[str, str] = {}
        self._references: dict[str, str] = {}

    async def now(self) -> datetime:
        return await self._call("now", self.clock.now)

    async def recovery(self) -> Recovery:
        return await self._call("recovery", lambda: NO_RECOVERY)

    async def open(self, asked: Opening[Order], /) -> OpeningResult:
        opens = self._open_refund if isinstance(asked.order, Refund) else self._open_order
        return await self._call("open", opens, asked)

    async def claimed(self, scope: str, key: str) -> AlreadyClaimed | None:
        return await self._call("claimed", self._standing, scope, key)

    async def answer(self, order_id: str, answer: StoredAnswer) -> StoredAnswer:
        return await self._call("answer", self._answer, order_id, answer)

    async def record(self, commit: Commit, note: AuditNote | None = None) -> bool:
        return await self._call("record", self._record, commit)

    async def take_due(self, *, limit: int, lease_s: float) -> Sequence[Case]:
        return await self._call("take_due", self._take_due, limit, lease_s)

    async def renew(self, leases: Sequence[Lease], *, lease_s: float) -> frozenset[Lease]:
        kept = await self._call("renew", self._renew, leases, lease_s)
        self._lost.update(set(leases) - kept)
        return kept

    async def hint(self, token: str, failure: Failure | None = None) -> bool:
        return await self._call("hint", self._hint, self._tokens.get(token), failure)

    async def hint_reference(self, rail: str, reference: str, failure: Failure | None = None) -> bool:
        return await self._call("hint", self._hint, self._references.get(reference), failure, rail)

    async def otp_tries(self, payment_id: str) -> int:
        return await self._call("otp_tries", self._otp_tries, payment_id)

    async def payment(self, payment_id: str) -> PaymentCase | None:
        return await self._call("payment", self.read_payment, payment_id)

    async def refund(self, refund_id: str) -> RefundCase | None:
        return await self._call("refund", self.read_refund, refund_id)

    async def payout(self, payout_id: str) -> PayoutCase | None:
        return await self._call("payout", self.read_payout, payout_id)

    async def _call(self, method: str, effect: Callable[..., Any], *arguments: Any) -> Any:
        fault = self.fault(method)
        await checkpoint
        if fault == "before":
            raise StoreUnavailableError("the simulated order store is away")
        result = effect(*arguments)
        await checkpoint
        if fault == "after":
            raise StoreUnavailableError("the simulated order store went away during the commit")
        return result

    def _open_order(self, asked: Opening[Payment | Payout]) -> OpeningResult:
        order = asked.order
        status_at_rail = self._standing(asked.claim.scope, asked.claim.key)
        if status_at_rail is not None:
            return status_at_rail
        refusal = self._refusal(order)
        if refusal is not None:
            return refusal
        owner = (type(order), order.merchant_id, order.livemode, order.reference)
        if owner in self._owners:
            return ReferenceTaken(self._owners[owner])
        row = self._opened(asked)
        self._owners[owner] = order.id
        self._claim_of[order.id].answer = asked.answer
        return Opened(self._case(row))

    def _open_refund(self, asked: Opening[Refund]) -> OpeningResult:
        status_at_rail = self._standing(asked.claim.scope, asked.claim.key)
        if status_at_rail is not None:
            return status_at_rail
        refund = asked.order
        payment = self.rows[refund.payment_id]
        debit = payment.attempts.get(refund.attempt_id)
        collected = debit is not None and debit.operation is Operation.COLLECT
        is_here = debit is not None and collected and debit.reversed_at is None
        available = debit.amount_received - debit.refund_reserved if debit and is_here else 0
        if debit is None or available < refund.amount:
            return NotRefundable(available)
        refusal = self._refusal(refund)
        if refusal is not None:
            return refusal
        siblings = [r.order for r in self.rows.values() if isinstance(r.order, Refund)]
        if refund.exclusive and any(
            r.exclusive and r.attempt_id == refund.attempt_id and not r.status.is_final for r in siblings
        ):
            return NotRefundable(0, under_way=True)
        if refund.surplus and any(
            r.surplus and r.attempt_id == debit.id and r.status is not RefundStatus.FAILED for r in siblings
        ):
            raise RefusedError("one refund of a surplus")
        row = self._opened(asked)
        payment.attempts[debit.id] = replace(debit, refund_reserved=debit.refund_reserved + refund.amount)
        return Opened(self._case(row))

    def _refusal(self, order: Order) -> Suspended | NotCovered | None:
        if order.merchant_id in self.suspended and order.is_stopped_by_suspension:
            return Suspended()
        if not order.takes_from_balance or order.status.is_final:
            return None
        available = self.available(order)
        return NotCovered(available=available, needed=order.amount) if order.amount > available else None

    def available(self, order: Order) -> int:
        """What the books leave of the balance of the order's merchant, without fees."""
        account = (order.merchant_id, order.livemode, order.currency)
        rows = (r for r in self.rows.values() if _account(r.order) == account)
        return self.credits.get(order.merchant_id, 10**15) + sum(_contribution(row) for row in rows)

    def _opened(self, asked: Opening[Order]) -> _Row:
        claim, order, attempts = asked.claim, asked.order, asked.attempts
        self._refuse(order.id, {}, attempts)
        _refuse_to_forget(order, asked.lease)
        row = _Row(order, order.id)
        self._write_attempts(row, attempts)
        self._hold(row, asked.lease)
        self._tell(row, asked.events, asked.timeline)
        self._remember(row, asked.timeline)
        self.rows[order.id] = row
        made = _Claimed(claim.fingerprint, order.id, None)
        self.claims[claim.scope, claim.key] = self._claim_of[order.id] = made
        self.changed()
        return row

    def _standing(self, scope: str, key: str) -> AlreadyClaimed | None:
        found = self.claims.get((scope, key))
        if found is None:
            return None
        until = self.rows[found.order_id].lease_until
        held_for_s = 0.0 if until is None else max(0.0, (until - self.clock.now()).total_seconds())
        return AlreadyClaimed(
            fingerprint=found.fingerprint,
            order_id=found.order_id,
            answer=found.answer,
            held_for_s=held_for_s,
        )

    def _answer(self, order_id: str, answer: StoredAnswer) -> StoredAnswer:
        claimed = self._claim_of[order_id]
        if claimed.answer is None:
            claimed.answer = answer
        return claimed.answer

    def _record(self, commit: Commit) -> bool:
        row = self.rows.get(commit.order.id)
        if row is None:
            return False
        before, now = row.order, self.clock.now()
        if commit.attempts and Lease(commit.order.id, commit.expected_fence) in self._lost:
            self.worked_on.append(commit.order.id)
        if (before.version, before.fence) != (commit.expected_version, commit.expected_fence):
            return False
        if commit.refuse_if_expired and not isinstance(before, Refund) and now >= before.expires_at:
            return False
        if before.status.is_final and commit.order.status is not before.status:
            raise RefusedError("a final status")
        _refuse_to_forget(commit.order, commit.lease)
        self._refuse(before.id, row.attempts, commit.attempts)
        _refuse_after_known_money(row, commit)
        row.order = commit.order
        if isinstance(before, Payment):
            row.order = replace(commit.order, amount_refunded=before.amount_refunded)
        if isinstance(before, Refund):
            self._settle_refund(row, before, commit)
        self._write_attempts(row, commit.attempts)
        self._hold(row, commit.lease)
        self._tell(row, commit.events, commit.timeline)
        row.move_id = commit.id
        self._remember(row, commit.timeline, commit.contradiction)
        if commit.contradiction is not None:
            row.contradictions.append(commit.contradiction)
        if commit.answer is not None and commit.order.id in self._claim_of:
            self._answer(commit.order.id, commit.answer)
        self.changed()
        return True

    def _settle_refund(self, refund: _Row, before: Refund, commit: Commit) -> None:
        was_gone = any(attempt.amount_received for attempt in refund.attempts.values())
        goes = any(attempt.amount_received for attempt in commit.attempts)
        status = commit.order.status
        ends = not before.status.is_final and status.is_final
        late = before.status is RefundStatus.FAILED and goes and not was_gone
        if not ends and not late:
            return
        row = self.rows[before.payment_id]
        payment, debit = row.order, row.attempts[before.attempt_id]
        assert isinstance(payment, Payment)
        gone = status is RefundStatus.SUCCEEDED or was_gone or goes
        if gone and not before.surplus:
            refunded = min(payment.amount_received, payment.amount_refunded + before.amount)
            row.order = replace(payment, amount_refunded=refunded, version=payment.version + 1)
        if late == gone:
            change = before.amount if late else -before.amount
            reserved = min(debit.amount_received, debit.refund_reserved + change)
            row.attempts[debit.id] = replace(debit, refund_reserved=reserved)
        if not gone and row.order.status.is_final:
            self._hint_row(row)

    def _refuse(self, order_id: str, before: dict[str, Attempt], changed: Sequence[Attempt]) -> None:
        """Raise RefusedError for what the schema forbids: two attempts that may move money, a used
        reference, an end that is left."""
        after = dict(before)
        for attempt in changed:
            known = before.get(attempt.id)
            if known is not None and known.state.is_final and attempt.state is not known.state:
                raise RefusedError("a final state")
            if self._references.get(attempt.reference, attempt.id) != attempt.id:
                raise RefusedError("a reference is used once")
            after[attempt.id] = attempt
        if sum(not attempt.state.is_dead for attempt in after.values()) > 1:
            raise RefusedError(f"two attempts of {order_id} may move money")

    def _write_attempts(self, row: _Row, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            known = row.attempts.get(attempt.id)
            # A reservation is never written from a value: refunds change it beside the move.
            reserved = attempt.refund_reserved if known is None else known.refund_reserved
            reported = attempt.reported_failure if known is None else known.reported_failure
            called_at = attempt.callback_at if known is None else known.callback_at
            row.attempts[attempt.id] = replace(
                attempt, refund_reserved=reserved, reported_failure=reported, callback_at=called_at
            )
            self._references[attempt.reference] = attempt.id
            self._tokens[attempt.callback_token] = attempt.id

    def _hold(self, row: _Row, lease: KeepLease | ReleaseLease) -> None:
        now = self.clock.now()
        if isinstance(lease, KeepLease):
            row.lease_until = row.due_at = now + timedelta(seconds=lease.lease_s)
            return
        row.lease_until = None
        if row.hinted:
            row.due_at = AT_ONCE
        else:
            row.due_at = None if lease.due_in_s is None else now + timedelta(seconds=lease.due_in_s)

    def _tell(self, row: _Row, events: Sequence[Event], timeline: Sequence[Entry]) -> None:
        row.events.extend(events)
        row.timeline.extend(timeline)
        self.events.extend(events)

    def _remember(self, row: _Row, timeline: Sequence[Entry], contradiction: str | None = None) -> None:
        node = NODE.get(None)
        row.history.append(
            Version(
                step=self.steps(),
                at=self.clock.now(),
                by=node.name if node else None,
                order=row.order,
                attempts=tuple(row.attempts.values()),
                told=tuple(entry.kind for entry in timeline),
                contradiction=contradiction,
            )
        )

    def _take_due(self, limit: int, lease_s: float) -> list[Case]:
        now = self.clock.now()
        due = [row for row in self.rows.values() if _is_due(row, now)]
        self.set_aside.update(self.unreadable.intersection(row.order.id for row in due))
        due = [row for row in due if row.order.id not in self.unreadable]
        due.sort(key=lambda row: (not isinstance(row.due_at, float), row.due_at))
        return [self._taken(row, now, lease_s) for row in due[:limit]]

    def _taken(self, row: _Row, now: datetime, lease_s: float) -> Case:
        former = row.lease_until
        row.order = replace(row.order, fence=row.order.fence + 1)
        hinted, row.hinted = row.hinted, False
        row.lease_until = row.due_at = now + timedelta(seconds=lease_s)
        self.changed()
        return replace(self._case(row), former_lease_end=former, hinted=hinted)

    def _renew(self, leases: Sequence[Lease], lease_s: float) -> frozenset[Lease]:
        until = self.clock.now() + timedelta(seconds=lease_s)
        kept: set[Lease] = set()
        for lease in leases:
            row = self.rows.get(lease.order_id)
            if row is not None and row.order.fence == lease.fence:
                if row.lease_until is not None:
                    row.lease_until = row.due_at = until
                kept.add(lease)
        self.changed()
        return frozenset(kept)

    def _hint(self, attempt_id: str | None, failure: Failure | None, rail: str | None = None) -> bool:
        row = next((r for r in self.rows.values() if attempt_id in r.attempts), None)
        if attempt_id is None or row is None or (rail and row.attempts[attempt_id].rail != rail):
            return False
        called = replace(row.attempts[attempt_id], callback_at=self.clock.now())
        row.attempts[attempt_id] = called if failure is None else replace(called, reported_failure=failure)
        self._hint_row(row)
        self.changed()
        return True

    def _hint_row(self, row: _Row) -> None:
        row.hinted = True
        if row.lease_until is None or row.lease_until <= self.clock.now():
            row.due_at = AT_ONCE

    def read_payout(self, payout_id: str) -> PayoutCase | None:
        """Read without giving way."""
        return self._read(payout_id, OrderKind.PAYOUT)

    def _otp_tries(self, payment_id: str) -> int:
        return sum(entry.kind == "otp_submitted" for entry in self.rows[payment_id].timeline)

    def read_payment(self, payment_id: str) -> PaymentCase | None:
        """Read without giving way."""
        return self._read(payment_id, OrderKind.PAYMENT)

    def read_refund(self, refund_id: str) -> RefundCase | None:
        """Read without giving way."""
        return self._read(refund_id, OrderKind.REFUND)

    def _read(self, order_id: str, kind: OrderKind) -> Any:
        row = self.rows.get(order_id)
        return None if row is None or row.order.kind is not kind else self._case(row)

    def _case(self, row: _Row) -> Case:
        order, attempts, as_of = row.order, _in_sequence(row), self.clock.now()
        if not isinstance(order, Refund):
            return OrderCase(order=order, attempts=attempts, as_of=as_of)
        payment = self.rows[order.payment_id]
        assert isinstance(payment.order, Payment)
        debit = payment.attempts[order.attempt_id]
        return RefundCase(order=order, attempts=attempts, as_of=as_of, payment=payment.order, debit=debit)

    def forgotten(self) -> list[str]:
        """The orders that have not ended and that nobody will look at again."""
        rows = self.rows.values()
        return [row.order.id for row in rows if row.due_at is None and not row.order.status.is_final]

    def next_due(self) -> datetime | float | None:
        """When a poll would next find something: a moment, AT_ONCE, or None."""
        rows = (row for row in self.rows.values() if row.order.id not in self.unreadable)
        due = [row.due_at for row in rows if row.due_at is not None]
        if AT_ONCE in due:
            return AT_ONCE
        return min(due, default=None)


def _account(order: Order) -> tuple[str, bool, str]:
    return order.merchant_id, order.livemode, order.currency


def _contribution(row: _Row) -> int:
    """What an order adds to its merchant's balance, as the view `balance_books` has it."""
    order = row.order
    if isinstance(order, Payment):
        paid = row.attempts.get(order.paid_by or "")
        is_back = paid is not None and paid.reversed_at is not None
        return 0 if is_back or order.status is not PaymentStatus.SUCCEEDED else order.amount_received
    if isinstance(order, Refund) and order.surplus:
        return 0
    attempts = row.attempts.values()
    moved = sum(a.amount_received for a in attempts if a.reversed_at is None)
    if not order.status.is_final:
        return -max(order.amount, moved)
    untold = moved == 0 and all(a.reversed_at is None for a in attempts)
    return -order.amount if untold and order.status is RefundStatus.SUCCEEDED else -moved


def _refuse_after_known_money(row: _Row, commit: Commit) -> None:
    if not any(attempt.money_moved for attempt in row.attempts.values()):
        return
    for attempt in commit.attempts:
        known = row.attempts.get(attempt.id)
        if known is None or attempt.sends > known.sends:
            raise RefusedError("known money stops everything: a send")
    ends = commit.order.status is not row.order.status
    if ends and (
        commit.order.status.value == "canceled" or commit.order.status_detail is StatusDetail.EXPIRED
    ):
        raise RefusedError("known money stops everything: canceled or expired")


def _refuse_to_forget(order: Order, lease: KeepLease | ReleaseLease) -> None:
    if lease == ReleaseLease(None) and not order.status.is_final:
        raise RefusedError("nobody would look at it again")


def _is_due(row: _Row, now: datetime) -> bool:
    if row.due_at is None:
        return False
    return row.due_at == AT_ONCE if isinstance(row.due_at, float) else row.due_at <= now


def _in_sequence(row: _Row) -> tuple[Attempt, ...]:
    return tuple(sorted(row.attempts.values(), key=lambda attempt: attempt.sequence))
