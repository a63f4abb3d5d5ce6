"""The judge. The rails' books are the truth; what the engine says is only compared with them."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

import msgspec

from sim.clock import EPOCH
from sim.world import SETTINGS, World
from synccash.payments.attempt import Attempt
from synccash.payments.payment import Payment, PaymentStatus, Refund, RefundStatus, StatusDetail
from synccash.payments.payout import Payout
from synccash.payments.rail import Operation

_ENDS = {"succeeded", "failed", "canceled"}


def verdict(world: World) -> list[str]:
    """Everything that was wrong, each in one line that begins with its kind; empty when all was well."""
    return [
        *world.errors,
        *_duplicates(world),
        *_lost(world),
        *_stuck(world),
        *_lied(world),
        *_sends(world),
        *_undead(world),
    ]


def _debits(world: World) -> Counter[str]:
    return Counter(d.merchant_reference for rail in world.rails.values() for d in rail.debits())


def _payouts(world: World) -> Counter[str]:
    return Counter(p.merchant_reference for rail in world.rails.values() for p in rail.payouts())


def _late(world: World) -> set[str]:
    """The references of what moved after its rail had said that it would not."""
    return {order.reference for rail in world.rails.values() for order in rail.late()}


def _came_late(attempts: Mapping[str, Attempt], late: set[str]) -> list[Attempt]:
    return [attempt for attempt in attempts.values() if attempt.reference in late]


def _duplicates(world: World) -> list[str]:
    moved = _debits(world) + _payouts(world)
    return [f"duplicate: {name} moved money {n} times" for name, n in moved.items() if n > 1]


def _lost(world: World) -> list[str]:
    wrong: list[str] = []
    moved, late = _debits(world) + _payouts(world), _late(world)
    for row in world.ledger.rows.values():
        order = row.order
        came_late = _came_late(row.attempts, late)
        if any(attempt.state.is_dead for attempt in came_late) and not row.contradictions:
            wrong.append(f"silent: {order.id} moved money late and nobody was told")
        if isinstance(order, Refund):
            continue
        has_moved, says = moved.pop(order.reference, 0) > 0, order.status.value == "succeeded"
        if has_moved and order.status.is_final and not says:
            wrong.append(f"lost: {order.id} is {order.status.value} and moved money")
        if has_moved and not order.status.is_final:
            wrong.append(f"lost: {order.id} is {order.status_detail} and moved money")
        if says and not has_moved and not came_late:
            wrong.append(f"lied: {order.id} is succeeded and moved nothing")
    wrong.extend(f"lost: {name} moved money and has no row" for name in moved)
    for key, reply in world.told:
        if msgspec.json.decode(reply.body)["id"] not in world.ledger.rows:
            wrong.append(f"lost: {key} was acknowledged and has no row")
    return wrong + _refunds(world) + _surplus(world)


def _surplus(world: World) -> list[str]:
    """What came too much has one refund of its own, each debit, however that refund ends."""
    wrong: list[str] = []
    orders = [row.order for row in world.ledger.rows.values()]
    back = Counter(order.payment_id for order in orders if isinstance(order, Refund) and order.surplus)
    for row in world.ledger.rows.values():
        if isinstance(row.order, Payment) and row.order.status.is_final:
            came = sum(attempt.amount_received > 0 for attempt in row.attempts.values())
            too_many = came - (row.order.status is PaymentStatus.SUCCEEDED)
            if back[row.order.id] != too_many:
                wrong.append(f"surplus: {row.order.id} has {too_many} and gives back {back[row.order.id]}")
    return wrong


def _refunds(world: World) -> list[str]:
    wrong: list[str] = []
    late = _late(world)
    credited = Counter(c.reference for rail in world.rails.values() for c in rail.credits())
    back: Counter[str] = Counter()
    for rail in world.rails.values():
        for credit in rail.credits():
            back[credit.merchant_reference] += credit.amount
    for row in world.ledger.rows.values():
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
    for row in world.ledger.rows.values():
        order = row.order
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
    for event in world.ledger.events:
        wrong.extend(_against(world, event.object_id, event.type.partition(".")[2], "an event"))
    return wrong


def _against(world: World, order_id: str, said: str, what: str) -> list[str]:
    row = world.ledger.rows.get(order_id)
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
        for at, order in rail.begun:
            if order.operation is not Operation.REFUND:
                row = next((r for r in world.ledger.rows.values() if _owns(r.order, order)), None)
                if row is None:
                    wrong.append(f"sends: {order.reference} was sent without a row")
                elif at >= (row.order.expires_at - EPOCH).total_seconds():
                    wrong.append(f"sends: {order.reference} was sent after its payment had expired")
    return wrong


def _undead(world: World) -> list[str]:
    """What moved money was never provably dead, but where the rail went back on its word."""
    late = _late(world)
    return [
        f"undead: {row.order.id} was called dead and moved money"
        for row in world.ledger.rows.values()
        if "late_success" in row.contradictions and not _came_late(row.attempts, late)
    ]


def _owns(order: object, sent: object) -> bool:
    return isinstance(order, Payment | Payout) and order.reference == sent.merchant_reference
