"""Values that an order store reads and writes: orders with their attempts, and commits of their changes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from typing import Any, Generic, TypeGuard, TypeVar

from synccash.payments.attempt import Attempt
from synccash.payments.payment import Payment, Refund
from synccash.payments.payout import Payout

Order = Payment | Refund | Payout
Routed = Payment | Payout
"""The orders that routing assigns a rail. A refund always uses the rail that took the money."""

OrderT = TypeVar("OrderT", bound=Order, covariant=True)

SURPLUS_SCOPE = "engine:surplus_refund"
"""The scope of the idempotency claims of surplus refunds: each surplus debit is refunded once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCase(Generic[OrderT]):
    """An order with its attempts, in sequence, as the order store has them.

    `as_of` is the store's clock at the time of reading.
    `former_lease_end`: set on a takeover: when the lease ended that the previous worker did not release.
    `hinted`: a callback came since the order was last leased.
    `held`: a recovery of the database is under way now, so nothing is sent for any order.
    `unsearched`: the number (epoch) of the latest recovery, while the rails have yet to be asked whether the
    database lost attempts of this order; None when no search is needed.
    `restored`: the order was opened before the latest recovery ended, so the database may have lost attempts
    of it. It stays True after the search, because an operator or a rail may still find one.
    `recovery_began`: when the latest recovery began; None before the first one.
    `answer`: the response that the commit which led to this case has stored for the order's request; None
    when it stored none, and for a case that was read.
    """

    order: OrderT
    attempts: tuple[Attempt, ...]
    as_of: datetime
    former_lease_end: datetime | None = None
    hinted: bool = False
    held: bool = False
    unsearched: int | None = None
    restored: bool = False
    recovery_began: datetime | None = None
    answer: "StoredAnswer | None" = None

    @property
    def may_send(self) -> bool:
        """True when the store is known to have every attempt of the order, and no recovery is under way.

        While False, nothing is sent, and the order is not ended for the reason that nothing was sent.
        """
        return not self.held and self.unsearched is None

    @property
    def live(self) -> Attempt | None:
        """The one attempt that is not final; None when all are."""
        return next((a for a in self.attempts if not a.state.is_final), None)

    @property
    def next_sequence(self) -> int:
        """The sequence number of the next attempt. It is never reused: attempts that were found after a
        recovery may have gaps before them."""
        return max((attempt.sequence for attempt in self.attempts), default=0) + 1

    @property
    def money_moved(self) -> bool:
        """True when any attempt is known to have moved money: nothing more is sent for the order, and it is
        not expired, canceled, approved or declined."""
        return any(attempt.money_moved for attempt in self.attempts)

    @property
    def is_callback_unchecked(self) -> bool:
        """True when a closed attempt has an unchecked callback: nothing new is sent for the order."""
        return any(attempt.is_callback_unchecked for attempt in self.attempts)

    @property
    def expires_at(self) -> datetime | None:
        """After this time nothing is sent; None for a refund, which stays owed to the payer."""
        return self.order.expires_at


