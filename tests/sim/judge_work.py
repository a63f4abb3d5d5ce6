"""Judges how the engine worked: leases, sends, expiries, and what people were told."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

from sim.book import Booked, Faults, Sending
from sim.clock import EPOCH
from sim.order_store import Version
from sim.world import INQUIRY_TIMEOUT_S, SETTINGS, World
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.payment import Payment, PaymentStatus, Refund, RefundStatus, StatusDetail
from synccash.payments.rail import RailStatus

MICROSECOND_S = 1e-6
"""The order store's clock counts in these."""
FOLLOWS_WITHIN_S = 1.0
"""How far a node's time may be from the order store's, where its own clock is wrong: an answer's way."""
_TOLD_OFTEN = 3
_REVIEW_WITHIN_S = 5.0
"""How long after its expiry a lost order may be no human's matter, where nothing keeps the nodes from it."""


def work_verdict(world: World) -> list[str]:
    """Whatever was wrong with how the engine came to its results, each in one line."""
    return [
        *_reopened(world),
        *_past_lease(world),
        *_needless_takeovers(world),
        *_worked_on(world),
        *_not_under_review(world),
        *_reviewed_for_its_pace(world),
        *_asked_after_expiry(world),
        *_waits_in_vain(world),
        *_hangs(world),
        *_untold_reversals(world),
        *_untold_surplus(world),
        *_untold_passwords(world),
        *_unreserved(world),
        *_blamed(world),
    ]


def _reopened(world: World) -> list[str]:
    """No end is left again."""
    return [
        f"reopened: {row.order.id} was {before.order.status.value} and became {after.order.status.value}"
        for row in world.order_store.rows.values()
        for before, after in pairwise(row.history)
        if before.order.status.is_final and after.order.status is not before.order.status
    ]


def _past_lease(world: World) -> list[str]:
    """What leaves a node leaves within the lease that its last commit on the order gave it."""
    rows = {a.reference: row for row in world.order_store.rows.values() for a in row.attempts.values()}
    wrong: list[str] = []
    for rail in world.rails.values():
        for begun in rail.begun:
            row = rows.get(begun.reference)
            if row is None:
                continue
            own = (v.at for v in reversed(row.history) if v.by == begun.by and v.step < begun.step)
            committed = next(own, None)
            if committed is not None and begun.at - _seconds(committed) > SETTINGS.lease_s:
                late_s = begun.at - _seconds(committed) - SETTINGS.lease_s
                wrong.append(f"past its lease: {_name(begun)} left {late_s:.1f} s after its sender's lease")
    return wrong


def _name(begun: Sending) -> str:
    return "a password" if begun.order is None else begun.reference


def _needless_takeovers(world: World) -> list[str]:
    """Where no node dies or sleeps and the order store is never away, nobody loses a lease."""
    scenario = world.scenario
    if scenario.blows or scenario.partitions or scenario.store_faults or scenario.unreadable:
        return []
    return [
        f"taken over: {process.engine.worker.taken_over} orders, whose holders were all well"
        for process in world.processes.values()
        if process.engine.worker.taken_over
    ]


def _worked_on(world: World) -> list[str]:
    return [
        f"worked on: {order_id} was written after its lease was lost"
        for order_id in world.order_store.worked_on
    ]


def _not_under_review(world: World) -> list[str]:
    """An order whose request may be lost is a human's matter as soon as it has expired."""
    scenario = world.scenario
    if scenario.partitions or scenario.unreadable or scenario.store_faults:
        return []
    slept_s = sum(SETTINGS.lease_s + (blow.pause_s or 1.0) for blow in scenario.blows)
    wrong: list[str] = []
    for row in world.order_store.rows.values():
        if isinstance(row.order, Refund):
            continue
        # Work that began before the expiry may still be under way: after a callback or a takeover it asks
        # about every attempt, one after the other. The lease is that of a worker that is gone.
        asks_s = INQUIRY_TIMEOUT_S * max(0, len(row.attempts) - 1)
        grace_s = _REVIEW_WITHIN_S + SETTINGS.lease_s + slept_s + asks_s
        told_by = (row.order.expires_at - EPOCH).total_seconds() + grace_s
        version = _at(row.history, told_by)
        if version is None or told_by > world.loop.time():
            continue
        order = version.order
        lost = any(a.state in (AttemptState.UNKNOWN, AttemptState.PREPARED) for a in version.attempts)
        if lost and not order.status.is_final and order.status_detail is not StatusDetail.UNDER_REVIEW:
            wrong.append(
                f"not under review: {order.id} is {order.status_detail} {grace_s:.0f} s after its expiry"
            )
    return wrong


def _reviewed_for_its_pace(world: World) -> list[str]:
    """Where rails only leave inquiries without a turn, nobody has to look into an order."""
    scenario = world.scenario
    well = all(replace(f, no_turn=0.0) == Faults() for f in scenario.rails)
    if not well or scenario.blows or scenario.store_faults:
        return []
    return [
        f"reviewed for its pace: {row.order.id}"
        for row in world.order_store.rows.values()
        if any(version.order.status_detail is StatusDetail.UNDER_REVIEW for version in row.history)
    ]


