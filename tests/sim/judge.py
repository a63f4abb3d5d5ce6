"""The judge. The rails' books are the truth; what the engine says is only compared with them.

What a rail moves after it had called it failed is nobody's mistake, as long as no commit says so.
From the commit that says that money has moved, nothing may leave for the order any more.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from math import inf

import msgspec

from sim.book import Booked, Sending
from sim.clock import EPOCH
from sim.judge_work import FOLLOWS_WITHIN_S, MICROSECOND_S, work_verdict
from sim.order_store import Version
from sim.world import SETTINGS, World
from synccash.engine.requests.review import Resolution
from synccash.payments.attempt import Attempt
from synccash.payments.case import Order
from synccash.payments.payment import Payment, PaymentStatus, Refund, RefundStatus, StatusDetail
from synccash.payments.payout import Payout
from synccash.payments.rail import Operation, RailStatus

_LAST_LOOK_S = 70 * 3_600.0
"""What moves later than this may stay unseen: rails are last asked about three days after an attempt."""
_ENDS = {"succeeded", "failed", "canceled"}


def verdict(world: World) -> list[str]:
    """Everything that was wrong, each in one line that begins with its kind; empty when all was well."""
    if other_mode := _other_mode(world):
        return other_mode
    return [
        *world.errors,
        *_duplicates(world),
        *_lost(world),
        *_stuck(world),
        *_lied(world),
        *_sends(world),
        *_knowing(world),
        *_unaccounted(world),
        *_moved_on(world),
        *_unsettled(world),
        *_undead(world),
        *_not_healed(world),
        *work_verdict(world),
        *_unscreened(world),
    ]


def _other_mode(world: World) -> list[str]:
    """All orders of a scenario are test orders: whatever leaves for the live account costs somebody money."""
    return [f"mode: something was sent to {world.live_rail.name}"] if world.live_rail.begun else []


def _debits(world: World) -> Counter[str]:
    return Counter(d.merchant_reference for rail in world.rails.values() for d in rail.debits())


def _payouts(world: World) -> Counter[str]:
    return Counter(p.merchant_reference for rail in world.rails.values() for p in rail.payouts())


def _late(world: World) -> set[str]:
    """The references of what moved after its rail had said that it would not."""
    return {order.reference for rail in world.rails.values() for order in rail.late()}


def _fickle(world: World) -> set[str]:
    """The references of what went back on its rail's word: late successes, and successes taken back."""
    books = (booked for rail in world.rails.values() for booked in rail.book)
    return {b.order.reference for b in books if b.came_late or b.is_reversed}


def _bookings(world: World, attempts: Mapping[str, Attempt]) -> list[Booked]:
    """What the rails hold under the references of these attempts."""
    found = (world.rails[a.rail].booked(a.reference) for a in attempts.values() if a.rail in world.rails)
    return [booked for booked in found if booked is not None]


def _was_to_be_seen(world: World, attempt: Attempt) -> bool:
    """True when its late success came early enough for the last recheck, and no inquiry was first answered
    after the rail had taken the money back: such an answer is "failed", and nothing is gone."""
    booked = world.rails[attempt.rail].booked(attempt.reference)
    if booked is None:
        return True
    was_taken_back_unseen = booked.is_reversed and RailStatus.SUCCEEDED not in booked.told
    return booked.late_at - _age_zero(attempt) < _LAST_LOOK_S and not was_taken_back_unseen


def _age_zero(attempt: Attempt) -> float:
    return (attempt.started_at - EPOCH).total_seconds()


def _came_late(attempts: Mapping[str, Attempt], late: set[str]) -> list[Attempt]:
    return [attempt for attempt in attempts.values() if attempt.reference in late]


def _duplicates(world: World) -> list[str]:
    moved = _debits(world) + _payouts(world)
    return [f"duplicate: {name} moved money {n} times" for name, n in moved.items() if n > 1]


