"""The judge compares PostgreSQL's rows with the rails' books, which are the reference.

A rail may reverse an outcome. That is no error of the engine, but it must be detected and reported, and a
surplus must be refunded or be under review. Late changes are judged like all others.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from drill.world import FINAL, RECHECK_AGES_S, World
from synccash.drill.late_sends import KNOWN_MONEY, TimelineEntry, late_sends
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import Case, PaymentCase, RefundCase
from synccash.payments.failure import FailureCode, WhoseProblem
from synccash.payments.payment import StatusDetail
from synccash.payments.rail import Operation
from synccash.sandbox.orders import Order

IN_FLIGHT_S = 0.3
"""What left just before the commit that knew of the money may arrive this much later."""


@dataclass(slots=True)
class Books:
    """What moved, by our reference, over all rails. Amounts in pesewas."""

    debits: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    credits: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    orders: dict[str, Order] = field(default_factory=dict)

    @classmethod
    def of(cls, world: World) -> "Books":
        books = cls()
        for played in world.sandbox.rails.values():
            book = played.book()
            for side, entries in ((books.debits, book["debits"]), (books.credits, book["credits"])):
                for entry in entries:
                    side[plain(entry["reference"])].append(entry["amount"])
            for order in played.orders.values():
                books.orders[plain(order.booked_as or order.reference)] = order
        return books

    def order(self, attempt: Attempt) -> Order | None:
        """What the rail accepted under an attempt's reference."""
        return self.orders.get(plain(attempt.reference))

    def moved(self, attempt: Attempt) -> list[int]:
        """What moved the way that the attempt asked for, each time."""
        side = self.debits if attempt.operation is Operation.COLLECT else self.credits
        return side.get(plain(attempt.reference), [])

    def net(self, attempt: Attempt) -> int:
        """What is gone, less what the rail has taken back itself."""
        other = self.credits if attempt.operation is Operation.COLLECT else self.debits
        return sum(self.moved(attempt)) - sum(other.get(plain(attempt.reference), ()))

    def came_late(self, attempt: Attempt) -> bool:
        """True when the rail called it failed, and moved the money all the same."""
        order = self.order(attempt)
        return order is not None and order.late_success_at is not None and bool(self.moved(attempt))

    def reversed_at(self, attempt: Attempt) -> float | None:
        """When the rail took the money back, if it did."""
        order = self.order(attempt)
        return None if order is None else order.reversed_at


@dataclass(slots=True)
class StoredOrders:
    """What PostgreSQL holds. `told`: the attempts that a contradiction names. `waiting`: the orders that
    `synccash payments waiting` shows."""

    payments: list[PaymentCase]
    refunds: list[RefundCase]
    payouts: list[Any]
    told: set[str]
    waiting: set[str]

    @classmethod
    async def of(cls, world: World) -> "StoredOrders":
        told: set[str] = set()
        for row in await world.pool.fetch("SELECT attempts FROM contradictions"):
            told.update(msgspec.json.decode(row["attempts"]))
        return cls(
            payments=[await world.order_store.payment(name) for name in await _ids(world, "payments")],
            refunds=[await world.order_store.refund(name) for name in await _ids(world, "refunds")],
            payouts=[await world.order_store.payout(name) for name in await _ids(world, "payouts")],
            told=told,
            waiting={row["id"] for row in await world.waiting()},
        )

    @property
    def cases(self) -> list[Case]:
        """Every order."""
        return [*self.payments, *self.refunds, *self.payouts]

    def back(self, debit: Attempt) -> list[RefundCase]:
        """The refunds of a debit."""
        return [refund for refund in self.refunds if refund.debit.id == debit.id]


def plain(reference: str) -> str:
    """A reference, however a rail spells it."""
    return reference.replace("-", "")


async def overlooked(world: World) -> list[str]:
    """Late money that a recheck or a callback should have found before the run's last inquiries."""
    books, order_store = Books.of(world), await StoredOrders.of(world)
    return [
        f"overlooked: {attempt.rail} moved the money of {attempt.id} late and nobody saw it"
        for case in order_store.cases
        for attempt in case.attempts
        if attempt.state.is_dead and not attempt.money_moved and books.net(attempt)
        if _has_to_be_seen(world, books, attempt)
    ]


