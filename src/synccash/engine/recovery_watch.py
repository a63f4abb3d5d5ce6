"""What a process knows of a recovery, so that it opens no order with an attempt while one is under way."""

from dataclasses import dataclass, replace

from synccash.engine.ports import OrderStore
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.ports import Clock
from synccash.payments.recovery import NO_RECOVERY, Recovery

LOOK_EVERY_S = 1.0


@dataclass(slots=True)
class RecoveryWatch:
    """Live: one per process. It only saves work: the ledger itself refuses every commit before a send."""

    order_store: OrderStore
    clock: Clock
    known: Recovery = NO_RECOVERY

    def sends_held(self) -> None:
        """The ledger has refused an opening because a recovery is under way."""
        self.known = replace(self.known, active=True)

    async def run(self) -> None:
        """Look every second until cancelled. A ledger out of reach leaves what was known last."""
        while True:
            await self.look()
            await self.clock.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look once."""
        try:
            self.known = await self.order_store.recovery()
        except StoreUnavailableError:
            return
