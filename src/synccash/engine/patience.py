"""When an order is looked at again, and what the age of an attempt allows. Decides only: commits nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from synccash.engine.ports import Clock, Rail
from synccash.engine.settings import EngineSettings
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import Case, RefundCase
from synccash.payments.rail import OperationCapability, Standing, StatusAnswer


@dataclass(frozen=True, slots=True)
class Patience:
    """The ladder of inquiries, as each rail's capabilities bend it. Times in seconds."""

    rails: Mapping[str, Rail]
    clock: Clock
    settings: EngineSettings

    def next_inquiry_s(self, attempt: Attempt, age_s: float) -> float | None:
        """The wait before the next inquiry: the ladder's, but not past the prompt's end, and not before the
        rail can be asked at all. None past the ladder's end."""
        wait_s = self.settings.ladder.wait_s(attempt.inquiries, age_s)
        if wait_s is None:
            return None
        capability = self._capability(attempt)
        window_s = capability.prompt_window_s or 0.0
        for moment_s in (window_s, self.told_by_s(attempt)):
            if moment_s is not None and moment_s > age_s:
                wait_s = min(wait_s, moment_s - age_s)
        return max(wait_s, capability.inquiry_from_s - age_s)

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
        if capability.failure_is_reported or answer.standing is not Standing.PENDING:
            return answer
        if live.reported_failure is None or age_s(case, live) < (capability.prompt_window_s or 0.0):
            return answer
        return replace(answer, standing=Standing.FAILED, failure=live.reported_failure)

    def may_resend(self, case: Case, attempt: Attempt) -> bool:
        """True when a rail that cannot find the attempt may be sent the same reference once more."""
        settled = (
            attempt.quiet_since is not None
            and (case.as_of - attempt.quiet_since).total_seconds() >= self.settings.settle_s
        )
        alive = case.expires_at is None or case.as_of < case.expires_at
        # What a rail cannot find long afterwards it may have forgotten.
        recent = age_s(case, attempt) < self.settings.resend_within_s
        return (
            attempt.state is AttemptState.UNKNOWN
            and self._capability(attempt).dedup_by_reference
            and settled
            and alive
            and recent
            and attempt.sends < self.settings.sends_max
        )

    def next_try_s(self, case: Case, wish_s: float | None) -> float:
        """The wait before an order that no rail took is tried again, at most until it expires."""
        wait_s = max(wish_s or 0.0, self.settings.queue_retry_s)
        if isinstance(case, RefundCase):
            # Each try is an attempt of its own, and there may be days of them.
            owed_s = (case.as_of - case.refund.created_at).total_seconds()
            return max(wait_s, self.settings.ladder.patience_s(len(case.attempts), owed_s))
        left_s = (case.expires_at - self.clock.now()).total_seconds()
        return max(0.0, min(wait_s, left_s))

    def look_back_s(self, case: Case, dead: Attempt, standing: Standing) -> float | None:
        """The wait before a dead attempt of an ended order is asked after again; None after the last look."""
        wait_s = self.settings.ladder.wait_s(dead.inquiries, age_s(case, dead))
        if wait_s is None and standing is Standing.NO_INFORMATION:
            # Only an answer is a last look.
            return self.parked_s(case, dead)
        return wait_s

    def parked_s(self, case: Case, attempt: Attempt) -> float:
        """The wait between two looks past the ladder's end."""
        return self.settings.ladder.parked_s(age_s(case, attempt))

    def _capability(self, attempt: Attempt) -> OperationCapability:
        return self.rails[attempt.rail].capabilities.operations[attempt.operation]


def age_s(case: Case, attempt: Attempt) -> float:
    """How old the attempt was, in seconds by the ledger's clock, when the case was read."""
    return (case.as_of - attempt.started_at).total_seconds()
