"""Ports of the engine: the interfaces through which it uses PostgreSQL and the rails. Nothing in the engine
reaches them in another way, so the whole engine can also run in virtual time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from synccash.payments.attempt import Attempt
from synccash.payments.audit import AuditNote
from synccash.payments.case import (
    AlreadyClaimed,
    Case,
    Commit,
    Lease,
    Opening,
    OpeningResult,
    Order,
    PaymentCase,
    PayoutCase,
    RefundCase,
    StoredAnswer,
)
from synccash.payments.failure import Failure
from synccash.payments.rail import (
    NO_ATTEMPT_DETAILS,
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
    """A connector to a payment provider. A failed exchange never raises: it is returned as evidence."""

    @property
    def name(self) -> str: ...
    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def account(self) -> RailAccount:
        """The account and base address that new attempts use."""
        ...

    @property
    def environment(self) -> Environment:
        """LIVE when the account moves real money, as the operator declares."""
        ...

    async def send(self, order: SendOrder, *, timeout_s: float) -> SendAnswer:
        """Send once. Never repeats a request that may move money."""
        ...

    async def inquire(
        self,
        account: RailAccount,
        operation: Operation,
        reference: str,
        *,
        timeout_s: float,
        details: AttemptDetails = NO_ATTEMPT_DETAILS,
    ) -> StatusAnswer:
        """Ask the rail for the status of our own `reference`, at the account through which it was sent."""
        ...


@runtime_checkable
class CallbackReader(Protocol):
    """A rail whose callbacks carry usable details, beyond the hint that an inquiry is due."""

    def read_callback(self, token: str, headers: Mapping[str, str], body: bytes) -> CallbackNote | None:
        """Read a callback. Header names are in lower case. Never raises.

        Returns None when the callback is not from the rail or cannot be read: also for a bad signature, and
        for a token that is not the account's where one address serves the whole account. `token` is the last
        part of the address that was called.
        """
        ...


@runtime_checkable
class AccountCallbackRail(Protocol):
    """A rail that calls one address for the whole account."""

    def is_account_address(self, token: str) -> bool:
        """Tell whether this token ends the account's callback address, in constant time."""
        ...


class AccountRail(Rail, CallbackReader, AccountCallbackRail, Protocol):
    """A rail that also knows for which other accounts it may act. The engine uses every rail through this."""

    @property
    def is_unconfirmed(self) -> bool:
        """True while no new attempt may be sent: the operator has not confirmed the account's credentials."""
        ...

    def serves(self, account: RailAccount) -> bool:
        """True when an attempt of `account` may be sent and inquired about with the present credentials:
        they are the same, or another key of the same business."""
        ...


class AccountBook(Protocol):
    """The recorded identities of rail accounts: a copy in memory of rows in PostgreSQL."""

    def is_confirmed(self, account: RailAccount, environment: Environment) -> bool:
        """True when the account's identity is confirmed for its label, in this environment."""
        ...

    def are_one_business(self, one: RailAccount, other: RailAccount, environment: Environment) -> bool:
        """True when both identities are confirmed for the same label, in this environment."""
        ...

    def first_identity(self, account: RailAccount) -> str | None:
        """The first identity that was ever recorded under the account's label. Attempts of versions that
        stored no identity belong to it."""
        ...

    async def refresh(self) -> None:
        """Read the rows again. Never raises: when the read fails, the former copy stays."""
        ...


@runtime_checkable
class OtpRail(Protocol):
    """A rail that asks the payer for a one-time password (`OperationCapability.otp`)."""

    async def submit_otp(
        self, account: RailAccount, reference: str, otp: str, *, timeout_s: float
    ) -> SendAnswer:
        """Submit the password of a collection that waits for it. Starts no other collection.

        ACCEPTED: the rail took the password and goes on (`next_action` says how). REFUSED_FINAL: the password
        was wrong; the payer may enter another while the prompt lasts. Only an inquiry tells whether the
        collection itself has ended.
        """
        ...


@runtime_checkable
class FloatRail(Rail, Protocol):
    """A rail that reports its float: the amount that its account can pay out."""

    async def read_float(self, account: RailAccount, *, timeout_s: float) -> FloatAnswer:
        """Ask for the float. The call waits for its turn like an inquiry, and moves no money."""
        ...


