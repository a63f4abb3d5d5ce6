"""The worker: finds due orders in the ledger and moves them forward. Any number of them may run."""

import asyncio
from dataclasses import dataclass, field

import structlog

from synccash.engine.commit_builder import Case, order_of
from synccash.engine.leases import HeldLeases
from synccash.engine.ports import OrderStore
from synccash.engine.progress.order_worker import OrderWorker
from synccash.engine.settings import EngineSettings
from synccash.payments.case import Lease
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.ports import Clock, WorkSignal

log = structlog.get_logger("synccash.worker")


@dataclass(slots=True)
class Worker:
    """Live: one loop of one process. `stop` lets it end after the round under way.

    `taken` counts the orders that it took up; `taken_over` those of them that another holder had let fall,
    and `interrupted` those that PostgreSQL's absence ended.
    """

    order_store: OrderStore
    order_worker: OrderWorker
    leases: HeldLeases
    work_signal: WorkSignal
    clock: Clock
    settings: EngineSettings
    taken: int = 0
    taken_over: int = 0
    interrupted: int = 0
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Take and advance due orders until stopped. A ledger out of reach is waited for."""
        while not self._stopped.is_set():
            try:
                taken = await self._round()
            except StoreUnavailableError as error:
                log.warning("ledger_unavailable", reason=str(error))
                await self.clock.sleep(error.retry_after_s)
                continue
            if not taken:
                await self.work_signal.wait(self.settings.poll_s)

    def stop(self) -> None:
        """End after the round under way."""
        self._stopped.set()
        self.work_signal.ring()

    async def _round(self) -> int:
        free = self.settings.worker_concurrency - self.leases.busy
        if free <= 0:
            return 0
        cases = await self.order_store.take_due(limit=free, lease_s=self.settings.lease_s)
        for case in cases:
            order = order_of(case)
            self.leases.carry_out(Lease(order.id, order.fence), self._advance(case))
            self.taken_over += case.former_lease_end is not None
        self.taken += len(cases)
        return len(cases)

    async def _advance(self, case: Case) -> None:
        try:
            await self.order_worker.advance(case)
        except StoreUnavailableError as error:
            # The lease ends by itself, and whoever is next finds the row as it was.
            self.interrupted += 1
            log.warning("advance_interrupted", order_id=order_of(case).id, reason=str(error))
