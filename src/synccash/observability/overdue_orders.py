"""Watches whether workers take due orders, in the background, so that health runs no query."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from synccash.payments.errors import StoreUnavailableError
from synccash.payments.ports import Clock

log = structlog.get_logger("synccash.overdue")

WATCH_S = 10.0
"""Pause between two readings, in seconds."""
OVERDUE_S = 30.0
"""For how long an order has to be due before it is reported. A worker takes what is due within a second."""


class DueOrders(Protocol):
    """The due orders, as the watch reads them."""

    async def overdue_s(self, than_s: float) -> float | None:
        """Return for how many seconds the oldest order is due; None if none is due for `than_s` seconds.
        Raises StoreUnavailableError."""
        ...


@dataclass(slots=True)
class OverdueOrdersWatch:
    """Live: one loop of one process. `overdue_s` is the latest reading; None while PostgreSQL is away."""

    orders: DueOrders
    clock: Clock
    overdue_s: float | None = None

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await self.read()
            await self.clock.sleep(WATCH_S)

    async def read(self) -> None:
        """Read once."""
        try:
            self.overdue_s = await self.orders.overdue_s(OVERDUE_S)
        except StoreUnavailableError as error:
            self.overdue_s = None
            log.debug("overdue_orders_not_read", reason=str(error))
        except Exception:
            self.overdue_s = None
            log.exception("overdue_orders_read_failed")

    def warnings(self) -> Sequence[tuple[str, str]]:
        """Return what an operator has to do, as (part of the service, text)."""
        if self.overdue_s is None:
            return ()
        text = (
            f"orders have been due for {self.overdue_s:.0f} s and no worker takes them: check that `synccash "
            "worker` runs, and in its log that it is not stuck; if it works, start more workers"
        )
        return (("worker", text),)
