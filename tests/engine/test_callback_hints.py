"""A flood of callbacks to one valid address costs about one query a second, and loses no hint."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from engine.scripted import Desk
from synccash.engine.callback_hints import HINT_LIMIT, CallbackHint, CallbackHints
from synccash.engine.leases import HeldLeases
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.failure import Failure, FailureCode
from synccash.stores.local_work_signal import LocalWorkSignal

NO_FUNDS = Failure(FailureCode.INSUFFICIENT_FUNDS)
AT_ONCE = HINT_LIMIT.quota + HINT_LIMIT.burst


class Ticking:
    """A clock that a test moves; a tick ends one `sleep`, and waits for it to begin."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.sleepers: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        over = asyncio.Event()
        self.sleepers.put_nowait(over)
        await over.wait()

    async def tick(self) -> None:
        sleeper = await self.sleepers.get()
        self.now_s += 1.0
        sleeper.set()


@dataclass
class Counting:
    """The real order store, whose hints are counted; `away`: how many more of them fail."""

    inner: Any
    away: int = 0
    hints: list[str] = field(default_factory=list[str])
    ended: asyncio.Queue[str] = field(default_factory=asyncio.Queue[str])

    async def hint(self, token: str, failure: Failure | None = None) -> bool:
        self.hints.append(token)
        try:
            if self.away:
                self.away -= 1
                raise StoreUnavailableError("PostgreSQL is away")
            return await self.inner.hint(token, failure)
        finally:
            self.ended.put_nowait(token)

    async def next_hint(self, clock: Ticking) -> None:
        """Let a second pass, and wait for what it writes."""
        self.ended = asyncio.Queue()
        await clock.tick()
        await self.ended.get()

    async def hint_reference(self, rail: str, reference: str, failure: Failure | None = None) -> bool:
        self.hints.append(reference)
        return await self.inner.hint_reference(rail, reference, failure)


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


@pytest.fixture
def store(desk: Desk) -> Counting:
    return Counting(desk.engine.order_store)


@pytest.fixture
def hints(clock: Any, store: Any) -> CallbackHints:
    return CallbackHints(store, LocalWorkSignal(), HeldLeases(store, clock, 30.0, 10.0), clock)


async def address(desk: Desk) -> CallbackHint:
    payment = await desk.pay()
    token = await desk.pool.fetchval("SELECT callback_token FROM attempts WHERE order_id = $1", payment["id"])
    return CallbackHint("mtn_momo", token, signed=True)


async def test_a_flood_costs_a_query_a_second_and_what_it_reports_is_kept(
    desk: Desk, hints: CallbackHints, store: Counting, clock: Ticking
):
    hint = await address(desk)
    flood = [hints.take(hint, NO_FUNDS if number == 60 else None, is_ours=True) for number in range(100)]
    assert all(await asyncio.gather(*flood))
    assert (len(store.hints), hints.joined) == (AT_ONCE, 100 - AT_ONCE)
    reported = "SELECT reported_failure IS NOT NULL FROM attempts"
    assert not await desk.pool.fetchval(reported)
    await desk.pool.execute("UPDATE attempts SET callback_at = NULL")
    await store.next_hint(clock)
    assert await desk.pool.fetchval(reported)
    assert await desk.pool.fetchval("SELECT callback_at IS NOT NULL FROM attempts")
    for _ in range(3):
        for _ in range(10):
            await hints.take(hint, None, is_ours=True)
        await store.next_hint(clock)
    assert len(store.hints) == AT_ONCE + 4


async def test_one_attempts_flood_delays_no_other_attempt(desk: Desk, hints: CallbackHints, store: Counting):
    hint = await address(desk)
    for _ in range(20):
        await hints.take(hint, None, is_ours=True)
    other = CallbackHint("mtn_momo", "another token", signed=True)
    assert await hints.take(other, None, is_ours=True) is False
    assert store.hints[-1] == "another token"


async def test_a_joined_hint_is_written_when_the_store_is_back_and_a_close_waits_for_it(
    desk: Desk, hints: CallbackHints, store: Counting, clock: Ticking
):
    hint = await address(desk)
    for _ in range(AT_ONCE + 1):
        await hints.take(hint, None, is_ours=True)
    store.away = 1
    closing = asyncio.create_task(hints.leases.close())
    for _ in range(2):
        await store.next_hint(clock)
    await closing
    assert (store.away, len(store.hints), hints._waiting) == (0, AT_ONCE + 2, {})


async def test_tokens_that_are_found_nowhere_are_looked_up_each_time(
    desk: Desk, hints: CallbackHints, store: Counting
):
    """Their look-ups are limited by the address that they come from."""
    unknown = CallbackHint("mtn_momo", "t" * 43, signed=False)
    assert not any([await hints.take(unknown, None, is_ours=False) for _ in range(2 * AT_ONCE)])
    assert (len(store.hints), hints.joined) == (2 * AT_ONCE, 0)
