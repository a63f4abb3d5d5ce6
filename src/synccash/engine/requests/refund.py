"""Opens refunds for merchants and operators. The amount is reserved before anything is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from synccash.engine.ports import OrderStore
from synccash.engine.progress.attempts import Attempts
from synccash.engine.progress.order_worker import OrderWorker
from synccash.engine.progress.refund_openings import RefundOpenings, debit_of, surplus_debits
from synccash.engine.recovery_watch import RecoveryWatch
from synccash.engine.requests.collect import belongs
from synccash.engine.requests.openings import ONE_REFUND_AT_A_TIME, refusal_of
from synccash.engine.requests.replies import Replies
from synccash.payments.attempt import Attempt
from synccash.payments.case import (
    AlreadyClaimed,
    Claim,
    NotRefundable,
    Opened,
    Opening,
    PaymentCase,
    ReferenceTaken,
    RefundCase,
    SendsHeld,
)
from synccash.payments.errors import InternalError, ObjectNotFoundError, StateConflictError
from synccash.payments.payment import PaymentStatus, Refund, RefundStatus
from synccash.payments.ports import Clock
from synccash.payments.rail import Operation
from synccash.payments.request import UNKNOWN_ORIGIN, Origin, RefundRequest, Reply


@dataclass(frozen=True, slots=True)
class RefundRequests:
    """Opens refunds."""

    order_store: OrderStore
    attempts: Attempts
    order_worker: OrderWorker
    replies: Replies
    refunds: RefundOpenings
    clock: Clock
    recovery: RecoveryWatch

    async def refund_payment(self, request: RefundRequest, idempotency_key: Claim) -> Reply:
        """Refund a payment once, however often this is called with the same key and data.

        Raises ObjectNotFoundError, StateConflictError, ReferenceAlreadyUsedError, KeyReusedError,
        KeyInProgressError, InsufficientBalanceError, MerchantSuspendedError, StoreUnavailableError.
        """
        claimed = await self.order_store.claimed(idempotency_key.scope, idempotency_key.key)
        if claimed is not None:
            # A repeat gets the first response, even when nothing is left to refund by now.
            return self.replies.repeat(claimed, idempotency_key)
        case = await self.order_store.payment(request.payment_id)
        if case is None or not belongs(case, request.tenant):
            raise ObjectNotFoundError("payment", request.payment_id)
        opening = self._opening(case, request, idempotency_key)
        leased_at = self.clock.monotonic()
        result = await self.order_store.open(opening)
        match result:
            case SendsHeld():
                self.recovery.sends_held()
                return await self.refund_payment(request, idempotency_key)
            case AlreadyClaimed():
                return self.replies.repeat(result, idempotency_key)
            case Opened():
                attempt = result.case.live
                if attempt is None:
                    return await self.replies.held(result.case)
                sending = self.order_worker.send(result.case, attempt, leased_at=leased_at)
                return await self.replies.first(result.case, sending)
            case _:
                raise refusal_of(result, opening.order)

    async def return_surplus(
        self, payment_id: str, *, by: str, reason: str, origin: Origin = UNKNOWN_ORIGIN
    ) -> Sequence[RefundCase]:
        """Refund every surplus debit of the payment, each once, however often this is called.

        Returns the refunds, including those of former calls; where one has failed, opens another. A worker
        sends them. Raises ObjectNotFoundError, StateConflictError when there is no surplus or its rail cannot
        refund it, StoreUnavailableError.
        """
        case = await self.order_store.payment(payment_id)
        if case is None:
            raise ObjectNotFoundError("payment", payment_id)
        debits = surplus_debits(case) if case.order.status.is_final else ()
        if not debits:
            raise StateConflictError("this payment has no surplus to return, or it has not ended yet")
        for debit in debits:
            self._check_refundable(debit)
        decided = {"by": by, "reason": reason}
        return [await self._returned(case, debit, decided, origin) for debit in debits]

    async def _returned(
        self, case: PaymentCase, debit: Attempt, decided: Mapping[str, str], origin: Origin
    ) -> RefundCase:
        for failed in count():
            result = await self.order_store.open(
                self.refunds.of_surplus(case, debit, decided, failed=failed, origin=origin)
            )
            match result:
                case Opened(case=RefundCase() as made):
                    return made
                case AlreadyClaimed(order_id=refund_id) | ReferenceTaken(order_id=refund_id):
                    found = await self.order_store.refund(refund_id)
                    if found is None:
                        raise InternalError(f"the claim of a surplus names {refund_id}, which does not exist")
                    if found.order.status is not RefundStatus.FAILED or _has_moved_money(found):
                        return found
                case NotRefundable(under_way=True):
                    raise StateConflictError(ONE_REFUND_AT_A_TIME)
                case _:
                    raise StateConflictError("this debit has already been refunded, in part or in whole")
        raise InternalError("an endless count has ended")

    def _opening(self, case: PaymentCase, request: RefundRequest, claim: Claim) -> Opening[Refund]:
        debit = self._debit(case)
        left = debit.amount_received - debit.refund_reserved
        amount = left if request.amount is None else request.amount
        if amount < 1:
            raise StateConflictError("nothing of this payment is left to refund")
        # After a recovery, a repeated refund may already have been sent before it.
        held = self.recovery.known.active or case.restored
        return self.refunds.opening(
            case, debit, amount, claim, reason=request.reason, held=held, origin=request.origin
        )

    def _debit(self, case: PaymentCase) -> Attempt:
        if case.order.status is not PaymentStatus.SUCCEEDED:
            raise StateConflictError(
                f"only a succeeded payment can be refunded; this one is {case.order.status.value}"
            )
        if case.order.payer.msisdn.is_erased:
            raise StateConflictError(
                "the personal data of this payment was erased, so there is no number to refund it to"
            )
        debit = debit_of(case)
        self._check_refundable(debit)
        return debit

    def _check_refundable(self, debit: Attempt) -> None:
        if debit.reversed_at is not None:
            raise StateConflictError(
                f"the rail {debit.rail} has reversed this debit itself, so there is nothing to refund"
            )
        if debit.rail not in self.attempts.rails:
            raise StateConflictError(
                f"the rail {debit.rail} is not configured any more; configure it again to refund"
            )
        if Operation.REFUND not in self.attempts.rails[debit.rail].capabilities.operations:
            raise StateConflictError(
                f"the rail {debit.rail} does not support refunds; pay the payer back in another way"
            )


def _has_moved_money(case: RefundCase) -> bool:
    """True when the rail has sent the refund's money although it reported the refund as failed."""
    return any(attempt.amount_received for attempt in case.attempts)
