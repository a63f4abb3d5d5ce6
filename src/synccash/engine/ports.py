"""What the engine asks of the world. PostgreSQL, the rails, the clock and chance all come in through here,
so that the whole engine also runs in virtual time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from synccash.payments.attempt import Attempt
from synccash.payments.case import (
    AlreadyClaimed,
    Case,
    Commit,
    Lease,
    NotCovered,
    NotRefundable,
    OpenedOrNot,
    Opening,
    PaymentCase,
    PayoutCase,
    PayoutOpening,
    RefundCase,
    RefundOpening,
    StoredAnswer,
)
from synccash.payments.failure import Failure
from synccash.payments.rail import (
    NO_TRACES,
    AttemptDetails,
    CallbackNote,
    Capabilities,
    Environment,
    FloatAnswer,
    Operation,
    RailAccount,
    SendAnswer,
    SendOrder,
    StatusAnswer,
)
from synccash.payments.recovery import Recovery
from synccash.resilience.evidence import Evidence


class Rail(Protocol):
    """A connector. It never raises for what the world does to it: that becomes evidence."""

    @property
    def name(self) -> str: ...
    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def account(self) -> RailAccount:
        """The account and address of new attempts."""
        ...

    @property
    def environment(self) -> Environment:
        """Whether the account moves real money, as the operator declares."""
        ...

    async def send(self, order: SendOrder, *, timeout_s: float) -> SendAnswer:
        """Send once. Never repeats a money request by itself."""
        ...

    async def inquire(
        self,
        account: RailAccount,
        operation: Operation,
        reference: str,
        *,
        timeout_s: float,
        traces: AttemptDetails = NO_TRACES,
    ) -> StatusAnswer:
        """Ask the rail by our own reference, at the account through which it was sent."""
        ...


class AccountRail(Rail, Protocol):
    """A rail that also knows which other accounts it may act for. The engine sees every rail as one."""

    @property
    def is_unconfirmed(self) -> bool:
        """True while nothing new may be sent: the operator has not confirmed the account's credentials."""
        ...

    def serves(self, account: RailAccount) -> bool:
        """True when what was sent through `account` may be sent and asked about with the present
        credentials: they are the same, or another key of the same business."""
        ...


class AccountBook(Protocol):
    """What is known of the identities of rail accounts. PostgreSQL has the rows; this is a copy."""

    def is_confirmed(self, account: RailAccount, environment: Environment) -> bool:
        """True when the account's identity is a confirmed one of its label, in this environment."""
        ...

    def are_one_business(self, one: RailAccount, other: RailAccount, environment: Environment) -> bool:
        """True when both identities are confirmed ones of one label, in this environment."""
        ...

    def first_identity(self, account: RailAccount) -> str | None:
        """The first identity that was ever recorded under the account's label: attempts of versions that
        stored none are its own."""
        ...

    async def refresh(self) -> None:
        """Read the rows again. Never raises: what cannot be read stays as it was known."""
        ...


@runtime_checkable
class OtpRail(Protocol):
    """A rail that asks the payer for a one-time password (`OperationCapability.otp`)."""

    async def submit_otp(
        self, account: RailAccount, reference: str, otp: str, *, timeout_s: float
    ) -> SendAnswer:
        """Hand over the password of a collection that waits for it. It starts no other collection.

        ACCEPTED: taken, the rail goes on (`next_action` says how). REFUSED_FINAL: not this password; the
        payer may give another while the prompt lasts. Whether the collection itself ended is for an inquiry.
        """
        ...


@runtime_checkable
class FloatRail(Rail, Protocol):
    """A rail that reports what its account can pay out."""

    async def read_float(self, account: RailAccount, *, timeout_s: float) -> FloatAnswer:
        """Ask for the float, as inquiries are asked: it waits for its turn and moves nothing."""
        ...


@runtime_checkable
class CallbackReader(Protocol):
    """A rail whose callbacks say more than that it is time to ask."""

    def read_callback(self, token: str, headers: Mapping[str, str], body: bytes) -> CallbackNote | None:
        """Read a callback; header names in lower case. None: not the rail's, or nothing to be made of it.

        `token` is the last part of the address that was called. Never raises. A bad signature is None, and so
        is a token that is not the account's, where one address serves the whole account.
        """
        ...


