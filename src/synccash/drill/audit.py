"""Compares every payment, refund and payout with the rails' own books, by amount and by time."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from synccash.drill.late_sends import late_sends
from synccash.drill.records import AttemptRecord, OrderRecord

END_WITHIN_S = 30.0
"""How long after the last fault, or after it was created, an order may take to end."""
REVIEW_WITHIN_S = 10.0
"""How long after its expiry an order that cannot be sent again may take to be under review."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement of money in a rail's book. `reference` is written without dashes."""

    rail: str
    reference: str
    msisdn: str | None
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The result of an audit. Each field up to `surplus_returned` holds ids of orders, unless noted.

    These are broken guarantees:
    `duplicates`: money moved twice for the order. `lost`: its status and the books disagree; also a reference
    in a book that belongs to no order, and an id that the database does not know. `stuck`: it has not ended.
    `overdue`: it ended too late. `late_sends`: something was sent after money was known to have moved.
    `unanswered`: names of requests that the API never answered.

    These are not:
    `parked`: no money moved, its rail must not be sent the reference again, and it goes to review at expiry.
    `parked_refunds`: the same for refunds, which have no expiry and so are not in review yet.
    `contradicted`: the rail moved money otherwise than requested or than it had reported, and a contradiction
    row records it.
    `surplus_returned`: payments debited after the rail had reported a failure, and refunded in full.

    `explanations`: one line for each order that needs more than its id.
    """

    duplicates: tuple[str, ...]
    lost: tuple[str, ...]
    stuck: tuple[str, ...]
    overdue: tuple[str, ...]
    late_sends: tuple[str, ...]
    unanswered: tuple[str, ...]
    parked: tuple[str, ...]
    parked_refunds: tuple[str, ...]
    contradicted: tuple[str, ...]
    surplus_returned: tuple[str, ...]
    explanations: Mapping[str, str]
    statuses: Mapping[tuple[str, str], int]
    rails: Mapping[str, int]
    debits: int
    credits: int
    slowest_end_s: float
    """The longest time that an order took to end, counted from the last fault or from its creation."""

    @property
    def clean(self) -> bool:
        """True when no money moved twice or is unaccounted for, and everything ended in time."""
        return not (
            self.duplicates or self.lost or self.stuck or self.overdue or self.late_sends or self.unanswered
        )


def audit_books(
    acknowledged: Mapping[str, str | None],
    orders: Sequence[OrderRecord],
    books: Mapping[str, Mapping[str, Any]],
    *,
    healed_at: datetime | None = None,
    now: datetime | None = None,
) -> Findings:
    """Compare all orders with all books.

    `acknowledged`: the id that the API answered with, by the name of the request; None where it never
    answered. `books`: by rail. `healed_at`: when the last fault ended; None skips the checks of times. `now`:
    when `orders` were read.
    """
    audit = _Audit(_entries(books, "debits"), _entries(books, "credits"), healed_at=healed_at, now=now)
    references = {attempt.reference for order in orders for attempt in order.attempts}
    unmatched = audit.claim_unknown_references(references, orders)
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
    audit.lost += [name for name in acknowledged.values() if name is not None and name not in known]
    audit.lost += unmatched
    return Findings(
        duplicates=tuple(audit.duplicates),
        lost=tuple(dict.fromkeys(audit.lost)),
        stuck=tuple(audit.stuck),
        overdue=tuple(audit.overdue),
        late_sends=tuple(audit.late_sends),
        unanswered=tuple(name for name, order_id in acknowledged.items() if order_id is None),
        parked=tuple(audit.parked),
        parked_refunds=tuple(audit.parked_refunds),
        contradicted=tuple(dict.fromkeys(audit.contradicted)),
        surplus_returned=tuple(audit.surplus_returned),
        explanations=audit.explanations,
        statuses=Counter((order.kind, order.status) for order in orders),
        rails=Counter(order.rail or "none" for order in orders),
        debits=sum(len(entries) for entries in audit.debits.values()),
        credits=sum(len(entries) for entries in audit.credits.values()),
        slowest_end_s=audit.slowest_end_s,
    )


@dataclass(slots=True)
class _Audit:
    """The state of an audit: the books' entries by reference, and the findings so far."""

    debits: Mapping[str, list[Entry]]
    credits: Mapping[str, list[Entry]]
    healed_at: datetime | None
    now: datetime | None
    duplicates: list[str] = field(default_factory=list[str])
    lost: list[str] = field(default_factory=list[str])
    stuck: list[str] = field(default_factory=list[str])
    overdue: list[str] = field(default_factory=list[str])
    late_sends: list[str] = field(default_factory=list[str])
    parked: list[str] = field(default_factory=list[str])
    parked_refunds: list[str] = field(default_factory=list[str])
    contradicted: list[str] = field(default_factory=list[str])
    surplus_returned: list[str] = field(default_factory=list[str])
    explanations: dict[str, str] = field(default_factory=dict[str, str])
    slowest_end_s: float = 0.0
    _unknown: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list[Entry]))

    def claim_unknown_references(self, known: set[str], orders: Sequence[OrderRecord]) -> list[str]:
        """Assign each entry with a reference that no row has to the order of its wallet.

        Returns the references of entries whose wallet has no order either.
        """
        payers = {order.msisdn: order.id for order in orders if order.kind == "payment" and order.msisdn}
        payees = {order.msisdn: order.id for order in orders if order.kind != "payment" and order.msisdn}
        unmatched: list[str] = []
        for entries, owners in ((self.debits, payers), (self.credits, payees)):
            for reference, moved in entries.items():
                owner = owners.get(moved[0].msisdn or "")
                if reference in known:
                    continue
                if owner is None:
                    unmatched.append(reference)
                else:
                    self._unknown[owner] += moved
        return unmatched

    def check_payment(self, payment: OrderRecord, refunds: Sequence[OrderRecord]) -> None:
        """Compare the debits of a payment, each net of its refunds."""
        entries = [entry for a in payment.attempts for entry in self.debits.get(a.reference, ())]
        if self._has_unknown_entries(payment, entries, "debited"):
            return
        taken = {a: _sum(self.debits.get(a.reference, ())) for a in payment.attempts}
        debited = [attempt for attempt, amount in taken.items() if amount]
        returned = {attempt: self._returned(attempt, refunds) for attempt in payment.attempts}
        if any(len(self.debits.get(a.reference, ())) > 1 for a in payment.attempts):
            self._add_duplicate(payment, entries, "debited")
            return
        if any(returned[a] > taken[a] for a in payment.attempts):
            self._add_duplicate(payment, entries, "debited", "; more than that was refunded")
            return
        own = _own_debit(payment, debited)
        surplus = [attempt for attempt in debited if attempt is not own]
        if own is not None and any(not _is_excused(a, taken[a], returned[a]) for a in surplus):
            self._add_duplicate(payment, entries, "debited")
        elif own is None and payment.is_final and any(taken[a] != returned[a] for a in surplus):
            self._add_lost(payment, entries, "debited")
        elif surplus:
            self.surplus_returned.append(payment.id)
        if payment.status == "succeeded" and not self._is_paid(payment, own, taken):
            self._add_lost(payment, entries, "debited")

    def _returned(self, debit: AttemptRecord, refunds: Iterable[OrderRecord]) -> int:
        """Return the amount of a debit that was refunded; for a contradicted refund, the amount requested."""
        back = (refund for refund in refunds if refund.debit_id == debit.id)
        return sum(
            refund.amount if refund.contradicted else entry.amount
            for refund in back
            for a in refund.attempts
            for entry in self.credits.get(a.reference, ())
        )

    def _is_paid(
        self, payment: OrderRecord, own: AttemptRecord | None, taken: Mapping[AttemptRecord, int]
    ) -> bool:
        return own is not None and (taken[own] == payment.amount or payment.contradicted)

    def check_outgoing(self, order: OrderRecord) -> None:
        """Compare the credits of a refund or payout."""
        sent = {a: self.credits.get(a.reference, []) for a in order.attempts}
        entries = [entry for moved in sent.values() for entry in moved]
        if self._has_unknown_entries(order, entries, "credited"):
            return
        moved = [attempt for attempt, of_attempt in sent.items() if of_attempt]
        own = _own_debit(order, moved)
        others = [attempt for attempt in moved if attempt is not own]
        # The rail reported a failure and sent the money anyway; a contradiction records it.
        is_recorded = order.contradicted and all(attempt.state == "declined" for attempt in others)
        if any(len(of_attempt) > 1 for of_attempt in sent.values()) or (own and others and not is_recorded):
            self._add_duplicate(order, entries, "credited")
            return
        if others and order.is_final and not is_recorded:
            self._add_lost(order, entries, "credited")
        elif others:
            self.contradicted.append(order.id)
        if order.status == "succeeded":
            amount = _sum(sent[own]) if own else 0
            if amount != order.amount and not (own and order.contradicted):
                self._add_lost(order, entries, "credited")

    def _has_unknown_entries(self, order: OrderRecord, entries: Sequence[Entry], verb: str) -> bool:
        """Find money of this wallet that moved under a reference which is in no row."""
        unknown = self._unknown.get(order.id, [])
        if not unknown:
            return False
        names = ", ".join(entry.reference for entry in unknown)
        note = f"; no row of the database has the reference {names}"
        if entries or len(unknown) > 1:
            self._add_duplicate(order, [*unknown, *entries], verb, note)
        else:
            self._add_lost(order, unknown, verb, note)
        return True

    def _add_duplicate(self, order: OrderRecord, entries: Sequence[Entry], verb: str, note: str = "") -> None:
        self.duplicates.append(order.id)
        self.explanations[order.id] = _explain(order, entries, verb) + note

    def _add_lost(self, order: OrderRecord, entries: Sequence[Entry], verb: str, note: str = "") -> None:
        self.lost.append(order.id)
        self.explanations[order.id] = _explain(order, entries, verb) + note

    def check_progress(self, order: OrderRecord) -> None:
        """Find an order that has not ended, ended late, or sent after money was known to have moved."""
        if late_sends(order.timeline):
            self.late_sends.append(order.id)
        if order.is_final:
            self._check_end(order)
            return
        moved = self.debits if order.kind == "payment" else self.credits
        has_moved = any(moved.get(attempt.reference) for attempt in order.attempts)
        if order.is_under_review and order.contradicted and order.is_listed:
            self.contradicted.append(order.id)
        elif order.may_park and not has_moved and not self._is_review_overdue(order):
            self._add_parked(order)
        else:
            self.stuck.append(order.id)
            self.explanations.setdefault(
                order.id, f"{order.kind} is {order.status}/{order.status_detail} at {order.rail or 'no rail'}"
            )

    def _add_parked(self, order: OrderRecord) -> None:
        if order.expires_at is None and not order.is_under_review:
            self.parked_refunds.append(order.id)
        else:
            self.parked.append(order.id)

    def _check_end(self, order: OrderRecord) -> None:
        if self.healed_at is None or order.ended_at is None or order.created_at is None:
            return
        took_s = (order.ended_at - max(self.healed_at, order.created_at)).total_seconds()
        self.slowest_end_s = max(self.slowest_end_s, took_s)
        if took_s > END_WITHIN_S:
            self.overdue.append(order.id)
            self.explanations.setdefault(
                order.id,
                f"{order.kind} at {order.rail or 'no rail'} ended {took_s:.1f} s after the last fault: "
                f"{order.status}{f', {order.status_detail}' if order.status_detail else ''}",
            )

    def _is_review_overdue(self, order: OrderRecord) -> bool:
        if order.expires_at is None or self.now is None:
            return False
        is_in_review = order.is_under_review and order.is_listed
        return not is_in_review and self.now > order.expires_at + timedelta(seconds=REVIEW_WITHIN_S)


