"""Builds the opening commit of a refund: one that a merchant requests, or one of a surplus."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from types import MappingProxyType

from synccash.engine.commit_builder import CommitBuilder
from synccash.engine.progress.attempts import Attempts
from synccash.engine.settings import EngineSettings
from synccash.payments import lifecycle
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import SURPLUS_SCOPE, Claim, KeepLease, Opening, PaymentCase, ReleaseLease
from synccash.payments.payment import PaymentStatus, Refund
from synccash.payments.ports import Clock, Identities
from synccash.payments.rail import Operation
from synccash.payments.request import UNKNOWN_ORIGIN, Origin

_BY_POLICY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RefundOpenings:
    """Builds the openings of refunds."""

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
        origin: Origin = UNKNOWN_ORIGIN,
    ) -> Opening[Refund]:
        """Return the opening of a refund of `amount` pesewas of a debit. It keeps the lease, so that the
        caller can send it. `held`: it has no attempt and releases the lease; a worker sends it when the
        recovery that is under way has ended."""
        refund = self._refund(
            case, debit, amount, reason, identity=f"key:{claim.key}", surplus=False, origin=origin
        )
        if held:
            queued = lifecycle.queued(refund, now=self.clock.now())
            return self._opening(
                claim, replace(queued, version=1), ReleaseLease(self.settings.queue_retry_s), None
            )
        attempt = self.attempts.refunding(refund, case.order, debit, sequence=1)
        return self._opening(claim, refund, KeepLease(self.settings.lease_s), attempt)

    def of_surplus(
        self,
        case: PaymentCase,
        debit: Attempt,
        decided: Mapping[str, str] = _BY_POLICY,
        *,
        failed: int = 0,
        origin: Origin = UNKNOWN_ORIGIN,
    ) -> Opening[Refund]:
        """Return the opening of a refund of a whole surplus debit; a worker sends it.

        The claim's key is derived from the debit, so the debit is refunded only once. `decided`: the operator
        and the reason, where an operator requested it. `failed`: the number of refunds of this debit that
        have failed for good; only an operator can request another.
        """
        key = debit.id if failed == 0 else f"{debit.id} after {failed}"
        claim = Claim(SURPLUS_SCOPE, key, sha256(key.encode()).digest())
        identity = f"surplus:{debit.reference}:{failed}"
        amount = debit.amount_received
        refund = self._refund(case, debit, amount, "surplus", identity=identity, surplus=True, origin=origin)
        return self._opening(claim, refund, ReleaseLease(0.0), None, decided)

    def _opening(
        self,
        claim: Claim,
        refund: Refund,
        lease: KeepLease | ReleaseLease,
        attempt: Attempt | None,
        decided: Mapping[str, str] = _BY_POLICY,
    ) -> Opening[Refund]:
        attempts = () if attempt is None else (attempt,)
        facts = {"refund": refund.id, "amount": refund.amount, **decided}
        return Opening(
            claim=claim,
            order=refund,
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
        origin: Origin,
    ) -> Refund:
        now = self.clock.now()
        capability = self.attempts.rails[debit.rail].capabilities.operations[Operation.REFUND]
        return Refund(
            id=self.identities.new("re"),
            merchant_id=case.order.merchant_id,
            livemode=case.order.livemode,
            payment_id=case.order.id,
            attempt_id=debit.id,
            amount=amount,
            currency=case.order.currency,
            created_at=now,
            updated_at=now,
            rail=debit.rail,
            reason=reason,
            surplus=surplus,
            exclusive=not capability.dedup_by_reference,
            identity=identity,
            api_key_id=origin.api_key_id,
            request_id=origin.request_id,
        )


def debit_of(case: PaymentCase) -> Attempt:
    """Return the debit that paid a succeeded payment, whatever arrived later."""
    received = [attempt for attempt in case.attempts if attempt.amount_received > 0]
    if case.order.paid_by is not None:
        return next(attempt for attempt in received if attempt.id == case.order.paid_by)
    # Payments of former versions do not record which debit paid them.
    return next((a for a in received if a.state is AttemptState.SUCCEEDED), received[0])


def surplus_debits(case: PaymentCase) -> Sequence[Attempt]:
    """Return the debits of an ended payment except the one that paid it."""
    paid = debit_of(case) if case.order.status is PaymentStatus.SUCCEEDED else None
    return [attempt for attempt in case.attempts if attempt.amount_received > 0 and attempt is not paid]
