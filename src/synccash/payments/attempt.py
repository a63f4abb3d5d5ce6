"""An attempt: one reference at one rail. Its state changes only by TRANSITIONS; final states never change.

docs/states.md has the diagram that `python tests/docs/states_page.py` generates from the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from synccash.payments.errors import IllegalTransitionError, InternalError
from synccash.payments.failure import Failure
from synccash.payments.rail import Operation, RailAccount, RailStatus, SendAnswer, StatusAnswer
from synccash.resilience.evidence import Evidence

ADOPTED = "adopted"
"""The retry decision of an attempt that was found at a rail after the database had lost it."""


class AttemptState(StrEnum):
    """The state of an attempt."""

    PREPARED = "prepared"
    """Committed; the first send may or may not have reached the rail."""
    ACKNOWLEDGED = "acknowledged"
    """The rail accepted it and has not decided yet."""
    UNKNOWN = "unknown"
    """A send left, and its outcome is unknown."""
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    """Dead: the rail refused it for good or answered that it failed, or our connector cannot send it."""
    NOT_SENT = "not_sent"
    """Dead: every send was refused with "try later" or never left."""

    @property
    def is_final(self) -> bool:
        """True when no further answer changes the state of the attempt."""
        return self in _FINAL

    @property
    def is_dead(self) -> bool:
        """True when the evidence, or the rail's own report, says that this reference moved no money. The
        attempt is closed. A rail can revise its report: see `Attempt.is_closed_by_rail_report`."""
        return self in (AttemptState.DECLINED, AttemptState.NOT_SENT)


_FINAL = frozenset({AttemptState.SUCCEEDED, AttemptState.DECLINED, AttemptState.NOT_SENT})


class Finding(StrEnum):
    """What the engine finds about an attempt beyond the evidence of its sends and its rail's status."""

    REFUSED_LOCALLY = "refused_locally"
    """Our own connector cannot send it: a retry would be refused again."""
    NOT_FOUND_FOR_GOOD = "not_found_for_good"
    """The rail never had it, and its documentation calls "not found" final."""


AttemptEvent = Evidence | RailStatus | Finding
"""The worst evidence of all sends, the status that the rail reports, or a finding of the engine."""

_S, _E, _R = AttemptState, Evidence, RailStatus

