"""Polls whether a database recovery is under way; during one, this process opens no order with an attempt."""

from dataclasses import dataclass, replace

from synccash.engine.ports import OrderStore
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.ports import Clock
from synccash.payments.recovery import NO_RECOVERY, Recovery

LOOK_EVERY_S = 1.0


@dataclass(slots=True)
class RecoveryWatch:
    """Reads the recovery state in a loop. It only avoids wasted work: during a recovery the store itself
    refuses every commit that precedes a send."""

    order_store: OrderStore
    clock: Clock
    known: Recovery = NO_RECOVERY

    def sends_held(self) -> None:
        """Note that the store refused an opening because a recovery is under way."""
        self.known = replace(self.known, active=True)

    async def run(self) -> None:
        """Poll every second until cancelled."""
        while True:
            await self.look()
            await self.clock.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Poll once. While the store is unavailable, the last known state stays."""
        try:
            self.known = await self.order_store.recovery()
        except StoreUnavailableError:
            return
