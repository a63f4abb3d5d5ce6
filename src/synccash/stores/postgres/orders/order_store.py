"""Stores orders and their commits in PostgreSQL. Each write is one statement, which is one transaction.

All times come from the database clock. When the result of a commit is lost, the store looks up whether the
commit was written before it returns.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import structlog

from synccash.payments.audit import AuditNote
from synccash.payments.case import (
    AlreadyClaimed,
    Case,
    Commit,
    Lease,
    NotCovered,
    NotRefundable,
    Opened,
    Opening,
    OpeningResult,
    Order,
    OrderCase,
    PaymentCase,
    PayoutCase,
    ReferenceTaken,
    RefundCase,
    SendsHeld,
    StoredAnswer,
    Suspended,
)
from synccash.payments.errors import InternalError, OrderUnreadableError, StoreUnavailableError
from synccash.payments.failure import Failure
from synccash.payments.payment import OrderKind, Refund
from synccash.payments.recovery import Recovery
from synccash.stores.batching import NaturalBatch
from synccash.stores.encryption import DecryptionError, Encryption
from synccash.stores.postgres import sealing
from synccash.stores.postgres.audit import noted
from synccash.stores.postgres.database import TRIES, Database, InDoubtError
from synccash.stores.postgres.errors import InvariantBrokenError
from synccash.stores.postgres.orders import commits, due, opening, rows
from synccash.stores.postgres.orders.order_tables import ORDER_TABLES
from synccash.stores.postgres.orders.recovery import PostgresRecovery
from synccash.stores.postgres.orders.unreadable import UNREADABLE, read_or_note
from synccash.stores.postgres.pool import CONNECT_TIMEOUT_S

log = structlog.get_logger("synccash.ledger")

_REFERENCES = frozenset(
    {
        "a_reference_is_used_once",
        "a_payouts_reference_is_used_once",
        "a_refunds_identity_is_used_once",
        # An attempt's reference is derived from the order's, so this constraint may be checked first.
        "an_attempt_has_its_own_reference",
    }
)
_ONE_AT_A_TIME = "one_exclusive_refund_at_a_time"
_COVERED = "balance_covers_what_is_opened"
_SUSPENDED = "a_suspended_merchant_starts_nothing"
_NOW = "SELECT clock_timestamp() AS now"
_MAX_BATCH = 64
_MAX_FLUSHES = 2
_GAP_S = 0.003
_REFUNDS = 4
"""How many refunds one process opens at once. They may wait for locks of debits and balances, and must leave
connections for the other orders."""
_C = TypeVar("_C", bound=Case)
_Submit = Callable[[dict[str, Any]], Coroutine[Any, Any, asyncpg.Record | None]]


@dataclass(slots=True)
class PostgresOrderStore:
    """Implements the engine's `OrderStore`, which specifies each method. All tasks of a process share it.

    Concurrent commits of payments are sent in one statement, and so are those of payouts. Every method raises
    StoreUnavailableError when PostgreSQL cannot be reached, and InvariantBrokenError when a commit would
    break a constraint of the schema. `delivery_written` is called after a commit that wrote an event for an
    endpoint.
    """

    database: Database
    delivery_written: Callable[[], None] = lambda: None
    _clock: Callable[[], float] = time.monotonic
    _openings: Mapping[OrderKind, _Submit] = field(init=False)
    _moves: Mapping[OrderKind, _Submit] = field(init=False)
    _looked_at: float = field(default=-math.inf)
    _hints: NaturalBatch[tuple[str, Failure | None], bool] = field(init=False)
    _refunds: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_REFUNDS))

    def __post_init__(self) -> None:
        # A refund's statements also write its payment and its debit, so each refund is written on its own.
        batched = (OrderKind.PAYMENT, OrderKind.PAYOUT)
        self._openings = {
            kind: self._batch(opening.OPEN[kind], asked="order_id", answered="asked_id") for kind in batched
        } | {OrderKind.REFUND: self._open_refund}
        self._moves = {
            kind: self._batch(commits.MOVE[kind], asked="move_id", answered="move_id") for kind in batched
        } | {OrderKind.REFUND: self._move_refund}
        self._hints = NaturalBatch(self._hint_together, max_items=_MAX_BATCH, gap_s=_GAP_S)

    def _batch(self, statement: str, *, asked: str, answered: str) -> _Submit:
        async def flush(
            documents: Sequence[dict[str, Any]],
        ) -> Sequence[asyncpg.Record | BaseException | None]:
            try:
                found = await self._written(statement, documents)
            except (InDoubtError, StoreUnavailableError) as error:
                # Each caller retries or looks up its own row, so that no caller delays the next batch.
                return [type(error)(str(error)) for _ in documents]
            answers = {row[answered]: row for row in found}
            return [answers.get(document[asked]) for document in documents]

        batch = NaturalBatch(flush, max_items=_MAX_BATCH, max_in_flight=_MAX_FLUSHES, gap_s=_GAP_S)
        return batch.submit

    async def now(self) -> datetime:
        """Return the database's time."""
        return (await self._repeat(_NOW))[0]["now"]

    async def recovery(self) -> Recovery:
        """Return whether a recovery is under way."""
        return await PostgresRecovery(self.database).recovery()

    async def open(self, asked: Opening[Order], /) -> OpeningResult:
        """Open an order with its first commit. A payout waits for the lock of the merchant's balance; a
        refund waits for its debit's row lock and, unless it returns a surplus, for the balance."""
        order, document = asked.order, _opening_document(asked, self.database.encryption)
        is_doubtful = False
        for _ in range(TRIES):
            existing: AlreadyClaimed | None = None
            refusal: Suspended | NotCovered | SendsHeld | None = None
            shortage: NotRefundable | None = None
            owner: str | None = None
            try:
                row = await self.database.commit_with(self._openings[order.kind], document)
            except InDoubtError:
                is_doubtful = True
                existing = await self.claimed(asked.claim.scope, asked.claim.key)
            except InvariantBrokenError as error:
                if error.constraint == _ONE_AT_A_TIME:
                    return NotRefundable(0, under_way=True)
                if error.constraint in _REFERENCES:
                    return ReferenceTaken(await self._owner_of_reference(order, error))
                refusal = _refused_by(error)
            else:
                if row is None:
                    raise InternalError(f"the statement returned no row for the opening of {order.id}")
                if row["opened"]:
                    return Opened(self._opened(asked, row))
                owner = row["reference_owner"]
                existing, refusal, shortage = self._existing_claim(row), _refusal(row), _shortage(order, row)
                if existing is None:
                    # Also for a refused order: the first request under the key may have been opened at the
                    # same time and taken what was left.
                    existing = await self.claimed(asked.claim.scope, asked.claim.key)
                    if refusal is None and row["sends_held"] and asked.attempt is not None:
                        refusal = SendsHeld()
            if existing is not None:
                return await self._claim_or_opened(existing, order, doubtful=is_doubtful)
            if refusal is not None and not is_doubtful:
                return refusal
            if shortage is not None:
                return shortage
            if owner is not None:
                return ReferenceTaken(owner)
        raise _unavailable_error(f"the opening of a {order.kind}")

    async def _open_refund(self, document: dict[str, Any]) -> asyncpg.Record | None:
        """Open one refund in a statement of its own, because it may wait for locks of debit and balance."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._refunds.acquire()
        except TimeoutError as error:
            raise StoreUnavailableError("too many refunds wait for their debits and balances") from error
        try:
            found = await self._written(opening.OPEN[OrderKind.REFUND], [document])
        finally:
            self._refunds.release()
        return found[0] if found else None

    async def _move_refund(self, document: dict[str, Any]) -> asyncpg.Record | None:
        found = await self._written(commits.MOVE[OrderKind.REFUND], [document])
        return found[0] if found else None

    async def _written(self, statement: str, documents: Sequence[dict[str, Any]]) -> list[asyncpg.Record]:
        found = await self._once(statement, rows.as_argument(documents))
        if found and found[0]["delivers"]:
            self.delivery_written()
        return found

    async def _move_noted(
        self, kind: OrderKind, note: AuditNote, document: dict[str, Any]
    ) -> asyncpg.Record | None:
        """Write one commit in a transaction of its own, with its entry of the audit log. A repeat after a
        lost connection finds the commit and writes neither again."""
        work = noted(note, commits.MOVE[kind], rows.as_argument([document]))
        found = await self._checked(self.database.once_with(work))
        return found[0] if found else None

    async def claimed(self, scope: str, key: str) -> AlreadyClaimed | None:
        """Return the stored claim of a key."""
        keys = [sealing.claim_key(self.database.encryption, scope, key), key]
        found = await self._repeat(opening.CLAIMED, scope, keys)
        return self._existing_claim(found[0]) if found else None

    async def answer(self, order_id: str, answer: StoredAnswer) -> StoredAnswer:
        """Complete the order's claim if it is still processing, and return the response that is stored.

        Returns `answer` itself for an order without a claim, which no repeated request can refer to.
        """
        columns = sealing.seal_value(self.database.encryption, rows.answer_place(order_id), answer.body)
        for _ in range(TRIES):
            found = await self._repeat(opening.ANSWER, order_id, answer.status, *columns)
            if found:
                return self._answer(order_id, found[0])
        return answer

    async def record(self, commit: Commit, note: AuditNote | None = None) -> bool:
        """Write a commit, or nothing when the order was changed, leased by another holder, or expired."""
        document = _move_document(commit, self.database.encryption)
        kind = commit.order.kind
        submit = self._moves[kind] if note is None else partial(self._move_noted, kind, note)
        doubtful = False
        for _ in range(TRIES):
            try:
                if await self.database.commit_with(submit, document) is not None:
                    return True
            except InDoubtError:
                doubtful = True
                continue
            # The commit was rejected, or an earlier try wrote it and lost the result.
            return doubtful and await self._was_last(commit)
        if await self._was_last(commit):
            return True
        raise _unavailable_error("a commit")

    async def take_due(self, *, limit: int, lease_s: float) -> Sequence[Case]:
        """Lease due orders. If the result is lost, the orders are due again when these leases expire."""
        try:
            found = await self._commit(due.TAKE_DUE, limit, lease_s)
        except InDoubtError as error:
            raise StoreUnavailableError(f"PostgreSQL was lost: {error}") from error
        cases: list[Case] = []
        unreadable: list[tuple[str, int, bool, str]] = []
        for row in found:
            try:
                cases.append(rows.case_of(row, self.database.encryption))
            except UNREADABLE as error:
                unreadable.append((*rows.named(row), row["was_hinted"], str(error)))
        if unreadable:
            await self._set_aside(unreadable)
        if self._clock() - self._looked_at >= due.SOON_S / 2:
            await self._look_later()
        return cases

    async def _look_later(self) -> None:
        """Move the payments that are not due yet out of the way of `take_due`."""
        self._looked_at = self._clock()
        # The orders are already leased, and this can wait.
        with contextlib.suppress(StoreUnavailableError):
            if len(await self._repeat(due.LOOK_LATER)) == due.LOOK_LATER_AT_ONCE:
                # More are left. Each `take_due` reads them all, so the next one moves some, too.
                self._looked_at = -math.inf

    async def _set_aside(self, unreadable: Sequence[tuple[str, int, bool, str]]) -> None:
        """Release leased orders that cannot be read, and record their errors."""
        for order_id, _, _, error in unreadable:
            log.error("order_unreadable", order_id=order_id, error=error)
        try:
            await self._repeat(due.SET_ASIDE, *map(list, zip(*unreadable, strict=True)))
        except StoreUnavailableError as error:
            # The orders are due again when their leases expire.
            log.warning("set_aside_failed", orders=len(unreadable), reason=str(error))

    async def renew(self, leases: Sequence[Lease], *, lease_s: float) -> frozenset[Lease]:
        """Extend leases, and return those that are still held; the others were lost to other holders."""
        ids, fences = [lease.order_id for lease in leases], [lease.fence for lease in leases]
        kept = await self._repeat(due.RENEW, ids, fences, lease_s)
        return frozenset(Lease(row["id"], row["fence"]) for row in kept)

    async def hint(self, token: str, failure: Failure | None = None) -> bool:
        """Make the order of the callback token due now, or when its lease is released."""
        return await self.database.repeat_with(self._hints.submit, (token, failure))

    async def _hint_together(
        self, asked: Sequence[tuple[str, Failure | None]]
    ) -> Sequence[bool | BaseException]:
        reported: dict[str, Failure | None] = {}
        for token, failure in asked:
            reported[token] = failure or reported.get(token)
        hints = [{"kind": "hint", "token": token, "failure": reported[token]} for token in reported]
        try:
            found = await self._once(due.HINT, rows.as_argument(hints))
        except (InDoubtError, StoreUnavailableError) as error:
            return [type(error)(str(error)) for _ in asked]
        known = {row["token"] for row in found}
        return [token in known for token, _ in asked]

    async def hint_reference(self, rail: str, reference: str, failure: Failure | None = None) -> bool:
        """Make the order of the attempt with this reference at this rail due, like `hint`."""
        try:
            name = UUID(reference)
        except ValueError:
            return False
        hint = {"kind": "hint", "reference": name, "rail": rail, "failure": failure}
        return bool(await self._repeat(due.HINT_REFERENCE, rows.as_argument([hint])))

    async def otp_tries(self, payment_id: str) -> int:
        """Count the entries of the timeline that the commits of passwords wrote."""
        (row,) = await self._repeat(due.OTP_TRIES, payment_id)
        return row["tries"]

    async def payment(self, payment_id: str) -> PaymentCase | None:
        """Read a payment with its attempts, as of one moment."""
        return await self._case(OrderKind.PAYMENT, payment_id, rows.payment_case)

    async def refund(self, refund_id: str) -> RefundCase | None:
        """Read a refund with its attempts and its debit, as of one moment."""
        return await self._case(OrderKind.REFUND, refund_id, rows.refund_case)

    async def payout(self, payout_id: str) -> PayoutCase | None:
        """Read a payout with its attempts, as of one moment."""
        return await self._case(OrderKind.PAYOUT, payout_id, rows.payout_case)

    async def _case(
        self, kind: OrderKind, order_id: str, read: Callable[[asyncpg.Record, Encryption | None], _C]
    ) -> _C | None:
        found = await self._repeat(due.READ[kind], order_id)
        return await read_or_note(self.database, order_id, found[0], read) if found else None

    def _opened(self, asked: Opening[Order], row: asyncpg.Record) -> Case:
        order, attempts, as_of = asked.order, asked.attempts, row["as_of"]
        if not isinstance(order, Refund):
            return OrderCase(order=order, attempts=attempts, as_of=as_of)
        payment = rows.payment_of(row["payment"], self.database.encryption)
        debit = rows.attempt_of(row["debit"])
        return RefundCase(order=order, attempts=attempts, as_of=as_of, payment=payment, debit=debit)

    def _existing_claim(self, row: asyncpg.Record) -> AlreadyClaimed | None:
        """Return the claim that a row describes; None for the row of an opening without one.

        Raises OrderUnreadableError when it cannot be decrypted.
        """
        order_id: str | None = row["order_id"]
        if order_id is None:
            return None
        try:
            return AlreadyClaimed(
                fingerprint=sealing.open_fingerprint(self.database.encryption, order_id, row["fingerprint"]),
                order_id=order_id,
                answer=None if row["status"] is None else self._answer(order_id, row),
                held_for_s=row["held_for_s"],
            )
        except DecryptionError as error:
            log.error("claim_unreadable", order_id=order_id, error=str(error))
            raise OrderUnreadableError(order_id) from error

    def _answer(self, order_id: str, row: asyncpg.Record) -> StoredAnswer:
        place = rows.answer_place(order_id)
        body = sealing.either(self.database.encryption, place, row["body"], row["sealed_body"])
        return StoredAnswer(row["status"], body)

    async def _claim_or_opened(
        self, standing: AlreadyClaimed, order: Order, *, doubtful: bool
    ) -> Opened | AlreadyClaimed:
        """Return the claim, or the opened order if the commit in doubt was this one and nothing has changed
        the order since."""
        if not doubtful or standing.order_id != order.id:
            return standing
        case = await self._case(order.kind, order.id, rows.case_of)
        if case is None:
            raise StoreUnavailableError(f"{order.id} is claimed and cannot be read")
        await self.database.confirm_durable()
        now = case.order
        return Opened(case) if (now.version, now.fence) == (order.version, order.fence) else standing

    async def _was_last(self, commit: Commit) -> bool:
        found = await self._repeat(commits.LAST_MOVE, commit.order.id)
        if not found or found[0]["move_id"] != commit.id:
            return False
        await self.database.confirm_durable()
        return True

    async def _owner_of_reference(self, order: Order, error: InvariantBrokenError) -> str:
        *fixed, last = ORDER_TABLES[order.kind].reference
        forms = rows.reference_forms(order, last, self.database.encryption)
        found = await self._repeat(
            opening.OWNER[order.kind], *(getattr(order, column) for column in fixed), forms
        )
        if not found:
            raise error
        return found[0]["id"]

    async def _commit(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self.database.commit_with(self._once, statement, *arguments)

    async def _once(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._checked(self.database.once(statement, *arguments))

    async def _checked(self, found: Awaitable[list[asyncpg.Record]]) -> list[asyncpg.Record]:
        try:
            return await found
        except asyncpg.IntegrityConstraintViolationError as error:
            raise InvariantBrokenError(error.constraint_name or "", str(error)) from error

    async def _repeat(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self.database.repeat(statement, *arguments)


def _opening_document(asked: Opening[Order], encryption: Encryption | None) -> dict[str, Any]:
    order = asked.order
    last = ORDER_TABLES[order.kind].reference[-1]
    return {
        "kind": "opening",
        "order_id": order.id,
        "order": rows.opened_row(order, encryption),
        "plain_reference": None if encryption is None else getattr(order, last),
        "merchant_id": order.merchant_id if order.is_stopped_by_suspension else None,
        "balance": rows.balance_row(order, asked.claim, encryption),
        **rows.claim_columns(asked.claim, order.id, encryption),
        **rows.commit_columns(
            order.id, encryption, asked.lease, asked.attempts, asked.events, asked.timeline, asked.answer
        ),
    }


def _move_document(commit: Commit, encryption: Encryption | None) -> dict[str, Any]:
    order = commit.order
    return {
        "kind": "move",
        "move_id": commit.id,
        "order_id": order.id,
        "expected_version": commit.expected_version,
        "expected_fence": commit.expected_fence,
        "order": rows.changed_row(order),
        "before_expiry": commit.refuse_if_expired,
        "outside_recovery": commit.refuse_in_recovery,
        "searched": commit.searched,
        "contradiction": commit.contradiction,
        **rows.commit_columns(
            order.id, encryption, commit.lease, commit.attempts, commit.events, commit.timeline, commit.answer
        ),
    }


def _refusal(row: asyncpg.Record) -> Suspended | NotCovered | None:
    if row["suspended"]:
        return Suspended()
    needed = row.get("needed")
    return None if needed is None else NotCovered(available=row["covered"], needed=needed)


def _shortage(order: Order, row: asyncpg.Record) -> NotRefundable | None:
    """Return the amount left on a refund's debit if it is too little, else None; None for other orders."""
    if not isinstance(order, Refund):
        return None
    available = row["available"] or 0
    return NotRefundable(available) if available < order.amount else None


def _refused_by(error: InvariantBrokenError) -> Suspended | None:
    """Return Suspended if the schema's check of suspensions failed, and None if the balance has fallen since
    it was checked: the opening is then tried again. Raises every other error."""
    if error.constraint == _SUSPENDED:
        return Suspended()
    if error.constraint != _COVERED:
        raise error
    return None


def _unavailable_error(what: str) -> StoreUnavailableError:
    return StoreUnavailableError(f"PostgreSQL was lost while {what} was under way; ask again")