def _has_to_be_seen(world: World, books: Books, dead: Attempt) -> bool:
    """True for late money of which a callback came, or which moved before the last recheck at an attempt
    that is looked back at: a payer's own refusal is believed."""
    order = books.order(dead)
    assert order is not None, dead
    assert order.ended_at is not None, dead
    if any(at >= order.ended_at for at in world.callbacks_for(dead.reference)):
        return True
    failure = dead.failure
    is_believed = (
        failure is not None
        and failure.code is not FailureCode.PAYER_TIMEOUT
        and failure.whose_problem is WhoseProblem.PAYER
    )
    return not is_believed and order.ended_at - dead.started_at.timestamp() < RECHECK_AGES_S[-1]


async def call_again(world: World) -> int:
    """Have each rail send the callbacks again of what the engine does not know: as a duplicate comes in life,
    hours later. Return of how much."""
    books, order_store = Books.of(world), await StoredOrders.of(world)
    unknown = [
        attempt
        for case in order_store.cases
        for attempt in case.attempts
        if (books.net(attempt) and not attempt.money_moved)
        or (attempt.money_moved and books.reversed_at(attempt) and attempt.reversed_at is None)
    ]
    for attempt in unknown:
        await world.order_store.hint_reference(attempt.rail, attempt.reference)
    return len(unknown)


async def verdict(world: World) -> list[str]:
    """Everything that was wrong, each in one line that begins with its kind; empty when all was well."""
    books, order_store = Books.of(world), await StoredOrders.of(world)
    wrong = list(world.errors)
    for case in order_store.payments:
        wrong.extend(_payment(case, order_store, books))
    for case in (*order_store.refunds, *order_store.payouts):
        wrong.extend(_outgoing(case, order_store, books))
    for case in order_store.cases:
        wrong.extend(_rows(case, order_store, books))
        wrong.extend(_stuck(case, order_store, books))
    known = {plain(attempt.reference) for case in order_store.cases for attempt in case.attempts}
    wrong.extend(f"lost: {name} is in a book and has no row" for name in books.orders if name not in known)
    return (
        wrong
        + _answers(world, order_store.payments)
        + await _sent_late(world, order_store.cases)
        + await _set_aside(world, order_store)
    )


async def _sent_late(world: World, orders: Sequence[Case]) -> list[str]:
    """What was sent for an order after money was known to have moved, by its rows and by the rails."""
    timelines: dict[str, list[TimelineEntry]] = defaultdict(list)
    known_at: dict[str, float] = {}
    for row in await world.pool.fetch("SELECT * FROM timeline ORDER BY order_id, position"):
        timelines[row["order_id"]].append(TimelineEntry(row["kind"], msgspec.json.decode(row["data"])))
        if row["kind"] in KNOWN_MONEY:
            known_at.setdefault(row["order_id"], row["at"].timestamp())
    wrong = [f"late: {name} had {sent}" for name, t in timelines.items() for sent in late_sends(t)]
    for case in orders:
        known = known_at.get(case_id(case))
        for attempt in case.attempts if known is not None else ():
            wrong.extend(
                f"late: {attempt.rail} was sent {attempt.reference} {at - known:.2f} s late"
                for at in world.requests_for(attempt.reference)
                if at > known + IN_FLIGHT_S
            )
    return wrong


async def _ids(world: World, table: str) -> list[str]:
    return [row["id"] for row in await world.pool.fetch(f"SELECT id FROM {table} ORDER BY id")]


def _payment(case: PaymentCase, order_store: StoredOrders, books: Books) -> list[str]:
    """Each debit is the payment's own, or was reported and is refunded or under review."""
    payment = case.order
    debits = [attempt for attempt in case.attempts if books.moved(attempt)]
    wrong = _second_debits(case, debits, books)
    own = _own_debit(case) if payment.status.value == "succeeded" else None
    if payment.status.value == "succeeded":
        if own is None or books.moved(own) != [payment.amount]:
            wrong.append(f"lied: {payment.id} is succeeded and its debit moved {own and books.moved(own)}")
        if payment.amount_received != payment.amount:
            wrong.append(f"book: {payment.id} has received {payment.amount_received} of {payment.amount}")
    for debit in debits:
        back = order_store.back(debit)
        returned = sum(books.net(attempt) for refund in back for attempt in refund.attempts)
        too_much = sum(_excess(refund, order_store, books) for refund in back)
        if returned - too_much > sum(books.moved(debit)):
            wrong.append(f"surplus: {debit.id} took {books.moved(debit)} and gave back {returned}")
        if debit is own or not payment.status.is_final:
            continue
        waits = payment.id in order_store.waiting or any(r.order.id in order_store.waiting for r in back)
        if books.net(debit) not in (0, returned - too_much) and not waits:
            wrong.append(f"surplus: {debit.id} is gone, {returned} came back, and it waits for nobody")
    return wrong + _net(case, own, debits, order_store, books)