def _asked_after_expiry(world: World) -> list[str]:
    """A commit after the expiry that follows an inquiry about a lost order puts it under review at once. Only
    a node that sleeps between the decision and its commit decides by an earlier time."""
    scenario = world.scenario
    slack_s = FOLLOWS_WITHIN_S if scenario.skews_s else MICROSECOND_S
    slack_s += sum(blow.pause_s or 0.0 for blow in scenario.blows)
    wrong: list[str] = []
    for row in world.order_store.rows.values():
        if isinstance(row.order, Refund):
            continue
        for before, after in pairwise(row.history):
            late_s = (after.at - row.order.expires_at).total_seconds()
            if late_s <= slack_s or after.order.status_detail is StatusDetail.UNDER_REVIEW:
                continue
            was = {attempt.id: attempt.inquiries for attempt in before.attempts}
            lost = (a for a in after.attempts if a.state in (AttemptState.UNKNOWN, AttemptState.PREPARED))
            if not after.order.status.is_final and any(a.inquiries > was.get(a.id, 0) for a in lost):
                wrong.append(
                    f"not under review: {row.order.id} was asked about and is {after.order.status_detail} "
                    f"{late_s:.1f} s after its expiry"
                )
    return wrong


def _at(history: list[Version], seconds: float) -> Version | None:
    """The row as it was at this moment."""
    return next((v for v in reversed(history) if _seconds(v.at) <= seconds), None)


def _seconds(at: datetime) -> float:
    return (at - EPOCH).total_seconds()


def _waits_in_vain(world: World) -> list[str]:
    """What every connector that was asked refused to send is not queued: none would send it later."""
    refused = {reference for rail in world.rails.values() for reference in rail.refused_locally}
    if not refused:
        return []
    return [
        f"waits in vain: {row.order.id} is queued, and its connectors refuse to send it"
        for row in world.order_store.rows.values()
        for version in row.history
        if version.order.status_detail is StatusDetail.QUEUED
        and version.attempts
        and all(attempt.state.is_dead and attempt.reference in refused for attempt in version.attempts)
    ]


def _hangs(world: World) -> list[str]:
    """What a rail never had, whose "not found" is final, does not wait for a human at the end of the run. An
    order that is known to have moved money waits for that reason: nothing ends it as not found."""
    wrong: list[str] = []
    for row in world.order_store.rows.values():
        order = row.order
        if isinstance(order, Refund) or order.status.is_final or order.id in world.order_store.unreadable:
            continue
        if any(version.money_is_known for version in row.history):
            continue
        live = next((a for a in row.attempts.values() if not a.state.is_final), None)
        rail = world.rails[live.rail] if live else None
        if live and rail and rail.not_found_is_final and not rail.booked(live.reference):
            wrong.append(f"hangs: {order.id} waits for {rail.name}, which never had it")
    return wrong


def _untold_reversals(world: World) -> list[str]:
    """Money that a rail took back and called about is told as a contradiction where it was known."""
    wrong: list[str] = []
    for row in world.order_store.rows.values():
        if row.order.id in world.order_store.unreadable:
            continue
        booked = _bookings(world, row.attempts)
        known = [a for a, b in booked if a.money_moved and b.has_told_reversal and _was_told_both(b)]
        if known and "reversed" not in row.contradictions:
            wrong.append(f"untold: {row.order.id} had its money taken back, and nobody was told")
    return wrong


def _was_told_both(booked: Booked) -> bool:
    return {RailStatus.SUCCEEDED, RailStatus.FAILED} <= booked.told


def _untold_surplus(world: World) -> list[str]:
    """The commit by which a payment has one debit more than before is told as a contradiction."""
    return [
        f"untold: {row.order.id} was paid {_debits(after)} times, and nobody was told"
        for row in world.order_store.rows.values()
        if isinstance(row.order, Payment)
        for before, after in pairwise(row.history)
        if _debits(after) > max(1, _debits(before)) and after.contradiction is None
    ]


def _debits(version: Version) -> int:
    return sum(attempt.amount_received > 0 for attempt in version.attempts)


def _untold_passwords(world: World) -> list[str]:
    """A payer whose rail says that it waits for a password is told so, while there is time."""
    return [
        f"untold: {row.order.id} waits for a password at its rail, and its payer was not told"
        for row in world.order_store.rows.values()
        for _, booked in _bookings(world, row.attempts)
        if booked.told_waiting >= _TOLD_OFTEN
        and isinstance(row.order, Payment)
        and not any(_is_told(v) or v.money_is_known for v in row.history)
    ]


def _is_told(version: Version) -> bool:
    asked = version.order.status is PaymentStatus.REQUIRES_ACTION
    return asked or version.order.status_detail is StatusDetail.UNDER_REVIEW


def _unreserved(world: World) -> list[str]:
    """What is given back of a debit, or may be, is reserved on it."""
    rows = world.order_store.rows.values()
    given = Counter[str]()
    for row in rows:
        order = row.order
        gone = any(attempt.amount_received for attempt in row.attempts.values())
        if isinstance(order, Refund) and (gone or order.status is not RefundStatus.FAILED):
            given[order.attempt_id] += order.amount
    return [
        f"unreserved: {given[debit.id]} go back of {debit.id}, and {debit.refund_reserved} are reserved"
        for row in rows
        for debit in row.attempts.values()
        if min(given[debit.id], debit.amount_received) != debit.refund_reserved
    ]


def _blamed(world: World) -> list[str]:
    """Rails whose connectors refuse what they are asked to send are well: no breaker opens for that."""
    well = all(replace(f, refuses_locally=0.0) == Faults() for f in world.scenario.rails)
    if not well or world.scenario.blows or world.scenario.store_faults:
        return []
    return [f"blamed: {opened.name} opened, and its rail is well" for opened in world.opened]


def _bookings(world: World, attempts: Mapping[str, Attempt]) -> list[tuple[Attempt, Booked]]:
    found = ((a, world.rails[a.rail].booked(a.reference)) for a in attempts.values() if a.rail in world.rails)
    return [(attempt, booked) for attempt, booked in found if booked is not None]
