"""Batches store calls: items that arrive while a flush is in flight are sent together in the next one.

There is no timer: while no flush is in flight, an item is sent at once. Under load the batches grow until the
store keeps up.
"""

import asyncio
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

    At most `max_in_flight` flushes run at once. An item whose submitter is cancelled before the flush is not
    sent; after the flush its result is dropped. Other items are not affected.
    """

    __slots__ = ("_flush", "_max_in_flight", "_max_items", "_running", "_waiting")

    def __init__(self, flush: Flush[I, R], *, max_items: int, max_in_flight: int = 1) -> None:
        if max_items < 1 or max_in_flight < 1:
            raise ValueError("max_items and max_in_flight must be at least 1")
        self._flush = flush
        self._max_items = max_items
        self._max_in_flight = max_in_flight
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
        while batch := self._next():
            try:
                await self._send(batch)
            finally:
                # Only a cancelled task leaves items without a result.
                for _, future in batch:
                    if not future.done():
                        future.cancel()

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
