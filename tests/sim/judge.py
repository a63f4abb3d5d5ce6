"""The judge. The rails' books are the truth; what the engine says is only compared with them."""

from collections import Counter

import msgspec

from sim.clock import EPOCH
from sim.world import SETTINGS, World
from synccash.payments.payment import Payment, PaymentStatus, Refund, RefundStatus, StatusDetail
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


def _duplicates(world: World) -> list[str]:
    return [f"duplicate: {name} was debited {n} times" for name, n in _debits(world).items() if n > 1]


def _lost(world: World) -> list[str]:
    wrong: list[str] = []
    debits = _debits(world)
    for row in world.ledger.rows.values():
        order = row.order
        if isinstance(order, Payment):
            debited, says = debits.pop(order.reference, 0) > 0, order.status is PaymentStatus.SUCCEEDED
            if debited and order.status.is_final and not says:
                wrong.append(f"lost: {order.id} is {order.status.value} and the payer was debited")
            if debited and not order.status.is_final and order.status_detail is not StatusDetail.UNDER_REVIEW:
                wrong.append(f"lost: {order.id} is {order.status_detail} and the payer was debited")
            if says and not debited:
                wrong.append(f"lied: {order.id} is succeeded and nobody was debited")
    wrong.extend(f"lost: {name} was debited and has no row" for name in debits)
    for key, reply in world.told:
        if msgspec.json.decode(reply.body)["id"] not in world.ledger.rows:
            wrong.append(f"lost: {key} was acknowledged and has no row")
    return wrong + _refunds(world)


def _refunds(world: World) -> list[str]:
    wrong: list[str] = []
    credited = Counter(c.reference for rail in world.rails.values() for c in rail.credits())
    back: Counter[str] = Counter()
    for rail in world.rails.values():
        for credit in rail.credits():
            back[credit.merchant_reference] += credit.amount
    for row in world.ledger.rows.values():
        order = row.order
        if isinstance(order, Payment) and back[order.reference] > order.amount_received:
            wrong.append(f"duplicate: {order.id} got back more than it brought")
        if isinstance(order, Refund):
            sent = sum(credited[a.reference] for a in row.attempts.values())
            if sent > 1:
                wrong.append(f"duplicate: {order.id} was paid out {sent} times")
            if order.status.is_final and (order.status is RefundStatus.SUCCEEDED) is not (sent == 1):
                wrong.append(f"lost: {order.id} is {order.status.value} and was paid out {sent} times")
    return wrong


def _stuck(world: World) -> list[str]:
    wrong: list[str] = []
    for row in world.ledger.rows.values():
        order = row.order
        if not order.status.is_final and order.status_detail is not StatusDetail.UNDER_REVIEW:
            wrong.append(f"stuck: {order.id} is {order.status.value}, {order.status_detail}")
        if row.due_at is not None:
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
            if order.operation is Operation.COLLECT:
                row = next((r for r in world.ledger.rows.values() if _owns(r.order, order)), None)
                if row is None:
                    wrong.append(f"sends: {order.reference} was sent without a row")
                elif at >= (row.order.expires_at - EPOCH).total_seconds():
                    wrong.append(f"sends: {order.reference} was sent after its payment had expired")
    return wrong


def _undead(world: World) -> list[str]:
    """Simulated rails never go back on their word: what moved money was never provably dead."""
    return [
        f"undead: {row.order.id} was called dead and moved money"
        for row in world.ledger.rows.values()
        if "late_success" in row.contradictions
    ]


def _owns(order: object, sent: object) -> bool:
    return isinstance(order, Payment) and order.reference == sent.merchant_reference