def _lost(world: World) -> list[str]:
    wrong: list[str] = []
    moved, late, fickle = _debits(world) + _payouts(world), _late(world), _fickle(world)
    for row in world.order_store.rows.values():
        order = row.order
        unread = order.id in world.order_store.unreadable
        came_late = [
            a for a in _came_late(row.attempts, late) if a.state.is_dead and _was_to_be_seen(world, a)
        ]
        if came_late and not row.contradictions and not unread:
            wrong.append(f"silent: {order.id} moved money late and nobody was told")
        if isinstance(order, Refund):
            continue
        has_moved, says = moved.pop(order.reference, 0) > 0, order.status.value == "succeeded"
        is_told = bool(row.contradictions) and not all(b.is_whole for b in _bookings(world, row.attempts))
        if has_moved and order.status.is_final and not says:
            wrong.append(f"lost: {order.id} is {order.status.value} and moved money")
        if has_moved and not order.status.is_final and not unread and not is_told:
            wrong.append(f"lost: {order.id} is {order.status_detail} and moved money")
        if says and not has_moved and not _came_late(row.attempts, fickle):
            wrong.append(f"lied: {order.id} is succeeded and moved nothing")
    wrong.extend(f"lost: {name} moved money and has no row" for name in moved)
    for key, reply in world.told:
        if msgspec.json.decode(reply.body)["id"] not in world.order_store.rows:
            wrong.append(f"lost: {key} was acknowledged and has no row")
    return wrong + _refunds(world) + _surplus(world)


def _unscreened(world: World) -> list[str]:
    """Nothing is sent that neither the fraud service nor a human has let pass, or that a human declined."""
    if not world.scenario.is_screened:
        return []
    rows = (row for row in world.order_store.rows.values() if not isinstance(row.order, Refund))
    sent = {row.order.id for row in rows if row.attempts}
    wrong = [f"unscreened: {name} was sent" for name in sorted(sent - world.cleared)]
    return wrong + [f"declined: {name} was sent" for name in sorted(sent & world.declined)]


def _surplus(world: World) -> list[str]:
    """What came too much has one refund of its own, each debit, of its amount, however that refund ends. What
    is really given back of one debit, late or not, is never more than the debit."""
    wrong: list[str] = []
    late, fickle, unread = _late(world), _fickle(world), world.order_store.unreadable
    orders = [row.order for row in world.order_store.rows.values()]
    back: dict[str, list[int]] = {}
    for order in orders:
        if isinstance(order, Refund) and order.surplus:
            back.setdefault(order.attempt_id, []).append(order.amount)
    for row in world.order_store.rows.values():
        if not isinstance(row.order, Payment):
            continue
        came = [attempt for attempt in row.attempts.values() if attempt.amount_received > 0]
        for debit in came:
            given = _given_back(world, debit.reference) if debit.id in back else 0
            if given > debit.amount_received:
                wrong.append(f"surplus: {debit.amount_received} came as {debit.id}, and {given} went back")
        if row.order.status.is_final:
            own = [debit for debit in came if debit.id not in back]
            # A human may have found that less came, and let it be enough.
            paid = row.order.amount_received if row.order.id in world.resolved else row.order.amount
            kept = [paid] if row.order.status is PaymentStatus.SUCCEEDED else []
            # What the rail has taken back itself needs no refund, whether or not the engine knows.
            there = [d.amount_received for d in own if d.reference not in fickle - late]
            if kept not in ([d.amount_received for d in own], there) and row.order.id not in unread:
                wrong.append(f"surplus: {row.order.id} is {row.order.status.value} and keeps {there}")
            wrong.extend(
                f"surplus: {back[debit.id]} are given back of {debit.id}"
                for debit in came
                if debit.id in back and back[debit.id] != [debit.amount_received]
            )
    return wrong


def _given_back(world: World, debit: str) -> int:
    """What really went back of the debit with this reference."""
    moved = (b.order for rail in world.rails.values() for b in rail.book if b.done and b.failure is None)
    return sum(o.amount for o in moved if o.original_reference == debit and o.operation is Operation.REFUND)


def _refunds(world: World) -> list[str]:
    wrong: list[str] = []
    late = _fickle(world)
    credited = Counter(c.reference for rail in world.rails.values() for c in rail.credits())
    back: Counter[str] = Counter()
    for rail in world.rails.values():
        for credit in rail.credits():
            back[credit.merchant_reference] += credit.amount
    for row in world.order_store.rows.values():
        order = row.order
        came = sum(attempt.amount_received for attempt in row.attempts.values())
        if isinstance(order, Payment) and back[order.reference] > came:
            wrong.append(f"duplicate: {order.id} got back more than it brought")
        if isinstance(order, Refund):
            sent = sum(credited[a.reference] for a in row.attempts.values())
            says, came_late = order.status is RefundStatus.SUCCEEDED, _came_late(row.attempts, late)
            if sent > 1:
                wrong.append(f"duplicate: {order.id} was paid out {sent} times")
            if order.status.is_final and says is not (sent == 1) and not (says and came_late):
                wrong.append(f"lost: {order.id} is {order.status.value} and was paid out {sent} times")
    return wrong


