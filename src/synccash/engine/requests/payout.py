"""Opens payouts: money sent to a wallet, with the same attempts, evidence and inquiries as a collection."""

from dataclasses import dataclass, replace
from datetime import timedelta

from synccash.engine.commit_builder import CommitBuilder
from synccash.engine.ports import OrderStore
from synccash.engine.progress.order_worker import OrderWorker
from synccash.engine.requests.first_commits import FirstCommits
from synccash.engine.requests.replies import Replies
from synccash.payments.case import (
    AlreadyClaimed,
    Claim,
    NotCovered,
    Opened,
    PayoutCase,
    PayoutOpening,
    ReferenceTaken,
    SendsHeld,
    Suspended,
)
from synccash.payments.errors import (
    InsufficientBalanceError,
    InternalError,
    MerchantSuspendedError,
    NoRailForModeError,
    ReferenceAlreadyUsedError,
)
from synccash.payments.payer_networks import PayerNetworks
from synccash.payments.payout import Payout
from synccash.payments.ports import Clock, Identities
from synccash.payments.request import PayoutRequest, Reply


@dataclass(frozen=True, slots=True)
class PayoutRequests:
    """Opens payouts."""

    order_store: OrderStore
    first: FirstCommits
    order_worker: OrderWorker
    replies: Replies
    commit_builder: CommitBuilder
    clock: Clock
    identities: Identities
    networks: PayerNetworks

    async def pay_out(self, request_data: PayoutRequest, idempotency_key: Claim) -> Reply:
        """Send money once, however often this is called with the same key and data. The merchant's reference
        is a second protection against duplicates: it is valid for one payout only, permanently.

        Raises KeyReusedError, KeyInProgressError, ReferenceAlreadyUsedError, NoRailForModeError,
        InsufficientBalanceError, MerchantSuspendedError, StoreUnavailableError.
        """
        payout = self._payout(request_data)
        if self.first.is_of_wrong_mode(payout):
            return await self.replies.repeat_or_refuse(
                idempotency_key, NoRailForModeError(livemode=payout.livemode)
            )
        opening = self._opening(payout, idempotency_key)
        leased_at = self.clock.monotonic()
        opened = await self.order_store.open_payout(opening)
        if not isinstance(opened, Opened | AlreadyClaimed):
            self.first.not_opened(payout)
        match opened:
            case SendsHeld():
                self.first.recovery.sends_held()
                return await self.pay_out(request_data, idempotency_key)
            case AlreadyClaimed():
                return self.replies.repeat(opened, idempotency_key)
            case ReferenceTaken():
                raise ReferenceAlreadyUsedError("payout", opened.order_id)
            case Suspended():
                raise MerchantSuspendedError
            case NotCovered():
                raise InsufficientBalanceError(available=opened.available, needed=opened.needed)
            case Opened():
                if opening.answer is not None:
                    return Reply(opening.answer.status, opening.answer.body)
                if not isinstance(opened.case, PayoutCase):
                    raise InternalError(f"the order store opened another order in place of {payout.id}")
                attempt = opened.case.live
                work = (
                    self.order_worker.screen(opened.case)
                    if attempt is None
                    else self.order_worker.send(opened.case, attempt, leased_at=leased_at)
                )
                return await self.replies.first(opened.case, work)

    def _opening(self, payout: Payout, claim: Claim) -> PayoutOpening:
        first = self.first.assessed(payout)
        events = first.events
        if first.answer is None:
            attempts = () if first.attempt is None else (first.attempt,)
            events = (self.commit_builder.event("payout.processing", first.order, attempts),)
        return PayoutOpening(
            claim=claim,
            payout=first.order,
            attempt=first.attempt,
            lease=first.lease,
            answer=first.answer,
            events=events,
            timeline=first.timeline,
        )

    def _payout(self, request: PayoutRequest) -> Payout:
        now, payee = self.clock.now(), request.payee
        if payee.network is None:
            payee = replace(payee, network=self.networks.recall(request.tenant, payee.msisdn))
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
        )
