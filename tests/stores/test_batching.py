"""Natural batching: which items share a flush, and that each caller gets its result exactly once."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccash.stores.batching import NaturalBatch


class Store:
    """A store whose flushes wait for `gate`. It doubles each item."""

    def __init__(self, *, open_gate: bool = False) -> None:
        self.flushes: list[list[int]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.gate = asyncio.Event()
        if open_gate:
            self.gate.set()

    async def flush(self, items: Sequence[int]) -> list[int | BaseException]:
        self.flushes.append(list(items))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.in_flight -= 1
        return [ValueError(item) if item < 0 else item * 2 for item in items]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_single_item_is_flushed_at_once():
    store = Store(open_gate=True)
    batch = NaturalBatch(store.flush, max_items=8)
    assert await batch.submit(21) == 42
    assert store.flushes == [[21]]


async def test_items_submitted_during_a_flush_share_the_next_flush():
    store = Store()
    batch = NaturalBatch(store.flush, max_items=8)
    first = asyncio.create_task(batch.submit(1))
    await settle()
    rest = [asyncio.create_task(batch.submit(n)) for n in (2, 3, 4)]
    await settle()
    store.gate.set()
    assert await asyncio.gather(first, *rest) == [2, 4, 6, 8]
    assert store.flushes == [[1], [2, 3, 4]]


async def test_a_batch_never_holds_more_than_its_limit():
    store = Store()
    batch = NaturalBatch(store.flush, max_items=2)
    tasks = [asyncio.create_task(batch.submit(n)) for n in range(5)]
    await settle()
    store.gate.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8]
    assert max(map(len, store.flushes)) == 2


async def test_a_failing_item_does_not_fail_the_others():
    store = Store(open_gate=True)
    batch = NaturalBatch(store.flush, max_items=8)
    results = await asyncio.gather(*(batch.submit(n) for n in (1, -1, 2)), return_exceptions=True)
    assert results[0] == 2
    assert isinstance(results[1], ValueError)
    assert results[2] == 4


async def test_a_flush_that_fails_as_a_whole_is_repeated_item_by_item():
    asked: list[list[int]] = []

    async def flush(items: Sequence[int]) -> list[int | BaseException]:
        asked.append(list(items))
        if 3 in items:
            raise ConnectionError("the store does not like threes")
        return list(items)

    batch = NaturalBatch(flush, max_items=8)
    results = await asyncio.gather(*(batch.submit(n) for n in (1, 2, 3, 4)), return_exceptions=True)
    assert [results[0], results[1], results[3]] == [1, 2, 4]
    assert isinstance(results[2], ConnectionError)
    assert asked == [[1, 2, 3, 4], [1], [2], [3], [4]]


async def test_a_flush_that_omits_an_item_raises_and_leaves_no_caller_waiting():
    async def forgetful(items: Sequence[int]) -> list[int | BaseException]:
        return []

    batch = NaturalBatch(forgetful, max_items=8)
    with pytest.raises(RuntimeError, match="1 items returned 0"):
        await batch.submit(1)


async def test_an_item_cancelled_before_its_flush_is_not_flushed():
    store = Store()
    batch = NaturalBatch(store.flush, max_items=8)
    first = asyncio.create_task(batch.submit(1))
    await settle()
    second, third = (asyncio.create_task(batch.submit(n)) for n in (2, 3))
    await settle()
    second.cancel()
    await settle()
    store.gate.set()
    assert await asyncio.gather(first, third) == [2, 6]
    assert store.flushes == [[1], [3]]


async def test_a_cancellation_during_the_flush_does_not_affect_other_items():
    store = Store()
    batch = NaturalBatch(store.flush, max_items=8)
    tasks = [asyncio.create_task(batch.submit(n)) for n in (1, 2)]
    await settle()
    tasks[0].cancel()
    store.gate.set()
    assert await tasks[1] == 4
    assert tasks[0].cancelled()


@given(
    items=st.lists(st.integers(-3, 50), min_size=1, max_size=40),
    max_items=st.integers(1, 7),
    max_in_flight=st.integers(1, 3),
    cancelled=st.sets(st.integers(0, 39)),
    yields=st.lists(st.integers(0, 3), min_size=40, max_size=40),
)
def test_each_caller_gets_its_own_result_exactly_once(items, max_items, max_in_flight, cancelled, yields):
    async def run() -> None:
        store = Store(open_gate=True)
        batch = NaturalBatch(store.flush, max_items=max_items, max_in_flight=max_in_flight)
        tasks: list[asyncio.Task[int]] = []
        for item, pauses in zip(items, yields, strict=False):
            tasks.append(asyncio.create_task(batch.submit(item)))
            for _ in range(pauses):
                await asyncio.sleep(0)
        for index in cancelled:
            if index < len(tasks):
                tasks[index].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        # Lets the flush of items whose submitters were cancelled end.
        await settle()
        for index, (item, result) in enumerate(zip(items, results, strict=True)):
            if isinstance(result, asyncio.CancelledError):
                assert index in cancelled
            elif item < 0:
                assert isinstance(result, ValueError)
                assert result.args == (item,)
            else:
                assert result == item * 2
        sent = [item for flushed in store.flushes for item in flushed]
        assert all(sent.count(item) <= items.count(item) for item in sent)
        assert store.most_in_flight <= max_in_flight
        assert all(1 <= len(flushed) <= max_items for flushed in store.flushes)

    asyncio.run(run())


async def test_items_that_come_shortly_after_a_flush_share_the_next_one():
    store = Store(open_gate=True)
    batch = NaturalBatch(store.flush, max_items=8, gap_s=0.2)
    assert await batch.submit(1) == 2
    early = asyncio.create_task(batch.submit(2))
    await settle()
    assert store.flushes == [[1]]
    assert [await batch.submit(3), await early] == [6, 4]
    assert store.flushes == [[1], [2, 3]]
