"""Computes when an order is due again and what an attempt's age allows: inquiries, re-sends, rechecks.
Commits nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from synccash.engine.commit_builder import merged
from synccash.engine.dispatch.absent_rail import NO_GUARANTEES
from synccash.engine.ports import AccountRail
from synccash.engine.progress.attempts import is_short_of_float
from synccash.engine.settings import EngineSettings
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import Case, RefundCase, ReleaseLease, returned_debit
from synccash.payments.failure import FailureCode, WhoseProblem
from synccash.payments.ports import Clock
from synccash.payments.rail import OperationCapability, RailStatus, StatusAnswer
from synccash.resilience.evidence import Evidence

_SURPLUS_RETRY_MAX_S = 3_600.0
_HELD_MAX_S = 60.0

ASK_AGAIN = "ask_again"
"""The `retry_decision` of an attempt that moved money while a callback about it is neither confirmed nor
denied by its rail."""


@dataclass(frozen=True, slots=True)
class AttemptTiming:
    """Applies the inquiry schedule, adjusted to each rail's capabilities. Times in seconds."""

    rails: Mapping[str, AccountRail]
    clock: Clock
    settings: EngineSettings

    def next_inquiry_s(self, attempt: Attempt, age_s: float) -> float | None:
        """Return the wait before the next inquiry: that of the schedule, but not past the end of the prompt
        and not before the rail can be asked at all. None when the schedule has ended."""
        wait_s = self.settings.schedule.wait_s(attempt.inquiries, age_s)
        if wait_s is None:
            return None
        capability = self._capability(attempt)
        window_s = capability.prompt_window_s or 0.0
        for moment_s in (window_s, self.failure_callback_due_s(attempt)):
            if moment_s is not None and moment_s > age_s:
                wait_s = min(wait_s, moment_s - age_s)
        return max(wait_s, capability.inquiry_from_s - age_s)

    def not_before_s(self, case: Case, attempt: Attempt) -> float:
        """Return the wait until the attempt is old enough for its rail to be asked; 0 when it is."""
        return max(0.0, self._capability(attempt).inquiry_from_s - age_s(case, attempt))

    def failure_callback_due_s(self, attempt: Attempt) -> float | None:
        """Return the age by which a callback should have reported a failure, for a rail where only a callback
        can. None when the rail's inquiries report failures, or when it has no prompt window."""
        capability = self._capability(attempt)
        if capability.failure_is_reported or capability.prompt_window_s is None:
            return None
        return capability.prompt_window_s + self.settings.settle_s

    def with_reported_failure(self, case: Case, live: Attempt, answer: StatusAnswer) -> StatusAnswer:
        """Return the answer, changed to FAILED where a rail's inquiries cannot report failure: `PENDING`
        after the prompt's end and a callback of failure on the attempt's own token are a failure together."""
        capability = self._capability(live)
        if capability.failure_is_reported or answer.status_at_rail is not RailStatus.PENDING:
            return answer
        # The payer is prompted by the last send at the latest.
        asked_at = live.started_at if live.quiet_since is None else live.quiet_since
        asked_s_ago = (case.as_of - asked_at).total_seconds()
        if live.reported_failure is None or asked_s_ago < (capability.prompt_window_s or 0.0):
            return answer
        # A callback can be forged: it may help to end the attempt, but is no reason to try another rail.
        failure = replace(live.reported_failure, reroute=False)
        return replace(answer, status_at_rail=RailStatus.FAILED, failure=failure)

    def resend_in_s(self, case: Case, attempt: Attempt) -> float | None:
        """Return the wait until the same reference may be sent once more to a rail that cannot find it.

        None when it may not be sent again: the attempt was acknowledged, its rail would execute it twice, the
        rail's credentials no longer serve its account, its sends or its time are used up, money is known to
        have moved for the order, the debit of a refund was reversed, the callback of a closed attempt is
        unchecked, or a recovery forbids sending.
        """
        # A rail may forget old references, so a late "not found" proves nothing.
        recent = age_s(case, attempt) < self.settings.resend_within_s
        debit = returned_debit(case)
        may = (
            attempt.state is AttemptState.UNKNOWN
            and self._capability(attempt).dedup_by_reference
            and self.rails[attempt.rail].serves(attempt.account)
            and not is_expired(case)
            and recent
            and attempt.sends < self.settings.sends_max
            and not case.money_moved
            and not case.is_callback_unchecked
            and case.may_send
            and (debit is None or debit.reversed_at is None)
        )
        if not may:
            return None
        if attempt.quiet_since is None:
            return self.settings.settle_s
        quiet_s = (case.as_of - attempt.quiet_since).total_seconds()
        return max(0.0, self._resend_pause_s(case, attempt) - quiet_s)

    def _resend_pause_s(self, case: Case, attempt: Attempt) -> float:
        """Return the pause after the attempt's last send; it doubles with each send."""
        most_s = self.settings.resend_pause_max_s
        if case.expires_at is None:
            # An order without an expiry can wait: its sends are spread over an hour or more.
            most_s = max(most_s, self.settings.schedule.tail_s)
        return min(self.settings.settle_s * 2 ** (attempt.sends - 1), most_s)

    def ends_as_not_found(self, case: Case, attempt: Attempt) -> bool:
        """True when the rail's "not found" is final by its own documentation, was received often enough, and
        nothing will be sent under the reference any more."""
        return (
            self._capability(attempt).not_found_is_final
            and attempt.state is AttemptState.UNKNOWN
            and attempt.not_founds >= self.settings.not_founds_min
            and self.rails[attempt.rail].serves(attempt.account)
            and self._has_settled(case, attempt)
            and (is_expired(case) or attempt.sends >= self.settings.sends_max)
            and not case.money_moved
            and case.may_send
        )

    def _has_settled(self, case: Case, attempt: Attempt) -> bool:
        quiet_since = attempt.quiet_since
        return (
            quiet_since is not None and (case.as_of - quiet_since).total_seconds() >= self.settings.settle_s
        )

    def next_try_s(self, case: Case, requested_s: float | None) -> float:
        """Return the wait before an order that no rail accepted is tried again: at least `requested_s`, at
        most until it expires."""
        wait_s = max(requested_s or 0.0, self.settings.queue_retry_s)
        if case.expires_at is None or any(is_short_of_float(attempt) for attempt in case.attempts):
            # Each try is a new attempt, and they may go on for days: a refund never expires, and it may take
            # a day until a float is topped up.
            order_age_s = (case.as_of - case.order.created_at).total_seconds()
            wait_s = max(wait_s, self.settings.schedule.endless_wait_s(len(case.attempts), order_age_s))
        if case.expires_at is None:
            return wait_s
        left_s = (case.expires_at - self.clock.now()).total_seconds()
        return max(0.0, min(wait_s, left_s))

    def after_callback_check(self, case: Case, closed: Attempt, answer: StatusAnswer) -> Attempt:
        """Return the closed attempt after an inquiry, made because of a callback, that reported no money. The
        callback counts as checked only when the answer denies the money for certain."""
        asked = replace(closed, inquiries=closed.inquiries + 1)
        status_at_rail = self.with_reported_failure(case, closed, answer).status_at_rail
        is_lost = status_at_rail is RailStatus.NOT_FOUND and closed.evidence is Evidence.ACCEPTED
        if is_lost or status_at_rail not in (RailStatus.FAILED, RailStatus.NOT_FOUND):
            return asked
        return replace(asked, callback_checked_at=case.as_of)

    def callback_check_s(self, case: Case) -> float:
        """Return the wait before the rails are asked about unchecked callbacks again: half of the time since
        the latest of them, at most the schedule's tail interval, and not past the order's expiry."""
        callbacks = [
            a.callback_at for a in case.attempts if a.is_callback_unchecked and a.callback_at is not None
        ]
        waited_s = (case.as_of - max(callbacks)).total_seconds()
        wait_s = max(self.settings.queue_retry_s, min(waited_s / 2, self.settings.schedule.tail_s))
        if case.expires_at is None:
            return wait_s
        return max(0.0, min(wait_s, (case.expires_at - case.as_of).total_seconds()))

    def is_refund_overdue(self, case: Case) -> bool:
        """True for a refund that its rail has not accepted and that is old enough to go under review
        (`refund_review_after_s`)."""
        if not isinstance(case, RefundCase):
            return False
        refund_age_s = (case.as_of - case.order.created_at).total_seconds()
        return refund_age_s >= self.settings.refund_review_after_s

    def held_s(self, case: Case) -> float:
        """Return the wait before an order that a recovery keeps from being sent is due again."""
        age = (case.as_of - case.order.created_at).total_seconds()
        return max(self.settings.queue_retry_s, min(age / 10, _HELD_MAX_S))

    def is_lost_send_settled(self, case: Case) -> bool:
        """True when a lost send from before the recovery can no longer leave (its lease has ended) and its
        rail has had the settle time to register it. Until then "not found" proves nothing."""
        if case.recovery_began is None:
            return True
        passed_s = (case.as_of - case.recovery_began).total_seconds()
        return passed_s >= self.settings.lease_s + self.settings.settle_s

    def recheck_s(
        self, case: Case, closed: Attempt, status_at_rail: RailStatus | None = None
    ) -> float | None:
        """Return the wait before the rail is asked about a closed attempt again; None after the last recheck.

        `status_at_rail` is the rail's latest answer, where it was asked just now. An inconclusive answer does
        not count as a recheck: the inquiry is repeated by the schedule.
        """
        wait_s = self._next_recheck_s(case, closed)
        if status_at_rail not in (RailStatus.PENDING, RailStatus.NO_INFORMATION):
            return wait_s
        again_s = self.settings.schedule.wait_s(closed.inquiries, age_s(case, closed))
        if again_s is None and status_at_rail is RailStatus.NO_INFORMATION:
            again_s = self.parked_s(case, closed)
        return min((w for w in (wait_s, again_s) if w is not None), default=None)

    def after_recheck(
        self, case: Case, attempt: Attempt, answer: StatusAnswer
    ) -> tuple[float | None, Attempt]:
        """Return the wait before an ended order's attempt is asked about again, and the attempt after this
        recheck."""
        status_at_rail = answer.status_at_rail
        if status_at_rail is RailStatus.NOT_FOUND and attempt.evidence is Evidence.ACCEPTED:
            # The rail had accepted it, so "not found" now proves nothing.
            status_at_rail = RailStatus.NO_INFORMATION
        asked = replace(attempt, inquiries=attempt.inquiries + 1)
        if not attempt.money_moved:
            never_left = answer.refused_locally and not attempt.is_closed_by_rail_report
            return self.recheck_s(case, attempt, None if never_left else status_at_rail), asked
        unclear = status_at_rail in (RailStatus.PENDING, RailStatus.NO_INFORMATION)
        wait_s = self.settings.schedule.wait_s(attempt.inquiries, age_s(case, attempt)) if unclear else None
        return wait_s, replace(asked, retry_decision=None if wait_s is None else ASK_AGAIN)

    def _next_recheck_s(self, case: Case, closed: Attempt) -> float | None:
        if not _may_pay_late(closed):
            return None
        age = age_s(case, closed)
        return next((at - age for at in self.settings.recheck_ages_s if at > age), None)

    def release_ended(self, case: Case, *changed: Attempt) -> ReleaseLease:
        """Return the lease release of an ended order, whose last commit changes the attempts `changed`.

        The order is due again at once where an earlier attempt moved money, has an unchecked callback, or is
        closed only by its rail's report and so may still have paid; else at the next recheck.
        """
        if case.is_callback_unchecked or any(
            a.money_moved or a.is_closed_by_rail_report for a in case.attempts
        ):
            return ReleaseLease(0.0)
        waits = (self.recheck_s(case, attempt) for attempt in merged(case.attempts, changed))
        return ReleaseLease(min((wait_s for wait_s in waits if wait_s is not None), default=None))

    def is_recheck_due(self, case: Case, live: Attempt) -> bool:
        """True when it is time to ask about the order's closed attempts besides its live one."""
        age = age_s(case, live)
        return age >= self.settings.recheck_ages_s[0] or self.next_inquiry_s(live, age) is None

    def surplus_retry_s(self, case: Case) -> float:
        """Return the wait before a surplus refund that another refund blocks is tried again."""
        age = (case.as_of - case.order.created_at).total_seconds()
        return max(self.settings.queue_retry_s, min(age / 10, _SURPLUS_RETRY_MAX_S))

    def parked_s(self, case: Case, attempt: Attempt) -> float:
        """Return the wait between two inquiries after the schedule has ended."""
        return self.settings.schedule.parked_s(age_s(case, attempt))

    def _capability(self, attempt: Attempt) -> OperationCapability:
        """Return the rail's present capability for the operation; one that promises nothing when the rail is
        no longer set up for it."""
        operations = self.rails[attempt.rail].capabilities.operations
        return operations.get(attempt.operation, NO_GUARANTEES)


def left_s(case: Case) -> float | None:
    """Return the seconds until the order expires, by the store's clock, at the time the case was read; 0 when
    it had expired, None for an order that never expires."""
    return None if case.expires_at is None else max(0.0, (case.expires_at - case.as_of).total_seconds())


def is_expired(case: Case) -> bool:
    """True when the order had expired, by the store's clock, at the time the case was read."""
    return case.expires_at is not None and case.as_of >= case.expires_at


def _may_pay_late(closed: Attempt) -> bool:
    """True when money may still move although the rail says that the attempt failed, because a payer's
    approval may be under way. A refusal by the payer is taken as final."""
    failure = closed.failure
    if not closed.is_closed_by_rail_report or failure is None:
        return closed.is_closed_by_rail_report
    return failure.code is FailureCode.PAYER_TIMEOUT or failure.whose_problem is not WhoseProblem.PAYER


def age_s(case: Case, attempt: Attempt) -> float:
    """Return the attempt's age in seconds, by the store's clock, at the time the case was read."""
    return (case.as_of - attempt.started_at).total_seconds()
