"""What is read and written together: an order with its attempts, and everything one commit changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from synccash.payments.attempt import Attempt
from synccash.payments.payment import Payment, Refund
from synccash.payments.payout import Payout

Order = Payment | Refund | Payout

SURPLUS_SCOPE = "engine:surplus_refund"
"""The scope of the claims under which money that came too much is given back, once a debit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _OrderCase:
    """An order with its attempts, in sequence, as the ledger has them.

    `as_of` is the ledger's clock at the reading. `former_lease_end` is when the lease of the holder before
    this one ran out; None where nobody held it. `hinted`: it was taken because a callback came.
    `held`: a recovery is under way, and nothing is sent for any order. `unsearched`: the epoch of the
    recovery since whose beginning the rails were not asked about attempts of this order that the ledger may
    have lost. `restored`: the order was opened before the latest recovery ended. `recovery_began`: when the
    latest recovery began; None before the first one.
    """

    attempts: tuple[Attempt, ...]
    as_of: datetime
    former_lease_end: datetime | None = None
    hinted: bool = False
    held: bool = False
    unsearched: int | None = None
    restored: bool = False
    recovery_began: datetime | None = None

    @property
    def may_send(self) -> bool:
        """True where the ledger is known to have every attempt of the order, and no recovery is under way.

        Without that nothing is sent, and the order is not ended on the ground that nothing was sent.
        """
        return not self.held and self.unsearched is None

    @property
    def live(self) -> Attempt | None:
        """The one attempt that lives or whose outcome is unknown; None where all are final."""
        return next((a for a in self.attempts if not a.state.is_final), None)

    @property
    def next_sequence(self) -> int:
        """The number of the next attempt. Attempts that were found after a recovery may have gaps before
        them, and no number is used twice."""
        return max((attempt.sequence for attempt in self.attempts), default=0) + 1

    @property
    def money_moved(self) -> bool:
        """True when any attempt is known to have moved money: then nothing more is sent for the order, and
        it is neither expired, canceled, approved nor declined."""
        return any(attempt.money_moved for attempt in self.attempts)

    @property
    def is_callback_unchecked(self) -> bool:
        """True when the callback of a closed attempt is unchecked: nothing new is sent for the order then."""
        return any(attempt.is_callback_unchecked for attempt in self.attempts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentCase(_OrderCase):
    """A payment with its collecting attempts."""

    payment: Payment

    @property
    def expires_at(self) -> datetime:
        """After this nothing is sent."""
        return self.payment.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundCase(_OrderCase):
    """A refund with its own attempts, and the debit that it returns."""

    refund: Refund
    payment: Payment
    debit: Attempt

    @property
    def expires_at(self) -> None:
        """What was taken is owed for ever."""
        return


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutCase(_OrderCase):
    """A payout with its attempts."""

    payout: Payout

    @property
    def expires_at(self) -> datetime:
        """After this nothing is sent."""
        return self.payout.expires_at


Case = PaymentCase | RefundCase | PayoutCase


@dataclass(frozen=True, slots=True)
class UnreadablePayment:
    """A payment of which this version of the service can read no more than its place in a list."""

    id: str
    created_at: datetime


def order_of(case: Case) -> Order:
    """The order that the case is about."""
    match case:
        case PaymentCase():
            return case.payment
        case RefundCase():
            return case.refund
        case PayoutCase():
            return case.payout


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One decision or fact on an order's timeline."""

    at: datetime
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a merchant is told, written in the commit of the change that it tells. `data` is JSON."""

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
    """An idempotency key in its scope, and the SHA-256 of what was asked under it."""

    scope: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The answer that every repeat of a request gets, byte for byte."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class KeepLease:
    """Stay the holder: the lease goes on for `lease_s` seconds from the commit."""

    lease_s: float


@dataclass(frozen=True, slots=True)
class ReleaseLease:
    """Let go. The order is due again after `due_in_s` seconds (0 = at once).

    None = only when hinted, and only for an order that has ended: a ledger refuses to let go of another for
    good, so that nothing which may have moved money is ever forgotten.
    """

    due_in_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Commit 1: an idempotency claim, a payment, and its first attempt where there is one.

    `answer` is given where the request is already finished by this commit.
    """

    claim: Claim
    payment: Payment
    attempt: Attempt | None
    lease: KeepLease | ReleaseLease
    answer: StoredAnswer | None = None
    events: tuple[Event, ...] = ()
    timeline: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutOpening:
    """Commit 1 of a payout, in everything like a payment's."""

    claim: Claim
    payout: Payout
    attempt: Attempt | None
    lease: KeepLease | ReleaseLease
    answer: StoredAnswer | None = None
    events: tuple[Event, ...] = ()
    timeline: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundOpening:
    """Commit 1 of a refund: claim, refund, attempt, and the reservation on the debit, all or nothing.

    Without an attempt it is a worker's to send.
    """

    claim: Claim
    refund: Refund
    attempt: Attempt | None
    lease: KeepLease | ReleaseLease
    events: tuple[Event, ...] = ()
    timeline: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Any later commit. It happens whole, or not at all when the order moved or changed hands meanwhile.

    `order` is the new value; the row must still have `expected_version` and `expected_fence`.
    `attempts` are written by id: changed ones and new ones. `answer` completes the order's idempotency claim
    where that is still processing. `before_expiry`: refuse once the order's `expires_at` has passed by the
    ledger's clock; set on whatever is followed by a send. `outside_recovery`: refuse while a recovery is
    under way, and where the order was not searched for since the latest began; set on the same, and on what
    ends an order because nothing was sent. `searched`: the epoch in which the rails were asked about lost
    attempts.
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
    before_expiry: bool = False
    outside_recovery: bool = False
    searched: int | None = None
    contradiction: str | None = None


@dataclass(frozen=True, slots=True)
class SendsHeld:
    """A recovery is under way, so nothing was opened with an attempt: open it without one."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Commit 1 is done: the caller holds the order."""

    case: Case


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyClaimed:
    """The key was used before. `answer` is there once the first request is finished; until then
    `held_for_s` says for how long its holder has the lease (0 = it ran out and a worker will finish it)."""

    fingerprint: bytes
    order_id: str
    answer: StoredAnswer | None
    held_for_s: float


@dataclass(frozen=True, slots=True)
class ReferenceTaken:
    """The merchant's reference belongs to another payment or payout, for ever; of a refund, its idempotency
    key belongs to another refund of the same payment. No claim was left behind."""

    order_id: str


@dataclass(frozen=True, slots=True)
class NotRefundable:
    """Not that much of the debit is left, or it is no debit. `available` in pesewas.

    `under_way`: the money is there, and an exclusive refund of the same debit has not ended.
    """

    available: int
    under_way: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCovered:
    """The merchant's balance does not cover what would be sent, its fee included. No claim was left behind.
    Both in pesewas."""

    available: int
    needed: int


@dataclass(frozen=True, slots=True)
class Suspended:
    """The merchant is suspended: nothing new starts. No claim was left behind."""


OpenedOrNot = Opened | AlreadyClaimed | ReferenceTaken | SendsHeld | Suspended
"""What a ledger answers to the opening of an order."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A right to write on an order, as long as its lease lasts."""

    order_id: str
    fence: int
