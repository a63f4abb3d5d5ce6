"""Commit 1 of a refund, whoever asks for it: a merchant, or the engine for money that came too much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from types import MappingProxyType

from synccash.engine.commit_builder import CommitBuilder
from synccash.engine.progress.attempts import Attempts
from synccash.engine.settings import EngineSettings
from synccash.payments import lifecycle
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import SURPLUS_SCOPE, Claim, KeepLease, PaymentCase, RefundOpening, ReleaseLease
from synccash.payments.payment import PaymentStatus, Refund
from synccash.payments.ports import Clock, Identities
from synccash.payments.rail import Operation

_BY_POLICY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RefundOpenings:
    """Writes openings of refunds."""

    attempts: Attempts
    commit_builder: CommitBuilder
    clock: Clock
    identities: Identities
    settings: EngineSettings

    def opening(
        self,
        case: PaymentCase,
        debit: Attempt,
        amount: int,
        claim: Claim,
        *,
        reason: str | None,
        held: bool = False,
    ) -> RefundOpening:
        """Give `amount` pesewas of a debit back, and stay the holder to send it; `held`: a worker sends it
        when the recovery that is under way has ended."""
        refund = self._refund(case, debit, amount, reason, identity=f"key:{claim.key}", surplus=False)
        if held:
            queued = lifecycle.queued(refund, now=self.clock.now())
            assert isinstance(queued, Refund), "an order keeps its kind"
            return self._opening(
                claim, replace(queued, version=1), ReleaseLease(self.settings.queue_retry_s), None
            )
        attempt = self.attempts.refunding(refund, case.payment, debit, sequence=1)
        return self._opening(claim, refund, KeepLease(self.settings.lease_s), attempt)

    def of_surplus(
        self, case: PaymentCase, debit: Attempt, decided: Mapping[str, str] = _BY_POLICY, *, failed: int = 0
    ) -> RefundOpening:
        """Give the whole of a debit back that nobody has a use for; a worker sends it. Its claim is the
        debit's own, so that there is one. `decided`: who said so and why, where a person did. `failed`: how
        many of the debit have failed for good; only a person asks for one more."""
        key = debit.id if failed == 0 else f"{debit.id} after {failed}"
        claim = Claim(SURPLUS_SCOPE, key, sha256(key.encode()).digest())
        identity = f"surplus:{debit.reference}:{failed}"
        amount = debit.amount_received
        refund = self._refund(case, debit, amount, "surplus", identity=identity, surplus=True)
        return self._opening(claim, refund, ReleaseLease(0.0), None, decided)

    def _opening(
        self,
        claim: Claim,
        refund: Refund,
        lease: KeepLease | ReleaseLease,
        attempt: Attempt | None,
        decided: Mapping[str, str] = _BY_POLICY,
    ) -> RefundOpening:
        attempts = () if attempt is None else (attempt,)
        facts = {"refund": refund.id, "amount": refund.amount, **decided}
        return RefundOpening(
            claim=claim,
            refund=refund,
            attempt=attempt,
            lease=lease,
            events=(self.commit_builder.event("refund.processing", refund, attempts),),
            timeline=(self.commit_builder.entry("refund_created", facts),),
        )

    def _refund(
        self,
        case: PaymentCase,
        debit: Attempt,
        amount: int,
        reason: str | None,
        *,
        identity: str,
        surplus: bool,
    ) -> Refund:
        now = self.clock.now()
        capability = self.attempts.rails[debit.rail].capabilities.operations[Operation.REFUND]
        return Refund(
            id=self.identities.new("re"),
            merchant_id=case.payment.merchant_id,
            livemode=case.payment.livemode,
            payment_id=case.payment.id,
            attempt_id=debit.id,
            amount=amount,
            currency=case.payment.currency,
            created_at=now,
            updated_at=now,
            rail=debit.rail,
            reason=reason,
            surplus=surplus,
            exclusive=not capability.dedup_by_reference,
            identity=identity,
        )


def debit_of(case: PaymentCase) -> Attempt:
    """The debit that a succeeded payment stands for: the one that paid it, whatever came later."""
    came = [attempt for attempt in case.attempts if attempt.amount_received > 0]
    if case.payment.paid_by is not None:
        return next(attempt for attempt in came if attempt.id == case.payment.paid_by)
    # Payments of former versions do not say which debit it was.
    return next((a for a in came if a.state is AttemptState.SUCCEEDED), came[0])


def surplus_debits(case: PaymentCase) -> Sequence[Attempt]:
    """The debits of an ended payment that it does not stand for."""
    own = debit_of(case) if case.payment.status is PaymentStatus.SUCCEEDED else None
    return [attempt for attempt in case.attempts if attempt.amount_received > 0 and attempt is not own]
