"""The worker loop: leases due orders from the store and moves each forward. Any number of workers may run."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import structlog

from synccash.engine.leases import HeldLeases
from synccash.engine.ports import OrderStore
from synccash.engine.progress.order_worker import OrderWorker
from synccash.engine.requests.replies import read_order
from synccash.engine.settings import EngineSettings
from synccash.payments.case import Case, Lease
from synccash.payments.errors import OrderUnreadableError, StoreUnavailableError
from synccash.payments.ports import Clock, WorkSignal

log = structlog.get_logger("synccash.worker")


def no_context(case: Case) -> AbstractContextManager[None]:
    """Return a context that does nothing."""
    del case
    return nullcontext()


@dataclass(slots=True)
class Worker:
    """Leases due orders in a loop and works on them. `stop` ends the loop after the current round.

    `around_work` gives a context that each order is worked on in, such as a span of a trace. `taken` counts
    the orders that it leased; `taken_over` counts those of them whose former lease had ended without a
    release, and `interrupted` those whose work stopped because PostgreSQL was unavailable. `full_s` is how
    long it could take no order because it had as many as it may work on.
    """

    order_store: OrderStore
    order_worker: OrderWorker
    leases: HeldLeases
    work_signal: WorkSignal
    clock: Clock
    settings: EngineSettings
    around_work: Callable[[Case], AbstractContextManager[None]] = no_context
    taken: int = 0
    taken_over: int = 0
    interrupted: int = 0
    full_s: float = 0.0
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Lease and advance due orders until stopped. Waits and retries while the store is unavailable."""
        while not self._stopped.is_set():
            try:
                is_more_due = await self._round()
            except StoreUnavailableError as error:
                log.warning("store_unavailable", reason=str(error))
                await self.clock.sleep(error.retry_after_s)
                continue
            if not is_more_due:
                await self.work_signal.wait(self.settings.poll_s)
            # What becomes due in this time is leased together.
            await self.clock.sleep(self.settings.gather_s)

    def stop(self) -> None:
        """End the loop after the current round."""
        self._stopped.set()
        self.work_signal.notify()

    async def _round(self) -> bool:
        """Lease what is due and start to work on it. Returns True when more may be due now."""
        began = self.clock.monotonic()
        has_room = await self.leases.below(self.settings.worker_concurrency, self.settings.poll_s)
        self.full_s += self.clock.monotonic() - began
        if not has_room:
            return True
        free = self.settings.worker_concurrency - self.leases.busy
        cases = await self.order_store.take_due(limit=free, lease_s=self.settings.lease_s)
        for case in cases:
            order = case.order
            self.leases.carry_out(Lease(order.id, order.fence), self._advance(case))
            self.taken_over += case.former_lease_end is not None
        self.taken += len(cases)
        return len(cases) == free

    async def _advance(self, case: Case) -> None:
        try:
            with self.around_work(case):
                if await self.order_worker.advance(case) is None:
                    await self._advance_again(case)
        except OrderUnreadableError:
            # A newer process has changed the order. The store has noted it, and the lease ends by itself.
            return
        except StoreUnavailableError as error:
            # The lease ends by itself, and the next worker continues from the stored row.
            self.interrupted += 1
            log.warning("advance_interrupted", order_id=case.order.id, reason=str(error))

    async def _advance_again(self, case: Case) -> None:
        """Advance an order again of which a commit was refused, if this worker still holds its lease.

        The settlement of a refund changes its payment without taking the payment's lease, and an order may
        expire, or a recovery begin, while it is worked on. Without a second look the order would wait until
        the lease has ended.
        """
        stored = await read_order(self.order_store, case.order.id)
        if stored is None or stored.order.fence != case.order.fence:
            return
        # Leasing the order cleared its hint, so only the first case holds it.
        hinted, former = case.hinted, case.former_lease_end
        await self.order_worker.advance(replace(stored, hinted=hinted, former_lease_end=former))
