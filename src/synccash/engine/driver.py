"""Moves a held order forward: send, inquire, re-send, fall over, expire. The same for every kind of order."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from synccash.engine.attempts import Attempts, is_password_untold, spent_rails
from synccash.engine.ports import Clock, Dispatch, Ledger, Rail, Sent
from synccash.engine.rail_health import RailHealth
from synccash.engine.refund_openings import RefundOpenings, surplus_debits
from synccash.engine.router import wallet_of
from synccash.engine.screening import Screening
from synccash.engine.scribe import Case, Order, Scribe, merged, order_of
from synccash.engine.settings import EngineSettings
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import Entry, Keep, Move, PaymentCase, PayoutCase, RefundCase, Release
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.lifecycle import (
    Routed,
    begin,
    expired,
    failed,
    in_risk_review,
    paid_by_the_dead,
    queued,
    reflect,
    under_review,
)
from synccash.payments.payer_networks import PayerNetworks
from synccash.payments.payment import Payment, PaymentStatus, Refund, StatusDetail
from synccash.payments.payout import Payout
from synccash.payments.rail import CallbackAddress, Operation, Standing, StatusAnswer
from synccash.payments.request import Tenant
from synccash.payments.risk import RiskOutcome
from synccash.payments.routing import Route
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
    refunds: RefundOpenings
    health: RailHealth
    networks: PayerNetworks
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
                self._learn_network(case, after)
            move = self._after_send(case, attempt, after, sent)
            committed = await self._record(case, move)
            if committed is None and move.before_expiry:
                # Perhaps only too late to fall over: then the dead attempt ends the order.
                move = self._after_send(case, attempt, after, sent, may_fall_over=False)
                committed = await self._record(case, move)
            if committed is None or isinstance(move.hold, Release):
                return committed
            case = committed
            assert case.live is not None, "a hold is kept only to send"
            attempt = case.live

    async def advance(self, case: Case) -> Case | None:
        """Do what is due on an order that this process has just become the holder of."""
        # A hint that was heard by a holder who then died is asked after by whoever takes over.
        heard = case.hinted or case.former_lease_end is not None
        if heard and not order_of(case).status.is_final:
            found = await self._look_at_the_dead(case)
            if found is not None:
                return await self._record(case, self._contradiction(case, *found))
        live = case.live
        if live is not None:
            return await self._inquire(case, live)
        if order_of(case).status.is_final:
            return await self._look_back(case)
        if case.expires_at is not None and case.as_of >= case.expires_at:
            return await self._record(case, self._expire(case))
        if isinstance(case, PaymentCase) and case.payment.status_detail is StatusDetail.RISK_REVIEW:
            return await self._record(case, self._leave_to_review(case, case.payment, ()))
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
        match decision.outcome:
            case RiskOutcome.ALLOW:
                return await self._try_again(case, entry)
            case RiskOutcome.REVIEW:
                order = in_risk_review(case.payment, now=self.clock.now())
                return await self._record(case, self._leave_to_review(case, order, (entry,)))
            case RiskOutcome.DECLINE:
                order = failed(case.payment, Failure(FailureCode.RISK_DECLINED), now=self.clock.now())
                move = self.scribe.move(case, order, hold=Release(None), timeline=(entry,))
                return await self._record(case, move)

    def _leave_to_review(self, case: PaymentCase, order: Payment, timeline: tuple[Entry, ...]) -> Move:
        """Nothing is due before the payment expires, unless a human decides."""
        left_s = max(0.0, (order.expires_at - case.as_of).total_seconds())
        return self.scribe.move(case, order, hold=Release(left_s), timeline=timeline)

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
            return await self._record(case, self._wrong_amount(case, live, answer))
        answer = self._with_reported_failure(case, live, answer)
        after = live.after_inquiry(answer)
        if after.state.is_final:
            return await self._end(case, after, answer)
        if answer.standing is Standing.NOT_FOUND and self._may_resend(case, after):
            return await self._resend(case, after)
        if self._wait_s(after, _age_s(case, after)) is None:
            # The looks at a parked order are few: each is one at its dead, too.
            found = await self._look_at_the_dead(case)
            if found is not None:
                return await self._record(case, self._contradiction(case, *found))
        return await self._record(case, self._ask_later(case, after, answer))

    def _with_reported_failure(self, case: Case, live: Attempt, answer: StatusAnswer) -> StatusAnswer:
        """Where a rail's inquiry has no word for failure, `not paid` past the prompt and a callback of
        failure on this attempt's own token are one together."""
        capability = self.rails[live.rail].capabilities.operations[live.operation]
        if capability.failure_is_reported or answer.standing is not Standing.PENDING:
            return answer
        age_s = _age_s(case, live)
        if live.reported_failure is None or age_s < (capability.prompt_window_s or 0.0):
            return answer
        return replace(answer, standing=Standing.FAILED, failure=live.reported_failure)

    def _wait_s(self, attempt: Attempt, age_s: float) -> float | None:
        """The wait before the next inquiry: the ladder's, but not past the prompt's end, and not before the
        rail can be asked at all."""
        wait_s = self.settings.ladder.wait_s(attempt.inquiries, age_s)
        if wait_s is None:
            return None
        capability = self.rails[attempt.rail].capabilities.operations[attempt.operation]
        window_s = capability.prompt_window_s or 0.0
        for moment_s in (window_s, self._told_by_s(attempt)):
            if moment_s is not None and moment_s > age_s:
                wait_s = min(wait_s, moment_s - age_s)
        return max(wait_s, capability.inquiry_from_s - age_s)

    def _told_by_s(self, attempt: Attempt) -> float | None:
        """The age at which a callback of failure should have come, where nothing else could tell of one.

        None where the rail's inquiry has a word for failure.
        """
        capability = self.rails[attempt.rail].capabilities.operations[attempt.operation]
        if capability.failure_is_reported or capability.prompt_window_s is None:
            return None
        return capability.prompt_window_s + self.settings.settle_s

    async def _end(self, case: Case, after: Attempt, answer: StatusAnswer) -> Case | None:
        """Commit what the rail's own answer ended, and fall over where that is allowed."""
        entry = self.scribe.entry(
            "rail_answered", {"attempt": after.id, "standing": answer.standing, "code": answer.provider_code}
        )
        self._has_ended(case, after)
        move = self._fall_over(case, after, entry) if after.state.is_dead else None
        if move is not None:
            committed = await self._record(case, move)
            if committed is not None and committed.live is not None:
                return await self.send(committed, committed.live)
        order = reflect(order_of(case), after, now=self.clock.now())
        return await self._record(
            case, self.scribe.move(case, order, after, hold=let_go(case), timeline=(entry,))
        )

    def _has_ended(self, case: Case, after: Attempt) -> None:
        """Let the rail's health be known by how the attempt ended, and whether a callback had told of it."""
        calls_back = self.rails[after.rail].capabilities.callback_address is not CallbackAddress.NONE
        named = case.payout.payee if isinstance(case, PayoutCase) else case.payment.payer
        self.health.ended(after, named.likely_network, told=case.hinted if calls_back else None)
        self._learn_network(case, after)

    def _learn_network(self, case: Case, after: Attempt) -> None:
        """Money that moved proves on which network the wallet is; a wallet that is not there, the reverse."""
        if isinstance(case, RefundCase):
            return
        order = _routed(case)
        wallet, tenant = wallet_of(order), Tenant(order.merchant_id, order.livemode)
        network = wallet.likely_network
        if network is None:
            return
        if after.state is AttemptState.SUCCEEDED:
            self.networks.proved(tenant, wallet.msisdn, network)
        elif after.failure is not None and after.failure.code is FailureCode.INVALID_PAYER:
            self.networks.disproved(tenant, wallet.msisdn, network)

    async def _resend(self, case: Case, after: Attempt) -> Case | None:
        """Send the same reference to the same rail again, counted on the row before the first byte."""
        again = replace(after, sends=after.sends + 1)
        entry = self.scribe.entry("sent_again", {"attempt": after.id, "send": again.sends})
        order = reflect(order_of(case), again, now=self.clock.now())
        if order.version == order_of(case).version:
            # Whoever has read the order before this send must not end it on what he read.
            order = replace(order, version=order.version + 1, updated_at=self.clock.now())
        move = self.scribe.move(
            case,
            order,
            again,
            hold=Keep(self.settings.lease_s),
            timeline=(entry,),
            before_expiry=case.expires_at is not None,
        )
        committed = await self._record(case, move)
        if committed is not None:
            return await self.send(committed, again)
        # Lost to another, or expired by the ledger's clock: only asking is left, if it is still ours.
        not_found = StatusAnswer(standing=Standing.NOT_FOUND)
        return await self._record(case, self._ask_later(case, after, not_found))

    def _may_resend(self, case: Case, attempt: Attempt) -> bool:
        capability = self.rails[attempt.rail].capabilities.operations[attempt.operation]
        settled = (
            attempt.quiet_since is not None
            and (case.as_of - attempt.quiet_since).total_seconds() >= self.settings.settle_s
        )
        alive = case.expires_at is None or case.as_of < case.expires_at
        # What a rail cannot find long afterwards it may have forgotten.
        recent = self._wait_s(attempt, _age_s(case, attempt)) is not None
        return (
            attempt.state is AttemptState.UNKNOWN
            and capability.dedup_by_reference
            and settled
            and alive
            and recent
            and attempt.sends < self.settings.sends_max
        )

    def _ask_later(self, case: Case, after: Attempt, answer: StatusAnswer) -> Move:
        """Stay on the ladder; at its end hand the order to a human, never to `failed`. Asking goes on.

        A human has to look earlier where no further inquiry can tell how the prompt ended.
        """
        age_s = _age_s(case, after)
        wait_s = self._wait_s(after, age_s)
        order = reflect(order_of(case), after, now=self.clock.now(), action=answer.next_action)
        standing = order_of(case).status_detail
        if answer.standing is Standing.NO_INFORMATION and is_password_untold(case, after):
            order = order_of(case)
        told_by_s = self._told_by_s(after)
        untold = answer.standing is Standing.PENDING and told_by_s is not None and age_s >= told_by_s
        if wait_s is None or untold or standing is StatusDetail.UNDER_REVIEW:
            order = under_review(order_of(case), now=self.clock.now())
        if wait_s is None:
            wait_s = self.settings.ladder.parked_s(age_s)
        if answer.retry_after_s is not None:
            wait_s = max(wait_s, answer.retry_after_s)
        entry = self.scribe.entry("inquired", {"attempt": after.id, "standing": answer.standing})
        return self.scribe.move(case, order, after, hold=Release(wait_s), timeline=(entry,))

    def _wrong_amount(self, case: Case, live: Attempt, answer: StatusAnswer) -> Move:
        """The rail took another amount than was asked for: a human decides what that is worth."""
        facts = {"attempt": live.id, "asked": live.amount, "reported": answer.amount}
        order = under_review(order_of(case), now=self.clock.now())
        is_new = order is not order_of(case)
        return self.scribe.move(
            case,
            order,
            replace(live, inquiries=live.inquiries + 1),
            hold=Release(self.settings.ladder.parked_s(_age_s(case, live))),
            timeline=(self.scribe.entry("amount_differs", facts),) if is_new else (),
            contradiction="amount_differs" if is_new else None,
        )

    def _after_send(
        self, case: Case, before: Attempt, after: Attempt, sent: Sent, *, may_fall_over: bool = True
    ) -> Move:
        facts = {
            "attempt": after.id,
            "rail": after.rail,
            "evidence": sent.worst,
            "tries": sent.tries,
            "code": sent.answer.provider_code,
        }
        entry = self.scribe.entry("sent", facts)
        if after.state.is_dead:
            assert order_of(case).fence == before.opened_fence, "only the first holder may call a send dead"
            move = self._fall_over(case, after, entry) if may_fall_over else None
            if move is not None:
                return move
        if after.state is AttemptState.NOT_SENT:
            return self._queue(case, after, sent, entry)
        order = reflect(order_of(case), after, now=self.clock.now(), action=sent.answer.next_action)
        age_s = (self.clock.now() - after.started_at).total_seconds()
        wait_s = self._wait_s(after, age_s)
        # A send that outlasts the ladder is asked about all the same.
        due_in_s = self.settings.ladder.first_s if wait_s is None else wait_s
        hold = let_go(case) if order.status.is_final else Release(due_in_s)
        return self.scribe.move(case, order, after, hold=hold, timeline=(entry,))

    def _queue(self, case: Case, after: Attempt, sent: Sent, entry: Entry) -> Move:
        """Nobody took it and nobody else can: hold it, and try again with a new attempt."""
        wait_s = self._until_next_try(case, sent.answer.retry_after_s)
        after = replace(after, retry_decision="queued")
        order = reflect(order_of(case), after, now=self.clock.now())
        timeline = (entry, self.scribe.entry("queued", {"wait_s": wait_s}))
        return self.scribe.move(case, order, after, hold=Release(wait_s), timeline=timeline)

    def _fall_over(self, case: Case, dead: Attempt, entry: Entry) -> Move | None:
        """One commit: the dead attempt closed, the next opened at another rail. None where none is left."""
        if isinstance(case, RefundCase):
            return None
        if dead.state is AttemptState.DECLINED and not (dead.failure and dead.failure.reroute):
            return None
        if self.clock.now() >= case.expires_at:
            return None
        closed = replace(dead, retry_decision="another_rail")
        now_case = replace(case, attempts=merged(case.attempts, (closed,)))
        route = self.attempts.route(_routed(case), spent_rails(now_case))
        if route.chosen is None:
            return None
        opened = self.attempts.next_for(now_case, route.chosen)
        order = _begun(case, opened, route)
        order = replace(order, updated_at=self.clock.now())
        timeline = (entry, self.scribe.entry("routed", route.explained()))
        return self.scribe.move(
            case,
            order,
            closed,
            opened,
            hold=Keep(self.settings.lease_s),
            timeline=timeline,
            before_expiry=True,
        )

    def _other_rail(self, case: Case, attempt: Attempt) -> str | None:
        if isinstance(case, RefundCase):
            return None
        return self.attempts.router.elsewhere(_routed(case), spent_rails(case) | {attempt.rail})

    async def _try_again(self, case: Case, *before: Entry) -> Case | None:
        """Open the next attempt of an order that no rail has taken yet."""
        if isinstance(case, RefundCase):
            return await self._open_and_send(case, case.refund, self.attempts.next_for(case), ())
        route = self.attempts.route(_routed(case), spent_rails(case))
        if route.chosen is None and route.wait_s is None and not case.attempts:
            order = failed(_routed(case), Failure(FailureCode.NO_RAIL_AVAILABLE), now=self.clock.now())
            timeline = (*before, self.scribe.entry("routed", route.explained()))
            return await self._record(
                case, self.scribe.move(case, order, hold=Release(None), timeline=timeline)
            )
        if route.chosen is None:
            wait_s = self._until_next_try(case, route.wait_s)
            entry = self.scribe.entry("queued", {**route.explained(), "wait_s": wait_s})
            order = queued(_routed(case), now=self.clock.now())
            timeline = (*before, entry) if order.version != order_of(case).version else before
            return await self._record(
                case, self.scribe.move(case, order, hold=Release(wait_s), timeline=timeline)
            )
        attempt = self.attempts.next_for(case, route.chosen)
        timeline = (*before, self.scribe.entry("routed", route.explained()))
        return await self._open_and_send(case, _begun(case, attempt, route), attempt, timeline)

    async def _open_and_send(
        self, case: Case, order: Order, attempt: Attempt, timeline: tuple[Entry, ...]
    ) -> Case | None:
        move = self.scribe.move(
            case,
            order,
            attempt,
            hold=Keep(self.settings.lease_s),
            timeline=timeline,
            before_expiry=case.expires_at is not None,
        )
        committed = await self._record(case, move)
        return None if committed is None else await self.send(committed, attempt)

    async def _look_at_the_dead(self, case: Case) -> tuple[Attempt, StatusAnswer] | None:
        """A callback came: did the rail move money on an attempt that was called dead?"""
        for attempt in _the_dead(case):
            answer = await self._ask(case, attempt)
            if answer.standing is Standing.SUCCEEDED:
                return attempt, answer
        return None

    async def _look_back(self, case: Case) -> Case | None:
        """The order has ended: is there money that came after all, and is what came too much given back?"""
        order = order_of(case)
        looked: list[Attempt] = []
        waits: list[float] = []
        for attempt in _the_dead(case):
            answer = await self._ask(case, attempt)
            if answer.standing is Standing.SUCCEEDED:
                return await self._record(case, self._contradiction(case, attempt, answer))
            if answer.standing in (Standing.PENDING, Standing.NO_INFORMATION):
                age_s = _age_s(case, attempt)
                wait_s = self.settings.ladder.wait_s(attempt.inquiries, age_s)
                if wait_s is None and answer.standing is Standing.NO_INFORMATION:
                    # Only an answer is a last look.
                    wait_s = self.settings.ladder.parked_s(age_s)
                looked.append(replace(attempt, inquiries=attempt.inquiries + 1))
                waits.extend(() if wait_s is None else (wait_s,))
        if isinstance(case, PaymentCase):
            await self._give_back(case)
        hold = Release(min(waits) if waits else None)
        return await self._record(case, self.scribe.move(case, order, *looked, hold=hold, timeline=()))

    async def _give_back(self, case: PaymentCase) -> None:
        """Open the one automatic refund of each debit that the payment has no use for."""
        if self.settings.surplus_refund != "auto":
            return
        for debit in surplus_debits(case):
            rail = self.rails[debit.rail]
            if Operation.REFUND in rail.capabilities.operations and debit.refund_reserved == 0:
                await self.ledger.open_refund(self.refunds.of_surplus(case, debit))

    def _contradiction(self, case: Case, attempt: Attempt, answer: StatusAnswer) -> Move:
        received = attempt.amount if answer.amount is None else answer.amount
        surplus = replace(
            attempt, amount_received=received, provider_transaction_id=answer.provider_transaction_id
        )
        before = order_of(case)
        order = replace(before, version=before.version + 1, updated_at=self.clock.now())
        if isinstance(before, Payment) and not before.status.is_final and case.live is None:
            # Nothing else is under way: the money that came is the payment's.
            order = paid_by_the_dead(before, surplus, now=self.clock.now())
        elif not before.status.is_final and case.live is None:
            order = under_review(before, now=self.clock.now())
        facts = {"attempt": attempt.id, "rail": attempt.rail, "received": received, "status": before.status}
        return self.scribe.move(
            case,
            order,
            surplus,
            hold=Release(0.0),
            timeline=(self.scribe.entry("contradiction", facts),),
            contradiction="late_success",
        )

    def _expire(self, case: Case) -> Move:
        order = expired(order_of(case), now=self.clock.now())
        return self.scribe.move(case, order, hold=let_go(case), timeline=(self.scribe.entry("expired"),))

    def _until_next_try(self, case: Case, wish_s: float | None) -> float:
        wait_s = max(wish_s or 0.0, self.settings.queue_retry_s)
        if case.expires_at is None:
            return wait_s
        left_s = (case.expires_at - self.clock.now()).total_seconds()
        return max(0.0, min(wait_s, left_s))

    async def _ask(self, case: Case, attempt: Attempt) -> StatusAnswer:
        return await self.dispatch.inquire(
            self.rails[attempt.rail], attempt, self.attempts.traces_of(case, attempt)
        )

    async def _record(self, case: Case, move: Move) -> Case | None:
        return _committed(case, move) if await self.ledger.record(move) else None


