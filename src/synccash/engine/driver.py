"""Moves a held order forward: send, inquire, re-send, fall over, expire. The same for every kind of order.

Here is the walk: whom to ask, in which order, and what a lost commit means. What an answer means for the
order is in `decisions`, when it is looked at again in `patience`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from synccash.engine.attempts import Attempts, dead_attempts, routed_of, spent_rails
from synccash.engine.decisions import Decisions
from synccash.engine.lessons import Lessons
from synccash.engine.patience import Patience, age_s
from synccash.engine.ports import Clock, Dispatch, Ledger, Rail
from synccash.engine.refund_openings import RefundOpenings, surplus_debits
from synccash.engine.screening import Screening
from synccash.engine.scribe import Scribe, committed_case
from synccash.engine.settings import EngineSettings
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import Case, Entry, Move, PaymentCase, RefundCase, Release, order_of
from synccash.payments.payment import PaymentStatus, StatusDetail
from synccash.payments.rail import Operation, Standing, StatusAnswer
from synccash.payments.risk import RiskOutcome
from synccash.resilience.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Driver:
    """Works on one order at a time, under a hold. What it cannot commit it lets go: the row is the truth."""

    ledger: Ledger
    rails: Mapping[str, Rail]
    dispatch: Dispatch
    attempts: Attempts
    scribe: Scribe
    clock: Clock
    settings: EngineSettings
    patience: Patience
    decisions: Decisions
    lessons: Lessons
    refunds: RefundOpenings
    screening: Screening | None = None

    async def send(self, case: Case, attempt: Attempt) -> Case | None:
        """Send a prepared attempt and go on until the order can be let go.

        Returns the case as last committed, or None when it was lost to another writer: read it again.
        """
        while True:
            resend = attempt.evidence is not None
            other = None if resend else self._other_rail(case, attempt)
            sent = await self.dispatch.send(
                self.rails[attempt.rail],
                self.attempts.order_for(case, attempt),
                patient=other is None and not resend,
                gated=not resend,
                not_after=case.expires_at,
            )
            after = attempt.after_send(
                sent.answer, sent.worst, now=self.clock.now(), latency_ms=sent.latency_ms
            )
            if after.state is AttemptState.DECLINED:
                self.lessons.network(case, after)
            move = self.decisions.after_send(case, attempt, after, sent)
            committed = await self._record(case, move)
            if committed is None and move.before_expiry:
                # Perhaps only too late to fall over: then the dead attempt ends the order.
                move = self.decisions.after_send(case, attempt, after, sent, may_fall_over=False)
                committed = await self._record(case, move)
            if committed is None or isinstance(move.hold, Release):
                return committed
            case, attempt = committed, _to_send(committed)

    def _other_rail(self, case: Case, attempt: Attempt) -> str | None:
        if isinstance(case, RefundCase):
            return None
        return self.attempts.router.elsewhere(routed_of(case), spent_rails(case) | {attempt.rail})

    async def advance(self, case: Case) -> Case | None:
        """Do what is due on an order that this process has just become the holder of."""
        # A hint that was heard by a holder who then died is asked after by whoever takes over.
        heard = case.hinted or case.former_lease_end is not None
        if heard and not order_of(case).status.is_final:
            found = await self._look_at_the_dead(case)
            if found is not None:
                return await self._record(case, self.decisions.late_success(case, *found))
        live = case.live
        if live is not None:
            return await self._inquire(case, live)
        if order_of(case).status.is_final:
            return await self._look_back(case)
        if case.expires_at is not None and case.as_of >= case.expires_at:
            return await self._record(case, self.decisions.expire(case))
        if isinstance(case, PaymentCase) and case.payment.status_detail is StatusDetail.RISK_REVIEW:
            return await self._record(case, self.decisions.leave_to_review(case, case.payment))
        if isinstance(case, PaymentCase) and case.payment.status is PaymentStatus.CREATED:
            return await self.screen(case)
        return await self._try_again(case)

    async def screen(self, case: Case) -> Case | None:
        """Ask the fraud service about a payment of which nothing was ever sent, and go on as it says."""
        assert isinstance(case, PaymentCase), "only payments are screened"
        if self.screening is None:
            return await self._try_again(case)
        decision = await self.screening.decide(case.payment)
        entry = self.scribe.entry("screened", decision.explained())
        if decision.outcome is RiskOutcome.ALLOW:
            return await self._try_again(case, entry)
        return await self._record(case, self.decisions.held_for_risk(case, decision, entry))

    async def _try_again(self, case: Case, *before: Entry) -> Case | None:
        """Open the next attempt of an order that no rail has taken yet."""
        if isinstance(case, RefundCase):
            move = self.decisions.refund_again(case)
        else:
            route = self.attempts.route(routed_of(case), spent_rails(case))
            move = self.decisions.routed(case, route, before)
        return await self._go_on(await self._record(case, move), move)

    async def _inquire(self, case: Case, live: Attempt) -> Case | None:
        if live.evidence is None or case.former_lease_end is not None:
            # Its holder died or sleeps: nobody knows whether it was sent, and it still may be.
            live = replace(
                live,
                evidence=live.evidence or Evidence.AMBIGUOUS,
                quiet_since=case.former_lease_end or case.as_of,
            )
        answer = await self._ask(case, live)
        if answer.standing is Standing.SUCCEEDED and answer.amount not in (None, live.amount):
            return await self._record(case, self.decisions.wrong_amount(case, live, answer))
        answer = self.patience.with_reported_failure(case, live, answer)
        after = live.after_inquiry(answer)
        if after.state.is_final:
            return await self._end(case, after, answer)
        if answer.standing is Standing.NOT_FOUND and self.patience.may_resend(case, after):
            return await self._resend(case, after)
        if self.patience.next_inquiry_s(after, age_s(case, after)) is None:
            # The looks at a parked order are few: each is one at its dead, too.
            found = await self._look_at_the_dead(case)
            if found is not None:
                return await self._record(case, self.decisions.late_success(case, *found))
        return await self._record(case, self.decisions.ask_later(case, after, answer))

    async def _end(self, case: Case, after: Attempt, answer: StatusAnswer) -> Case | None:
        """Commit what the rail's own answer ended, and fall over where that is allowed."""
        self.lessons.ended(case, after)
        move = self.decisions.ended(case, after, answer)
        committed = await self._record(case, move)
        if committed is None and move.before_expiry:
            # As after a send: perhaps only too late to fall over.
            move = self.decisions.ended(case, after, answer, may_fall_over=False)
            committed = await self._record(case, move)
        return await self._go_on(committed, move)

    async def _resend(self, case: Case, after: Attempt) -> Case | None:
        """Send the same reference to the same rail again."""
        committed = await self._record(case, self.decisions.resend(case, after))
        if committed is not None:
            return await self.send(committed, _to_send(committed))
        # Lost to another, or expired by the ledger's clock: only asking is left, if it is still ours.
        not_found = StatusAnswer(standing=Standing.NOT_FOUND)
        return await self._record(case, self.decisions.ask_later(case, after, not_found))

    async def _look_at_the_dead(self, case: Case) -> tuple[Attempt, StatusAnswer] | None:
        """A callback came: did the rail move money on an attempt that was called dead?"""
        for attempt in dead_attempts(case):
            answer = await self._ask(case, attempt)
            if answer.standing is Standing.SUCCEEDED:
                return attempt, answer
        return None

    async def _look_back(self, case: Case) -> Case | None:
        """The order has ended: is there money that came after all, and is what came too much given back?"""
        looked: list[Attempt] = []
        waits: list[float] = []
        for attempt in dead_attempts(case):
            answer = await self._ask(case, attempt)
            if answer.standing is Standing.SUCCEEDED:
                return await self._record(case, self.decisions.late_success(case, attempt, answer))
            if answer.standing in (Standing.PENDING, Standing.NO_INFORMATION):
                wait_s = self.patience.look_back_s(case, attempt, answer.standing)
                looked.append(replace(attempt, inquiries=attempt.inquiries + 1))
                waits.extend(() if wait_s is None else (wait_s,))
        if isinstance(case, PaymentCase):
            await self._give_back(case)
        return await self._record(case, self.decisions.looked_back(case, looked, waits))

    async def _give_back(self, case: PaymentCase) -> None:
        """Open the one automatic refund of each debit that the payment has no use for."""
        if self.settings.surplus_refund != "auto":
            return
        for debit in surplus_debits(case):
            rail = self.rails.get(debit.rail)
            able = rail is not None and Operation.REFUND in rail.capabilities.operations
            if able and debit.refund_reserved == 0:
                await self.ledger.open_refund(self.refunds.of_surplus(case, debit))

    async def _ask(self, case: Case, attempt: Attempt) -> StatusAnswer:
        return await self.dispatch.inquire(
            self.rails[attempt.rail], attempt, self.attempts.traces_of(case, attempt)
        )

    async def _record(self, case: Case, move: Move) -> Case | None:
        return committed_case(case, move) if await self.ledger.record(move) else None

    async def _go_on(self, committed: Case | None, move: Move) -> Case | None:
        """After a commit, send where the hold was kept."""
        if committed is None or isinstance(move.hold, Release):
            return committed
        return await self.send(committed, _to_send(committed))


def _to_send(case: Case) -> Attempt:
    assert case.live is not None, "a hold is kept only to send"
    return case.live