class OrderStore(Protocol):
    """Stores orders; the single source of truth. Every method is one atomic step. When a method raises, its
    effect did not happen, or the order must be read again before anything else is done with it."""

    async def now(self) -> datetime:
        """Return the time by the store's clock."""
        ...

    async def recovery(self) -> Recovery:
        """Return the state of recovery. While a recovery is under way, every opening that has an attempt
        returns SendsHeld, and commits with `refuse_in_recovery` write nothing."""
        ...

    async def open(self, opening: Opening[Order], /) -> OpeningResult:
        """Write the first commit of an order.

        The amount of a payout or refund is taken out of the merchant's balance in the same commit. A surplus
        refund is exempt: a surplus was never part of the balance, so neither the balance nor a suspension
        stops it.
        """
        ...

    async def claimed(self, scope: str, key: str) -> AlreadyClaimed | None:
        """Return the claim that was made with this idempotency key; None when there is none."""
        ...

    async def answer(self, order_id: str, answer: StoredAnswer) -> StoredAnswer:
        """Store `answer` for the order's claim unless it has one already, and return the stored answer.

        Used when a request's deadline comes before its outcome: the caller gets the stored answer, so every
        repeat of the request gets the same one.
        """
        ...

    async def record(self, commit: Commit, note: AuditNote | None = None) -> bool:
        """Write a commit. Returns False and writes nothing when the order has changed, was leased by another
        worker, or has expired in the meantime. `note` is written to the audit log in the same transaction.

        In the same commit, a refund that succeeds adds to its payment's `amount_refunded`. A refund that
        fails gives its reservation back, and takes it again where one of its attempts is found to have moved
        the money after all.
        """
        ...

    async def take_due(self, *, limit: int, lease_s: float) -> Sequence[Case]:
        """Lease orders that are due and have no lease in force, and return them; each one's fence goes up by
        one. Orders with a hint come first, then those that have been due for longest. Where more are due than
        `limit`, the choice may follow earlier due times of the orders.
        """
        ...

    async def renew(self, leases: Sequence[Lease], *, lease_s: float) -> frozenset[Lease]:
        """Extend leases and return those that this process still holds. A lease that is missing from the
        result was lost to another process. A lease that was released in the meantime is returned, and stays
        released."""
        ...

    async def hint(self, token: str, failure: Failure | None = None) -> bool:
        """Make the order of this attempt's token due now, because a callback arrived. False: no such token.

        While the order is leased the hint is kept, and takes effect when the lease is released. `failure` is
        what the callback claims; it is stored on the attempt as `reported_failure`.
        """
        ...

    async def hint_reference(self, rail: str, reference: str, failure: Failure | None = None) -> bool:
        """Do the same for the attempt with this reference at this rail."""
        ...

    async def otp_tries(self, payment_id: str) -> int:
        """Return how many one-time passwords were committed for the payment. Whoever commits another one at a
        version read before this call cannot exceed the number without the commit being refused."""
        ...

    async def payment(self, payment_id: str) -> PaymentCase | None: ...

    async def refund(self, refund_id: str) -> RefundCase | None: ...

    async def payout(self, payout_id: str) -> PayoutCase | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SendResult:
    """The result of a send and its retries. `worst` is the evidence of all tries together (see
    `Evidence.worst`)."""

    answer: SendAnswer
    worst: Evidence
    tries: int
    latency_ms: int


class Dispatch(Protocol):
    """Calls rails under their resilience policies. A failed call never raises: it is returned as evidence."""

    async def send(
        self, rail: Rail, order: SendOrder, *, with_retries: bool, breaker_may_refuse: bool, within_s: float
    ) -> SendResult:
        """Send under the rail's policy.

        `with_retries`: retry tries that provably did nothing, since there is no other rail to use.
        `breaker_may_refuse`: an open breaker refuses the send. It never refuses to repeat a reference: the
        rail may have executed an earlier send, and only this rail can tell. `within_s`: no try begins later
        than this many seconds from now.
        """
        ...

    async def inquire(
        self, rail: Rail, attempt: Attempt, details: AttemptDetails = NO_ATTEMPT_DETAILS
    ) -> StatusAnswer:
        """Ask the rail for the status of an attempt. The breaker never refuses an inquiry."""
        ...

    async def submit_otp(self, rail: Rail, attempt: Attempt, otp: str) -> SendAnswer:
        """Submit a payer's one-time password once. No breaker refuses it, since the attempt is already at
        this rail and no other can take it; and it is never repeated."""
        ...

    def open_for_s(self, rail: str, operation: Operation) -> float | None:
        """The seconds for which the rail's breaker still refuses new attempts; None when it admits them."""
        ...
