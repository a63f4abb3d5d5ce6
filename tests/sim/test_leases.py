"""Leases held by one process: which work may continue, and what the caller of failed work gets."""

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import msgspec

from order_store_contract import commit, opening
from sim.clock import VirtualClock
from sim.loop import VirtualLoop
from sim.order_store import FakeOrderStore
from sim.world import logs_into
from synccash.engine.commit_builder import committed_case
from synccash.engine.leases import HeldLeases
from synccash.engine.requests.replies import Replies
from synccash.payments.case import Lease, Opened, PaymentCase, ReleaseLease, StoredAnswer
from synccash.payments.payment import Payment
from synccash.payments.request import Reply


class _LeaseHolder:
    """One process with leases in a fake order store, and one payment that it leases."""

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
    holder = _LeaseHolder()

    async def story() -> None:
        case = await holder.opened()
        holder.leases.start()
        task = holder.leases.carry_out(Lease(case.order.id, 1), holder.long_work())
        holder.order_store.rows[case.order.id].order = replace(case.order, fence=2)
        await asyncio.wait({task})
        holder.seen.append((task.cancelled(), holder.loop.time(), holder.leases.busy))

    assert holder.run(story()) == [(True, 2.0, 0)]


def test_a_heartbeat_does_not_cancel_work_that_just_released_its_lease():
    holder = _LeaseHolder()

    async def story() -> None:
        case = await holder.opened()
        holder.leases.start()

        async def work() -> str:
            assert await holder.order_store.record(commit(case, lease=ReleaseLease(60.0)))
            await asyncio.sleep(3)
            return "answered"

        holder.seen.append(await holder.leases.carry_out(Lease(case.order.id, 1), work()))
        row = holder.order_store.rows[case.order.id]
        holder.seen.append((holder.leases.lost, row.lease_until))

    assert holder.run(story()) == ["answered", (0, None)]


def test_a_heartbeat_extends_the_lease_of_long_work():
    holder = _LeaseHolder()

    async def story() -> None:
        case = await holder.opened()
        holder.leases.start()
        await holder.leases.carry_out(Lease(case.order.id, 1), holder.long_work())
        holder.seen.append(await holder.order_store.take_due(limit=1, lease_s=6.0))

    assert holder.run(story()) == ["sent", []]


def test_without_leases_no_heartbeat_timer_runs_and_later_leases_are_renewed():
    holder = _LeaseHolder()

    async def story() -> None:
        holder.leases.start()
        await asyncio.sleep(1)
        before = holder.loop.steps
        await asyncio.sleep(100)
        holder.seen.append(holder.loop.steps - before)
        case = await holder.opened()
        await holder.leases.carry_out(Lease(case.order.id, 1), holder.long_work())
        holder.seen.append(await holder.order_store.take_due(limit=1, lease_s=6.0))

    # The two steps are the story's own: its timer, and itself.
    assert holder.run(story()) == [2, "sent", []]


def test_a_takeover_by_the_same_process_cancels_its_former_work():
    holder = _LeaseHolder()

    async def story() -> None:
        former = holder.leases.carry_out(Lease("pay_1", 1), holder.long_work())
        holder.leases.carry_out(Lease("pay_1", 2), holder.long_work())
        await asyncio.wait({former})
        holder.seen.append((former.cancelled(), holder.leases.busy))

    assert holder.run(story()) == [(True, 1), "sent"]


def test_work_under_an_older_lease_does_not_cancel_work_under_a_newer_one():
    holder = _LeaseHolder()

    async def story() -> None:
        newer = holder.leases.carry_out(Lease("pay_1", 2), holder.long_work())
        older = holder.leases.carry_out(Lease("pay_1", 1), holder.long_work())
        await asyncio.wait({older, newer})
        holder.seen.append((older.cancelled(), newer.cancelled(), holder.leases.lost))

    assert holder.run(story()) == ["sent", (True, False, 1)]


def test_closing_waits_for_work_that_a_request_starts_meanwhile():
    holder = _LeaseHolder()

    async def request() -> None:
        await asyncio.sleep(3)
        holder.leases.carry_out(Lease("pay_1", 1), asyncio.sleep(4, holder.seen.append("begun")))

    async def story() -> None:
        asked = holder.loop.create_task(holder.leases.run_detached(request()))
        await asyncio.sleep(1)
        await holder.leases.close(grace_s=10.0)
        await asked
        holder.seen.append(holder.loop.time())

    assert holder.run(story()) == ["begun", 7.0]


def test_a_caller_of_failed_work_gets_its_last_committed_state():
    holder = _LeaseHolder()

    async def breaks() -> None:
        raise RuntimeError("a mistake of ours")

    async def story() -> None:
        case = await holder.opened()
        replies = Replies(holder.order_store, holder.leases, request_deadline_s=4.0)
        reply = await replies.first(case, breaks())
        holder.seen.append((reply.status, msgspec.json.decode(reply.body)["status"]))

    assert holder.run(story()) == [(202, "created")]


def test_a_worker_with_all_its_leases_taken_goes_on_as_soon_as_one_ends():
    holder = _LeaseHolder()

    async def story() -> None:
        for number, ends_s in enumerate((1, 3)):
            holder.leases.carry_out(Lease(f"pay_{number}", 1), asyncio.sleep(ends_s))
        holder.seen.append((await holder.leases.below(3, timeout_s=10.0), holder.loop.time()))
        holder.seen.append((await holder.leases.below(2, timeout_s=10.0), holder.loop.time()))
        holder.seen.append((await holder.leases.below(1, timeout_s=0.5), holder.loop.time()))

    assert holder.run(story()) == [(True, 0.0), (True, 1.0), (False, 1.5)]


def test_the_answer_that_the_releasing_commit_has_stored_is_given_without_another_commit():
    holder = _LeaseHolder()
    stored = StoredAnswer(201, b'{"id": "pay_1"}')

    async def send(case: PaymentCase) -> PaymentCase | None:
        released = commit(case, answer=stored)
        return committed_case(case, released) if await holder.order_store.record(released) else None

    async def story() -> None:
        case = await holder.opened()
        holder.order_store.fault = lambda method: "before" if method == "answer" else None
        replies = Replies(holder.order_store, holder.leases, request_deadline_s=4.0)
        holder.seen.append(await replies.first(case, send(case)))

    assert holder.run(story()) == [Reply(201, stored.body)]


def test_a_commit_that_was_refused_gives_the_answer_that_is_stored():
    holder = _LeaseHolder()
    stored = StoredAnswer(202, b'{"id": "pay_1"}')

    async def loses_its_lease(case: PaymentCase) -> PaymentCase | None:
        over = replace(case, order=replace(case.order, fence=2))
        holder.order_store.rows[case.order.id].order = over.order
        assert await holder.order_store.record(commit(over, answer=stored))
        late = commit(case, answer=StoredAnswer(201, b"{}"))
        return committed_case(case, late) if await holder.order_store.record(late) else None

    async def story() -> None:
        case = await holder.opened()
        replies = Replies(holder.order_store, holder.leases, request_deadline_s=4.0)
        holder.seen.append(await replies.first(case, loses_its_lease(case)))

    assert holder.run(story()) == [Reply(202, stored.body)]
