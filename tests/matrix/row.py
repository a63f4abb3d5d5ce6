"""One row of the matrix: one operation of one rail, its cells played one after another on the whole service.

The real engine, PostgreSQL, the connector and the sandbox's rail, whose book is the judge of every cell.
"""

import asyncio
import contextlib
import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from drill.deployment import Deployment, deployed
from matrix.codes import ENDS, EXPIRED, KNOWN_5XX, REFUSALS, SAID, Meaning, NobodyKnows, NotNow, Refused
from matrix.faults import FAULTS, End, Fault, Late, is_a_cell
from synccash.payments.audit import AuditNote
from synccash.payments.case import Claim, Commit
from synccash.payments.errors import KeyInProgressError, StoreUnavailableError
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.payment import StatusDetail
from synccash.payments.payout import Payee
from synccash.payments.rail import Operation, OperationCapability
from synccash.payments.request import PaymentRequest, PayoutRequest, RefundRequest, Tenant
from synccash.resilience.circuit_breaker import BreakerSettings
from synccash.sandbox.faults import Faults, Script, Step
from synccash.sandbox.wire import Call, Reply
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.pool import Pool

TENANT = Tenant("m_matrix", livemode=False)
FIRST, PURSE = 2_501, 900_000
"""Pesewas: of the first cell, and of what is there to be given back."""
# What breakers do has scenarios of its own; here they would carry one cell's trouble into the next.
NEVER_OPENS = BreakerSettings(failures=1_000_000)
HEALTHY = Faults(approve_after_ms=0)
_TIMEOUT_S = 240.0
_FAR_MS = 86_400_000
_AT_ONCE = 8
_ANY = "any order"
_AMOUNT = re.compile(rb'"amount":"?([0-9]+(?:\.[0-9][0-9])?)', re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell. `end` and `code`: how the order ends. `says`: the rail's answer in place of its own."""

    name: str
    fault: Fault
    end: End
    code: str | None = None
    says: Reply | None = None


def cells_of(rail: str, operation: Operation, *, dedup: bool) -> list[Cell]:
    """Every cell of a row: the faults, then each code as a refusal and as an end."""
    key = rail, operation
    named = [
        _of_fault(rail, name, fault, dedup=dedup)
        for name, fault in FAULTS.items()
        if is_a_cell(rail, operation, name)
    ]
    refusals = [_refusal(rail, code, meaning, dedup=dedup) for code, meaning in REFUSALS[key].items()]
    return [*named, *refusals, *(_end(code, meaning) for code, meaning in ENDS[key].items())]


def _of_fault(rail: str, name: str, fault: Fault, *, dedup: bool) -> Cell:
    says = KNOWN_5XX[rail] if fault.known_code else None
    return Cell(name=name, fault=fault, end=fault.safe if dedup else fault.unsafe, says=says)


def _refusal(rail: str, code: str, meaning: Meaning, *, dedup: bool) -> Cell:
    name, says = f"refused with {code}", SAID[rail](code)
    match meaning:
        case Refused(failure):
            return Cell(name=name, fault=Fault(), end=End.UNPAID, code=failure, says=says)
        case NotNow():
            return Cell(name=name, fault=Fault(), end=End.PAID, says=says)
        case NobodyKnows():
            return Cell(name=name, fault=Fault(), end=End.PAID if dedup else End.PARKED, says=says)


def _end(code: str, meaning: Meaning) -> Cell:
    name, fault = f"ended with {code}", Fault(step={"end": code})
    match meaning:
        case Refused(failure):
            return Cell(name=name, fault=fault, end=End.UNPAID, code=failure)
        case NotNow():
            return Cell(name=name, fault=fault, end=End.PAID)
        case NobodyKnows():
            raise AssertionError("an end is an end")


@dataclass(slots=True, kw_only=True)
class CellRun:
    """Live: one cell under way. Its amount is its own, so that the line knows whose request it carries."""

    cell: Cell
    amount: int
    sent_at: list[float] = field(default_factory=list)


class CommitNotifyingStore(PostgresOrderStore):
    """PostgreSQL's order store; whoever waits for an order hears of its commits."""

    commits: defaultdict[str, asyncio.Event]

    async def record(self, move: Commit, note: AuditNote | None = None) -> bool:
        committed = await super().record(move, note)
        for name in (move.order.id, _ANY):
            self.commits[name].set()
        return committed


@dataclass(slots=True, kw_only=True)
class Row(Deployment):
    """Live: one operation of the one rail in `order`."""

    operation: Operation
    wrong: dict[str, str] = field(default_factory=dict)
    _under_way: dict[int, CellRun] = field(default_factory=dict)
    _commits: defaultdict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    _purse: str | None = None
    _starting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def play(self) -> dict[str, str]:
        """Play all cells; return what was wrong, by cell."""
        self.processes = [await self.process()]
        self._listen_to_the_line()
        self.played.set_faults(HEALTHY)
        if self.rail == "mtn_momo":
            # So many questions at once are no part of any cell.
            self.tell(self.rail, "settings", {"status_per_s": 0})
        if self.operation is Operation.REFUND and self.able.dedup_by_reference:
            self._purse = await self._paid("the debit of all", PURSE)
        cells = cells_of(self.rail, self.operation, dedup=self.able.dedup_by_reference)
        numbered = list(enumerate(cells, start=FIRST))
        await asyncio.gather(*(self._play(c, n) for n, c in numbered if not c.fault.status_at_rail))
        for number, cell in numbered:
            if cell.fault.status_at_rail:
                self.played.set_faults(
                    msgspec.convert({"approve_after_ms": 0, **cell.fault.status_at_rail}, Faults)
                )
                await self._play(cell, number)
        return self.wrong

    @property
    def rail(self) -> str:
        """The rail's id."""
        return self.order[0]

    @property
    def able(self) -> OperationCapability:
        """What the connector says of this operation."""
        return self.processes[0].engine.rails[self.rail].capabilities.operations[self.operation]

    @property
    def played(self) -> Any:
        """The rail of the sandbox."""
        return self.sandbox.rails[self.rail]

    def _listen_to_the_line(self) -> None:
        """Note when money is asked for, and do a cell's fault to the first request of that cell."""
        played, serve = self.played, self.played.serve

        async def served(call: Call) -> Reply | None:
            found = _AMOUNT.search(call.body) if played.wire.kind(call) == "money" else None
            under_way = self._under_way.get(int(found[1].replace(b".", b""))) if found else None
            if under_way is not None:
                under_way.sent_at.append(asyncio.get_running_loop().time())
                cell, is_first = under_way.cell, len(under_way.sent_at) == 1
                # A refusal is repeated: on a busy machine its first answer may come too late to be read.
                if cell.says is not None and (is_first or cell.end is End.UNPAID):
                    return cell.says
                if is_first:
                    played.set_script(Script((msgspec.convert(self._step(cell), Step),)))
            return await serve(call)

        played.serve = served

    def order_store_on(self, pool: Pool) -> PostgresOrderStore:
        """An order store that tells of its commits."""
        order_store = CommitNotifyingStore(Database(pool))
        order_store.commits = self._commits
        return order_store

    def _step(self, cell: Cell) -> Mapping[str, Any]:
        if cell.fault.late is not Late.AFTER_THE_RAIL_CALLED_IT_FAILED:
            return cell.fault.step
        return {"end": EXPIRED[self.rail], "then_success_after_ms": _FAR_MS}

    async def _play(self, cell: Cell, amount: int) -> None:
        played = self._under_way[amount] = CellRun(cell=cell, amount=amount)
        order_id = None
        name = f"{self.rail} {self.operation.value}: {cell.name}"
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                async with self._starting:
                    order_id = await self._begin(played)
                await self._see_to_its_end(played, order_id)
        except AssertionError as error:
            self.wrong[name] = str(error)
        except TimeoutError:
            self.wrong[name] = f"not ended in {_TIMEOUT_S:.0f} s: {await self._state(order_id)}"

    async def _state(self, order_id: str | None) -> str:
        """What an order that should have ended looks like: its status, its attempts and its next inquiry."""
        if order_id is None:
            return "no order was opened"
        case = await self._case(order_id)
        order = case.order
        attempts = [f"{a.state.value} after {a.sends} sends, {a.inquiries} inquiries" for a in case.attempts]
        status = f"{order_id} is {order.status.value} {order.status_detail}, expires {case.expires_at}"
        return f"{status}, attempts: {attempts}"

    async def _begin(self, played: CellRun) -> str:
        """Ask for the cell's order; return its id."""
        name = played.cell.name
        back = None
        if self.operation is Operation.REFUND:
            back = self._purse or await self._paid(f"debit for {name}", PURSE)
        is_to_expire = played.cell.fault.late is Late.AFTER_THE_ORDER_EXPIRED
        return await self._ask(name, played.amount, back, expires_in_s=3 if is_to_expire else 600)

    async def _ask(self, name: str, amount: int, back: str | None, *, expires_in_s: int = 600) -> str:
        engine, claim = self.processes[0].engine, Claim("m_matrix:test", name, b"m" * 32)
        given: dict[str, Any] = {"tenant": TENANT, "amount": amount}
        if back is not None:
            refund = RefundRequest(**given, payment_id=back)
            reply = await _repeated(lambda: engine.refund_payment(refund, claim))
            return msgspec.json.decode(reply.body)["id"]
        number = Msisdn.parse("0241234567")
        given |= {"currency": "GHS", "reference": f"order {amount} {name}"[:64], "rail": self.rail}
        given |= {"expires_in_s": expires_in_s}
        if self.operation is Operation.PAYOUT:
            payout = PayoutRequest(**given, payee=Payee(number))
            reply = await _repeated(lambda: engine.pay_out(payout, claim))
        else:
            payment = PaymentRequest(**given, payer=Payer(number))
            reply = await _repeated(lambda: engine.initiate_payment(payment, claim))
        return msgspec.json.decode(reply.body)["id"]

    async def _paid(self, name: str, amount: int) -> str:
        payment_id = await self._ask(name, amount, None)
        await self._ended(payment_id)
        return payment_id

    async def _see_to_its_end(self, played: CellRun, order_id: str) -> None:
        cell = played.cell
        if cell.fault.forged:
            case = await self._until(order_id, lambda case: case.live.inquiries > 0)
            assert not _is_final(case), "a callback was believed"
            self._let_the_money_move(case)
        match cell.fault.late:
            case Late.AFTER_THE_RAIL_CALLED_IT_FAILED:
                case = await self._ended(order_id)
                assert self._moved(case) == [], "the money moved too early"
                self._let_the_money_move(case)
                await self._until_all(lambda: self._is_told(order_id))
            case Late.AFTER_THE_ORDER_EXPIRED:
                case = await self._until(order_id, lambda case: datetime.now(UTC) > case.expires_at)
                assert not _is_final(case), "the order ended while its money was under way"
                self._let_the_money_move(case)
            case None:
                pass
        is_parked = cell.end is End.PARKED
        self._judge(played, await (self._until(order_id, _is_parked) if is_parked else self._ended(order_id)))
        if cell.end is End.DISPUTED and self.operation is Operation.COLLECT:
            await self._until_all(lambda: self._has_gone_back(order_id, played.amount))
        if cell.fault.waits_s is not None:
            first, second = played.sent_at
            assert second - first >= cell.fault.waits_s, f"sent again after {second - first:.3f} s"

    def _judge(self, played: CellRun, case: Any) -> None:
        order, moved, cell = case.order, self._moved(case), played.cell
        expected = {
            End.PAID: ("succeeded", [played.amount]),
            End.UNPAID: ("failed", []),
            End.PARKED: ("processing", []),
            End.DISPUTED: ("failed", [played.amount]),
        }[cell.end]
        told = f"{order.status.value} {order.status_detail} {order.last_error}, moved {moved}"
        assert (order.status.value, moved) == expected, f"expected {expected}, found {told}"
        if cell.code is not None:
            assert order.last_error.code == cell.code, f"expected {cell.code}, found {told}"

    def _let_the_money_move(self, case: Any) -> None:
        """The payer approves, or the network finds the money, now."""
        plain = case.attempts[-1].reference.replace("-", "")
        booked = (o for o in self.played.orders.values() if _plain(o.booked_as or o.reference) == plain)
        self.played.end(next(booked).reference)

    def _moved(self, case: Any) -> list[int]:
        """What the rail's book says of the case, over all its attempts."""
        ours = {_plain(attempt.reference) for attempt in case.attempts}
        book = self.played.book()
        entries = (*book["debits"], *book["credits"])
        return [entry["amount"] for entry in entries if _plain(entry["reference"]) in ours]

    async def _is_told(self, order_id: str) -> bool:
        return await self.pool.fetchval("SELECT count(*) FROM contradictions WHERE order_id = $1", order_id)

    async def _has_gone_back(self, payment_id: str, amount: int) -> bool:
        found = await self.pool.fetchval(
            "SELECT id FROM refunds WHERE payment_id = $1 AND status = 'succeeded'", payment_id
        )
        if found is not None:
            assert self._moved(await self.order_store.refund(found)) == [amount], "it has not gone back once"
        return found is not None

    async def _case(self, order_id: str) -> Any:
        match order_id.partition("_")[0]:
            case "re":
                return await _repeated(lambda: self.order_store.refund(order_id))
            case "po":
                return await _repeated(lambda: self.order_store.payout(order_id))
            case _:
                return await _repeated(lambda: self.order_store.payment(order_id))

    async def _until(self, order_id: str, holds: Callable[[Any], Any]) -> Any:
        """The order's case, as soon as a commit makes this true of it."""
        while True:
            self._commits[order_id].clear()
            case = await self._case(order_id)
            if holds(case):
                return case
            await self._commit_of(order_id)

    async def _ended(self, order_id: str) -> Any:
        """The order's case, once it has ended.

        A machine that is too busy may have let a short ladder run out: whoever asks once more has to see.
        """
        while not _is_final(case := await self._until(order_id, _is_parked)):
            self._commits[order_id].clear()
            await _repeated(partial(self.order_store.hint_reference, self.rail, case.attempts[-1].reference))
            await self._commit_of(order_id)
        return case

    async def _until_all(self, holds: Callable[[], Awaitable[Any]]) -> None:
        """The same for what no order's own commit tells of."""
        while True:
            self._commits[_ANY].clear()
            if await holds():
                return
            await self._commit_of(_ANY)

    async def _commit_of(self, name: str) -> None:
        """Wait for a commit. Work that loses its hold while it commits tells of none: look all the same."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._commits[name].wait()


async def _repeated(call: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat a call for which a busy machine's PostgreSQL had no connection in time, also while the first one
    goes on under its key, as a merchant would."""
    while True:
        with contextlib.suppress(StoreUnavailableError, KeyInProgressError):
            return await call()
        # A pool that is without connections fails at once: without a pause nothing else would run.
        await asyncio.sleep(0.05)


def _plain(reference: str) -> str:
    """A reference, however a rail spells it."""
    return reference.replace("-", "")


def _is_final(case: Any) -> bool:
    return case.order.status.is_final


def _is_parked(case: Any) -> bool:
    return _is_final(case) or case.order.status_detail is StatusDetail.UNDER_REVIEW


@contextlib.asynccontextmanager
async def row_of(rail: str, operation: Operation, url: str, folder: Path) -> AsyncGenerator[Row]:
    """A row, ready to be played."""
    given: Mapping[str, Any] = {"order": (rail,), "operation": operation, "breaker": NEVER_OPENS}
    async with deployed(Row, url, folder, **given) as row:
        yield row