def _stuck(world: World) -> list[str]:
    wrong: list[str] = []
    if world.scenario.ends_by_s is not None:
        # The run was not followed to its end.
        return wrong
    for row in world.order_store.rows.values():
        order = row.order
        if order.id in world.order_store.unreadable:
            continue
        if not order.status.is_final and order.status_detail is not StatusDetail.UNDER_REVIEW:
            wrong.append(f"stuck: {order.id} is {order.status.value}, {order.status_detail}")
        parked = isinstance(row.due_at, datetime) and row.due_at > world.clock.now()
        if row.due_at is not None and not parked:
            wrong.append(f"stuck: {order.id} is due at {row.due_at} and nobody takes it")
    return wrong


def _lied(world: World) -> list[str]:
    wrong: list[str] = []
    answers: dict[str, bytes] = {}
    for key, reply in world.told:
        if answers.setdefault(key, reply.body) != reply.body:
            wrong.append(f"lied: {key} was given two answers")
        said = msgspec.json.decode(reply.body)
        wrong.extend(_against(world, said["id"], said["status"], "an answer"))
    for event in world.order_store.events:
        wrong.extend(_against(world, event.object_id, event.type.partition(".")[2], "an event"))
    return wrong


def _against(world: World, order_id: str, said: str, what: str) -> list[str]:
    row = world.order_store.rows.get(order_id)
    if row is None or said not in _ENDS or row.order.status.value == said:
        return []
    return [f"lied: {what} says {said} of {order_id}, which is {row.order.status.value}"]


def _sends(world: World) -> list[str]:
    wrong: list[str] = []
    for rail in world.rails.values():
        for reference, n in rail.calls.items():
            most = SETTINGS.sends_max if rail.dedup else 1
            if n > most:
                wrong.append(f"sends: {reference} may have reached {rail.name} {n} times")
        for begun in rail.begun:
            order = begun.order
            if order is not None and order.operation is not Operation.REFUND:
                row = next((r for r in world.order_store.rows.values() if _owns(r.order, order)), None)
                if row is None:
                    wrong.append(f"sends: {order.reference} was sent without a row")
                elif _is_too_late(world, row.history, begun):
                    wrong.append(f"sends: {order.reference} was sent after its payment had expired")
    return wrong


def _is_too_late(world: World, history: Sequence[Version], begun: Sending) -> bool:
    """Return True for a send after the order expired by the order store's clock.

    Every node follows that clock to within the time that an answer of the order store takes.
    """
    opening = history[0]
    assert not isinstance(opening.order, Refund)
    expires_at = (opening.order.expires_at - EPOCH).total_seconds()
    return begun.at >= expires_at + (FOLLOWS_WITHIN_S if world.scenario.skews_s else 0.0)


def _knowing(world: World) -> list[str]:
    """What left for an order whose money was already known to have moved, whoever sent it: a sender whose
    lease is over sends nothing more. Surplus refunds are judged by what they give back."""
    rows = {a.reference: row for row in world.order_store.rows.values() for a in row.attempts.values()}
    wrong: list[str] = []
    for rail in world.rails.values():
        for begun in rail.begun:
            row = rows.get(begun.reference)
            if row is None or (isinstance(row.order, Refund) and row.order.surplus):
                continue
            known = next((v.step for v in row.history if v.money_is_known), None)
            if known is not None and known < begun.step:
                what = "a password" if begun.order is None else begun.reference
                wrong.append(f"known: {what} left for {row.order.id}, which was known to have moved money")
    return wrong


