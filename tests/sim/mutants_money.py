"""More mutants: rules of evidence, leases and refunds, each broken alone. See `mutants`."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from sim.mutants import Patch
from sim.order_store import FakeOrderStore
from synccash.engine.commit_builder import CommitBuilder
from synccash.engine.dispatch.guarded_rail import GuardedRail
from synccash.engine.dispatch.router import Router
from synccash.engine.leases import HeldLeases
from synccash.engine.progress.attempt_timing import AttemptTiming
from synccash.engine.progress.decisions import Decisions
from synccash.engine.progress.order_worker import OrderWorker
from synccash.engine.progress.refund_openings import RefundOpenings
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.rail import Environment


def _payer_refusal_fails_over(right: Any) -> Any:
    def fail_over(self: Decisions, case: Any, dead: Attempt, entry: Any) -> Any:
        if dead.failure is not None:
            dead = replace(dead, failure=replace(dead.failure, reroute=True))
        return right(self, case, dead, entry)

    return fail_over


def _settled_at_once(right: Any) -> Any:
    def resend_in_s(self: AttemptTiming, case: Any, attempt: Attempt) -> float | None:
        if attempt.quiet_since is not None:
            attempt = replace(attempt, quiet_since=attempt.quiet_since - timedelta(days=1))
        return right(self, case, attempt)

    return resend_in_s


def _resends_acknowledged(right: Any) -> Any:
    def resend_in_s(self: AttemptTiming, case: Any, attempt: Attempt) -> float | None:
        if attempt.state is AttemptState.ACKNOWLEDGED:
            attempt = replace(attempt, state=AttemptState.UNKNOWN)
        return right(self, case, attempt)

    return resend_in_s


def _rechecks_once(right: Any) -> Any:
    def rechecked(self: Decisions, case: Any, looked: Any, waits: Any) -> Any:
        return right(self, case, looked, [])

    return rechecked


def _never_rechecks(right: Any) -> Any:
    def recheck_s(self: AttemptTiming, *arguments: Any) -> None:
        """No recheck is ever due."""

    return recheck_s


def _renews_nothing(right: Any) -> Any:
    async def renew(self: FakeOrderStore, leases: Any, *, lease_s: float) -> Any:
        return frozenset(leases)

    return renew


def _cancels_without_fence(right: Any) -> Any:
    def commit(self: CommitBuilder, case: Any, order: Any, *changed: Any, **named: Any) -> Any:
        if order.status.value == "canceled":
            order = replace(order, fence=case.order.fence)
        return right(self, case, order, *changed, **named)

    return commit


def _forgets_evidence(right: Any) -> Any:
    def after_send(self: Attempt, answer: Any, worst: Any, **named: Any) -> Attempt:
        sent_before = self.evidence is not None and not self.state.is_final
        state = AttemptState.PREPARED if sent_before else self.state
        return right(replace(self, evidence=None, state=state), answer, worst, **named)

    return after_send


def _not_exclusive(right: Any) -> Any:
    def refund(self: RefundOpenings, *arguments: Any, **named: Any) -> Any:
        return replace(right(self, *arguments, **named), exclusive=False)

    return refund


def _deaf_after_takeover(right: Any) -> Any:
    async def late_success(self: OrderWorker, case: Any) -> Any:
        return await right(self, case) if case.hinted else None

    return late_success


def _believes_any_amount(right: Any) -> Any:
    async def ask(self: OrderWorker, case: Any, attempt: Attempt) -> Any:
        return replace(await right(self, case, attempt), amount=None)

    return ask


def _writes_reservations(right: Any) -> Any:
    def write_attempts(self: FakeOrderStore, row: Any, attempts: Any) -> None:
        right(self, row, attempts)
        for attempt in attempts:
            reserved = attempt.refund_reserved
            row.attempts[attempt.id] = replace(row.attempts[attempt.id], refund_reserved=reserved)

    return write_attempts


def _reserves_nothing(right: Any) -> Any:
    def open_refund(self: FakeOrderStore, asked: Any) -> Any:
        opened = right(self, asked)
        row = self.rows[asked.order.payment_id]
        debit = row.attempts[asked.order.attempt_id]
        row.attempts[debit.id] = replace(debit, refund_reserved=0)
        return opened

    return open_refund


def _tells_no_contradiction(right: Any) -> Any:
    def late_success(self: Decisions, *arguments: Any, **named: Any) -> Any:
        return replace(right(self, *arguments, **named), contradiction=None, events=())

    return late_success


def _gives_back_twice(right: Any) -> Any:
    count = 0

    def of_surplus(self: RefundOpenings, *arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        opening = right(self, *arguments, **named)
        claim = replace(opening.claim, key=f"{opening.claim.key} {count}")
        return replace(opening, claim=claim, order=replace(opening.order, surplus=False))

    return of_surplus


def _counts_no_resend(right: Any) -> Any:
    def resend(self: Decisions, case: Any, after: Attempt) -> Any:
        commit = right(self, case, after)
        return replace(commit, attempts=tuple(replace(a, sends=after.sends) for a in commit.attempts))

    return resend


def _works_on_without_lease(right: Any) -> Any:
    def end_lost(self: HeldLeases, work: Any) -> None:
        """The work goes on."""

    return end_lost


def _settles_from_the_send(right: Any) -> Any:
    async def inquire(self: OrderWorker, case: Any, live: Attempt) -> Any:
        if live.evidence is not None:
            case = replace(case, former_lease_end=None)
        return await right(self, case, live)

    return inquire


def _stops_at_an_unreadable_row(right: Any) -> Any:
    def take_due(self: FakeOrderStore, limit: int, lease_s: float) -> Any:
        taken = right(self, limit, lease_s)
        if self.unreadable & self.set_aside:
            raise StoreUnavailableError("a row cannot be read")
        return taken

    return take_due


def _sends_what_is_held(right: Any) -> Any:
    def held_for_risk(self: Decisions, case: Any, decision: Any, *timeline: Any) -> Any:
        return self.routed(case, self.attempts.route(case.order), timeline)

    return held_for_risk


def _asks_the_first_holder_only(right: Any) -> Any:
    async def screen(self: OrderWorker, case: Any) -> Any:
        if case.former_lease_end is not None:
            return await self._try_again(case)
        return await right(self, case)

    return screen


def _every_mode_at_every_rail(right: Any) -> Any:
    def candidate(self: Router, *arguments: Any) -> Any:
        return replace(right(self, *arguments), environment=Environment.TEST)

    return candidate


def _sends_in_every_mode(right: Any) -> Any:
    async def send(self: GuardedRail, order: Any, *, timeout_s: float) -> Any:
        live = self.environment is Environment.LIVE
        return await right(self, replace(order, livemode=live), timeout_s=timeout_s)

    return send


MONEY_MUTANTS: dict[str, tuple[Patch, ...]] = {
    "a payer's own refusal goes to another rail": ((Decisions, "_fail_over", _payer_refusal_fails_over),),
    "nothing has to settle": ((AttemptTiming, "resend_in_s", _settled_at_once),),
    "an acknowledged attempt is sent again": ((AttemptTiming, "resend_in_s", _resends_acknowledged),),
    "there is one recheck only": ((Decisions, "rechecked", _rechecks_once),),
    "there is never a recheck": ((AttemptTiming, "recheck_s", _never_rechecks),),
    "a heartbeat renews nothing": ((FakeOrderStore, "renew", _renews_nothing),),
    "a cancelation raises no fence": ((CommitBuilder, "commit", _cancels_without_fence),),
    "a later send forgets former evidence": ((Attempt, "after_send", _forgets_evidence),),
    "refunds without a key are not exclusive": ((RefundOpenings, "_refund", _not_exclusive),),
    "closed attempts are not checked after a takeover": (
        (OrderWorker, "_late_success", _deaf_after_takeover),
    ),
    "another amount is believed": ((OrderWorker, "_ask", _believes_any_amount),),
    "a reservation is written from a value": ((FakeOrderStore, "_write_attempts", _writes_reservations),),
    "nothing is reserved for a refund": ((FakeOrderStore, "_open_refund", _reserves_nothing),),
    "a late success is told to nobody": ((Decisions, "late_success", _tells_no_contradiction),),
    "a surplus is given back more than once": ((RefundOpenings, "of_surplus", _gives_back_twice),),
    "a re-send is not counted": ((Decisions, "resend", _counts_no_resend),),
    "lost leases end no work": ((HeldLeases, "_end_lost", _works_on_without_lease),),
    "a takeover does not restart the settle time": ((OrderWorker, "_inquire", _settles_from_the_send),),
    "what the fraud service holds is sent": ((Decisions, "held_for_risk", _sends_what_is_held),),
    "a takeover asks no fraud service": ((OrderWorker, "screen", _asks_the_first_holder_only),),
    # The router and, behind it, the guard: both have to break.
    "a test order goes to a live account": (
        (Router, "_candidate", _every_mode_at_every_rail),
        (GuardedRail, "send", _sends_in_every_mode),
    ),
    "an unreadable row ends the batch": ((FakeOrderStore, "_take_due", _stops_at_an_unreadable_row),),
}
"""One for each rule; a new rule of the engine gets its mutant here."""
