"""The order store in PostgreSQL: every method is one statement, one round trip and one transaction.

The clock is the database's. Commits in doubt are looked up before anybody is told anything.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import structlog

from synccash.payments.case import (
    AlreadyClaimed,
    Case,
    Commit,
    Lease,
    NotCovered,
    NotRefundable,
    Opened,
    OpenedOrNot,
    Opening,
    Order,
    PaymentCase,
    PayoutCase,
    PayoutOpening,
    ReferenceTaken,
    RefundCase,
    RefundOpening,
    SendsHeld,
    StoredAnswer,
    Suspended,
    order_of,
)
from synccash.payments.errors import InternalError, StoreUnavailableError
from synccash.payments.failure import Failure
from synccash.payments.payment import Payment, Refund
from synccash.payments.payout import Payout
from synccash.payments.recovery import Recovery
from synccash.stores.batching import NaturalBatch
from synccash.stores.postgres import commits, due, opening, rows
from synccash.stores.postgres.database import TRIES, Database, InDoubtError
from synccash.stores.postgres.errors import InvariantBrokenError
from synccash.stores.postgres.pool import CONNECT_TIMEOUT_S
from synccash.stores.postgres.recovery import PostgresRecovery
from synccash.stores.postgres.unreadable import UNREADABLE, read_or_note

log = structlog.get_logger("synccash.ledger")

_REFERENCES = frozenset(
    {
        "a_reference_is_used_once",
        "a_payouts_reference_is_used_once",
        "a_refunds_identity_is_used_once",
        # Derived from those names: it may be seen first.
        "an_attempt_has_its_own_reference",
    }
)
_ONE_AT_A_TIME = "one_exclusive_refund_at_a_time"
_COVERED = "balance_covers_what_is_opened"
_SUSPENDED = "a_suspended_merchant_starts_nothing"
_NOW = "SELECT clock_timestamp() AS now"
_TOGETHER = 64
_FLUSHES = 2
_REFUNDS = 4
"""How many refunds of one process are opened at a time. They may wait for a debit or a balance, and a
merchant that asks for many must leave connections to all others."""
_C = TypeVar("_C", PaymentCase, RefundCase, PayoutCase)
_Batch = NaturalBatch[dict[str, Any], asyncpg.Record | None]


@dataclass(slots=True)
class PostgresOrderStore:
    """Payments, refunds, attempts, claims, events and timelines. The engine's port says what each promises.

    Live and shared: the commits of payments that meet here leave together, one statement for all of them.
    Every method raises StoreUnavailableError when PostgreSQL is out of reach, and InvariantBrokenError when a
    commit would break what the schema forbids.
    """

    database: Database
    _openings: _Batch = field(init=False)
    _payouts: _Batch = field(init=False)
    _moves: _Batch = field(init=False)
    _payout_moves: _Batch = field(init=False)
    _refunds: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_REFUNDS))

    def __post_init__(self) -> None:
        self._openings = self._batch(opening.OPEN_PAYMENTS, asked="order_id", answered="asked_id")
        self._payouts = self._batch(opening.OPEN_PAYOUTS, asked="order_id", answered="asked_id")
        self._payout_moves = self._batch(commits.MOVE_PAYOUTS, asked="move_id", answered="move_id")
        self._moves = self._batch(commits.MOVE_PAYMENTS, asked="move_id", answered="move_id")

    def _batch(self, statement: str, *, asked: str, answered: str) -> _Batch:
        async def flush(
            documents: Sequence[dict[str, Any]],
        ) -> Sequence[asyncpg.Record | BaseException | None]:
            try:
                found = await self._once(statement, rows.as_argument(documents))
            except (InDoubtError, StoreUnavailableError) as error:
                # Each waits and looks for its own row: nobody holds up those who come behind.
                return [type(error)(str(error)) for _ in documents]
            answers = {row[answered]: row for row in found}
            return [answers.get(document[asked]) for document in documents]

        return NaturalBatch(flush, max_items=_TOGETHER, max_in_flight=_FLUSHES)

    async def now(self) -> datetime:
        """The database's clock."""
        return (await self._repeat(_NOW))[0]["now"]

    async def recovery(self) -> Recovery:
        """Return whether a recovery is under way."""
        return await PostgresRecovery(self.database).recovery()

    async def open_payment(self, asked: Opening) -> OpenedOrNot:
        """Open a payment with its first commit."""
        opened = await self._open(self._openings, asked, asked.payment)
        if isinstance(opened, NotCovered):
            raise InternalError(f"{asked.payment.id} was refused for its balance, which a payment never uses")
        return opened

    async def open_payout(self, asked: PayoutOpening) -> OpenedOrNot | NotCovered:
        """Open a payout with its first commit. It waits for the lock of the merchant's balance."""
        return await self._open(self._payouts, asked, asked.payout)

    async def _open(
        self, batch: _Batch, asked: Opening | PayoutOpening, order: Payment | Payout
    ) -> OpenedOrNot | NotCovered:
        document = _opening_document(asked, order)
        doubtful = False
        for _ in range(TRIES):
            try:
                row = await self.database.patiently(batch.submit, document)
                if row is None:
                    raise InternalError(f"the statement returned no row for the opening of {order.id}")
            except InDoubtError:
                doubtful, refusal = True, None
                standing = await self.claimed(asked.claim.scope, asked.claim.key)
            except InvariantBrokenError as error:
                if error.constraint in _REFERENCES:
                    return ReferenceTaken(await self._owner_of_reference(order, error))
                standing, refusal = None, _refused_by(error)
            else:
                if row["opened"]:
                    return Opened(_opened(asked, row))
                standing, refusal = _standing(row), _refusal(row)
                if standing is None:
                    # Also where it was refused: its first may have been opened beside it, and taken the rest.
                    standing = await self.claimed(asked.claim.scope, asked.claim.key)
                    if refusal is None and row["sends_held"] and asked.attempt is not None:
                        refusal = SendsHeld()
            if standing is not None:
                return await self._told(standing, order, doubtful=doubtful)
            if refusal is not None and not doubtful:
                return refusal
        raise _gave_up("opening an order")

    async def open_refund(self, asked: RefundOpening) -> OpenedOrNot | NotRefundable | NotCovered:
        """Open a refund with its first commit. It waits for the debit's row lock, and for the lock of the
        merchant's balance unless it returns a surplus."""
        argument = rows.as_argument([_refund_document(asked)])
        doubtful = False
        for _ in range(TRIES):
            available: int | None = None
            refusal: Suspended | NotCovered | SendsHeld | None = None
            try:
                row = (await self.database.patiently(self._open_refund_once, argument))[0]
            except InDoubtError:
                doubtful = True
                standing = await self.claimed(asked.claim.scope, asked.claim.key)
            except InvariantBrokenError as error:
                if error.constraint == _ONE_AT_A_TIME:
                    return NotRefundable(0, under_way=True)
                if error.constraint in _REFERENCES:
                    return ReferenceTaken(await self._owner_of_reference(asked.refund, error))
                standing, refusal = None, _refused_by(error)
            else:
                if row["opened"]:
                    return Opened(_opened_refund(asked, row))
                available, refusal = row["available"] or 0, _refusal(row)
                standing = _standing(row)
                if standing is None:
                    standing = await self.claimed(asked.claim.scope, asked.claim.key)
                    if refusal is None and row["sends_held"] and asked.attempt is not None:
                        refusal = SendsHeld()
            if standing is not None:
                return await self._told(standing, asked.refund, doubtful=doubtful)
            if refusal is not None and not doubtful:
                return refusal
            if available is not None and available < asked.refund.amount:
                return NotRefundable(available)
        raise _gave_up("opening a refund")

    async def _open_refund_once(self, argument: Any) -> list[asyncpg.Record]:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._refunds.acquire()
        except TimeoutError as error:
            raise StoreUnavailableError("too many refunds wait for their debits and balances") from error
        try:
            return await self._once(opening.OPEN_REFUND, argument)
        finally:
            self._refunds.release()

    async def claimed(self, scope: str, key: str) -> AlreadyClaimed | None:
        """Return the stored claim of a key."""
        found = await self._repeat(opening.CLAIMED, scope, key)
        return _standing(found[0]) if found else None

    async def answer(self, order_id: str, answer: StoredAnswer) -> StoredAnswer:
        """Complete the order's claim where it is still processing, and return the answer that stands.

        An order without a claim has nobody to be told twice: the answer comes back as it is.
        """
        for _ in range(TRIES):
            found = await self._repeat(opening.ANSWER, order_id, answer.status, answer.body)
            if found:
                return StoredAnswer(found[0]["status"], found[0]["body"])
        return answer

    async def record(self, commit: Commit) -> bool:
        """Write a commit, or nothing when the order was changed, leased by another holder, or expired."""
        document = _move_document(commit)
        doubtful = False
        for _ in range(TRIES):
            try:
                if await self._written(commit, document):
                    return True
            except InDoubtError:
                doubtful = True
                continue
            # Refused, or already done by an earlier commit whose result was lost.
            return doubtful and await self._was_last(commit)
        if await self._was_last(commit):
            return True
        raise _gave_up("a commit")

    async def _written(self, commit: Commit, document: dict[str, Any]) -> bool:
        if isinstance(commit.order, Payment):
            return await self.database.patiently(self._moves.submit, document) is not None
        if isinstance(commit.order, Payout):
            return await self.database.patiently(self._payout_moves.submit, document) is not None
        # A refund's statement also writes its payment and its debit: one at a time keeps the order of locks.
        return bool(await self._commit(commits.MOVE_REFUNDS, rows.as_argument([document])))

    async def take_due(self, *, limit: int, lease_s: float) -> Sequence[Case]:
        """Lease due orders. When the result is lost, the leased orders are due again after their leases."""
        try:
            found = await self._commit(due.TAKE_DUE, limit, lease_s)
        except InDoubtError as error:
            raise StoreUnavailableError(f"PostgreSQL was lost: {error}") from error
        cases: list[Case] = []
        unreadable: list[tuple[str, int, bool, str]] = []
        for row in found:
            try:
                cases.append(rows.case_of(row))
            except UNREADABLE as error:
                unreadable.append((*rows.named(row), row["was_hinted"], str(error)))
        if unreadable:
            await self._set_aside(unreadable)
        return cases

    async def _set_aside(self, unreadable: Sequence[tuple[str, int, bool, str]]) -> None:
        """Release orders that cannot be read, so that the others can proceed."""
        for order_id, _, _, error in unreadable:
            log.error("order_unreadable", order_id=order_id, error=error)
        try:
            await self._repeat(due.SET_ASIDE, *map(list, zip(*unreadable, strict=True)))
        except StoreUnavailableError as error:
            # Their leases expire.
            log.warning("set_aside_failed", orders=len(unreadable), reason=str(error))

    async def renew(self, leases: Sequence[Lease], *, lease_s: float) -> frozenset[Lease]:
        """Extend leases; a lease that is not returned was lost to another holder."""
        ids, fences = [lease.order_id for lease in leases], [lease.fence for lease in leases]
        kept = await self._repeat(due.RENEW, ids, fences, lease_s)
        return frozenset(Lease(row["id"], row["fence"]) for row in kept)

    async def hint(self, token: str, failure: Failure | None = None) -> bool:
        """Make the order of the callback token due now, or as soon as its lease is released."""
        return bool(await self._repeat(due.HINT, token, _json_of(failure)))

    async def hint_reference(self, rail: str, reference: str, failure: Failure | None = None) -> bool:
        """The same for the attempt with this reference at this rail."""
        try:
            name = UUID(reference)
        except ValueError:
            return False
        return bool(await self._repeat(due.HINT_REFERENCE, name, _json_of(failure), rail))

    async def payment(self, payment_id: str) -> PaymentCase | None:
        """Read a payment with its attempts, as of one moment."""
        found = await self._repeat(due.PAYMENT, payment_id)
        return await self._case(payment_id, found, rows.payment_case)

    async def refund(self, refund_id: str) -> RefundCase | None:
        """Read a refund with its attempts and its debit, as of one moment."""
        found = await self._repeat(due.REFUND, refund_id)
        return await self._case(refund_id, found, rows.refund_case)

    async def payout(self, payout_id: str) -> PayoutCase | None:
        """Read a payout with its attempts, as of one moment."""
        found = await self._repeat(due.PAYOUT, payout_id)
        return await self._case(payout_id, found, rows.payout_case)

    async def _case(
        self, order_id: str, found: Sequence[asyncpg.Record], read: Callable[[asyncpg.Record], _C]
    ) -> _C | None:
        return await read_or_note(self.database, order_id, found[0], read) if found else None

    async def _told(
        self, standing: AlreadyClaimed, order: Order, *, doubtful: bool
    ) -> Opened | AlreadyClaimed:
        """After a commit in doubt the claim that stands may be our own, and the hold with it."""
        if not doubtful or standing.order_id != order.id:
            return standing
        case = await self._read(order)
        if case is None:
            raise StoreUnavailableError(f"{order.id} is claimed and cannot be read")
        now = order_of(case)
        return Opened(case) if (now.version, now.fence) == (order.version, order.fence) else standing

    async def _read(self, order: Order) -> Case | None:
        match order:
            case Payment():
                return await self.payment(order.id)
            case Payout():
                return await self.payout(order.id)
            case _:
                return await self.refund(order.id)

    async def _was_last(self, commit: Commit) -> bool:
        found = await self._repeat(commits.LAST_MOVE, commit.order.id)
        return bool(found) and found[0]["move_id"] == commit.id

    async def _owner_of_reference(self, order: Order, error: InvariantBrokenError) -> str:
        match order:
            case Refund():
                found = await self._repeat(opening.OWNER_OF_IDENTITY, order.payment_id, order.identity)
            case Payment():
                key = (order.merchant_id, order.livemode, order.reference)
                found = await self._repeat(opening.OWNER_OF_REFERENCE, *key)
            case Payout():
                key = (order.merchant_id, order.livemode, order.reference)
                found = await self._repeat(opening.OWNER_OF_PAYOUT_REFERENCE, *key)
        if not found:
            raise error
        return found[0]["id"]

    async def _commit(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self.database.patiently(self._once, statement, *arguments)

    async def _once(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        try:
            return await self.database.once(statement, *arguments)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise InvariantBrokenError(error.constraint_name or "", str(error)) from error

    async def _repeat(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self.database.repeat(statement, *arguments)


def _opening_document(asked: Opening | PayoutOpening, order: Payment | Payout) -> dict[str, Any]:
    return {
        "kind": "opening",
        "order_id": order.id,
        "order": rows.order_row(order),
        "merchant_id": order.merchant_id,
        "balance": rows.balance_row(order, asked.claim) if isinstance(order, Payout) else None,
        **rows.claim_columns(asked.claim),
        **rows.commit_columns(
            asked.lease,
            (asked.attempt,) if asked.attempt else (),
            asked.events,
            asked.timeline,
            asked.answer,
        ),
    }


def _refund_document(asked: RefundOpening) -> dict[str, Any]:
    return {
        "kind": "opening",
        "order_id": asked.refund.id,
        "order": rows.refund_row(asked.refund),
        # What came too much goes back whatever the merchant's balance and standing.
        "merchant_id": None if asked.refund.surplus else asked.refund.merchant_id,
        "balance": None if asked.refund.surplus else rows.balance_row(asked.refund, asked.claim),
        **rows.claim_columns(asked.claim),
        **rows.commit_columns(
            asked.lease, (asked.attempt,) if asked.attempt else (), asked.events, asked.timeline, None
        ),
    }


def _move_document(commit: Commit) -> dict[str, Any]:
    order = commit.order
    return {
        "kind": "move",
        "move_id": commit.id,
        "order_id": order.id,
        "expected_version": commit.expected_version,
        "expected_fence": commit.expected_fence,
        "order": rows.order_row(order),
        "before_expiry": commit.before_expiry,
        "outside_recovery": commit.outside_recovery,
        "searched": commit.searched,
        "contradiction": commit.contradiction,
        **rows.commit_columns(commit.lease, commit.attempts, commit.events, commit.timeline, commit.answer),
    }


def _opened(asked: Opening | PayoutOpening, row: asyncpg.Record) -> PaymentCase | PayoutCase:
    attempts = (asked.attempt,) if asked.attempt else ()
    if isinstance(asked, Opening):
        return PaymentCase(payment=asked.payment, attempts=attempts, as_of=row["as_of"])
    return PayoutCase(payout=asked.payout, attempts=attempts, as_of=row["as_of"])


def _opened_refund(asked: RefundOpening, row: asyncpg.Record) -> RefundCase:
    return RefundCase(
        refund=asked.refund,
        attempts=(asked.attempt,) if asked.attempt else (),
        payment=rows.payment_of(row["payment"]),
        debit=rows.attempt_of(row["debit"]),
        as_of=row["as_of"],
    )


def _standing(row: asyncpg.Record) -> AlreadyClaimed | None:
    if row["order_id"] is None:
        return None
    status, body = row["status"], row["body"]
    return AlreadyClaimed(
        fingerprint=row["fingerprint"],
        order_id=row["order_id"],
        answer=None if status is None else StoredAnswer(status, body),
        held_for_s=row["held_for_s"],
    )


def _refusal(row: asyncpg.Record) -> Suspended | NotCovered | None:
    if row["suspended"]:
        return Suspended()
    needed = row.get("needed")
    return None if needed is None else NotCovered(available=row["covered"], needed=needed)


def _refused_by(error: InvariantBrokenError) -> Suspended | None:
    """What the last wall of the schema says: suspended, or None for a balance that has fallen since it was
    judged, which is judged again. Raises every other error."""
    if error.constraint == _SUSPENDED:
        return Suspended()
    if error.constraint != _COVERED:
        raise error
    return None


def _json_of(failure: Failure | None) -> bytes | None:
    return None if failure is None else rows.to_json(failure)


def _gave_up(what: str) -> StoreUnavailableError:
    return StoreUnavailableError(f"PostgreSQL was lost while {what} was under way; ask again")