def _net(
    case: PaymentCase, own: Attempt | None, debits: list[Attempt], order_store: StoredOrders, books: Books
) -> list[str]:
    """The payer's net debit matches what the payer paid for, except for orders under review."""
    payment = case.order
    if not payment.status.is_final:
        return []
    short, waits = 0, False
    for debit in debits:
        back = order_store.back(debit)
        left = books.net(debit) - sum(books.net(a) for refund in back for a in refund.attempts)
        # A surplus that its rail reverses after our refund was returned twice: that is reported.
        short += left if debit is own or books.reversed_at(debit) is None else max(0, left)
        waits |= any(r.order.id in order_store.waiting or _was_told(r, order_store) for r in back)
    asked_back = sum(
        refund.order.amount
        for refund in (order_store.back(own) if own is not None else ())
        if refund.order.status.value == "succeeded"
    )
    # What the rail took back itself is no money that the merchant has.
    kept = 0 if own is None or books.reversed_at(own) is not None else payment.amount
    if short == kept - asked_back or waits or payment.id in order_store.waiting:
        return []
    return [f"book: {payment.id} is {payment.status}, {kept - asked_back} are due and {short} are gone"]


def _own_debit(case: PaymentCase) -> Attempt | None:
    """The attempt whose debit pays the payment."""
    return next((attempt for attempt in case.attempts if attempt.id == case.order.paid_by), None)


def _second_debits(case: PaymentCase, debits: list[Attempt], books: Books) -> list[str]:
    """Another rail may be tried only after the one before has said that it failed, or has taken it back."""
    wrong: list[str] = []
    for n, debit in enumerate(debits[:-1]):
        after = books.order(debits[n + 1])
        reversed_at = books.reversed_at(debit)
        taken_back = reversed_at is not None and after is not None and reversed_at <= after.accepted_at
        if not books.came_late(debit) and not taken_back:
            rails = ", ".join(attempt.rail for attempt in debits)
            wrong.append(f"duplicate: {case.order.id} was debited at {rails}")
    return wrong


def _excess(refund: RefundCase, order_store: StoredOrders, books: Books) -> int:
    """The amount a rail returned above the requested refunds, if that was reported."""
    told = [a for a in refund.attempts if a.id in order_store.told and books.moved(a)]
    return sum(max(0, books.net(attempt) - attempt.amount) for attempt in told)


def _was_told(case: Case, order_store: StoredOrders) -> bool:
    return any(attempt.id in order_store.told for attempt in case.attempts)


def _outgoing(case: Case, order_store: StoredOrders, books: Books) -> list[str]:
    order = case.order
    sent = [attempt for attempt in case.attempts if books.moved(attempt)]
    wrong: list[str] = []
    if any(not books.came_late(a) and books.net(a) for a in sent[:-1]):
        wrong.append(f"duplicate: {order.id} was sent {len(sent)} times")
    whole = any(a.state is AttemptState.SUCCEEDED and books.moved(a) == [order.amount] for a in case.attempts)
    if order.status.value == "succeeded" and not whole:
        wrong.append(f"lied: {order.id} is succeeded and sent {[books.moved(a) for a in sent]}")
    if order.status.value == "failed":
        untold = [a.id for a in sent if books.net(a) and a.id not in order_store.told]
        wrong.extend(f"lost: {order.id} is failed and sent {name}" for name in untold)
    if isinstance(case, RefundCase):
        at = books.reversed_at(case.debit)
        known = case.debit.reversed_at
        if at is not None and known is not None and sent and known < case.order.created_at:
            wrong.append(f"surplus: {order.id} gave back what {case.debit.rail} had taken back")
    return wrong


