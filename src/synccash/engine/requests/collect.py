"""Opens payments for merchants' requests, and cancels them. A send runs on when its request is cancelled."""

from dataclasses import dataclass, replace
from datetime import timedelta

from synccash.engine.commit_builder import CommitBuilder, render
from synccash.engine.ports import OrderStore
from synccash.engine.progress.order_worker import OrderWorker
from synccash.engine.requests.first_commits import FirstCommit, FirstCommits
from synccash.engine.requests.replies import Replies
from synccash.payments import lifecycle
from synccash.payments.case import (
    AlreadyClaimed,
    Claim,
    Opened,
    Opening,
    PaymentCase,
    ReferenceTaken,
    SendsHeld,
    Suspended,
)
from synccash.payments.errors import (
    MerchantSuspendedError,
    NoRailForModeError,
    ObjectNotFoundError,
    PaymentInFlightError,
    ReferenceAlreadyUsedError,
    StateConflictError,
)
from synccash.payments.payer import Payer
from synccash.payments.payer_networks import PayerNetworks
from synccash.payments.payment import Payment, PaymentStatus
from synccash.payments.ports import Clock, Identities
from synccash.payments.request import PaymentRequest, Reply, Tenant


@dataclass(frozen=True, slots=True)
class PaymentRequests:
    """Opens and cancels payments."""

    order_store: OrderStore
    first: FirstCommits
    order_worker: OrderWorker
    replies: Replies
    commit_builder: CommitBuilder
    clock: Clock
    identities: Identities
    networks: PayerNetworks

    async def initiate_payment(self, request_data: PaymentRequest, idempotency_key: Claim) -> Reply:
        """Collect money once, however often this is called with the same key and data.

        Raises KeyReusedError, KeyInProgressError, ReferenceAlreadyUsedError, NoRailForModeError,
        MerchantSuspendedError, StoreUnavailableError.
        """
        payment = self._payment(request_data)
        if self.first.is_of_wrong_mode(payment):
            return await self.replies.repeat_or_refuse(
                idempotency_key, NoRailForModeError(livemode=payment.livemode)
            )
        opening = _opening(idempotency_key, self.first.assessed(payment))
        leased_at = self.clock.monotonic()
        opened = await self.order_store.open_payment(opening)
        if not isinstance(opened, Opened | AlreadyClaimed):
            self.first.not_opened(payment)
        match opened:
            case SendsHeld():
                self.first.recovery.sends_held()
                return await self.initiate_payment(request_data, idempotency_key)
            case AlreadyClaimed():
                return self.replies.repeat(opened, idempotency_key)
            case ReferenceTaken():
                raise ReferenceAlreadyUsedError("payment", opened.order_id)
            case Suspended():
                raise MerchantSuspendedError
            case Opened():
                if opening.answer is not None:
                    return Reply(opening.answer.status, opening.answer.body)
                attempt = opened.case.live
                work = (
                    self.order_worker.screen(opened.case)
                    if attempt is None
                    else self.order_worker.send(opened.case, attempt, leased_at=leased_at)
                )
                return await self.replies.first(opened.case, work)

    def _payment(self, request: PaymentRequest) -> Payment:
        now = self.clock.now()
        return Payment(
            id=self.identities.new("pay"),
            merchant_id=request.tenant.merchant_id,
            livemode=request.tenant.livemode,
            reference=request.reference,
            amount=request.amount,
            currency=request.currency,
            payer=self._payer(request),
            created_at=now,
            updated_at=now,
            expires_at=now + timedelta(seconds=request.expires_in_s),
            pinned_rail=request.rail,
            description=request.description,
            metadata=request.metadata,
        )

    def _payer(self, request: PaymentRequest) -> Payer:
        """Return the payer. When the request names no network, it is the one that earlier payments from this
        wallet proved. It is stored with the payment, so every send of one reference is the same."""
        payer = request.payer
        if payer.network is not None:
            return payer
        return replace(payer, network=self.networks.recall(request.tenant, payer.msisdn))

    async def cancel_payment(self, tenant: Tenant, payment_id: str) -> bytes:
        """Cancel a payment while none of its attempts can move money, and return it as JSON.

        Raises ObjectNotFoundError, PaymentInFlightError once money may have moved, StateConflictError when
        the payment has already ended in another way.
        """
        while True:
            case = await self.order_store.payment(payment_id)
            if case is None or not belongs(case, tenant):
                raise ObjectNotFoundError("payment", payment_id)
            if case.payment.status is PaymentStatus.CANCELED:
                return render(case.payment, case.attempts)
            if case.payment.status.is_final:
                raise StateConflictError(f"the payment has already {case.payment.status.value}")
            is_closed = all(attempt.state.is_dead for attempt in case.attempts)
            if case.money_moved or not case.may_send or not is_closed:
                raise PaymentInFlightError(payment_id)
            # Raise the fence, so that a worker that has just leased the payment can no longer commit.
            order = replace(
                lifecycle.canceled(case.payment, now=self.clock.now()), fence=case.payment.fence + 1
            )
            lease = self.order_worker.timing.release_ended(case)
            timeline = (self.commit_builder.entry("canceled"),)
            commit = self.commit_builder.commit(
                case, order, lease=lease, timeline=timeline, outside_recovery=True
            )
            if await self.order_store.record(commit):
                return render(order, case.attempts)


def _opening(claim: Claim, first: FirstCommit[Payment]) -> Opening:
    return Opening(
        claim=claim,
        payment=first.order,
        attempt=first.attempt,
        lease=first.lease,
        answer=first.answer,
        events=first.events,
        timeline=first.timeline,
    )


def belongs(case: PaymentCase, tenant: Tenant) -> bool:
    """True when the payment is this merchant's, in this mode."""
    return (case.payment.merchant_id, case.payment.livemode) == (tenant.merchant_id, tenant.livemode)
