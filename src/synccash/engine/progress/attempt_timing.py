"""When an order is looked at again, and what the age of an attempt allows. Decides only: commits nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from synccash.engine.commit_builder import merged
from synccash.engine.dispatch.absent_rail import NOTHING_IS_SURE
from synccash.engine.ports import AccountRail
from synccash.engine.progress.attempts import is_short_of_float
from synccash.engine.settings import EngineSettings
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import Case, PaymentCase, PayoutCase, RefundCase, ReleaseLease, order_of
from synccash.payments.failure import FailureCode, WhoseProblem
from synccash.payments.ports import Clock
from synccash.payments.rail import OperationCapability, RailStatus, StatusAnswer
from synccash.resilience.evidence import Evidence

_SURPLUS_RETRY_MAX_S = 3_600.0
_HELD_MAX_S = 60.0

ASK_AGAIN = "ask_again"
"""The retry decision of an attempt that moved money, about which a callback came that its rail has not
confirmed or denied yet."""


@dataclass(frozen=True, slots=True)
class AttemptTiming:
    """The ladder of inquiries, as each rail's capabilities bend it. Times in seconds."""

    rails: Mapping[str, AccountRail]
    clock: Clock
    settings: EngineSettings

    def next_inquiry_s(self, attempt: Attempt, age_s: float) -> float | None:
        """The wait before the next inquiry: the ladder's, but not past the prompt's end, and not before the
        rail can be asked at all. None past the ladder's end."""
        wait_s = self.settings.schedule.wait_s(attempt.inquiries, age_s)
        if wait_s is None:
            return None
        capability = self._capability(attempt)
        window_s = capability.prompt_window_s or 0.0
        for moment_s in (window_s, self.told_by_s(attempt)):
            if moment_s is not None and moment_s > age_s:
                wait_s = min(wait_s, moment_s - age_s)
        return max(wait_s, capability.inquiry_from_s - age_s)

    def not_before_s(self, case: Case, attempt: Attempt) -> float:
        """The wait until the attempt is old enough for its rail to be asked at all; 0 where it is."""
        return max(0.0, self._capability(attempt).inquiry_from_s - age_s(case, attempt))

    def told_by_s(self, attempt: Attempt) -> float | None:
        """The age at which a callback of failure should have come, where nothing else could tell of one.

        None where the rail's inquiry has a word for failure.
        """
        capability = self._capability(attempt)
        if capability.failure_is_reported or capability.prompt_window_s is None:
            return None
        return capability.prompt_window_s + self.settings.settle_s

    def with_reported_failure(self, case: Case, live: Attempt, answer: StatusAnswer) -> StatusAnswer:
        """Where a rail's inquiry has no word for failure, `not paid` past the prompt and a callback of
        failure on this attempt's own token are one together."""
        capability = self._capability(live)
        if capability.failure_is_reported or answer.status_at_rail is not RailStatus.PENDING:
            return answer
        # The payer has been asked by the last send, if it was not by the first.
        asked_at = live.started_at if live.quiet_since is None else live.quiet_since
        asked_s_ago = (case.as_of - asked_at).total_seconds()
        if live.reported_failure is None or asked_s_ago < (capability.prompt_window_s or 0.0):
            return answer
        # A callback can be forged: it helps to end the attempt, and is no ground for another rail.
        failure = replace(live.reported_failure, reroute=False)
        return replace(answer, status_at_rail=RailStatus.FAILED, failure=failure)

    def resend_in_s(self, case: Case, attempt: Attempt) -> float | None:
        """The wait until a rail that cannot find the attempt may be sent the same reference once more.

        None where it may not be sent again: it was acknowledged, its rail would execute it twice, it is no
        longer the account that it was sent from, its sends or its time are used up, money is known to have
        moved for the order, the callback of a closed attempt is unchecked, or a recovery holds it.
        """
        # What a rail cannot find long afterwards it may have forgotten.
        recent = age_s(case, attempt) < self.settings.resend_within_s
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
            and not (isinstance(case, RefundCase) and case.debit.reversed_at is not None)
        )
        if not may:
            return None
        if attempt.quiet_since is None:
            return self.settings.settle_s
        quiet_s = (case.as_of - attempt.quiet_since).total_seconds()
        return max(0.0, self._resend_pause_s(case, attempt) - quiet_s)

    def _resend_pause_s(self, case: Case, attempt: Attempt) -> float:
        """How long the rail is left alone after the attempt's last send: twice as long after each."""
        most_s = self.settings.resend_pause_max_s
        if case.expires_at is None:
            # An order without an end has time: its sends are spread over an hour and more.
            most_s = max(most_s, self.settings.schedule.tail_s)
        return min(self.settings.settle_s * 2 ** (attempt.sends - 1), most_s)

    def ends_as_not_found(self, case: Case, attempt: Attempt) -> bool:
        """True when the rail's "not found" is final by its own documents, has been heard often enough, and
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

    def next_try_s(self, case: Case, wish_s: float | None) -> float:
        """The wait before an order that no rail took is tried again, at most until it expires."""
        wait_s = max(wish_s or 0.0, self.settings.queue_retry_s)
        if isinstance(case, RefundCase):
            # Each try is an attempt of its own, and there may be days of them.
            owed_s = (case.as_of - case.refund.created_at).total_seconds()
            return max(wait_s, self.settings.schedule.endless_wait_s(len(case.attempts), owed_s))
        if isinstance(case, PayoutCase) and any(is_short_of_float(attempt) for attempt in case.attempts):
            # The same: whoever fills a float up may take a day.
            age_s = (case.as_of - case.payout.created_at).total_seconds()
            wait_s = max(wait_s, self.settings.schedule.endless_wait_s(len(case.attempts), age_s))
        left_s = (case.expires_at - self.clock.now()).total_seconds()
        return max(0.0, min(wait_s, left_s))

    def after_callback_check(self, case: Case, closed: Attempt, answer: StatusAnswer) -> Attempt:
        """The closed attempt after its rail, asked because of a callback, has not reported money."""
        looked = replace(closed, inquiries=closed.inquiries + 1)
        status_at_rail = self.with_reported_failure(case, closed, answer).status_at_rail
        forgotten = status_at_rail is RailStatus.NOT_FOUND and closed.evidence is Evidence.ACCEPTED
        if forgotten or status_at_rail not in (RailStatus.FAILED, RailStatus.NOT_FOUND):
            return looked
        return replace(looked, callback_checked_at=case.as_of)

    def callback_check_s(self, case: Case) -> float:
        """The wait before the rails are asked about unchecked callbacks again: half of the time that the
        latest of them has waited, at most a rung of the ladder, and not past the order's expiry."""
        came = [a.callback_at for a in case.attempts if a.is_callback_unchecked and a.callback_at is not None]
        waited_s = (case.as_of - max(came)).total_seconds()
        wait_s = max(self.settings.queue_retry_s, min(waited_s / 2, self.settings.schedule.tail_s))
        if case.expires_at is None:
            return wait_s
        return max(0.0, min(wait_s, (case.expires_at - case.as_of).total_seconds()))

    def is_human_told(self, case: Case) -> bool:
        """True when a human is told of an order without an expiry that no rail has taken for so long."""
        if not isinstance(case, RefundCase):
            return False
        owed_s = (case.as_of - case.refund.created_at).total_seconds()
        return owed_s >= self.settings.refund_told_after_s

    def held_s(self, case: Case) -> float:
        """The wait before an order that a recovery keeps from being sent is looked at again."""
        age = (case.as_of - order_of(case).created_at).total_seconds()
        return max(self.settings.queue_retry_s, min(age / 10, _HELD_MAX_S))

    def is_lost_send_settled(self, case: Case) -> bool:
        """True when a send that was committed before the recovery began, and lost, has left by the end of its
        lease, and its rail has had the settle time to know of it: until then "not found" proves nothing."""
        if case.recovery_began is None:
            return True
        passed_s = (case.as_of - case.recovery_began).total_seconds()
        return passed_s >= self.settings.lease_s + self.settings.settle_s

    def recheck_s(
        self, case: Case, closed: Attempt, status_at_rail: RailStatus | None = None
    ) -> float | None:
        """The wait before the rail is asked about a closed attempt again; None after the last look-back.

        `standing` is what it said just now, where it was asked. An answer that says nothing is no look-back:
        the question is repeated as the ladder says.
        """
        wait_s = self._next_look_back_s(case, closed)
        if status_at_rail not in (RailStatus.PENDING, RailStatus.NO_INFORMATION):
            return wait_s
        again_s = self.settings.schedule.wait_s(closed.inquiries, age_s(case, closed))
        if again_s is None and status_at_rail is RailStatus.NO_INFORMATION:
            again_s = self.parked_s(case, closed)
        return min((w for w in (wait_s, again_s) if w is not None), default=None)

    def after_look_back(
        self, case: Case, attempt: Attempt, answer: StatusAnswer
    ) -> tuple[float | None, Attempt]:
        """The wait before an ended order's attempt is asked about again, and the attempt with this look."""
        status_at_rail = answer.status_at_rail
        if status_at_rail is RailStatus.NOT_FOUND and attempt.evidence is Evidence.ACCEPTED:
            # The rail had it: not to find it now says nothing.
            status_at_rail = RailStatus.NO_INFORMATION
        looked = replace(attempt, inquiries=attempt.inquiries + 1)
        if not attempt.money_moved:
            never_left = answer.refused_locally and not attempt.is_dead_by_word
            return self.recheck_s(case, attempt, None if never_left else status_at_rail), looked
        unclear = status_at_rail in (RailStatus.PENDING, RailStatus.NO_INFORMATION)
        wait_s = self.settings.schedule.wait_s(attempt.inquiries, age_s(case, attempt)) if unclear else None
        return wait_s, replace(looked, retry_decision=None if wait_s is None else ASK_AGAIN)

    def _next_look_back_s(self, case: Case, closed: Attempt) -> float | None:
        if not _may_pay_late(closed):
            return None
        age = age_s(case, closed)
        return next((at - age for at in self.settings.look_backs_s if at > age), None)

    def release_ended(self, case: Case, *changed: Attempt) -> ReleaseLease:
        """The release of an order that has ended, with what its last commit changed. It is looked at again at
        once where more money came than it needs, or where an earlier attempt may have paid after its rail
        called it failed or a callback came for it; else at the first look-back."""
        if case.is_callback_unchecked or any(a.money_moved or a.is_dead_by_word for a in case.attempts):
            return ReleaseLease(0.0)
        waits = (self.recheck_s(case, attempt) for attempt in merged(case.attempts, changed))
        return ReleaseLease(min((wait_s for wait_s in waits if wait_s is not None), default=None))

    def is_look_back_due(self, case: Case, live: Attempt) -> bool:
        """True when the closed attempts of an order are asked about beside its live one."""
        age = age_s(case, live)
        return age >= self.settings.look_backs_s[0] or self.next_inquiry_s(live, age) is None

    def surplus_retry_s(self, case: PaymentCase) -> float:
        """The wait before a surplus refund, which another refund keeps from starting, is tried again."""
        age = (case.as_of - case.payment.created_at).total_seconds()
        return max(self.settings.queue_retry_s, min(age / 10, _SURPLUS_RETRY_MAX_S))

    def parked_s(self, case: Case, attempt: Attempt) -> float:
        """The wait between two looks past the ladder's end."""
        return self.settings.schedule.parked_s(age_s(case, attempt))

    def _capability(self, attempt: Attempt) -> OperationCapability:
        """What the rail promises now; nothing, where it is not set up for the operation any more."""
        operations = self.rails[attempt.rail].capabilities.operations
        return operations.get(attempt.operation, NOTHING_IS_SURE)


def is_expired(case: Case) -> bool:
    """True when the order's time was over, by the ledger's clock, when the case was read."""
    return case.expires_at is not None and case.as_of >= case.expires_at


def _may_pay_late(closed: Attempt) -> bool:
    """True where money may still move although the rail says that the attempt failed: an approval may be on
    its way. A payer's own refusal is believed."""
    failure = closed.failure
    if not closed.is_dead_by_word or failure is None:
        return closed.is_dead_by_word
    return failure.code is FailureCode.PAYER_TIMEOUT or failure.whose_problem is not WhoseProblem.PAYER


def age_s(case: Case, attempt: Attempt) -> float:
    """How old the attempt was, in seconds by the ledger's clock, when the case was read."""
    return (case.as_of - attempt.started_at).total_seconds()
