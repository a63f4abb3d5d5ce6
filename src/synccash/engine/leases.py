"""Leases held by this process: renews them on a heartbeat and runs the work they protect as tasks."""

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
    """Holds the leases of one process, and runs the work that they protect. Not a value: it owns tasks.

    Each piece of work runs in a task of its own, so a caller that disconnects cannot cancel a send. Work
    whose lease is lost is cancelled: it can no longer commit, so it must not send either. `lost` counts
    these. Call `start` first and `close` last. `close` waits up to `grace_s` seconds for running work; an
    order that is still unfinished is taken over when its lease ends.
    """

    order_store: OrderStore
    clock: Clock
    lease_s: float
    heartbeat_s: float
    lost: int = 0
    _works: dict[str, _Work] = field(default_factory=dict[str, _Work])
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set[asyncio.Task[Any]])
    _heartbeat: asyncio.Task[None] | None = None
    _has_work: asyncio.Event = field(default_factory=asyncio.Event)
    _has_ended: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self) -> None:
        """Start the heartbeat. Call it inside the event loop."""
        self._heartbeat = asyncio.get_running_loop().create_task(self._renew_leases(), name="heartbeat")

    async def close(self, grace_s: float = 10.0) -> None:
        """Wait for running work, then stop. An unfinished order is taken over when its lease ends."""
        ends = self.clock.monotonic() + grace_s
        # A request that is still running may start more work.
        while self._tasks and (left_s := ends - self.clock.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left_s)
        remaining = [*self._tasks, *([self._heartbeat] if self._heartbeat else [])]
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)

    def carry_out(self, lease: Lease, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` in a task of its own, and renew `lease` on each heartbeat until the task ends."""
        task = self._run(work, f"work on {lease.order_id}")
        former = self._works.get(lease.order_id)
        if former is not None:
            # This process has taken the order over from itself: it was suspended for longer than its lease,
            # perhaps between the commit that granted the lease and this call.
            if former.lease.fence > lease.fence:
                self._end_lost(_Work(lease, task))
                return task
            self._end_lost(former)
        self._works[lease.order_id] = _Work(lease, task)
        self._has_work.set()

        def done(finished: asyncio.Task[T]) -> None:
            current = self._works.get(lease.order_id)
            if current is not None and current.task is finished:
                del self._works[lease.order_id]
                self._has_ended.set()
            if not finished.cancelled() and (error := finished.exception()) is not None:
                log.error("work_failed", order_id=lease.order_id, error=type(error).__name__, exc_info=error)

        task.add_done_callback(done)
        return task

    async def run_detached(self, request: Coroutine[Any, Any, T]) -> T:
        """Await a request that runs to its end even when its caller is cancelled."""
        return await asyncio.shield(self._run(request, "request"))

    def run_in_background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Start a task that `close` waits for."""
        self._run(work, name)

    def _run(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def below(self, limit: int, timeout_s: float) -> bool:
        """Wait until this process works on fewer than `limit` orders. Returns False after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.busy >= limit:
                    self._has_ended.clear()
                    await self._has_ended.wait()
        except TimeoutError:
            return False
        return True

    @property
    def busy(self) -> int:
        """The number of orders that this process works on."""
        return len(self._works)

    async def _renew_leases(self) -> None:
        while True:
            # No leases held: no heartbeat timer. A lease taken during the sleep is renewed within one period.
            await self._has_work.wait()
            await self.clock.sleep(self.heartbeat_s)
            works = tuple(self._works.values())
            if not works:
                self._has_work.clear()
                continue
            try:
                kept = await self.order_store.renew([work.lease for work in works], lease_s=self.lease_s)
            except StoreUnavailableError as error:
                log.warning("heartbeat_missed", leases=len(works), reason=str(error))
                continue
            for work in works:
                # Work that ended during the renewal has released its lease itself.
                if work.lease not in kept and self._works.get(work.lease.order_id) is work:
                    self._end_lost(work)

    def _end_lost(self, work: _Work) -> None:
        self.lost += 1
        log.warning("lease_lost", order_id=work.lease.order_id, fence=work.lease.fence)
        work.task.cancel()
