"""Moves a leased order of any kind forward: sends, inquires, re-sends, fails over to another rail, expires.

This module decides which rails to ask, in which order, and what to do when a commit is refused. `decisions`
turns an answer into the order's next commit; `attempt_timing` says when the order is due again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from synccash.engine.commit_builder import CommitBuilder, committed_case
from synccash.engine.ports import AccountRail, Dispatch, OrderStore
from synccash.engine.progress.attempt_timing import ASK_AGAIN, AttemptTiming, is_expired
from synccash.engine.progress.attempts import Attempts, closed_attempts
from synccash.engine.progress.decisions import Decisions
from synccash.engine.progress.lost_attempts import LostAttempts
from synccash.engine.progress.outcome_feedback import OutcomeFeedback
from synccash.engine.progress.refund_openings import RefundOpenings, surplus_debits
from synccash.engine.progress.screening import Screening
from synccash.engine.settings import EngineSettings
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import (
    Case,
    Commit,
    Entry,
    NotRefundable,
    RefundCase,
    ReleaseLease,
    is_payment_case,
)
from synccash.payments.errors import InternalError
from synccash.payments.payment import StatusDetail
from synccash.payments.ports import Clock
from synccash.payments.rail import Operation, RailStatus, StatusAnswer
from synccash.payments.receipts import Receipt, foreign_to
from synccash.payments.risk import RiskOutcome
from synccash.resilience.evidence import Evidence


@dataclass(frozen=True, slots=True)
class OrderWorker:
    """Works on one order at a time, under a lease. When a commit is refused it drops its result: the stored
    row is the truth."""

    order_store: OrderStore
    rails: Mapping[str, AccountRail]
    dispatch: Dispatch
    attempts: Attempts
    commit_builder: CommitBuilder
    clock: Clock
    settings: EngineSettings
    timing: AttemptTiming
    decisions: Decisions
    feedback: OutcomeFeedback
    refunds: RefundOpenings
    lost: LostAttempts
    screening: Screening | None = None

    async def send(self, case: Case, attempt: Attempt, *, leased_at: float) -> Case | None:
        """Send a prepared attempt, and go on sending until a commit releases the lease.

        `leased_at` is the monotonic time just before the commit that granted the lease. Nothing is sent after
        the lease ends, since another process may know by then that the money has moved. Returns the case as
        last committed, or None when a commit was refused: read the order again.
        """
        while True:
            resend = attempt.was_sent_before
            is_last = not resend and not self._has_other_rail(case, attempt)
            sent = await self.dispatch.send(
                self.rails[attempt.rail],
                self.attempts.order_for(case, attempt),
                with_retries=is_last,
                breaker_may_refuse=not resend,
                within_s=self._sendable_s(case, leased_at),
            )
            after = attempt.after_send(
                sent.answer, sent.worst, now=self.clock.now(), latency_ms=sent.latency_ms
            )
            if after.state is AttemptState.DECLINED and not sent.answer.refused_locally:
                self.feedback.network(case, after)
            commit = self.decisions.after_send(case, attempt, after, sent)
            leased_at = self.clock.monotonic()
            committed = await self._record(case, commit)
            if committed is None:
                decide = self.decisions.after_send
                return await self._record_without_send(case, commit, decide, attempt, after, sent)
            if isinstance(commit.lease, ReleaseLease):
                return committed
            case, attempt = committed, _to_send(committed)

    def _sendable_s(self, case: Case, leased_at: float) -> float:
        """The seconds for which sending is allowed: until the lease ends or the order expires."""
        lease_s = leased_at + self.settings.lease_s - self.clock.monotonic()
        if case.expires_at is None:
            return lease_s
        return min(lease_s, (case.expires_at - self.clock.now()).total_seconds())

    def _has_other_rail(self, case: Case, attempt: Attempt) -> bool:
        if isinstance(case, RefundCase):
            return False
        excluded = self.attempts.excluded_rails(case) | {attempt.rail}
        return self.attempts.router.can_fail_over(case.order, excluded)

    async def advance(self, case: Case) -> Case | None:
        """Do what is due for an order that this process has just leased."""
        # After a takeover, re-check the closed attempts: the previous worker may have received a callback.
        may_have_callback = case.hinted or case.former_lease_end is not None
        live = case.live
        if self._is_searchable(case):
            found_attempts = await self.lost.find(case)
            if found_attempts is not None:
                return await self._record(case, self.decisions.searched(case, found_attempts))
        if live is not None or not case.order.status.is_final:
            found = await self._late_success(case) if may_have_callback else None
            if found is not None:
                return await self._record(case, found)
            if case.is_callback_unchecked:
                commit = await self._check_callbacks(case)
                committed = await self._record(case, commit)
                if committed is None or isinstance(commit.lease, ReleaseLease):
                    return committed
                case = committed
        if live is not None:
            if case.order.status.is_final:
                # A late success has settled the payment; a surplus is refunded without waiting for this one.
                await self._refund_surplus(case)
            return await self._inquire(case, live)
        if case.order.status.is_final:
            return await self._recheck_after_end(case)
        if case.money_moved:
            found = await self._late_success(case)
            return await self._record(case, found or self.decisions.known_money(case))
        if not case.may_send:
            return await self._record(case, self.decisions.wait_for_recovery(case))
        if is_expired(case):
            return await self._record(case, self.decisions.expire(case))
        if case.order.status_detail is StatusDetail.RISK_REVIEW:
            return await self._record(case, self.decisions.leave_to_review(case, case.order))
        if case.is_callback_unchecked:
            return await self._record(case, self.decisions.wait_for_callbacks(case))
        if _awaits_screening(case):
            return await self.screen(case)
        return await self._try_again(case)

    def _is_searchable(self, case: Case) -> bool:
        """True for an open order of which the database may have lost attempts, once the recovery has ended
        and the rails have had time to register what was sent before it."""
        is_open = not case.order.status.is_final
        is_lost = case.unsearched is not None and not case.held and is_open and not case.money_moved
        return is_lost and self.timing.is_lost_send_settled(case)

    async def screen(self, case: Case) -> Case | None:
        """Ask the fraud service about a payment or payout for which nothing was ever sent, and act on its
        decision."""
        if isinstance(case, RefundCase):
            raise InternalError(f"{case.order.id} is a refund, and refunds are not screened")
        if self.screening is None:
            return await self._try_again(case)
        decision = await self.screening.decide(case.order)
        entry = self.commit_builder.entry("screened", decision.explained())
        if decision.outcome is RiskOutcome.ALLOW:
            return await self._try_again(case, entry)
        return await self._record(case, self.decisions.held_for_risk(case, decision, entry))

    async def _try_again(self, case: Case, *before: Entry) -> Case | None:
        """Open and send the next attempt of an order that no rail has accepted yet."""
        if isinstance(case, RefundCase):
            commit = self.decisions.refund_again(case)
        else:
            route = self.attempts.route(case.order, self.attempts.excluded_rails(case))
            commit = self.decisions.routed(case, route, before)
        return await self._commit_and_send(case, commit)

    async def _inquire(self, case: Case, live: Attempt) -> Case | None:
        if live.evidence is None or case.former_lease_end is not None:
            # The previous worker stopped or is suspended: the attempt may have been sent, or still may be.
            live = replace(
                live,
                evidence=live.evidence or Evidence.AMBIGUOUS,
                quiet_since=case.former_lease_end or case.as_of,
            )
        answer = await self._ask(case, live)
        foreign = foreign_to(live, case.order.currency, answer)
        # Money for an order that has already ended is a surplus, whatever its amount.
        surplus = foreign is Receipt.OTHER_AMOUNT and case.order.status.is_final
        if foreign is not None and not surplus:
            return await self._record(case, self.decisions.other_money(case, live, answer))
        answer = self.timing.with_reported_failure(case, live, answer)
        if _is_reversed(live, answer):
            return await self._record_reversal(case, live, answer)
        after = live if answer.deferred else live.after_inquiry(answer)
        if after.state.is_dead:
            after = replace(after, callback_checked_at=case.as_of)
        if after.state.is_final:
            return await self._end(case, after, answer)
        if answer.status_at_rail is RailStatus.NOT_FOUND:
            if self.timing.resend_in_s(case, after) == 0.0:
                return await self._resend(case, after)
            if self.timing.ends_as_not_found(case, after):
                return await self._record(case, self.decisions.not_found_for_good(case, after))
        if self.timing.is_recheck_due(case, after):
            found = await self._late_success(case)
            if found is not None:
                return await self._record(case, found)
        return await self._record(case, self.decisions.ask_later(case, after, answer))

    async def _record_reversal(self, case: Case, attempt: Attempt, answer: StatusAnswer) -> Case | None:
        """Handle an attempt that moved money and that its rail now reports as failed or returned. The first
        report is a contradiction for an operator; later ones only schedule another inquiry."""
        if attempt.reversed_at is None:
            return await self._record(case, self.decisions.reversed_money(case, attempt, answer))
        unclear = replace(answer, status_at_rail=RailStatus.NO_INFORMATION)
        commit = self.decisions.ask_later(case, attempt.after_inquiry(unclear), unclear)
        return await self._record(case, commit)

    async def _end(self, case: Case, after: Attempt, answer: StatusAnswer) -> Case | None:
        """Commit the end of an attempt by the rail's own answer, and fail over where that is allowed."""
        self.feedback.ended(case, after)
        commit = self.decisions.ended(case, after, answer)
        committed = await self._commit_and_send(case, commit)
        if committed is None:
            return await self._record_without_send(case, commit, self.decisions.ended, after, answer)
        return committed

    async def _resend(self, case: Case, after: Attempt) -> Case | None:
        """Send the same reference to the same rail again."""
        leased_at = self.clock.monotonic()
        committed = await self._record(case, self.decisions.resend(case, after))
        if committed is not None:
            return await self.send(committed, _to_send(committed), leased_at=leased_at)
        # Another process took the order, or it expired by the store's clock: if it is still ours, only ask.
        not_found = StatusAnswer(status_at_rail=RailStatus.NOT_FOUND)
        return await self._record(case, self.decisions.ask_later(case, after, not_found))

    async def _late_success(self, case: Case) -> Commit | None:
        """Ask about the closed attempts; return the commit of the first that its rail reports as succeeded,
        or None. Skips those with an unchecked callback: `_check_callbacks` asks about them."""
        for attempt in closed_attempts(case):
            if attempt.is_callback_unchecked:
                continue
            answer = await self._ask(case, attempt)
            if answer.status_at_rail is RailStatus.SUCCEEDED:
                return self.decisions.late_success(case, attempt, answer)
        return None

    async def _check_callbacks(self, case: Case) -> Commit:
        """Ask about the closed attempts with an unchecked callback. Returns the commit of a late success, or
        else the commit of the rails' other answers, which keeps the lease."""
        asked: list[tuple[Attempt, StatusAnswer]] = []
        for attempt in closed_attempts(case):
            if attempt.is_callback_unchecked:
                answer = await self._ask(case, attempt)
                if answer.status_at_rail is RailStatus.SUCCEEDED:
                    return self.decisions.late_success(case, attempt, answer)
                asked.append((self.timing.after_callback_check(case, attempt, answer), answer))
        return self.decisions.callbacks_checked(case, asked)

    async def _recheck_after_end(self, case: Case) -> Case | None:
        """Recheck an ended order: commit money that arrived late or was taken back, and refund a surplus."""
        asked: list[Attempt] = []
        waits: list[float | None] = []
        for attempt in _attempts_to_recheck(case):
            answer = await self._ask(case, attempt)
            if answer.status_at_rail is RailStatus.SUCCEEDED and not attempt.money_moved:
                return await self._record(case, self.decisions.late_success(case, attempt, answer))
            if _is_reversed(attempt, answer):
                return await self._record(case, self.decisions.reversed_money(case, attempt, answer))
            wait_s, after = self.timing.after_recheck(case, attempt, answer)
            waits.append(wait_s)
            asked.append(after)
        waits.extend(self.timing.recheck_s(case, attempt) for attempt in closed_attempts(case))
        if not await self._refund_surplus(case):
            waits.append(self.timing.surplus_retry_s(case))
        due = [wait_s for wait_s in waits if wait_s is not None]
        return await self._record(case, self.decisions.rechecked(case, asked, due))

    async def _refund_surplus(self, case: Case) -> bool:
        """Open one automatic refund for each surplus debit of a payment. Returns False when one could not
        start because its rail takes one refund of a payment at a time."""
        if self.settings.surplus_refund != "auto" or not is_payment_case(case):
            return True
        all_opened = True
        for debit in surplus_debits(case):
            rail = self.rails.get(debit.rail)
            able = rail is not None and Operation.REFUND in rail.capabilities.operations
            if able and debit.refund_reserved == 0 and debit.reversed_at is None:
                opened = await self.order_store.open(self.refunds.of_surplus(case, debit))
                all_opened &= not (isinstance(opened, NotRefundable) and opened.under_way)
        return all_opened

    async def _ask(self, case: Case, attempt: Attempt) -> StatusAnswer:
        return await self.dispatch.inquire(
            self.rails[attempt.rail], attempt, self.attempts.details_of(case, attempt)
        )

    async def _record(self, case: Case, commit: Commit) -> Case | None:
        return committed_case(case, commit) if await self.order_store.record(commit) else None

    async def _record_without_send(
        self, case: Case, refused: Commit, decide: Callable[..., Commit], *facts: Any
    ) -> Case | None:
        """Decide again after the store has refused a commit, and send nothing. Returns None when each commit
        was refused: then another process has changed the order.

        Of the reasons for a refusal, two concern only what follows the end of the attempt. The order may have
        expired, which forbids another rail: then the end of the attempt ends the order. Or a recovery may
        have begun since the order was read: then the order is neither sent nor ended.
        """
        commit, committed = refused, None
        if commit.refuse_if_expired:
            commit = decide(case, *facts, allow_failover=False)
            committed = await self._record(case, commit)
        if committed is None and commit.refuse_in_recovery:
            committed = await self._record(case, decide(replace(case, held=True), *facts))
        return committed

    async def _commit_and_send(self, case: Case, commit: Commit) -> Case | None:
        """Commit, and send when the commit keeps the lease."""
        leased_at = self.clock.monotonic()
        committed = await self._record(case, commit)
        if committed is None or isinstance(commit.lease, ReleaseLease):
            return committed
        return await self.send(committed, _to_send(committed), leased_at=leased_at)


