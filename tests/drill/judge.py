"""The judge. The rails' books are the truth; what PostgreSQL says is held against them, row by row."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import msgspec

from drill.world import FINAL, World
from synccash.drill.late_sends import KNOWN_MONEY, TimelineEntry, late_sends
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import Case, PaymentCase, RefundCase, order_of
from synccash.payments.payment import StatusDetail
from synccash.sandbox.orders import Order, State

IN_FLIGHT_S = 0.3
"""What left just before the commit that knew of the money may arrive this much later."""


@dataclass(slots=True)
class Books:
    """What moved, by our reference, over all rails."""

    moved: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    orders: dict[str, Order] = field(default_factory=dict)

    @classmethod
    def of(cls, world: World) -> "Books":
        books = cls()
        for played in world.sandbox.rails.values():
            book = played.book()
            for entry in (*book["debits"], *book["credits"]):
                books.moved[plain(entry["reference"])].append(entry["amount"])
            for order in played.orders.values():
                books.orders[plain(order.booked_as or order.reference)] = order
        return books

    def amount(self, attempt: Attempt) -> int:
        """What moved under an attempt's reference, in pesewas."""
        return sum(self.moved.get(plain(attempt.reference), ()))

    def untold(self, attempt: Attempt) -> bool:
        """True when the rail called it failed, and later moved the money and lost the word of it."""
        order = self.orders.get(plain(attempt.reference))
        return order is not None and order.late_success_at is not None and order.state is State.SUCCEEDED


def plain(reference: str) -> str:
    """A reference, however a rail spells it."""
    return reference.replace("-", "")


async def verdict(world: World) -> list[str]:
    """Everything that was wrong, each in one line that begins with its kind; empty when all was well."""
    books = Books.of(world)
    payments = [await world.ledger.payment(name) for name in await _ids(world, "payments")]
    refunds = [await world.ledger.refund(name) for name in await _ids(world, "refunds")]
    payouts = [await world.ledger.payout(name) for name in await _ids(world, "payouts")]
    disputed = {row["order_id"] for row in await world.pool.fetch("SELECT order_id FROM contradictions")}
    back: dict[str, list[RefundCase]] = defaultdict(list)
    for refund in refunds:
        back[refund.refund.payment_id].append(refund)
    wrong = list(world.errors)
    for case in payments:
        wrong.extend(_payment(case, back[case.payment.id], books, disputed))
        wrong.extend(_surplus(case, back[case.payment.id], books))
    for case in (*refunds, *payouts):
        wrong.extend(_outgoing(case, books))
    for case in (*payments, *refunds, *payouts):
        wrong.extend(_rows(case, books, disputed))
        wrong.extend(_stuck(case, books))
    known = {plain(a.reference) for case in (*payments, *refunds, *payouts) for a in case.attempts}
    wrong.extend(f"lost: {name} is in a book and has no row" for name in books.orders if name not in known)
    orders = (*payments, *refunds, *payouts)
    return wrong + _answers(world, payments) + await _sent_late(world, orders)


async def _sent_late(world: World, orders: tuple[Case, ...]) -> list[str]:
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


def _payment(case: PaymentCase, back: list[RefundCase], books: Books, disputed: set[str]) -> list[str]:
    payment = case.payment
    debits = [attempt for attempt in case.attempts if books.amount(attempt)]
    honest = [attempt for attempt in debits if not books.untold(attempt)]
    wrong: list[str] = []
    if len(honest) > 1:
        rails = ", ".join(attempt.rail for attempt in debits)
        wrong.append(f"duplicate: {payment.id} was debited at {rails}")
    if len(debits) > 1 and payment.id not in disputed and len(honest) == len(debits):
        wrong.append(f"silent: {payment.id} was debited twice and nobody was told")
    returned = sum(books.amount(attempt) for refund in back for attempt in refund.attempts)
    net = sum(books.amount(attempt) for attempt in debits) - returned
    asked_back = sum(refund.refund.amount for refund in back if _gave_back(refund))
    expected = payment.amount - asked_back if payment.status.value == "succeeded" else 0
    untold = sum(books.amount(attempt) for attempt in debits if books.untold(attempt))
    # A rail that said that a refund had failed, and sent the money all the same.
    untold_back = sum(
        books.amount(attempt)
        for refund in back
        if not _gave_back(refund)
        for attempt in refund.attempts
        if books.untold(attempt)
    )
    review = sum(refund.refund.amount for refund in back if not refund.refund.status.is_final)
    if payment.status.is_final and net + untold_back not in {expected, expected + untold, expected - review}:
        wrong.append(f"book: {payment.id} is {payment.status}, {expected} are due and {net} are gone")
    if payment.status.value == "succeeded" and payment.amount_received != payment.amount:
        wrong.append(f"book: {payment.id} has received {payment.amount_received} of {payment.amount}")
    return wrong


