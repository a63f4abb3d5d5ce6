"""Prepares attempts: chooses the rail, derives the reference, and builds the order that the rail is sent."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from synccash.engine.dispatch.router import Router
from synccash.engine.ports import AccountRail
from synccash.payments.attempt import ADOPTED, Attempt, AttemptState
from synccash.payments.case import Case, Order, RefundCase, Routed, RoutedCase, requested, returned_debit
from synccash.payments.errors import InternalError
from synccash.payments.failure import FailureCode
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
    """Builds new attempts and the `SendOrder` that a connector needs to send one."""

    rails: Mapping[str, AccountRail]
    router: Router
    clock: Clock
    identities: Identities
    references: ReferenceKey
    public_url: str

    def route(self, order: Routed, excluded: frozenset[str] = frozenset()) -> Route:
        """Choose a rail for the payment or payout, leaving out those in `excluded`."""
        return self.router.route(order, excluded)

    def first(self, order: Routed, rail: str, *, sequence: int = 1) -> Attempt:
        """Return a prepared attempt at the payment or payout through `rail`."""
        return self._prepared(order, identity_of(order), self.rails[rail].account, sequence)

    def refunding(self, refund: Refund, payment: Payment, debit: Attempt, *, sequence: int) -> Attempt:
        """Return a prepared attempt to refund money at the account that collected it. It uses the rail's
        present credentials where they are of the same business."""
        account = self.rails[debit.rail].account if self.at_present_account(debit) else debit.account
        return self._prepared(refund, refund_identity(refund, payment), account, sequence)

    def as_if_lost_at(self, case: Case, rail: str, sequence: int) -> Attempt:
        """Return the attempt that the order would have had at `rail` as number `sequence` if the database
        has lost one there: sent, with an unknown outcome."""
        return replace(
            self._numbered(case, rail, sequence),
            state=AttemptState.UNKNOWN,
            evidence=Evidence.AMBIGUOUS,
            quiet_since=self.clock.now(),
            retry_decision=ADOPTED,
        )

    def next_for(self, case: Case, rail: str | None = None) -> Attempt:
        """Return a prepared attempt that follows the case's last one."""
        return self._numbered(case, rail, case.next_sequence)

    def _numbered(self, case: Case, rail: str | None, sequence: int) -> Attempt:
        if isinstance(case, RefundCase):
            return self.refunding(case.order, case.payment, case.debit, sequence=sequence)
        if rail is None:
            raise InternalError(f"no rail was chosen for the next attempt of {case.order.id}")
        return self.first(case.order, rail, sequence=sequence)

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
            callback_token=self.references.sign_token(self.identities.token()),
            amount=order.amount,
            opened_fence=order.fence,
            started_at=self.clock.now(),
        )

    def order_for(self, case: Case, attempt: Attempt) -> SendOrder:
        """Return all data that the connector needs to send the attempt."""
        named, debit = requested(case), returned_debit(case)
        wallet = named.wallet
        rail = self.rails[attempt.rail]
        callback = rail.capabilities.callback_address is CallbackAddress.PER_REQUEST
        return SendOrder(
            operation=attempt.operation,
            account=attempt.account,
            reference=attempt.reference,
            amount=attempt.amount,
            currency=case.order.currency,
            msisdn=wallet.msisdn.digits,
            network=wallet.likely_network,
            name=wallet.name if isinstance(wallet, Payee) else None,
            note=named.description or named.reference,
            merchant_reference=named.reference,
            callback_url=self._callback_url(attempt) if callback else None,
            original_reference=debit.reference if debit else None,
            original_transaction_id=debit.provider_transaction_id if debit else None,
            livemode=case.order.livemode,
            order_id=case.order.id,
        )

    def details_of(self, case: Case, attempt: Attempt) -> AttemptDetails:
        """Return the details of an attempt besides its reference, for rails that look attempts up by them."""
        debit = returned_debit(case)
        return AttemptDetails(
            amount=attempt.amount,
            msisdn=requested(case).wallet.msisdn.digits,
            transaction_id=attempt.provider_transaction_id,
            original_reference=debit.reference if debit else None,
            original_transaction_id=debit.provider_transaction_id if debit else None,
            otp_outcome_unknown=is_otp_outcome_unknown(case, attempt),
            priority=_priority(case, attempt),
            merchant_id=case.order.merchant_id,
            order_created_at=case.order.created_at.timestamp(),
        )

    def excluded_rails(self, case: RoutedCase) -> frozenset[str]:
        """Return the rails that must not be tried now: those of `spent_rails`, and, for an order that was
        opened before the latest recovery ended, the rails without deduplication by reference, which could
        execute a lost attempt a second time."""
        return spent_rails(case) | self._unsafe_rails(case)

    def _unsafe_rails(self, case: RoutedCase) -> frozenset[str]:
        if not case.restored:
            return frozenset()
        operation = case.order.operation
        promises = ((name, rail.capabilities.operations.get(operation)) for name, rail in self.rails.items())
        return frozenset(
            name
            for name, capability in promises
            if capability is not None and not capability.dedup_by_reference
        )

    def needs_review(self, case: RoutedCase) -> bool:
        """True when the order was opened before the latest recovery ended and only a rail without
        deduplication is left for it."""
        unsafe = self._unsafe_rails(case) - spent_rails(case)
        # `route` would use up a recovery probe.
        return bool(unsafe) and self.router.failover_rail(case.order, spent_rails(case)) in unsafe

    def at_present_account(self, attempt: Attempt) -> bool:
        """True when the rail's present credentials are those of the attempt's account, or another key of the
        same business."""
        return self.rails[attempt.rail].serves(attempt.account)

    def _callback_url(self, attempt: Attempt) -> str:
        return f"{self.public_url}/api/v1/callbacks/{attempt.rail}/{attempt.callback_token}"