class OrderStore(Protocol):
    """The one truth. Every method is one atomic step; what raises did not happen or is re-read first."""

    async def now(self) -> datetime:
        """Return the time by the ledger's clock."""
        ...

    async def recovery(self) -> Recovery:
        """Return whether a recovery is under way. While one is, SendsHeld answers every opening that has an
        attempt, and moves with `outside_recovery` write nothing."""
        ...

    async def open_payment(self, opening: Opening, /) -> OpenedOrNot: ...

    async def open_payout(self, opening: PayoutOpening, /) -> OpenedOrNot | NotCovered:
        """What it sends is taken out of the merchant's balance in the same commit."""
        ...

    async def open_refund(self, opening: RefundOpening, /) -> OpenedOrNot | NotRefundable | NotCovered:
        """The same for a refund, except one of a surplus: that was never part of the balance, so neither the
        balance nor a suspension holds it back."""
        ...

    async def claimed(self, scope: str, key: str) -> AlreadyClaimed | None:
        """Return what stands under a key."""
        ...

    async def answer(self, order_id: str, answer: StoredAnswer) -> StoredAnswer:
        """Complete the order's claim where it is still processing, and return the answer that stands.

        Used when a request's deadline comes before its outcome: the caller is told what is stored, so that
        every repeat is told the same.
        """
        ...

    async def record(self, commit: Commit) -> bool:
        """Commit a move. False: the order moved, changed hands or expired meanwhile; nothing was written.

        A refund that succeeds adds to its payment's `amount_refunded`; one that fails gives its reservation
        back, and takes it again where an attempt of it is found to have moved the money all the same. All in
        the same commit.
        """
        ...

    async def take_due(self, *, limit: int, lease_s: float) -> Sequence[Case]:
        """Become the holder of orders that are due and that nobody holds: their fence goes up by one.

        Hinted ones come first, then the longest due.
        """
        ...

    async def renew(self, leases: Sequence[Lease], *, lease_s: float) -> frozenset[Lease]:
        """Extend leases. What does not come back was lost to another holder; a lease that its holder has
        released meanwhile comes back, and stays released."""
        ...

    async def hint(self, token: str, failure: Failure | None = None) -> bool:
        """A callback came for this attempt's token: its order is due now. False: no such token.

        A hint given while the order is held is kept and honoured when it is released. `failure` is what the
        callback claims; it is kept on the attempt as `reported_failure`.
        """
        ...

    async def hint_reference(self, rail: str, reference: str, failure: Failure | None = None) -> bool:
        """The same, for the attempt with this reference at this rail."""
        ...

    async def payment(self, payment_id: str) -> PaymentCase | None: ...

    async def refund(self, refund_id: str) -> RefundCase | None: ...

    async def payout(self, payout_id: str) -> PayoutCase | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of a send and its retries. `worst` is the evidence of all of them together."""

    answer: SendAnswer
    worst: Evidence
    tries: int
    latency_ms: int


class Dispatch(Protocol):
    """Calls rails under their policies. It never raises for what the world does."""

    async def send(
        self, rail: Rail, order: SendOrder, *, patient: bool, gated: bool, within_s: float
    ) -> Sent:
        """Send under the rail's policy. `patient`: retry what provably did nothing, since no other rail
        is there. `gated`: let the breaker refuse; re-sends of a reference are not gated. `within_s`: no try
        begins later than in so many seconds."""
        ...

    async def inquire(self, rail: Rail, attempt: Attempt, traces: AttemptDetails = NO_TRACES) -> StatusAnswer:
        """Ask about an attempt. Inquiries always run."""
        ...

    async def submit_otp(self, rail: Rail, attempt: Attempt, otp: str) -> SendAnswer:
        """Hand a payer's one-time password over, once. Never refused by a breaker, never repeated."""
        ...

    def open_for_s(self, rail: str, operation: Operation) -> float | None:
        """How long the rail's breaker still refuses new attempts, in seconds; None when it lets them in."""
        ...
