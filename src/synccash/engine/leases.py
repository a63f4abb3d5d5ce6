"""Who works on what: the leases that this process holds, their heartbeat, and the tasks that own the work."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from synccash.engine.ports import OrderStore
from synccash.payments.case import Lease
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.ports import Clock

log = structlog.get_logger("synccash.engine")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Work:
    lease: Lease
    task: asyncio.Task[Any]


@dataclass(slots=True)
class HeldLeases:
    """Live and shared: the holds of one process.

    Work runs in tasks of its own, so that no caller who hangs up can cancel a send. Work whose hold is found
    lost is ended: it could write nothing, and should send nothing either; `lost` counts such works. `start`
    and `close` frame its life; `close` lets running work finish for `grace_s` seconds and leaves the rest to
    its lease.
    """

    order_store: OrderStore
    clock: Clock
    lease_s: float
    heartbeat_s: float
    lost: int = 0
    _works: dict[str, _Work] = field(default_factory=dict[str, _Work])
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set[asyncio.Task[Any]])
    _heart: asyncio.Task[None] | None = None
    _held: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self) -> None:
        """Begin the heartbeat. Call it inside the event loop."""
        self._heart = asyncio.get_running_loop().create_task(self._beat(), name="heartbeat")

    async def close(self, grace_s: float = 10.0) -> None:
        """Wait for running work, then stop. What does not finish is taken over when its lease ends."""
        ends = self.clock.monotonic() + grace_s
        # A request that is let finish may yet begin work of its own.
        while self._tasks and (left_s := ends - self.clock.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left_s)
        doomed = [*self._tasks, *([self._heart] if self._heart else [])]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)

    def carry_out(self, lease: Lease, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` under `hold` in a task of its own, with the heartbeat behind it."""
        task = self._run(work, f"work on {lease.order_id}")
        former = self._works.get(lease.order_id)
        if former is not None:
            # This process has taken the order over from itself: it slept through its lease, perhaps between
            # the commit that gave the lease and this call.
            if former.lease.fence > lease.fence:
                self._end_lost(_Work(lease, task))
                return task
            self._end_lost(former)
        self._works[lease.order_id] = _Work(lease, task)
        self._held.set()

        def done(finished: asyncio.Task[T]) -> None:
            status_at_rail = self._works.get(lease.order_id)
            if status_at_rail is not None and status_at_rail.task is finished:
                del self._works[lease.order_id]
            if not finished.cancelled() and (error := finished.exception()) is not None:
                log.error("work_failed", order_id=lease.order_id, error=type(error).__name__, exc_info=error)

        task.add_done_callback(done)
        return task

    async def detached(self, request: Coroutine[Any, Any, T]) -> T:
        """Await a request that goes on to its end even when its caller is cancelled."""
        return await asyncio.shield(self._run(request, "request"))

    def _run(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def busy(self) -> int:
        """How many orders this process works on."""
        return len(self._works)

    async def _beat(self) -> None:
        while True:
            # Who holds nothing wakes for nothing. What was begun meanwhile is renewed within one period.
            await self._held.wait()
            await self.clock.sleep(self.heartbeat_s)
            works = tuple(self._works.values())
            if not works:
                self._held.clear()
                continue
            try:
                kept = await self.order_store.renew([work.lease for work in works], lease_s=self.lease_s)
            except StoreUnavailableError as error:
                log.warning("heartbeat_missed", leases=len(works), reason=str(error))
                continue
            for work in works:
                # What has ended in the meantime has let go by itself.
                if work.lease not in kept and self._works.get(work.lease.order_id) is work:
                    self._end_lost(work)

    def _end_lost(self, work: _Work) -> None:
        self.lost += 1
        log.warning("hold_lost", order_id=work.lease.order_id, fence=work.lease.fence)
        work.task.cancel()
