"""Compares every payment, refund and payout with the rails' own books, by amount."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from synccash.drill.late_sends import late_sends
from synccash.drill.records import AttemptRecord, OrderRecord

FINAL = ("succeeded", "failed", "canceled")
_WITHOUT_DEDUP = ("hubtel",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The result of an audit. The first five fields hold ids of orders, or references without one.

    `late_sends`: something was sent after money was known to have moved. `parked`: no money moved, and the
    rail cannot tell so; a human decides, and it is no fault. `contradicted`: money moved otherwise than was
    asked for, and `synccash payments waiting` shows the order: a human decides, and it is no fault.
    `surplus_returned`: payments whose second debit
    came after the rail had reported a failure, and went back in full.
    """

    duplicates: tuple[str, ...]
    lost: tuple[str, ...]
    stuck: tuple[str, ...]
    late_sends: tuple[str, ...]
    parked: tuple[str, ...]
    contradicted: tuple[str, ...]
    surplus_returned: tuple[str, ...]
    statuses: Mapping[tuple[str, str], int]
    rails: Mapping[str, int]
    debits: int
    credits: int

    @property
    def clean(self) -> bool:
        """True when no money moved twice or is unaccounted for, nothing hangs, and nothing was sent late."""
        return not (self.duplicates or self.lost or self.stuck or self.late_sends)


def audited(
    acknowledged: Mapping[str, str], orders: Sequence[OrderRecord], books: Sequence[Mapping[str, Any]]
) -> Findings:
    """Compare. `acknowledged`: the id that the merchant was given, by the name of the request."""
    audit = _Audit(_amounts(books, "debits"), _amounts(books, "credits"))
    refunds: dict[str, list[OrderRecord]] = defaultdict(list)
    for order in orders:
        if order.kind == "refund" and order.payment_id is not None:
            refunds[order.payment_id].append(order)
    for order in orders:
        if order.kind == "payment":
            audit.check_payment(order, refunds[order.id])
        else:
            audit.check_outgoing(order)
        audit.check_progress(order)
    known = {order.id for order in orders}
    references = {attempt.reference for order in orders for attempt in order.attempts}
    audit.lost += [name for name in acknowledged.values() if name not in known]
    audit.lost += [name for name in (*audit.debits, *audit.credits) if name not in references]
    return Findings(
        duplicates=tuple(audit.duplicates),
        lost=tuple(audit.lost),
        stuck=tuple(audit.stuck),
        late_sends=tuple(audit.late_sends),
        parked=tuple(audit.parked),
        contradicted=tuple(audit.contradicted),
        surplus_returned=tuple(audit.surplus_returned),
        statuses=Counter((order.kind, order.status) for order in orders),
        rails=Counter(order.rail or "none" for order in orders),
        debits=sum(len(amounts) for amounts in audit.debits.values()),
        credits=sum(len(amounts) for amounts in audit.credits.values()),
    )


@dataclass(slots=True)
class _Audit:
    """Live: the books' amounts by reference, and what was found so far."""

    debits: Mapping[str, list[int]]
    credits: Mapping[str, list[int]]
    duplicates: list[str] = field(default_factory=list[str])
    lost: list[str] = field(default_factory=list[str])
    stuck: list[str] = field(default_factory=list[str])
    late_sends: list[str] = field(default_factory=list[str])
    parked: list[str] = field(default_factory=list[str])
    contradicted: list[str] = field(default_factory=list[str])
    surplus_returned: list[str] = field(default_factory=list[str])

    def check_payment(self, payment: OrderRecord, refunds: Sequence[OrderRecord]) -> None:
        """Compare the debits of a payment, each net of its refunds."""
        taken = {a: sum(self.debits.get(a.reference, ())) for a in payment.attempts}
        debited = [attempt for attempt, amount in taken.items() if amount]
        returned = {attempt: self._returned(attempt, refunds) for attempt in payment.attempts}
        repeated = any(len(self.debits.get(a.reference, ())) > 1 for a in payment.attempts)
        if repeated or any(returned[a] > taken[a] for a in payment.attempts):
            self.duplicates.append(payment.id)
            return
        own = _own_debit(payment, debited)
        surplus = [attempt for attempt in debited if attempt is not own]
        if own is not None and any(not _is_excused(a, taken[a], returned[a]) for a in surplus):
            self.duplicates.append(payment.id)
        elif own is not None and surplus:
            self.surplus_returned.append(payment.id)
        elif payment.status in FINAL and any(taken[a] != returned[a] for a in surplus):
            self.lost.append(payment.id)
        if payment.status == "succeeded" and not self._is_paid(payment, own, taken):
            self.lost.append(payment.id)

    def _returned(self, debit: AttemptRecord, refunds: Sequence[OrderRecord]) -> int:
        back = (refund for refund in refunds if refund.debit_id == debit.id)
        return sum(sum(self.credits.get(a.reference, ())) for refund in back for a in refund.attempts)

    def _is_paid(
        self, payment: OrderRecord, own: AttemptRecord | None, taken: Mapping[AttemptRecord, int]
    ) -> bool:
        return own is not None and (taken[own] == payment.amount or payment.contradicted)

    def check_outgoing(self, order: OrderRecord) -> None:
        """Compare the credits of a refund or payout."""
        sent = [amount for a in order.attempts for amount in self.credits.get(a.reference, ())]
        if len(sent) > 1:
            self.duplicates.append(order.id)
        elif order.status in FINAL and sent != ([order.amount] if order.status == "succeeded" else []):
            self.lost.append(order.id)

    def check_progress(self, order: OrderRecord) -> None:
        """Find an order that has not ended, and one that sent something after money was known."""
        if late_sends(order.timeline):
            self.late_sends.append(order.id)
        if order.status in FINAL:
            return
        moved = self.debits if order.kind == "payment" else self.credits
        has_moved = any(moved.get(attempt.reference) for attempt in order.attempts)
        if order.is_under_review and order.contradicted and order.is_listed:
            self.contradicted.append(order.id)
        elif order.rail in _WITHOUT_DEDUP and not has_moved:
            self.parked.append(order.id)
        else:
            self.stuck.append(order.id)


def _own_debit(payment: OrderRecord, debited: Sequence[AttemptRecord]) -> AttemptRecord | None:
    """Return the debit that pays the payment; none where it has ended without money."""
    if payment.status in ("failed", "canceled"):
        return None
    return next((a for a in debited if a.state == "succeeded"), debited[0] if debited else None)


def _is_excused(attempt: AttemptRecord, taken: int, returned: int) -> bool:
    """A second debit is no fault of the engine where the rail had reported a failure: it has to go back."""
    return attempt.state == "declined" and taken == returned


def _amounts(books: Sequence[Mapping[str, Any]], side: str) -> dict[str, list[int]]:
    amounts: dict[str, list[int]] = defaultdict(list)
    for book in books:
        for entry in book[side]:
            amounts[entry["reference"].replace("-", "")].append(entry["amount"])
    return dict(amounts)