def _awaits_screening(case: Case) -> bool:
    """True for an open payment or payout with no attempt and no risk decision: its process ended while it
    asked the fraud service. A refund is not screened."""
    is_new = not case.attempts and case.order.status_detail is None
    return is_new and not isinstance(case, RefundCase)


def _attempts_to_recheck(case: Case) -> Sequence[Attempt]:
    """Return the attempts of an ended order to ask the rails about.

    These are the closed ones and, after a callback and until the rail has answered, also those that moved
    money, since the rail may have taken it back. After a takeover the previous worker may have received the
    callback.
    """
    may_have_callback = case.hinted or case.former_lease_end is not None
    moved = (a for a in case.attempts if a.money_moved and a.reversed_at is None)
    unconfirmed = (a for a in moved if may_have_callback or a.retry_decision == ASK_AGAIN)
    return [*closed_attempts(case), *unconfirmed]


def _is_reversed(attempt: Attempt, answer: StatusAnswer) -> bool:
    """True when the rail says that money which had moved is gone again, and no refund of ours explains it."""
    if not attempt.money_moved:
        return False
    is_refunded = answer.perhaps_refunded and attempt.refund_reserved > 0
    return answer.status_at_rail is RailStatus.FAILED or (answer.went_back and not is_refunded)


def _to_send(case: Case) -> Attempt:
    if case.live is None:
        raise InternalError(f"the lease of {case.order.id} was kept to send, but no attempt is live")
    return case.live