def _committed(case: Case, move: Move) -> Case:
    attempts = merged(case.attempts, move.attempts)
    match case, move.order:
        case PaymentCase(), Payment() as payment:
            return replace(case, payment=payment, attempts=attempts)
        case RefundCase(), Refund() as refund:
            return replace(case, refund=refund, attempts=attempts)
        case PayoutCase(), Payout() as payout:
            return replace(case, payout=payout, attempts=attempts)
        case _:
            raise AssertionError("a move keeps its order's kind")


def _routed(case: PaymentCase | PayoutCase) -> Routed:
    return case.payment if isinstance(case, PaymentCase) else case.payout


def _begun(case: PaymentCase | PayoutCase, attempt: Attempt, route: Route) -> Order:
    """The order with its next attempt, as it was routed."""
    before = _routed(case)
    return replace(begin(before, attempt), routing=route.explained(), version=before.version + 1)


def _age_s(case: Case, attempt: Attempt) -> float:
    return (case.as_of - attempt.started_at).total_seconds()


def _the_dead(case: Case) -> tuple[Attempt, ...]:
    return tuple(a for a in case.attempts if a.state.is_dead and not a.amount_received)


def let_go(case: Case) -> Release:
    """The hold of an order that ends: it is looked at once more where money came too much, or may have come
    from a rail that went back on its word while nobody could ask it."""
    again = any(a.amount_received or a.is_dead_by_word for a in case.attempts)
    return Release(0.0 if again else None)
