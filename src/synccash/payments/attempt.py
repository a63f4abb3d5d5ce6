"""One attempt: one reference at one rail. States move only through TRANSITIONS; ends absorb."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from synccash.payments.failure import Failure
from synccash.payments.rail import Operation, RailAccount, SendAnswer, Standing, StatusAnswer
from synccash.resilience.evidence import Evidence


class AttemptState(StrEnum):
    """Where an attempt stands."""

    PREPARED = "prepared"
    """Committed; the first send may or may not have left."""
    ACKNOWLEDGED = "acknowledged"
    """The rail has it and has not decided."""
    UNKNOWN = "unknown"
    """A send left and nobody knows what became of it."""
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    """Dead: refused for good, or failed by the rail's own answer."""
    NOT_SENT = "not_sent"
    """Dead: every send was refused for later or never left."""

    @property
    def is_final(self) -> bool:
        """True when no further answer moves the attempt."""
        return self in _FINAL

    @property
    def is_dead(self) -> bool:
        """True when it is proven that this reference will move no money."""
        return self in (AttemptState.DECLINED, AttemptState.NOT_SENT)


_FINAL = frozenset({AttemptState.SUCCEEDED, AttemptState.DECLINED, AttemptState.NOT_SENT})

_S, _E, _R = AttemptState, Evidence, Standing

TRANSITIONS: dict[tuple[AttemptState, Evidence | Standing], AttemptState] = {
    (_S.PREPARED, _E.NOT_SENT): _S.NOT_SENT,
    (_S.PREPARED, _E.REFUSED_LATER): _S.NOT_SENT,
    (_S.PREPARED, _E.REFUSED_FINAL): _S.DECLINED,
    (_S.PREPARED, _E.AMBIGUOUS): _S.UNKNOWN,
    (_S.PREPARED, _E.ACCEPTED): _S.ACKNOWLEDGED,
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
        (state, standing): end
        for state in (_S.PREPARED, _S.UNKNOWN, _S.ACKNOWLEDGED)
        for standing, end in (
            (_R.PENDING, _S.ACKNOWLEDGED),
            (_R.SUCCEEDED, _S.SUCCEEDED),
            (_R.FAILED, _S.DECLINED),
        )
    },
    # Asking proves that a prepared attempt was taken over: from here on it counts as sent.
    **{(_S.PREPARED, standing): _S.UNKNOWN for standing in (_R.NOT_FOUND, _R.NO_INFORMATION)},
    **{
        (state, standing): state
        for state in (_S.UNKNOWN, _S.ACKNOWLEDGED)
        for standing in (_R.NOT_FOUND, _R.NO_INFORMATION)
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One reference at one rail.

    `evidence` is the worst over all sends ever made under the reference. `opened_fence` is the fence of the
    order when the attempt was opened: while the order still has it, one holder only has ever had the attempt.
    `quiet_since` is when the last possible sender fell silent; a settle time is counted from there.
    `reported_failure` is what a callback claimed; it counts only beside the rail's own answer.
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
    quiet_since: datetime | None = None
    latency_ms: int | None = None
    provider_code: str | None = None
    provider_transaction_id: str | None = None
    failure: Failure | None = None
    retry_decision: str | None = None
    amount_received: int = 0
    refund_reserved: int = 0
    reported_failure: Failure | None = None

    @property
    def rail(self) -> str:
        """The rail's id."""
        return self.account.rail

    @property
    def is_dead_by_word(self) -> bool:
        """True when the rail had it and said that it failed: the one proof that a rail can go back on."""
        return self.state.is_dead and self.evidence is Evidence.ACCEPTED

    def after_send(self, answer: SendAnswer, worst: Evidence, *, now: datetime, latency_ms: int) -> "Attempt":
        """Return the attempt after a send whose evidence, with all sends of this run, is `worst`."""
        evidence = worst if self.evidence is None else self.evidence.worst(worst)
        state = TRANSITIONS.get((self.state, evidence), self.state)
        return replace(
            self,
            state=state,
            evidence=evidence,
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
        state = TRANSITIONS[self.state, answer.standing]
        evidence = self.evidence or Evidence.AMBIGUOUS
        if answer.standing in (Standing.PENDING, Standing.SUCCEEDED, Standing.FAILED):
            evidence = Evidence.ACCEPTED
        succeeded = state is AttemptState.SUCCEEDED
        return replace(
            self,
            state=state,
            evidence=evidence,
            inquiries=self.inquiries + 1,
            provider_code=answer.provider_code or self.provider_code,
            provider_transaction_id=answer.provider_transaction_id or self.provider_transaction_id,
            failure=answer.failure if state is AttemptState.DECLINED else None,
            amount_received=self.amount
            if succeeded and answer.amount is None
            else answer.amount or 0
            if succeeded
            else 0,
        )
