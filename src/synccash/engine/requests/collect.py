"""Opens payments for merchants' requests, and cancels them."""

from dataclasses import dataclass, replace
from datetime import timedelta

from synccash.engine.commit_builder import CommitBuilder, render
from synccash.engine.ports import OrderStore
from synccash.engine.progress.attempt_timing import AttemptTiming
from synccash.engine.requests.openings import RoutedOpenings
from synccash.payments import lifecycle
from synccash.payments.case import Claim, PaymentCase
from synccash.payments.errors import ObjectNotFoundError, PaymentInFlightError, StateConflictError
from synccash.payments.payer import Payer
from synccash.payments.payer_networks import PayerNetworks
from synccash.payments.payment import Payment, PaymentStatus
from synccash.payments.ports import Clock, Identities
from synccash.payments.request import PaymentRequest, Reply, Tenant


@dataclass(frozen=True, slots=True)
class PaymentRequests:
    """Opens and cancels payments."""

    order_store: OrderStore
    openings: RoutedOpenings
    commit_builder: CommitBuilder
    timing: AttemptTiming
    clock: Clock
    identities: Identities
    networks: PayerNetworks

    async def initiate_payment(self, request_data: PaymentRequest, idempotency_key: Claim) -> Reply:
        """Collect money once, however often this is called with the same key and data.

        Raises KeyReusedError, KeyInProgressError, ReferenceAlreadyUsedError, NoRailForModeError,
        MerchantSuspendedError, StoreUnavailableError.
        """
        return await self.openings.open(lambda: self._payment(request_data), idempotency_key)

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
            api_key_id=request.origin.api_key_id,
            request_id=request.origin.request_id,
        )

    def _payer(self, request: PaymentRequest) -> Payer:
        """Return the payer. When the request names no network, it is the one that earlier payments from this
        wallet proved. It is stored with the payment, so every send of one reference is the same."""
        payer = request.payer
        if payer.network is not None:
            return payer
        return replace(payer, network=self.networks.network_of(request.tenant, payer.msisdn))

    async def cancel_payment(self, tenant: Tenant, payment_id: str) -> bytes:
        """Cancel a payment while none of its attempts can move money, and return it as JSON.

        Raises ObjectNotFoundError, PaymentInFlightError once money may have moved, StateConflictError when
        the payment has already ended in another way.
        """
        while True:
            case = await self.order_store.payment(payment_id)
            if case is None or not belongs(case, tenant):
                raise ObjectNotFoundError("payment", payment_id)
            if case.order.status is PaymentStatus.CANCELED:
                return render(case.order, case.attempts)
            if case.order.status.is_final:
                raise StateConflictError(f"the payment has already {case.order.status.value}")
            is_closed = all(attempt.state.is_dead for attempt in case.attempts)
            if case.money_moved or not case.may_send or not is_closed:
                raise PaymentInFlightError(payment_id)
            # Raise the fence, so that a worker that has just leased the payment can no longer commit.
            order = replace(lifecycle.canceled(case.order, now=self.clock.now()), fence=case.order.fence + 1)
            lease = self.timing.release_ended(case)
            timeline = (self.commit_builder.entry("canceled"),)
            commit = self.commit_builder.commit(
                case, order, lease=lease, timeline=timeline, refuse_in_recovery=True
            )
            if await self.order_store.record(commit):
                return render(order, case.attempts)


def belongs(case: PaymentCase, tenant: Tenant) -> bool:
    """True when the payment is this merchant's, in this mode."""
    return (case.order.merchant_id, case.order.livemode) == (tenant.merchant_id, tenant.livemode)
