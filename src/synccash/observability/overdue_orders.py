"""Watches whether workers run and take due orders, in the background, so that health runs no query."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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


def _unknown() -> float | None:
    return None


@dataclass(slots=True)
class OverdueOrdersWatch:
    """Live: one loop of one process. `overdue_s` is the latest reading; None while PostgreSQL is away.

    `workers_missing_s` returns for how long no worker has sent a heartbeat; None while one does, and where
    nothing is known.
    """

    orders: DueOrders
    clock: Clock
    workers_missing_s: Callable[[], float | None] = _unknown
    overdue_s: float | None = None
    _were_missing: bool = field(default=False)

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await self.read()
            await self.clock.sleep(WATCH_S)

    async def read(self) -> None:
        """Read once, and log when the last worker goes and the first one comes back."""
        self._log_workers()
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
        missing_s, overdue_s = self.workers_missing_s(), self.overdue_s
        due = "" if overdue_s is None else f"Orders have been due for {overdue_s:.0f} s. "
        if missing_s is not None:
            text = (
                f"No worker runs: none has sent a heartbeat for {missing_s:.0f} s. {due}New orders are still "
                "sent once; inquiries, retries and expiry wait. Start `synccash worker`, and look in its log "
                "why it ended. If its process is there, it is stopped (state T in `ps`) or stuck: restart it"
            )
            return (("worker", text),)
        if overdue_s is not None:
            text = (
                f"{due}No worker takes them: check that `synccash worker` runs, and in its log that it is "
                "not stuck; if it works, start more workers"
            )
            return (("worker", text),)
        return ()

    def _log_workers(self) -> None:
        missing_s = self.workers_missing_s()
        is_missing = missing_s is not None
        if is_missing and not self._were_missing:
            log.warning("workers_missing", missing_s=round(missing_s), detail="No worker sends heartbeats")
        elif self._were_missing and not is_missing:
            log.info("workers_back")
        self._were_missing = is_missing