def _unaccounted(world: World) -> list[str]:
    """An order that is known to have moved money does not fail, expire or end as canceled: it stands for the
    whole amount, or waits for a human with a contradiction."""
    wrong: list[str] = []
    for row in world.order_store.rows.values():
        order = row.order
        known = next((v.step for v in row.history if v.money_is_known), None)
        if known is None:
            continue
        for before, after in pairwise(row.history):
            ends = after.order.status.is_final and not before.order.status.is_final
            if ends and after.step >= known and after.order.status.value != "succeeded":
                wrong.append(f"unaccounted: {order.id} became {after.order.status.value} on known money")
        if not order.status.is_final and not row.contradictions:
            wrong.append(f"unaccounted: {order.id} moved money and nobody was told")
        by_hand = world.resolved.get(order.id) is Resolution.SUCCEEDED
        if order.status.value == "succeeded" and not by_hand and not _brought_all(world, order, row.attempts):
            wrong.append(f"unaccounted: {order.id} succeeded and its amount did not come")
    return wrong


def _brought_all(world: World, order: Order, attempts: Mapping[str, Attempt]) -> bool:
    """True when one attempt brought the order's amount, by the engine's words and by its rail's book."""
    whole = [
        a
        for a in attempts.values()
        if a.state.is_final and a.amount_received == order.amount and _is_whole(world, a)
    ]
    return bool(whole) and (not isinstance(order, Payment) or order.amount_received == order.amount)


def _is_whole(world: World, attempt: Attempt) -> bool:
    booked = world.rails[attempt.rail].booked(attempt.reference)
    return booked is None or booked.is_whole


def _moved_on(world: World) -> list[str]:
    """A rail whose inquiry has no word for failure never gives leave to try another, whatever a callback says
    of what it has taken."""
    wrong: list[str] = []
    for row in world.order_store.rows.values():
        attempts = sorted(row.attempts.values(), key=lambda attempt: attempt.sequence)
        for before, after in pairwise(attempts):
            rail = world.rails[before.rail]
            if not rail.names_failure and rail.booked(before.reference) is not None:
                wrong.append(f"moved on: {row.order.id} went to {after.rail}; {rail.name} had not failed")
    return wrong


def _unsettled(world: World) -> list[str]:
    """A reference is sent again only when nobody has sent it for the settle time, twice that after the second
    send, and so on."""
    slack_s = FOLLOWS_WITHIN_S if world.scenario.skews_s else MICROSECOND_S
    sent: dict[str, list[Sending]] = {}
    for rail in world.rails.values():
        for begun in rail.begun:
            sent.setdefault(begun.reference, []).append(begun)
    wrong: list[str] = []
    for row in world.order_store.rows.values():
        for version in row.history:
            if "sent_again" not in version.told:
                continue
            live = next(a for a in version.attempts if not a.state.is_final)
            at = (version.at - EPOCH).total_seconds()
            before = (b.at for b in sent.get(live.reference, ()) if b.step < version.step)
            last = max(before, default=-inf)
            pause_s = world.scenario.settle_s * 2 ** max(0, live.sends - 2)
            if at - last < min(pause_s, SETTINGS.resend_pause_max_s) - slack_s:
                wrong.append(f"unsettled: {live.reference} is sent again {at - last:.1f} s after a send")
    return wrong


def _not_healed(world: World) -> list[str]:
    """Where every rail is well again from some moment, every order has succeeded soon after it."""
    ends_by_s = world.scenario.ends_by_s
    if ends_by_s is None:
        return []
    wrong: list[str] = []
    for row in world.order_store.rows.values():
        ended = next((v.at for v in row.history if v.order.status.value == "succeeded"), None)
        took_s = None if ended is None else (ended - EPOCH).total_seconds()
        if took_s is None or took_s > ends_by_s:
            state = f"{row.order.status.value}, {row.order.status_detail}"
            when = "has not succeeded" if took_s is None else f"succeeded at {took_s:.0f} s"
            wrong.append(f"not healed: {row.order.id} ({state}) {when}, its rails were well long before")
    return wrong


def _undead(world: World) -> list[str]:
    """What moved money was never provably dead, but where the rail went back on its word."""
    late = _late(world)
    return [
        f"undead: {row.order.id} was called dead and moved money"
        for row in world.order_store.rows.values()
        if "late_success" in row.contradictions and not _came_late(row.attempts, late)
    ]


def _owns(order: object, sent: object) -> bool:
    return isinstance(order, Payment | Payout) and order.reference == sent.merchant_reference