def _own_debit(order: OrderRecord, moved: Sequence[AttemptRecord]) -> AttemptRecord | None:
    """Return the attempt that the order counts as its own; None if the order ended without money."""
    if order.status in ("failed", "canceled"):
        return None
    return next((a for a in moved if a.state == "succeeded"), moved[0] if moved else None)


def _is_excused(attempt: AttemptRecord, taken: int, returned: int) -> bool:
    """Return whether the rail had reported the attempt as failed and its money was refunded in full."""
    return attempt.state == "declined" and taken == returned


def _explain(order: OrderRecord, entries: Sequence[Entry], verb: str) -> str:
    """Return one line with the order's status and its entries in the books, in pesewas."""
    moves = ", ".join(f"{entry.amount} at {entry.rail}" for entry in entries) or "nothing"
    wallet = f"wallet {order.msisdn} was " if order.msisdn else ""
    return (
        f"{order.kind} of {order.amount} pesewas, status {order.status}; "
        f"{wallet}{verb} {len(entries)} times: {moves}"
    )


def _sum(entries: Iterable[Entry]) -> int:
    return sum(entry.amount for entry in entries)


def _entries(books: Mapping[str, Mapping[str, Any]], side: str) -> dict[str, list[Entry]]:
    entries: dict[str, list[Entry]] = defaultdict(list)
    for rail, book in books.items():
        for entry in book[side]:
            reference = entry["reference"].replace("-", "")
            entries[reference].append(Entry(rail, reference, entry.get("msisdn"), entry["amount"]))
    return dict(entries)
