"""Leases held by one process: which work may continue, and what the caller of failed work gets."""

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import msgspec

from ledger_contract import commit, opening
from sim.clock import VirtualClock
from sim.loop import VirtualLoop
from sim.order_store import FakeOrderStore
from sim.world import Bell, logs_into
from synccash.engine.leases import HeldLeases
from synccash.engine.requests.replies import Replies
from synccash.payments.case import Lease, Opened, PaymentCase, ReleaseLease
from synccash.payments.payment import Payment


class _House:
    """One process's holding over a fake ledger, with one payment that it holds."""

    def __init__(self) -> None:
        self.loop = VirtualLoop(Random(1))
        self.clock = VirtualClock(self.loop)
        self.order_store = FakeOrderStore(self.clock)
        self.leases = HeldLeases(self.order_store, self.clock, lease_s=6.0, heartbeat_s=2.0)
        self.seen: list[Any] = []

    def now(self) -> Any:
        return self.clock.now()

    async def opened(self) -> PaymentCase:
        result = await self.order_store.open(opening(self))
        assert isinstance(result, Opened)
        assert isinstance(result.case.order, Payment)
        return result.case

    async def long_work(self) -> None:
        await asyncio.sleep(60)
        self.seen.append("sent")

    def run(self, story: Any) -> list[Any]:
        self.loop.start(story)
        with logs_into([]):
            self.loop.run(lambda: False, until=200)
            self.loop.bury()
        assert self.loop.failures == []
        return self.seen


def test_work_is_cancelled_before_it_sends_again_when_its_lease_is_lost():
    house = _House()

    async def story() -> None:
        case = await house.opened()
        house.leases.start()
        task = house.leases.carry_out(Lease(case.order.id, 1), house.long_work())
        house.order_store.rows[case.order.id].order = replace(case.order, fence=2)
        await asyncio.wait({task})
        house.seen.append((task.cancelled(), house.loop.time(), house.leases.busy))

    assert house.run(story()) == [(True, 2.0, 0)]


def test_a_heartbeat_does_not_cancel_work_that_just_released_its_lease():
    house = _House()

    async def story() -> None:
        case = await house.opened()
        house.leases.start()

        async def work() -> str:
            assert await house.order_store.record(commit(case, lease=ReleaseLease(60.0)))
            await asyncio.sleep(3)
            return "answered"

        house.seen.append(await house.leases.carry_out(Lease(case.order.id, 1), work()))
        row = house.order_store.rows[case.order.id]
        house.seen.append((house.leases.lost, row.lease_until))

    assert house.run(story()) == ["answered", (0, None)]


def test_a_heartbeat_extends_the_lease_of_long_work():
    house = _House()

    async def story() -> None:
        case = await house.opened()
        house.leases.start()
        await house.leases.carry_out(Lease(case.order.id, 1), house.long_work())
        house.seen.append(await house.order_store.take_due(limit=1, lease_s=6.0))

    assert house.run(story()) == ["sent", []]


def test_without_leases_no_heartbeat_timer_runs_and_later_leases_are_renewed():
    house = _House()

    async def story() -> None:
        house.leases.start()
        await asyncio.sleep(1)
        before = house.loop.steps
        await asyncio.sleep(100)
        house.seen.append(house.loop.steps - before)
        case = await house.opened()
        await house.leases.carry_out(Lease(case.order.id, 1), house.long_work())
        house.seen.append(await house.order_store.take_due(limit=1, lease_s=6.0))

    # The two steps are the story's own: its timer, and itself.
    assert house.run(story()) == [2, "sent", []]


def test_a_takeover_by_the_same_process_cancels_its_former_work():
    house = _House()

    async def story() -> None:
        former = house.leases.carry_out(Lease("pay_1", 1), house.long_work())
        house.leases.carry_out(Lease("pay_1", 2), house.long_work())
        await asyncio.wait({former})
        house.seen.append((former.cancelled(), house.leases.busy))

    assert house.run(story()) == [(True, 1), "sent"]


def test_work_under_an_older_lease_does_not_cancel_work_under_a_newer_one():
    house = _House()

    async def story() -> None:
        newer = house.leases.carry_out(Lease("pay_1", 2), house.long_work())
        older = house.leases.carry_out(Lease("pay_1", 1), house.long_work())
        await asyncio.wait({older, newer})
        house.seen.append((older.cancelled(), newer.cancelled(), house.leases.lost))

    assert house.run(story()) == ["sent", (True, False, 1)]


def test_closing_waits_for_work_that_a_request_starts_meanwhile():
    house = _House()

    async def request() -> None:
        await asyncio.sleep(3)
        house.leases.carry_out(Lease("pay_1", 1), asyncio.sleep(4, house.seen.append("begun")))

    async def story() -> None:
        asked = house.loop.create_task(house.leases.run_detached(request()))
        await asyncio.sleep(1)
        await house.leases.close(grace_s=10.0)
        await asked
        house.seen.append(house.loop.time())

    assert house.run(story()) == ["begun", 7.0]


def test_a_caller_of_failed_work_gets_its_last_committed_state():
    house = _House()

    async def breaks() -> None:
        raise RuntimeError("a mistake of ours")

    async def story() -> None:
        case = await house.opened()
        bell = Bell(house.loop, house.order_store, Random(1))
        replies = Replies(house.order_store, house.leases, bell, request_deadline_s=4.0)
        reply = await replies.first(case, breaks())
        house.seen.append((reply.status, msgspec.json.decode(reply.body)["status"]))

    assert house.run(story()) == [(202, "created")]