def _rows(case: Case, order_store: StoredOrders, books: Books) -> list[str]:
    """Each attempt's state against the book."""
    wrong: list[str] = []
    for attempt in case.attempts:
        moved = books.moved(attempt)
        where = f"{attempt.id} at {attempt.rail}"
        if len(moved) > 1:
            wrong.append(f"duplicate: {attempt.rail} moved {attempt.reference} {len(moved)} times")
        if attempt.state is AttemptState.SUCCEEDED and moved != [attempt.amount_received]:
            wrong.append(f"book: {where} has succeeded with {attempt.amount_received} and moved {moved}")
        if attempt.state.is_dead and books.net(attempt):
            if not books.came_late(attempt):
                wrong.append(f"undead: {where} was called {attempt.state}, {attempt.failure}")
            if attempt.id not in order_store.told:
                wrong.append(f"silent: {where} moved {moved} late and nobody was told")
        # Only Paystack calls a debit reversed that our own refund returned; that refund waits for a human.
        is_explained = attempt.rail == "paystack" and any(
            refund.order.id in order_store.waiting for refund in order_store.back(attempt)
        )
        is_untold = attempt.money_moved and books.reversed_at(attempt) and attempt.reversed_at is None
        if is_untold and not is_explained:
            wrong.append(f"silent: {where} took its success back and nobody was told")
        if attempt.reversed_at is not None and not books.reversed_at(attempt):
            wrong.append(f"lied: {where} took nothing back")
    return wrong


def _stuck(case: Case, order_store: StoredOrders, books: Books) -> list[str]:
    """All trouble is over: what has not ended may only wait for a human, and only for a reason."""
    order = case.order
    if order.status.is_final:
        return []
    if order.status_detail is not StatusDetail.UNDER_REVIEW or order.id not in order_store.waiting:
        return [f"stuck: {order.id} is {order.status}, {order.status_detail}"]
    if case.live is None and not _was_told(case, order_store):
        return [f"stuck: {order.id} is under review without an attempt"]
    return [
        f"lost: {order.id} is under review, and nobody was told what {attempt.rail}'s book has of it"
        for attempt in case.attempts
        if books.net(attempt) and attempt.id not in order_store.told
    ]


async def _set_aside(world: World, order_store: StoredOrders) -> list[str]:
    """Only what the script made unreadable was unreadable."""
    spoiled = world.spoiled.keys()
    excused = spoiled | {r.order.id for r in order_store.refunds if r.order.payment_id in spoiled}
    found = await world.pool.fetch("SELECT order_id, error FROM unreadable_orders")
    return [f"unreadable: {r['order_id']}, {r['error']}" for r in found if r["order_id"] not in excused]


def _answers(world: World, payments: list[PaymentCase]) -> list[str]:
    stands: dict[str, Any] = {case.order.id: case.order.status.value for case in payments}
    first: dict[str, bytes] = {}
    wrong: list[str] = []
    for name, reply in world.told:
        if first.setdefault(name, reply.body) != reply.body:
            wrong.append(f"lied: {name} was given two answers")
        said = msgspec.json.decode(reply.body)
        now = stands.get(said["id"], said["status"])
        if said["status"] in FINAL and now != said["status"]:
            wrong.append(f"lied: {said['id']} was called {said['status']} and is {now}")
    return wrong


def case_id(case: Case) -> str:
    """The order's own id."""
    return case.order.id


async def story(world: World) -> list[str]:
    """The run in detail, for debugging: the script, the rails' orders, each timeline."""
    lines = [f"{world.script}"]
    for rail, played in world.sandbox.rails.items():
        for order in played.orders.values():
            times = f"accepted {order.accepted_at:.3f} ended {order.ended_at} late {order.late_success_at}"
            name = order.booked_as or order.reference
            lines.append(
                f"{rail} {name} {order.operation} {order.state} {order.amount} {order.reason} {times}"
                f" reversed {order.reversed_at}"
            )
    lines.extend(f"callback {at:.3f} {text}" for at, text in world.callbacks)
    for row in await world.pool.fetch("SELECT * FROM attempts ORDER BY order_id, sequence"):
        names = ("order_id", "id", "rail", "reference", "state", "evidence", "sends", "provider_code")
        lines.append("attempt " + " ".join(str(row[name]) for name in (*names, "started_at", "failure")))
    told = await world.pool.fetch("SELECT * FROM contradictions ORDER BY recorded_at")
    lines.extend(
        f"{r['order_id']} {r['recorded_at']} contradiction {r['kind']} {r['attempts']}" for r in told
    )
    for row in await world.pool.fetch("SELECT * FROM timeline ORDER BY order_id, position"):
        at, data = f"{row['at']:%M:%S.%f}", row["data"].decode()
        if row["kind"] != "routed":
            lines.append(f"{row['order_id']} {at} {row['kind']} {data[:160]}")
    return lines
