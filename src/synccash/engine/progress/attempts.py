"""Prepares attempts: routes a payment, derives the reference, and writes the order that a rail is sent."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from synccash.engine.commit_builder import Case, order_of
from synccash.engine.dispatch.router import Router, operation_of, wallet_of
from synccash.engine.ports import AccountRail
from synccash.payments.attempt import ADOPTED, Attempt, AttemptState
from synccash.payments.case import Order, PaymentCase, PayoutCase, RefundCase
from synccash.payments.failure import FailureCode
from synccash.payments.lifecycle import Routed
from synccash.payments.payment import Payment, Refund, StatusDetail
from synccash.payments.payout import Payee
from synccash.payments.ports import Clock, Identities
from synccash.payments.rail import (
    AttemptDetails,
    CallbackAddress,
    InquiryPriority,
    Operation,
    RailAccount,
    SendOrder,
)
from synccash.payments.references import OrderIdentity, ReferenceKey
from synccash.payments.routing import Route
from synccash.resilience.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Attempts:
    """Makes new attempts and the orders that go out for them."""

    rails: Mapping[str, AccountRail]
    router: Router
    clock: Clock
    identities: Identities
    references: ReferenceKey
    public_url: str

    def route(self, order: Routed, spent: frozenset[str] = frozenset()) -> Route:
        """Choose a rail for the payment or payout, leaving out those in `spent`."""
        return self.router.route(order, spent)

    def first(self, order: Routed, rail: str, *, sequence: int = 1) -> Attempt:
        """A prepared attempt at the payment or payout over `rail`."""
        return self._prepared(order, identity_of(order), self.rails[rail].account, sequence)

    def refunding(self, refund: Refund, payment: Payment, debit: Attempt, *, sequence: int) -> Attempt:
        """A prepared attempt to give money back, at the account through which it came, with the present
        credentials of its business where there are any."""
        account = self.rails[debit.rail].account if self.at_present_account(debit) else debit.account
        return self._prepared(refund, refund_identity(refund, payment), account, sequence)

    def lost(self, case: Case, rail: str, sequence: int) -> Attempt:
        """The attempt that the order must have had at `rail` as number `sequence`, if it had it at all: sent,
        with an outcome that the ledger does not know."""
        if isinstance(case, RefundCase):
            prepared = self.refunding(case.refund, case.payment, case.debit, sequence=sequence)
        else:
            prepared = self.first(routed_of(case), rail, sequence=sequence)
        return replace(
            prepared,
            state=AttemptState.UNKNOWN,
            evidence=Evidence.AMBIGUOUS,
            quiet_since=self.clock.now(),
            retry_decision=ADOPTED,
        )

    def next_for(self, case: Case, rail: str | None = None) -> Attempt:
        """The attempt after the last one of the case."""
        sequence = case.next_sequence
        if isinstance(case, RefundCase):
            return self.refunding(case.refund, case.payment, case.debit, sequence=sequence)
        assert rail is not None, "only a refund knows its rail by itself"
        return self.first(routed_of(case), rail, sequence=sequence)

    def _prepared(
        self, order: Order, identity: OrderIdentity, account: RailAccount, sequence: int
    ) -> Attempt:
        return Attempt(
            id=self.identities.new("att"),
            order_id=order.id,
            sequence=sequence,
            operation=identity.operation,
            account=account,
            reference=self.references.derive(identity, sequence),
            reference_key=self.references.id,
            callback_token=self.identities.token(),
            amount=order.amount,
            opened_fence=order.fence,
            started_at=self.clock.now(),
        )

    def order_for(self, case: Case, attempt: Attempt) -> SendOrder:
        """All that the connector needs to send the attempt."""
        named = case.payout if isinstance(case, PayoutCase) else case.payment
        wallet = wallet_of(named)
        rail = self.rails[attempt.rail]
        callback = rail.capabilities.callback_address is CallbackAddress.PER_REQUEST
        debit = case.debit if isinstance(case, RefundCase) else None
        return SendOrder(
            operation=attempt.operation,
            account=attempt.account,
            reference=attempt.reference,
            amount=attempt.amount,
            currency=order_of(case).currency,
            msisdn=wallet.msisdn.digits,
            network=wallet.likely_network,
            name=wallet.name if isinstance(wallet, Payee) else None,
            note=named.description or named.reference,
            merchant_reference=named.reference,
            callback_url=self._callback_url(attempt) if callback else None,
            original_reference=debit.reference if debit else None,
            original_transaction_id=debit.provider_transaction_id if debit else None,
            livemode=order_of(case).livemode,
        )

    def traces_of(self, case: Case, attempt: Attempt) -> AttemptDetails:
        """What else is known of an attempt, for rails that look things up by it."""
        debit = case.debit if isinstance(case, RefundCase) else None
        return AttemptDetails(
            amount=attempt.amount,
            msisdn=wallet_of(case.payout if isinstance(case, PayoutCase) else case.payment).msisdn.digits,
            transaction_id=attempt.provider_transaction_id,
            original_reference=debit.reference if debit else None,
            original_transaction_id=debit.provider_transaction_id if debit else None,
            password_untold=is_password_untold(case, attempt),
            priority=_priority(case, attempt),
        )

    def barred(self, case: PaymentCase | PayoutCase) -> frozenset[str]:
        """The rails not to try now: those of `spent_rails`, and, for an order that was opened before the
        latest recovery ended, those that would execute a lost reference once more."""
        return spent_rails(case) | self._unsafe_rails(case)

    def _unsafe_rails(self, case: PaymentCase | PayoutCase) -> frozenset[str]:
        if not case.restored:
            return frozenset()
        operation = operation_of(routed_of(case))
        promises = ((name, rail.capabilities.operations.get(operation)) for name, rail in self.rails.items())
        return frozenset(name for name, able in promises if able is not None and not able.dedup_by_reference)

    def needs_a_human(self, case: PaymentCase | PayoutCase) -> bool:
        """True where only a rail without deduplication is left for an order of before a recovery."""
        unsafe = self._unsafe_rails(case) - spent_rails(case)
        # Looked at without `route`, which uses a probe up.
        return bool(unsafe) and self.router.elsewhere(routed_of(case), spent_rails(case)) in unsafe

    def at_present_account(self, attempt: Attempt) -> bool:
        """True when the attempt's account is the one that its rail is set up with now, also with another key
        of the same business."""
        return self.rails[attempt.rail].serves(attempt.account)

    def _callback_url(self, attempt: Attempt) -> str:
        return f"{self.public_url}/api/v1/callbacks/{attempt.rail}/{attempt.callback_token}"


def identity_of(order: Routed) -> OrderIdentity:
    """What names a payment or payout for ever: the merchant's own reference."""
    return OrderIdentity(
        merchant_id=order.merchant_id,
        livemode=order.livemode,
        operation=operation_of(order),
        names=(order.reference,),
    )


