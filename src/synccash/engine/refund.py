"""Refunds: money on its way back, reserved before anything is sent."""

from dataclasses import dataclass

from synccash.engine.attempts import Attempts
from synccash.engine.collect import belongs
from synccash.engine.driver import Driver
from synccash.engine.ports import Clock, Identities, Ledger
from synccash.engine.replies import Replies
from synccash.engine.scribe import Scribe
from synccash.engine.settings import EngineSettings
from synccash.payments.attempt import Attempt
from synccash.payments.case import (
    AlreadyClaimed,
    Claim,
    Keep,
    NotRefundable,
    Opened,
    PaymentCase,
    RefundOpening,
)
from synccash.payments.errors import ObjectNotFoundError, StateConflictError
from synccash.payments.payment import PaymentStatus, Refund
from synccash.payments.rail import Operation
from synccash.payments.request import RefundRequest, Reply


@dataclass(frozen=True, slots=True)
class Refunding:
    """Opens refunds."""

    ledger: Ledger
    attempts: Attempts
    driver: Driver
    replies: Replies
    scribe: Scribe
    clock: Clock
    identities: Identities
    settings: EngineSettings

    async def refund_payment(self, request: RefundRequest, idempotency_key: Claim) -> Reply:
        """Give money back once. Raises ObjectNotFoundError, StateConflictError, KeyReusedError,
        KeyInProgressError, StoreUnavailableError."""
        standing = await self.ledger.claimed(idempotency_key.scope, idempotency_key.key)
        if standing is not None:
            # A repeat is answered as it was first, even when nothing is left to refund by now.
            return self.replies.repeat(standing, idempotency_key)
        case = await self.ledger.payment(request.payment_id)
        if case is None or not belongs(case, request.tenant):
            raise ObjectNotFoundError("payment", request.payment_id)
        opened = await self.ledger.open_refund(self._opening(case, request, idempotency_key))
        match opened:
            case AlreadyClaimed():
                return self.replies.repeat(opened, idempotency_key)
            case NotRefundable():
                raise StateConflictError(
                    f"only {opened.available} pesewas of this payment are left to refund"
                )
            case Opened():
                attempt = opened.case.live
                assert attempt is not None, "a refund opens with its attempt"
                return await self.replies.first(opened.case, self.driver.send(opened.case, attempt))

    def _opening(self, case: PaymentCase, request: RefundRequest, claim: Claim) -> RefundOpening:
        debit = self._debit(case)
        left = debit.amount_received - debit.refund_reserved
        amount = left if request.amount is None else request.amount
        if amount < 1:
            raise StateConflictError("nothing of this payment is left to refund")
        now = self.clock.now()
        refund = Refund(
            id=self.identities.new("re"),
            merchant_id=request.tenant.merchant_id,
            livemode=request.tenant.livemode,
            payment_id=case.payment.id,
            attempt_id=debit.id,
            amount=amount,
            currency=case.payment.currency,
            created_at=now,
            updated_at=now,
            rail=debit.rail,
            reason=request.reason,
        )
        attempt = self.attempts.refunding(refund, debit, sequence=1)
        return RefundOpening(
            claim=claim,
            refund=refund,
            attempt=attempt,
            hold=Keep(self.settings.lease_s),
            events=(self.scribe.event("refund.processing", refund, (attempt,)),),
            timeline=(self.scribe.entry("refund_created", {"refund": refund.id, "amount": amount}),),
        )

    def _debit(self, case: PaymentCase) -> Attempt:
        if case.payment.status is not PaymentStatus.SUCCEEDED:
            raise StateConflictError(
                f"only a succeeded payment can be refunded; this one is {case.payment.status.value}"
            )
        debit = next(attempt for attempt in case.attempts if attempt.amount_received > 0)
        rail = self.attempts.rails[debit.rail]
        if Operation.REFUND not in rail.capabilities.operations:
            raise StateConflictError(f"the rail {debit.rail} cannot refund; pay the payer back otherwise")
        return debit
