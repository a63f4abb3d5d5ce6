"""Opens payouts: money sent to a wallet, with the same attempts, evidence and inquiries as a collection."""

from dataclasses import dataclass, replace
from datetime import timedelta

from synccash.engine.requests.openings import RoutedOpenings
from synccash.payments.case import Claim
from synccash.payments.payer_networks import PayerNetworks
from synccash.payments.payout import Payout
from synccash.payments.ports import Clock, Identities
from synccash.payments.request import PayoutRequest, Reply


@dataclass(frozen=True, slots=True)
class PayoutRequests:
    """Opens payouts."""

    openings: RoutedOpenings
    clock: Clock
    identities: Identities
    networks: PayerNetworks

    async def pay_out(self, request_data: PayoutRequest, idempotency_key: Claim) -> Reply:
        """Send money once, however often this is called with the same key and data. The merchant's reference
        is a second protection against duplicates: it is valid for one payout only, permanently.

        Raises KeyReusedError, KeyInProgressError, ReferenceAlreadyUsedError, NoRailForModeError,
        InsufficientBalanceError, MerchantSuspendedError, StoreUnavailableError.
        """
        return await self.openings.open(lambda: self._payout(request_data), idempotency_key)

    def _payout(self, request: PayoutRequest) -> Payout:
        now, payee = self.clock.now(), request.payee
        if payee.network is None:
            payee = replace(payee, network=self.networks.network_of(request.tenant, payee.msisdn))
        return Payout(
            id=self.identities.new("po"),
            merchant_id=request.tenant.merchant_id,
            livemode=request.tenant.livemode,
            reference=request.reference,
            amount=request.amount,
            currency=request.currency,
            payee=payee,
            created_at=now,
            updated_at=now,
            expires_at=now + timedelta(seconds=request.expires_in_s),
            pinned_rail=request.rail,
            description=request.description,
            metadata=request.metadata,
            api_key_id=request.origin.api_key_id,
            request_id=request.origin.request_id,
        )