def identity_of(order: Routed) -> OrderIdentity:
    """Return the permanent identity of a payment or payout, from which its attempts' references are derived:
    the merchant's own reference."""
    return OrderIdentity(
        merchant_id=order.merchant_id,
        livemode=order.livemode,
        operation=order.operation,
        names=(order.reference,),
    )


def refund_identity(refund: Refund, payment: Payment) -> OrderIdentity:
    """Return the permanent identity of a refund. A row of a former version, which has none, uses its id."""
    return OrderIdentity(
        merchant_id=payment.merchant_id,
        livemode=payment.livemode,
        operation=Operation.REFUND,
        names=(payment.reference, refund.identity or f"id:{refund.id}"),
    )


def is_otp_outcome_unknown(case: Case, attempt: Attempt) -> bool:
    """True when a one-time password was submitted for the attempt and the result is unknown. An acknowledged
    attempt has no other unknown outcome."""
    unknown = case.order.status_detail is StatusDetail.OUTCOME_UNKNOWN
    is_collected = attempt.operation is Operation.COLLECT
    return is_collected and unknown and attempt.state is AttemptState.ACKNOWLEDGED


def _priority(case: Case, attempt: Attempt) -> InquiryPriority:
    is_open = not attempt.state.is_final
    # The hint is used up when the inquiry that it brought forward gets no turn; the callback is recorded.
    if case.hinted or (is_open and attempt.callback_at is not None):
        return InquiryPriority.HINTED
    return InquiryPriority.SCHEDULED if is_open else InquiryPriority.AFTER_END


def closed_attempts(case: Case) -> tuple[Attempt, ...]:
    """Return the closed attempts that are not known to have moved money."""
    return tuple(a for a in case.attempts if a.state.is_dead and not a.money_moved)


def spent_rails(case: Case) -> frozenset[str]:
    """Return the rails that refused the order for good, and those already tried under the present lease. A
    refusal because of a low float is not for good: the float may have been topped up."""
    fence = case.order.fence
    return frozenset(
        attempt.rail
        for attempt in case.attempts
        if (attempt.state is AttemptState.DECLINED and not is_short_of_float(attempt))
        or (attempt.state.is_dead and attempt.opened_fence == fence)
    )


def is_short_of_float(attempt: Attempt) -> bool:
    """True for a payout attempt that the rail refused because our own account there holds too little."""
    short = attempt.failure is not None and attempt.failure.code is FailureCode.FLOAT_TOO_LOW
    return attempt.operation is Operation.PAYOUT and attempt.state is AttemptState.DECLINED and short
