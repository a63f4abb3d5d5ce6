"""Batches store calls: items that arrive while a flush is in flight are sent together in the next one.

An item is sent at once when no flush is in flight. Under load the batches grow until the store keeps up.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")

Flush = Callable[[Sequence[I]], Awaitable[Sequence[R | BaseException]]]


class NaturalBatch(Generic[I, R]):
    """Queues the items of one kind of store call. All tasks of one event loop may share it.

    `flush` receives between 1 and `max_items` items and returns one result for each, in the same order; an
    exception among the results is raised to the submitter of that item. When a flush fails as a whole,
    each of its items is flushed again by itself, so that a bad item fails alone. A flush must therefore be
    safe to repeat after it has raised: it may raise only for items that it has not processed.

    At most `max_in_flight` flushes run at once, and at least `gap_s` seconds pass between the starts of two:
    a statement costs much more than an item in it, so under load it pays to wait a little for more items. An
    item that comes later than that after the last flush waits for nothing.

    An item whose submitter is cancelled before the flush is not
    sent; after the flush its result is dropped. Other items are not affected.
    """

    __slots__ = ("_flush", "_gap_s", "_max_in_flight", "_max_items", "_next_at", "_running", "_waiting")

    def __init__(
        self, flush: Flush[I, R], *, max_items: int, max_in_flight: int = 1, gap_s: float = 0.0
    ) -> None:
        if max_items < 1 or max_in_flight < 1:
            raise ValueError("max_items and max_in_flight must be at least 1")
        self._flush = flush
        self._max_items = max_items
        self._max_in_flight = max_in_flight
        self._gap_s = gap_s
        self._next_at = -math.inf
        self._waiting: deque[tuple[I, asyncio.Future[R]]] = deque()
        self._running: set[asyncio.Task[None]] = set()

    async def submit(self, item: I) -> R:
        """Send the item together with the other waiting items; return its own result or raise its own
        error."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._start()
        return await future

    def _start(self) -> None:
        while self._waiting and len(self._running) < self._max_in_flight:
            task = asyncio.get_running_loop().create_task(self._work(), name="natural batch")
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if task.cancelled():
            # The event loop is closing: no further item is sent.
            while self._waiting:
                self._waiting.popleft()[1].cancel()
        # An item that was submitted just before this task ended started no task: the limit was reached then.
        self._start()

    async def _work(self) -> None:
        while batch := await self._next_in_time():
            try:
                await self._send(batch)
            finally:
                # Only a cancelled task leaves items without a result.
                for _, future in batch:
                    if not future.done():
                        future.cancel()

    async def _next_in_time(self) -> list[tuple[I, asyncio.Future[R]]]:
        if not self._gap_s:
            return self._next()
        now = asyncio.get_running_loop().time
        while self._waiting and (left_s := self._next_at - now()) > 0:  # noqa: ASYNC110 - no event ends it
            await asyncio.sleep(left_s)
        self._next_at = now() + self._gap_s
        return self._next()

    def _next(self) -> list[tuple[I, asyncio.Future[R]]]:
        batch: list[tuple[I, asyncio.Future[R]]] = []
        while self._waiting and len(batch) < self._max_items:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    async def _send(self, batch: list[tuple[I, asyncio.Future[R]]]) -> None:
        try:
            results = await self._flush([item for item, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"a flush of {len(batch)} items returned {len(results)} results")
        except Exception as error:
            if len(batch) == 1:
                _settle(batch[0][1], error)
                return
            for one in batch:
                await self._send([one])
            return
        for (_, future), result in zip(batch, results, strict=True):
            _settle(future, result)


def _settle(future: "asyncio.Future[R]", result: R | BaseException) -> None:
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