def refund_identity(refund: Refund, payment: Payment) -> OrderIdentity:
    """What names a refund for ever. A row of a former version is named by its id."""
    return OrderIdentity(
        merchant_id=payment.merchant_id,
        livemode=payment.livemode,
        operation=Operation.REFUND,
        names=(payment.reference, refund.identity or f"id:{refund.id}"),
    )


def is_password_untold(case: Case, attempt: Attempt) -> bool:
    """True when a password was handed over for the attempt, and nobody knows what became of it: of what a
    rail has acknowledged nothing else is unknown."""
    unknown = order_of(case).status_detail is StatusDetail.OUTCOME_UNKNOWN
    return isinstance(case, PaymentCase) and unknown and attempt.state is AttemptState.ACKNOWLEDGED


def _priority(case: Case, attempt: Attempt) -> InquiryPriority:
    if case.hinted:
        return InquiryPriority.HINTED
    return InquiryPriority.LOOK_BACK if attempt.state.is_final else InquiryPriority.SCHEDULED


def routed_of(case: PaymentCase | PayoutCase) -> Routed:
    """The order of a case that is routed: a refund's rail is given by its debit."""
    return case.payment if isinstance(case, PaymentCase) else case.payout


def closed_attempts(case: Case) -> tuple[Attempt, ...]:
    """The attempts that were closed and of which no money is known."""
    return tuple(a for a in case.attempts if a.state.is_dead and not a.money_moved)


def spent_rails(case: Case) -> frozenset[str]:
    """The rails not to try now: those that refused for good, and those that this holder has just tried. A
    float that was too low may have been filled up."""
    fence = order_of(case).fence
    return frozenset(
        attempt.rail
        for attempt in case.attempts
        if (attempt.state is AttemptState.DECLINED and not is_short_of_float(attempt))
        or (attempt.state.is_dead and attempt.opened_fence == fence)
    )


def is_short_of_float(attempt: Attempt) -> bool:
    """True for a payout's attempt that its rail refused since our own account there holds too little."""
    short = attempt.failure is not None and attempt.failure.code is FailureCode.FLOAT_TOO_LOW
    return attempt.operation is Operation.PAYOUT and attempt.state is AttemptState.DECLINED and short