PaymentCase = OrderCase[Payment]
"""A payment with its collect attempts."""
PayoutCase = OrderCase[Payout]
"""A payout with its attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundCase(OrderCase[Refund]):
    """A refund with its attempts, and the debit of the payment that it returns."""

    payment: Payment
    debit: Attempt


RoutedCase = OrderCase[Routed]
Case = RoutedCase | RefundCase


@dataclass(frozen=True, slots=True)
class UnreadablePayment:
    """A payment whose row this version cannot read, beyond its id and creation time for lists."""

    id: str
    created_at: datetime


def is_payment_case(case: Case) -> TypeGuard[PaymentCase]:
    """True for a payment: only a payment can receive a surplus."""
    return isinstance(case.order, Payment)


def requested(case: Case) -> Routed:
    """Return the payment or payout that the merchant requested: of a refund, the payment that it returns."""
    return case.payment if isinstance(case, RefundCase) else case.order


def returned_debit(case: Case) -> Attempt | None:
    """Return the debit that a refund returns; None for a payment or payout."""
    return case.debit if isinstance(case, RefundCase) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One decision or fact on an order's timeline."""

    at: datetime
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event for the merchant, written in the same commit as the change that it reports. `data` is JSON."""

    id: str
    merchant_id: str
    livemode: bool
    type: str
    created_at: datetime
    object_id: str
    object_version: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """An idempotency key in its scope, and the fingerprint of the request made with it.

    `former_fingerprints` are those that earlier versions may have stored for the same request.
    """

    scope: str
    key: str
    fingerprint: bytes
    former_fingerprints: Iterable[bytes] = ()

    def matches(self, stored: bytes) -> bool:
        """True when a claim with this fingerprint was made by the same request."""
        return compare_digest(stored, self.fingerprint) or any(
            compare_digest(stored, former) for former in self.former_fingerprints
        )


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The stored HTTP response: every repeat of the request gets the same bytes."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class KeepLease:
    """Keeps the lease: it lasts for `lease_s` seconds from the commit.

    `look_s`: the seconds after which the order is expected to be due if its lease is released. It only helps
    the order store to find the order; nothing happens at that time.
    """

    lease_s: float
    look_s: float | None = None


@dataclass(frozen=True, slots=True)
class ReleaseLease:
    """Releases the lease. The order is due again after `due_in_s` seconds (0 = at once).

    None = due only after a callback. The store refuses None for an order that has not ended, so that no order
    that may have moved money is forgotten.
    """

    due_in_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening(Generic[OrderT]):
    """The first commit of an order: an idempotency claim, the order, and its first attempt if it has one.

    A payout or refund takes its amount out of the merchant's balance in the same commit, and a refund
    reserves it on the debit. `answer` is set when this commit already finishes the request. Without an answer
    and an attempt, the fraud service is asked next, or a worker sends the order.
    """

    claim: Claim
    order: OrderT
    attempt: Attempt | None
    lease: KeepLease | ReleaseLease
    answer: StoredAnswer | None = None
    events: tuple[Event, ...] = ()
    timeline: tuple[Entry, ...] = ()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The first attempt, if there is one."""
        return () if self.attempt is None else (self.attempt,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Any later commit. It is atomic, and refused when the order was changed or leased by another holder.

    `order` is the new value; the row must still have `expected_version` and `expected_fence`.
    `attempts` are written by id: changed ones and new ones. `answer` completes the order's idempotency claim
    if that is still processing.
    `refuse_if_expired`: the store refuses the commit once the order has expired by the store's clock. Set on
    the commits that a send follows, of an order that can expire.
    `refuse_in_recovery`: the store refuses the commit while a recovery is under way, and while the rails have
    yet to be searched for the order after one. Set on the commits that a send follows, and on those that end
    an order because nothing was sent.
    `searched`: the number (epoch) of the recovery after which the rails have now been searched.
    `contradiction`: what the rail reports that does not fit what is known; the merchant gets an event.
    """

    id: str
    order: Order
    expected_version: int
    expected_fence: int
    lease: KeepLease | ReleaseLease
    attempts: tuple[Attempt, ...] = ()
    events: tuple[Event, ...] = ()
    timeline: tuple[Entry, ...] = ()
    answer: StoredAnswer | None = None
    refuse_if_expired: bool = False
    refuse_in_recovery: bool = False
    searched: int | None = None
    contradiction: str | None = None


@dataclass(frozen=True, slots=True)
class SendsHeld:
    """Refused: a recovery is under way. Open the order without an attempt instead."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The first commit is done: the caller holds the order's lease."""

    case: Case


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyClaimed:
    """The idempotency key was used before. `answer` is set once the first request is finished; until then
    `held_for_s` is how long its lease still lasts (0 = it ended, and a worker will finish the request)."""

    fingerprint: bytes
    order_id: str
    answer: StoredAnswer | None
    held_for_s: float


@dataclass(frozen=True, slots=True)
class ReferenceTaken:
    """The merchant's reference is already used by another payment or payout; references are never reused. For
    a refund: another refund of the payment used its idempotency key. No claim is stored."""

    order_id: str


@dataclass(frozen=True, slots=True)
class NotRefundable:
    """The debit has too little left to refund, or the attempt is no debit. `available` in pesewas.

    `under_way`: enough is left, but an exclusive refund of the same debit has not ended.
    """

    available: int
    under_way: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCovered:
    """The merchant's balance does not cover the amount and its fee. No claim is stored. Both in pesewas."""

    available: int
    needed: int


@dataclass(frozen=True, slots=True)
class Suspended:
    """The merchant is suspended: no new order starts. No claim is stored."""


Refused = ReferenceTaken | NotRefundable | NotCovered | Suspended
"""Why an order was not opened. Only a refund is NotRefundable, and a payment needs no cover."""
OpeningResult = Opened | AlreadyClaimed | SendsHeld | Refused
"""The result of opening an order in the order store."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write an order until the lease ends; `fence` identifies this lease."""

    order_id: str
    fence: int