def _surplus(case: PaymentCase, back: list[RefundCase], books: Books) -> list[str]:
    """No debit is returned more than once over, whatever the rail said of the refunds."""
    wrong: list[str] = []
    for debit in case.attempts:
        own = [refund for refund in back if refund.debit.id == debit.id]
        returned = sum(books.amount(a) for refund in own for a in refund.attempts)
        untold = sum(books.amount(a) for refund in own for a in refund.attempts if books.untold(a))
        if returned - untold > books.amount(debit):
            wrong.append(f"surplus: {debit.id} took {books.amount(debit)} and gave back {returned}")
    return wrong


def _gave_back(case: RefundCase) -> bool:
    return case.refund.status.value == "succeeded" and not case.refund.surplus


def _outgoing(case: Case, books: Books) -> list[str]:
    order = order_of(case)
    sent = [books.amount(attempt) for attempt in case.attempts if books.amount(attempt)]
    if len(sent) > 1 and not all(books.untold(attempt) for attempt in case.attempts[:-1]):
        return [f"duplicate: {order.id} was sent {len(sent)} times"]
    lies = order.status.is_final and (order.status.value == "succeeded") is not bool(sent)
    excused = any(books.untold(attempt) for attempt in case.attempts)
    return [f"book: {order.id} is {order.status} and sent {sent}"] if lies and not excused else []


def _rows(case: Case, books: Books, disputed: set[str]) -> list[str]:
    """Each attempt's state against the book."""
    wrong: list[str] = []
    for attempt in case.attempts:
        entries = books.moved.get(plain(attempt.reference), [])
        if len(entries) > 1:
            wrong.append(f"duplicate: {attempt.rail} moved {attempt.reference} {len(entries)} times")
        if attempt.state is AttemptState.SUCCEEDED and entries != [attempt.amount]:
            wrong.append(f"book: {attempt.id} at {attempt.rail} has succeeded and moved {entries}")
        if attempt.state.is_dead and entries and not books.untold(attempt):
            where = "told" if case_id(case) in disputed else "silently"
            wrong.append(f"undead: {attempt.id} at {attempt.rail} was called {attempt.state}, {where}")
    return wrong


def _stuck(case: Case, books: Books) -> list[str]:
    """All trouble is over: what has not ended may only wait for a human, and only for a reason."""
    order = order_of(case)
    if order.status.is_final:
        return []
    if order.status_detail is not StatusDetail.UNDER_REVIEW:
        return [f"stuck: {order.id} is {order.status}, {order.status_detail}"]
    live = case.live
    if live is None:
        return [f"stuck: {order.id} is under review without an attempt"]
    if books.amount(live) and not books.untold(live):
        return [f"lost: {order.id} is under review, and {live.rail}'s book has it"]
    return []


def _answers(world: World, payments: list[PaymentCase]) -> list[str]:
    stands: dict[str, Any] = {case.payment.id: case.payment.status.value for case in payments}
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
    return order_of(case).id


async def story(world: World) -> list[str]:
    """What happened, for whoever looks for a cause: the script, the rails' orders, each timeline."""
    lines = [f"{world.script}"]
    for rail, played in world.sandbox.rails.items():
        for order in played.orders.values():
            times = f"accepted {order.accepted_at:.3f} ended {order.ended_at} late {order.late_success_at}"
            name = order.booked_as or order.reference
            lines.append(f"{rail} {name} {order.operation} {order.state} {order.reason} {times}")
    for row in await world.pool.fetch("SELECT * FROM attempts ORDER BY order_id, sequence"):
        names = ("order_id", "id", "rail", "reference", "state", "evidence", "sends", "provider_code")
        lines.append("attempt " + " ".join(str(row[name]) for name in names))
    for row in await world.pool.fetch("SELECT * FROM timeline ORDER BY order_id, position"):
        at, data = f"{row['at']:%M:%S.%f}", row["data"].decode()
        if row["kind"] != "routed":
            lines.append(f"{row['order_id']} {at} {row['kind']} {data[:160]}")
    return lines