TRANSITIONS: Mapping[tuple[AttemptState, AttemptEvent], AttemptState] = {
    (_S.PREPARED, _E.NOT_SENT): _S.NOT_SENT,
    (_S.PREPARED, _E.REFUSED_LATER): _S.NOT_SENT,
    (_S.PREPARED, _E.REFUSED_FINAL): _S.DECLINED,
    (_S.PREPARED, _E.AMBIGUOUS): _S.UNKNOWN,
    (_S.PREPARED, _E.ACCEPTED): _S.ACKNOWLEDGED,
    (_S.PREPARED, Finding.REFUSED_LOCALLY): _S.DECLINED,
    (_S.UNKNOWN, _E.NOT_SENT): _S.UNKNOWN,
    (_S.UNKNOWN, _E.REFUSED_LATER): _S.UNKNOWN,
    (_S.UNKNOWN, _E.REFUSED_FINAL): _S.UNKNOWN,
    (_S.UNKNOWN, _E.AMBIGUOUS): _S.UNKNOWN,
    (_S.UNKNOWN, _E.ACCEPTED): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, _E.NOT_SENT): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, _E.REFUSED_LATER): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, _E.REFUSED_FINAL): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, _E.AMBIGUOUS): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, _E.ACCEPTED): _S.ACKNOWLEDGED,
    **{
        (state, status_at_rail): end
        for state in (_S.PREPARED, _S.UNKNOWN, _S.ACKNOWLEDGED)
        for status_at_rail, end in (
            (_R.PENDING, _S.ACKNOWLEDGED),
            (_R.SUCCEEDED, _S.SUCCEEDED),
            (_R.FAILED, _S.DECLINED),
        )
    },
    # Only a worker that took over a prepared attempt inquires about it: from here on it counts as sent.
    **{(_S.PREPARED, status_at_rail): _S.UNKNOWN for status_at_rail in (_R.NOT_FOUND, _R.NO_INFORMATION)},
    **{
        (state, status_at_rail): state
        for state in (_S.UNKNOWN, _S.ACKNOWLEDGED)
        for status_at_rail in (_R.NOT_FOUND, _R.NO_INFORMATION)
    },
    (_S.UNKNOWN, Finding.NOT_FOUND_FOR_GOOD): _S.DECLINED,
}
"""The state of an attempt after an event. A pair that is missing is illegal, but a final state ignores the
rail's answers: an inquiry may be answered after the attempt ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One reference at one rail.

    `evidence` is the worst over all sends ever made under the reference. `opened_fence` is the fence of the
    order when the attempt was opened: while the order still has that fence, only one lease holder has ever
    had the attempt. `quiet_since` is the end of the last possible send; a settle time counts from there.
    `callback_at` is when the latest callback came; the rail has answered about all callbacks up to
    `callback_checked_at`.
    `reported_failure` is what a callback claimed; it counts only together with the rail's own answer.
    `reference_key` is the id of the installation key that the reference was derived with; None where it was
    random.
    `sends` counts the sends that may have reached the rail. The commit before a send counts it already, so
    that a process that dies meanwhile has counted it: a prepared attempt has 1. `not_founds` counts the last
    answers in a row that did not find the reference. `moved_at` is when the rail first reported a money
    movement that contradicts what the engine believed or asked for; `reversed_at` is when the rail reported
    that it reversed the movement.
    Amounts in pesewas.
    """

    id: str
    order_id: str
    sequence: int
    operation: Operation
    account: RailAccount
    reference: str
    callback_token: str = field(repr=False)
    amount: int
    opened_fence: int
    started_at: datetime
    state: AttemptState = AttemptState.PREPARED
    evidence: Evidence | None = None
    sends: int = 1
    inquiries: int = 0
    not_founds: int = 0
    quiet_since: datetime | None = None
    latency_ms: int | None = None
    provider_code: str | None = None
    provider_transaction_id: str | None = None
    failure: Failure | None = None
    retry_decision: str | None = None
    amount_received: int = 0
    refund_reserved: int = 0
    reported_failure: Failure | None = None
    callback_at: datetime | None = None
    callback_checked_at: datetime | None = None
    moved_at: datetime | None = None
    reversed_at: datetime | None = None
    reference_key: str | None = None

    @property
    def rail(self) -> str:
        """The rail's id."""
        return self.account.rail

    @property
    def was_sent_before(self) -> bool:
        """True when a send under the reference may have left before: another one repeats it. A new attempt
        has no evidence until its first send has ended."""
        return self.evidence is not None

    @property
    def money_moved(self) -> bool:
        """True when this attempt is known to have moved money, whatever its state and the amount."""
        return self.state is AttemptState.SUCCEEDED or self.moved_at is not None or self.amount_received > 0

    @property
    def is_callback_unchecked(self) -> bool:
        """True when a callback came for the closed attempt and its rail has not answered an inquiry since:
        the money may have moved after all."""
        if self.callback_at is None or not self.state.is_dead or self.money_moved:
            return False
        return self.callback_checked_at is None or self.callback_checked_at < self.callback_at

    @property
    def is_closed_by_rail_report(self) -> bool:
        """True when the only proof of the failure is the rail's answer, which a rail can revise: a send may
        have reached the rail, and the rail answered that the attempt failed or does not exist."""
        return self.state.is_dead and self.evidence in (Evidence.ACCEPTED, Evidence.AMBIGUOUS)

    @property
    def may_fail_over(self) -> bool:
        """True when another rail may be tried after this closed attempt. A refund has only one rail."""
        if self.operation is Operation.REFUND:
            return False
        return self.state is AttemptState.NOT_SENT or (self.failure is not None and self.failure.reroute)

    def after_send(self, answer: SendAnswer, worst: Evidence, *, now: datetime, latency_ms: int) -> "Attempt":
        """Return the attempt after a send whose evidence, with all sends of this run, is `worst`.

        A repeated send that provably never left is subtracted from `sends` again. Raises
        IllegalTransitionError for a final attempt.
        """
        evidence = worst if self.evidence is None else self.evidence.worst(worst)
        state = self._state_after(evidence)
        if (
            answer.refused_locally
            and state is AttemptState.NOT_SENT
            and self.operation is not Operation.REFUND
        ):
            # A retry would be refused again, so close it. A refund cannot use another rail: it waits for
            # review.
            state = self._state_after(Finding.REFUSED_LOCALLY)
        never_left = self.sends > 1 and worst is Evidence.NOT_SENT
        return replace(
            self,
            state=state,
            evidence=evidence,
            sends=self.sends - 1 if never_left else self.sends,
            quiet_since=now,
            latency_ms=latency_ms,
            provider_code=answer.provider_code or self.provider_code,
            provider_transaction_id=answer.provider_transaction_id or self.provider_transaction_id,
            failure=answer.failure if state.is_dead else None,
        )

    def after_inquiry(self, answer: StatusAnswer) -> "Attempt":
        """Return the attempt after the rail's own answer. A final attempt stays as it is."""
        if self.state.is_final:
            return self
        state = self._state_after(answer.status_at_rail)
        evidence = self.evidence or Evidence.AMBIGUOUS
        if answer.status_at_rail in (RailStatus.PENDING, RailStatus.SUCCEEDED, RailStatus.FAILED):
            evidence = Evidence.ACCEPTED
        succeeded = state is AttemptState.SUCCEEDED
        return replace(
            self,
            state=state,
            evidence=evidence,
            inquiries=self.inquiries + 1,
            not_founds=self._not_founds_after(answer.status_at_rail),
            reversed_at=None if succeeded else self.reversed_at,
            provider_code=answer.provider_code or self.provider_code,
            provider_transaction_id=answer.provider_transaction_id or self.provider_transaction_id,
            failure=answer.failure if state is AttemptState.DECLINED else None,
            amount_received=self.amount
            if succeeded and answer.amount is None
            else answer.amount or 0
            if succeeded
            else 0,
        )

    def _not_founds_after(self, status_at_rail: RailStatus) -> int:
        if status_at_rail is RailStatus.NO_INFORMATION:
            return self.not_founds
        return self.not_founds + 1 if status_at_rail is RailStatus.NOT_FOUND else 0

    def closed_as_not_found(self, failure: Failure) -> "Attempt":
        """Return the attempt as declined: its rail, whose "not found" is final, never had it.

        Raises IllegalTransitionError.
        """
        return replace(self, state=self._state_after(Finding.NOT_FOUND_FOR_GOOD), failure=failure)

    def with_late_money(self, received: int, answer: StatusAnswer, *, now: datetime) -> "Attempt":
        """Return a closed attempt on which `received` pesewas moved after it was closed.

        Raises InternalError where the attempt is not closed.
        """
        if not self.state.is_dead:
            raise InternalError(f"{self.id} is {self.state} and not closed, so no money of it can be late")
        named = answer.provider_transaction_id or self.provider_transaction_id
        return replace(self, amount_received=received, moved_at=now, provider_transaction_id=named)

    def _state_after(self, event: AttemptEvent) -> AttemptState:
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            raise IllegalTransitionError(self.id, self.state, event)
        return state
